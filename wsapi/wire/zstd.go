package wire

import (
	"sync"

	"github.com/klauspost/compress/zstd"
)

const (
	// zstdWindow is how far back the encoder looks, and with 128 KiB the most of its
	// memory. On real events a window of 1 MiB gains 0.3 %.
	zstdWindow = 256 << 10
	// maxZstdRatio is more than Zstandard can make of a byte: 128 KiB take four or
	// more. A block that says it is larger lies.
	maxZstdRatio = 32 << 10
	// maxZstdBytes is more than any message may have. It bounds what a block can say of
	// its window; what it is allowed to become is its size, which is less.
	maxZstdBytes = 64 << 20
)

// zstandard appends a block as Zstandard. No checksum: a connection has its own.
func (e *encoders) zstandard(dst, block []byte) []byte {
	if e.zstd == nil {
		// It fails for options that contradict each other only. With one at a time, and
		// no stream, it has no goroutines.
		e.zstd, _ = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
			zstd.WithWindowSize(zstdWindow), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
	}
	return e.zstd.EncodeAll(block, dst)
}

// zstdDecoders have no goroutines either, so that the pool may forget them.
var zstdDecoders = sync.Pool{New: func() any {
	d, _ := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxZstdBytes), zstd.WithDecodeAllCapLimit(true))
	return d
}}

// unzstd is Zstandard of at most raw bytes, or an error.
func unzstd(coded []byte, raw int) ([]byte, error) {
	if len(coded) == 0 || raw > len(coded)*maxZstdRatio {
		return nil, errDecompress
	}
	d := zstdDecoders.Get().(*zstd.Decoder)
	defer zstdDecoders.Put(d)
	return d.DecodeAll(coded, make([]byte, 0, raw)) // never beyond the capacity
}
