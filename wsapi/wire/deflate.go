package wire

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
)

// maxDeflateRatio is more than DEFLATE can make of a byte: a block that says it is
// larger lies.
const maxDeflateRatio = 1032

// deflated appends a block as raw DEFLATE.
func (e *encoders) deflated(dst, block []byte) []byte {
	coded := bytes.NewBuffer(dst)
	if e.deflate == nil {
		e.deflate, _ = flate.NewWriter(coded, flate.BestSpeed) // fails for unknown levels only
	} else {
		e.deflate.Reset(coded)
	}
	// A buffer takes everything.
	_, _ = e.deflate.Write(block)
	_ = e.deflate.Close()
	return coded.Bytes()
}

var inflaters = sync.Pool{New: func() any { return flate.NewReader(nil) }}

// inflate is raw DEFLATE of raw bytes, or an error.
func inflate(coded []byte, raw int) ([]byte, error) {
	if raw > len(coded)*maxDeflateRatio {
		return nil, errDecompress
	}
	in := bytes.NewReader(coded)
	r := inflaters.Get().(io.ReadCloser)
	defer inflaters.Put(r)
	if err := r.(flate.Resetter).Reset(in, nil); err != nil {
		return nil, err
	}
	block := make([]byte, raw)
	if _, err := io.ReadFull(r, block); err != nil {
		return nil, err
	}
	var more [1]byte
	if n, err := r.Read(more[:]); n > 0 || !errors.Is(err, io.EOF) || in.Len() > 0 {
		return nil, errDecompress
	}
	return block, nil
}
