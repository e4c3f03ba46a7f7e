package requests

import "sync"

// maxKeptBuffer is the largest buffer that is kept for reuse.
const maxKeptBuffer = 512 << 10

// Buffer is a byte slice that is reused.
type Buffer struct{ B []byte }

var buffers = sync.Pool{New: func() any { return new(Buffer) }}

// NewBuffer returns an empty Buffer, which its user frees.
func NewBuffer() *Buffer { return buffers.Get().(*Buffer) }

// Free gives b back. A large one is not worth keeping.
func (b *Buffer) Free() {
	if cap(b.B) <= maxKeptBuffer {
		b.B = b.B[:0]
		buffers.Put(b)
	}
}
