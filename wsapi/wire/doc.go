// Package wire is the form of what crosses the network: the event object and the
// messages in JSON, and the binary frames. It has no goroutines and does no I/O.
//
// It promises:
//
//   - There is one event object, the same in WebSocket messages, HTTP bodies, event
//     streams, exports and the command's output (AppendEventJSON).
//   - JSON data comes back with its number literals as they were written.
//   - Every decoder answers malformed input with an *core.Error, never a panic, and
//     refuses duplicate keys and invalid UTF-8.
//   - An error crosses the wire and is rebuilt with all its fields.
//
// # Binary frames
//
// A binary WebSocket message of gyre.v1.bin is one or more frames, back to back.
// uvarint and zigzag are those of Protocol Buffers, lp is a uvarint length and that
// many bytes, u8 is one byte. Numbers are at most 2^53−1. Bits of flags that are
// not named here are zero.
//
//	0x01 EVENTS   u8 0x01 | u8 flags | uvarint sub | uvarint count |
//	              [count × uvarint attempt] | count × event
//	              flags bits 0 and 1: the codec
//	              flags bit 2: deliveries of a named subscription, with how often each
//	              event was sent, this time included
//	              flags bit 4, with bit 2: they are parked events, delivered again
//	              flags bit 3: the events answer a read, and the number is the id of
//	              its request; the ok with next, end, version and head follows
//	0x02 APPEND   u8 0x02 | u8 flags | uvarint id | [uvarint timeoutMs] |
//	              zigzag expect | lp stream | uvarint count | count × record
//	              flags bits 0 and 1: the codec
//	              flags bit 3: there is a timeoutMs
//	              expect: −1 any, −2 no_stream, −3 stream_exists, else the version
//	0x03 RESULTS  u8 0x03 | u8 flags | [lp node] | uvarint ranges | ranges × (
//	              uvarint id | uvarint n | uvarint version | uvarint position)
//	              the requests id … id+n−1 each wrote one event or link, the i-th of
//	              them at version+i and position+i; none was a duplicate
//	              flags bit 4: there is a node, which is the owner and not the node of
//	              the connection
//	0x04 ACK      u8 0x04 | u8 flags | uvarint id | uvarint sub | uvarint count |
//	              count × uvarint position, or version
//	              id: of the request, to be answered by ok or error; 0 = none, and
//	              then only an error comes
//	              flags bit 3: there is one event, and what was sent before it is acked,
//	              too; bit 4: the ok says that it is stored; bit 5: events are named by
//	              their versions in the stream that is subscribed to
//	0x05 CREDIT   u8 0x05 | u8 flags | uvarint sub | uvarint events | uvarint bytes
//	0x06 COMMIT   u8 0x06 | u8 flags | uvarint id | [uvarint timeoutMs] |
//	              uvarint appends | appends × (zigzag expect | lp stream |
//	              uvarint events | events × record | uvarint links | links × 16 B id) |
//	              uvarint checks | checks × (zigzag expect | lp stream) | [lp fields]
//	              flags, timeoutMs and expect: as of APPEND
//	              flags bit 4: there are fields, each u16le tag | u16le length | bytes; a
//	              commit with an unknown tag is refused:
//	              1 progress: uvarint from | uvarint to | 16 B id, all zero = none |
//	              lp log, which may be empty | name
//	              2 change of a stream, as often as there are any: u8 action, 0 delete,
//	              1 undelete, 2 remove, 3 tombstone | zigzag expect | stream
//	              3 incarnation that an append or a change of a stream expects, between
//	              nodes only, behind the changes: uvarint element, which counts the
//	              appends, then the checks, then the changes | uvarint incarnation
//	              an append has events or links, which are ids of events
//	0x07 COMMITTED
//	              u8 0x07 | u8 flags | uvarint id | [lp node] | uvarint appends | appends × (
//	              uvarint n | uvarint version | uvarint position)
//	              of each append of the request id: n events or links, the last of them
//	              at that version and position
//	              flags bit 3: they were written before, by an earlier try
//	              flags bit 4: as of RESULTS; bit 5, between nodes only: each append ends with
//	              uvarint incarnation of its stream, 0 for 1
//
//	event         uvarint length of what follows | uvarint position | uvarint version |
//	              i64le recorded, Unix µs | 16 B id | lp stream | lp type | u8 format |
//	              lp metadata | [lp fields] | data
//	record        uvarint length of what follows | 16 B id, all zero = none | lp type |
//	              u8 format | lp metadata | [lp fields] | data
//	format        bits 0-3: 0 JSON, 1 bytes; bit 7: there are fields
//	fields        each u16le tag | u16le length | bytes; unknown tags are passed over:
//	              1 the event's own time, i64le Unix µs, where it is not the recorded one
//	              2 content type, text
//	              3 incarnation, u32le, where it is not 1
//	              5 of an event that is read through a link, where it was written:
//	              uvarint position | uvarint version | stream
//
// Two frames are for connections between nodes only (Handshake). A client that sends one
// gets protocol_error.
//
//	0x08 FORWARD  u8 0x08 | u8 flags | uvarint epoch
//	              the APPEND or COMMIT that follows in the message is made under the epoch
//	0x09 HEAD     u8 0x09 | u8 flags | uvarint position
//	              the log has reached the position: a hint
//
// An event is exactly as the log keeps it (core/codec.go), so that the bytes on
// disk, in the tail and on every binary connection are the same. Frames are
// delimited by what they hold: a reader goes through the records by their lengths.
// testdata/frames.json has examples.
//
// # Compression
//
// A codec of 0 is none, 3 is not used. With another, the block of a frame, which is the
// events of EVENTS, the records of APPEND, and what follows timeoutMs in COMMIT, is
//
//	uvarint bytes it has | uvarint bytes that follow | what it is compressed to
//
//	1 deflate-raw  raw DEFLATE (RFC 1951)
//	2 zstd         Zstandard (RFC 8878), without a dictionary
//
// Only the frames of a connection on which it was agreed have a codec, and it is that one:
// the client names those that it can read in accept.compress of hello, the best first,
// and the server the first of them that it knows in compress of welcome. Either side then
// compresses what it wants to. Before they are compressed, the blocks
// of one message have together no more bytes than a message may (limits.frame), so
// that a small message cannot ask for much; credit counts bytes before compression.
//
// # Answers
//
// Whether an append came as a frame or in JSON, its answer is RESULTS if it wrote one
// event or link to one stream, and COMMITTED if it wrote more or was a duplicate. They name
// the owner only if the client has set accept.owner in hello; an ok in JSON always does,
// where the owner is not the node of the connection. Errors are in JSON. A read is answered by EVENTS with bit 3, if there are events, and then by
// its ok without events.
package wire
