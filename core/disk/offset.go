package disk

import "fmt"

// offset is a place in the log: the number of a segment in the upper 32 bits,
// the byte in its file in the lower. Offsets grow along the log.
type offset uint64

func at(segment uint32, b int64) offset { return offset(segment)<<32 | offset(uint32(b)) }

func (o offset) segment() uint32 { return uint32(o >> 32) }
func (o offset) byte() int64     { return int64(uint32(o)) }

func (o offset) String() string { return fmt.Sprintf("%s+%d", segmentName(o.segment()), o.byte()) }

// mark is a state of the log between two frames.
type mark struct {
	end      offset
	frame    offset // the last frame before end; byte 0 of the segment if there is none in it
	head     uint64 // position of the last event
	recorded int64  // of the last frame, Unix µs
}
