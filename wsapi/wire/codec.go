package wire

import (
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"

	"github.com/gyre-events/gyre/core"
)

// Codec is how the blocks of frames are compressed: bits 0 and 1 of their
// flags. Who decodes has agreed to one in hello and welcome.
type Codec byte

const (
	Uncompressed Codec = iota
	// Deflate is raw DEFLATE (RFC 1951), which browsers read without a library.
	Deflate
	// Zstd is Zstandard (RFC 8878), without a dictionary: smaller, and read several
	// times as fast.
	Zstd
)

// codecNames are what hello and welcome call them.
var codecNames = [...]string{Deflate: "deflate-raw", Zstd: "zstd"}

// String is the codec's name in hello and welcome; Uncompressed has none.
func (c Codec) String() string {
	if int(c) < len(codecNames) {
		return codecNames[c]
	}
	return "codec 3"
}

// ChooseCodec is the first codec of a list of names, the best first, that is known here;
// Uncompressed if none is.
func ChooseCodec(names ...string) Codec {
	for _, name := range names {
		for c := Deflate; int(c) < len(codecNames); c++ {
			if codecNames[c] == name {
				return c
			}
		}
	}
	return Uncompressed
}

// minCompressed is from where compressing a block can be worth its time.
const minCompressed = 1 << 10

// Coded is a block that was compressed.
type Coded struct {
	Codec Codec
	Raw   int // the bytes it had
	Block []byte
}

// Compressor compresses the blocks of frames. It holds a bounded number of
// encoders, since each takes about a megabyte. Safe for concurrent use.
type Compressor struct{ free chan *encoders }

// encoders are one encoder of each codec, made when they are first needed.
type encoders struct {
	deflate *flate.Writer
	zstd    *zstd.Encoder
}

// NewCompressor makes a Compressor that compresses up to n blocks at once.
func NewCompressor(n int) *Compressor {
	c := &Compressor{free: make(chan *encoders, n)}
	for range n {
		c.free <- new(encoders)
	}
	return c
}

// Block compresses a block, or answers false if that gains less than an eighth. It
// waits while as many blocks are being compressed as may be.
func (c *Compressor) Block(codec Codec, block []byte) (Coded, bool) {
	if codec == Uncompressed || len(block) < minCompressed {
		return Coded{}, false
	}
	// Events become five or six times as small; what is to be queued has little to spare.
	coded := make([]byte, 0, len(block)/4)
	e := <-c.free
	defer func() { c.free <- e }()
	switch codec {
	case Deflate:
		coded = e.deflated(coded, block)
	case Zstd:
		coded = e.zstandard(coded, block)
	}
	return Coded{codec, len(block), coded}, len(coded) < len(block)-len(block)/8
}

// Commit makes the compressed frame of f; frame is the one that AppendCommit has made.
// It answers false where Block does.
func (c *Compressor) Commit(codec Codec, f *CommitFrame, frame []byte) ([]byte, bool) {
	var space [64]byte
	header := len(appendCommitHeader(space[:0], 0, f))
	coded, ok := c.Block(codec, frame[header:])
	if !ok {
		return nil, false
	}
	dst := make([]byte, 0, header+16+len(coded.Block))
	dst = appendSizes(appendCommitHeader(dst, byte(codec), f), &coded)
	return append(dst, coded.Block...), true
}

var errDecompress = core.Errorf(core.CodeProtocolError, "a compressed block is damaged, or not of the size it says")

// decompress is a compressed block of raw bytes, which the caller has bounded: no more
// is taken from it whatever is in it, and no less.
func decompress(codec Codec, coded []byte, raw int) (block []byte, err error) {
	switch codec {
	case Deflate:
		block, err = inflate(coded, raw)
	case Zstd:
		block, err = unzstd(coded, raw)
	}
	if err != nil || len(block) != raw {
		return nil, errDecompress
	}
	return block, nil
}
