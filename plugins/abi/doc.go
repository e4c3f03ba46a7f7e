// Package abi is the contract between a plugin's module and the host: the names of imports
// and exports, the numbers that they pass, and the bytes of batches and appended events.
//
// A host writes a batch with a BatchWriter and a guest reads it with OpenBatch and Batch.Next. A
// guest encodes the events that it appends with AppendEvent and a host reads them with
// NextEvent. Decoders take any bytes: they return an error, never panic, and allocate
// nothing. What they return points into the input.
//
// All numbers are little-endian. A batch is a header and then its events:
//
//	header, 32 bytes
//	 0 "GYB1"          4 u16 version      6 u16 header length   8 u32 events
//	12 u32 bytes      16 i64 now in µs   24 u32 attempt        28 u32 flags
//
//	event, 64 bytes, then its strings, padded to 8
//	 0 u32 entry length   4 u16 fixed length   6 u16 flags     8 u64 position
//	16 u64 version       24 i64 time in µs    32 16 bytes id
//	48 u16 stream        50 u16 type          52 u32 data     56 u32 metadata lengths
//	60 u32 attempt       64 stream, type, data, metadata, fields
//
//	field: u16 tag, u16 length, bytes. Tag 0 ends the fields.
//
// An appended event is
//
//	 0 u32 entry length   4 u16 type length   6 u16 content (0 JSON, 1 bytes)
//	 8 u32 data length   12 u32 metadata length   16 16 bytes, all zero
//	32 type, data, metadata
//
// # Calls
//
// The host calls one function with a batch, (bytes, events, attempt) → verdict: gyre_handle of a
// handler, which says what became of its events with event_result, and ack is the default. A
// module that judges events exports the function of its kind, and answers by event_result, too:
//
//	gyre_filter     0 keep, the default; 3 drop
//	gyre_map        0 with the new data, JSON, as message
//	gyre_partition  0 with the key, UTF-8, as message
//	gyre_validate   0 accept, the default; 2 refuse, with the reason as message
//
// A filter, a map and a partitioner answer 2 with the reason where they cannot judge an event. An
// event that a map or a partitioner says nothing about has a fault, and so has one that fails alone
// with another verdict than 0, a trap or a time-out. Modules that judge events import JudgeImports
// and no others.
//
// # Commands
//
// A module of ABI stdio_1 is a command, which exports _start and imports nothing of Module. Its host
// makes lines of a batch, and effects of lines: package plugins/stdio has them.
//
// # Compatibility
//
// The lengths of header, fixed part and entry let a later version add fields, which an older
// reader skips. The package imports only the standard library and compiles for wasip1, so
// that the guest SDK and the host share it.
package abi
