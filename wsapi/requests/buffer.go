package requests

import (
	"bytes"
	"errors"
	"io"
	"sync"
)

// maxKeptBuffer is the largest buffer that is kept for reuse.
const maxKeptBuffer = 512 << 10

// ErrTooLarge is the error of Read beyond its limit.
var ErrTooLarge = errors.New("larger than the limit")

// Buffer is a byte slice that is reused.
type Buffer struct{ B []byte }

var buffers = sync.Pool{New: func() any { return new(Buffer) }}

// NewBuffer returns an empty Buffer, which its user frees.
func NewBuffer() *Buffer { return buffers.Get().(*Buffer) }

// largeInput is how much room a message gets that is larger than Allowance.
const largeInput = 4 * Allowance

// inputs have room for Allowance bytes, which nobody has to ask for; largeInputs for as
// many as many small appends that are sent together.
var (
	inputs      = sync.Pool{New: func() any { return &Buffer{make([]byte, 0, Allowance)} }}
	largeInputs = sync.Pool{New: func() any { return &Buffer{make([]byte, 0, largeInput)} }}
)

// Read reads all of r, up to limit bytes, into a Buffer. Beyond Allowance it calls grow
// before it takes as many bytes more.
func Read(r io.Reader, limit int, grow func(n int) error) (*Buffer, error) {
	b := inputs.Get().(*Buffer)
	for {
		if size := cap(b.B); len(b.B) == size {
			more := min(max(size, largeInput-size), limit+1-size)
			if err := grow(more); err != nil {
				b.Free()
				return nil, err
			}
			b = b.moved(size + more)
		}
		n, err := r.Read(b.B[len(b.B):cap(b.B)])
		b.B = b.B[:len(b.B)+n]
		switch {
		case len(b.B) > limit:
			b.Free()
			return nil, ErrTooLarge
		case errors.Is(err, io.EOF):
			return b, nil
		case err != nil:
			b.Free()
			return nil, err
		}
	}
}

// moved returns a Buffer with room for size bytes that has those of b.
func (b *Buffer) moved(size int) *Buffer {
	larger := &Buffer{}
	if size == largeInput {
		larger = largeInputs.Get().(*Buffer)
	} else {
		larger.B = make([]byte, 0, size)
	}
	larger.B = append(larger.B, b.B...)
	b.Free()
	return larger
}

// Keep returns the bytes of b to be kept; b is not to be used any more. What is worth
// reusing is copied, and b given back.
func (b *Buffer) Keep() []byte {
	if cap(b.B) > largeInput {
		return b.B
	}
	defer b.Free()
	return bytes.Clone(b.B)
}

// Free gives b back. A large one is not worth keeping.
func (b *Buffer) Free() {
	b.B = b.B[:0]
	switch {
	case cap(b.B) == Allowance:
		inputs.Put(b)
	case cap(b.B) == largeInput:
		largeInputs.Put(b)
	case cap(b.B) <= maxKeptBuffer:
		buffers.Put(b)
	}
}
