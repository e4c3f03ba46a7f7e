package wire

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"sync"

	"github.com/gyre-events/gyre/core"
)

// Deflate is the codec of frames, by the name that hello and welcome have for it: raw
// DEFLATE (RFC 1951), which is what browsers can read without a library.
const Deflate = "deflate-raw"

const (
	// minDeflate is from where compressing a block can be worth its time.
	minDeflate = 1 << 10
	// maxDeflateRatio is more than DEFLATE can make of a byte: a block that says it
	// is larger lies.
	maxDeflateRatio = 1032
)

// Deflater compresses blocks of events. It holds a bounded number of compressors,
// since each takes most of a megabyte. Safe for concurrent use.
type Deflater struct{ free chan *flate.Writer }

// NewDeflater makes a Deflater that compresses up to n blocks at once.
func NewDeflater(n int) *Deflater {
	d := &Deflater{free: make(chan *flate.Writer, n)}
	for range n {
		d.free <- nil // made when it is first needed
	}
	return d
}

// Block is block compressed, or false if that gains less than an eighth. It waits
// while as many blocks are being compressed as may be.
func (d *Deflater) Block(block []byte) ([]byte, bool) {
	if len(block) < minDeflate {
		return nil, false
	}
	coded := bytes.NewBuffer(make([]byte, 0, len(block)/2))
	w := <-d.free
	defer func() { d.free <- w }()
	if w == nil {
		w, _ = flate.NewWriter(coded, flate.BestSpeed) // fails for unknown levels only
	} else {
		w.Reset(coded)
	}
	// A buffer takes everything.
	_, _ = w.Write(block)
	_ = w.Close()
	return coded.Bytes(), coded.Len() < len(block)-len(block)/8
}

var inflaters = sync.Pool{New: func() any { return flate.NewReader(nil) }}

var errInflate = core.Errorf(core.CodeProtocolError, "a compressed block is damaged, or not of the size it says")

// inflate is a compressed block of raw bytes. The caller has bounded them.
func inflate(coded []byte, raw int) ([]byte, error) {
	if raw > len(coded)*maxDeflateRatio {
		return nil, errInflate
	}
	in := bytes.NewReader(coded)
	r := inflaters.Get().(io.ReadCloser)
	defer inflaters.Put(r)
	if err := r.(flate.Resetter).Reset(in, nil); err != nil {
		return nil, errInflate
	}
	block := make([]byte, raw)
	if _, err := io.ReadFull(r, block); err != nil {
		return nil, errInflate
	}
	var more [1]byte
	if n, err := r.Read(more[:]); n > 0 || !errors.Is(err, io.EOF) || in.Len() > 0 {
		return nil, errInflate
	}
	return block, nil
}
