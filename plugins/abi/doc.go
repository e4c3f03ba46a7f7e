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
// The lengths of header, fixed part and entry let a later version add fields, which an older
// reader skips. The package imports only the standard library and compiles for wasip1, so
// that the guest SDK and the host share it.
package abi
