package wire_test

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// codecs are those there are.
var codecs = []wire.Codec{wire.Deflate, wire.Zstd}

// coded is text compressed as well as it gets. Raw DEFLATE is from another library than
// the one that is tested.
func coded(t testing.TB, codec wire.Codec, text []byte) []byte {
	t.Helper()
	if codec == wire.Zstd {
		w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedBestCompression))
		if err != nil {
			t.Fatal(err)
		}
		return w.EncodeAll(text, nil)
	}
	var coded bytes.Buffer
	w, err := flate.NewWriter(&coded, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return coded.Bytes()
}

// decoded is a compressed block as it was.
func decoded(codec wire.Codec, block []byte) ([]byte, error) {
	if codec == wire.Deflate {
		return io.ReadAll(flate.NewReader(bytes.NewReader(block)))
	}
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	return r.DecodeAll(block, nil)
}

// codedAppend is an APPEND frame of these records, which say that they are raw bytes.
func codedAppend(codec wire.Codec, id byte, count int, coded []byte, raw int) []byte {
	frame := []byte{wire.FrameAppend, byte(codec), id, 1 /* any */, 1, 's'}
	frame = binary.AppendUvarint(frame, uint64(count))
	frame = binary.AppendUvarint(frame, uint64(raw))
	frame = binary.AppendUvarint(frame, uint64(len(coded)))
	return append(frame, coded...)
}

// records are the records of count events of much the same.
func records(count int) []byte {
	var block []byte
	for i := range count {
		block = core.EncodeNewEvent(block, &core.NewEvent{ID: core.ID{0: 1, 15: byte(i)}, Type: "A", Data: []byte(`"` + strings.Repeat("x", 1000) + `"`)})
	}
	return block
}

// hasRecords says that f is an append of records(3).
func hasRecords(f *wire.CommitFrame) bool {
	a := f.Commit.Appends
	return len(a) == 1 && len(a[0].Events) == 3 && len(a[0].Events[2].Data) == 1002
}

func TestCodecsHaveNames(t *testing.T) {
	for _, c := range []struct {
		names []string
		want  wire.Codec
	}{
		{nil, wire.Uncompressed},
		{[]string{""}, wire.Uncompressed},
		{[]string{"br", "gzip"}, wire.Uncompressed},
		{[]string{"br", "deflate-raw", "zstd"}, wire.Deflate},
		{[]string{"zstd", "deflate-raw"}, wire.Zstd},
	} {
		if got := wire.ChooseCodec(c.names...); got != c.want {
			t.Errorf("of %q %q is chosen, want %q", c.names, got, c.want)
		}
	}
	for _, codec := range codecs {
		if wire.ChooseCodec(codec.String()) != codec {
			t.Errorf("%d is named %q, which is another's", codec, codec)
		}
	}
}

func TestCompressedEvents(t *testing.T) {
	for _, codec := range codecs {
		t.Run(codec.String(), func(t *testing.T) { compressedEvents(t, codec) })
	}
}

func compressedEvents(t *testing.T, codec wire.Codec) {
	var b core.Batch
	for i := range uint64(50) {
		n := core.NewEvent{Type: "OrderPlaced", Data: []byte(`{"total":10,"customer":"somebody"}`)}
		raw := core.EncodeEvent(nil, core.Placement{Stream: "order-1", Version: i + 1, Position: i + 1, Recorded: 1, Incarnation: 1, ID: core.ID{0: 1, 15: byte(i)}}, &n)
		b.Add(raw, i+1)
	}
	coded, ok := wire.NewCompressor(1).Block(codec, b.Block)
	if !ok || len(coded.Block) > len(b.Block)/3 || coded.Codec != codec || coded.Raw != len(b.Block) {
		t.Fatalf("%d bytes of %d, %v", len(coded.Block), len(b.Block), ok)
	}
	message := append(wire.AppendCodedHeader(nil, 7, false, b.Count, &coded), coded.Block...)
	message = wire.AppendCredit(message, wire.Credit{Sub: 1, Events: 2, Bytes: 3})
	frames := wire.NewFrames(message, codec, len(b.Block))
	e, err := frames.Events()
	if err != nil || e.Sub != 7 || e.Answer || e.Batch.Count != b.Count || !bytes.Equal(e.Batch.Block, b.Block) {
		t.Errorf("%v: sub %d, %d events, %d bytes", err, e.Sub, e.Batch.Count, len(e.Batch.Block))
	}
	if c, err := frames.Credit(); err != nil || c.Events != 2 {
		t.Errorf("the frame behind it: %+v, %v", c, err)
	}
	for cut := range len(message) {
		frames := wire.NewFrames(message[:cut], codec, 1<<20)
		if _, err := frames.Events(); err == nil && cut < len(message)-5 {
			t.Fatalf("%d bytes of %d were taken", cut, len(message))
		}
	}
	for _, agreed := range []wire.Codec{wire.Uncompressed, wire.Deflate + wire.Zstd - codec, 3} {
		frames = wire.NewFrames(message, agreed, 1<<20)
		if _, err := frames.Events(); !errors.Is(err, core.CodeProtocolError) {
			t.Errorf("where %q was agreed on: %v", agreed, err)
		}
	}
}

func TestCompressionIsWorthIt(t *testing.T) {
	c := wire.NewCompressor(2)
	noise := make([]byte, 64<<10)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	for _, codec := range append(codecs, wire.Uncompressed) {
		for name, block := range map[string][]byte{"noise": noise, "little": bytes.Repeat([]byte("x"), 100), "nothing": nil} {
			if _, ok := c.Block(codec, block); ok {
				t.Errorf("%s was compressed with %q", name, codec)
			}
		}
	}
	if _, ok := c.Block(wire.Uncompressed, make([]byte, 1<<20)); ok {
		t.Error("compressed without a codec")
	}
	// More at once than it has encoders for.
	var working sync.WaitGroup
	for i := range 16 {
		working.Go(func() {
			codec := codecs[i%len(codecs)]
			text := bytes.Repeat([]byte{byte(i), 'a', 'b'}, 5000)
			coded, ok := c.Block(codec, text)
			back, err := decoded(codec, coded.Block)
			if !ok || err != nil || !bytes.Equal(back, text) || len(coded.Block) > 1000 {
				t.Errorf("%s: %d bytes, %v, %d back, %v", codec, len(coded.Block), ok, len(back), err)
			}
		})
	}
	working.Wait()
}

// TestCompressedAppends takes appends that are compressed, and refuses what asks for
// more than it may. What is refused for its size alone is passed over.
func TestCompressedAppends(t *testing.T) {
	for _, codec := range codecs {
		t.Run(codec.String(), func(t *testing.T) { compressedAppends(t, codec) })
	}
}

func compressedAppends(t *testing.T, codec wire.Codec) {
	block := records(3)
	good := coded(t, codec, block)
	bomb := coded(t, codec, make([]byte, 4<<20))
	const limit = 64 << 10
	take := func(message []byte) (a wire.CommitFrame, err error) {
		frames := wire.NewFrames(message, codec, limit)
		err = frames.Commit(&a)
		return a, err
	}
	if a, err := take(codedAppend(codec, 9, 3, good, len(block))); err != nil || a.ID != 9 || !hasRecords(&a) {
		t.Errorf("%+v, %v", a, err)
	}
	for name, c := range map[string]struct {
		frame []byte
		code  core.Code
	}{
		"a bomb that says so":        {codedAppend(codec, 9, 1, bomb, 4<<20), core.CodeFrameTooLarge},
		"a bomb that does not":       {codedAppend(codec, 9, 1, bomb, 1000), core.CodeProtocolError},
		"less than it says":          {codedAppend(codec, 9, 3, good, len(block)+1), core.CodeProtocolError},
		"more than it says":          {codedAppend(codec, 9, 3, good, len(block)-1), core.CodeProtocolError},
		"more than can be":           {codedAppend(codec, 9, 3, []byte{1}, limit), core.CodeProtocolError},
		"damaged":                    {codedAppend(codec, 9, 3, bytes.Repeat([]byte{0xff}, len(good)), len(block)), core.CodeProtocolError},
		"cut":                        {codedAppend(codec, 9, 3, good[:len(good)-1], len(block)), core.CodeProtocolError},
		"something behind it":        {codedAppend(codec, 9, 3, append(slices.Clone(good), 0), len(block)), core.CodeProtocolError},
		"more events than there are": {codedAppend(codec, 9, 4, good, len(block)), core.CodeProtocolError},
		"fewer events":               {codedAppend(codec, 9, 2, good, len(block)), core.CodeProtocolError},
		"nothing":                    {codedAppend(codec, 9, 0, nil, 0), core.CodeProtocolError},
		"another codec":              {append([]byte{2, byte(codec) ^ 3}, codedAppend(codec, 9, 3, good, len(block))[2:]...), core.CodeProtocolError},
		"a codec that is not there":  {append([]byte{2, 3}, codedAppend(codec, 9, 3, good, len(block))[2:]...), core.CodeProtocolError},
	} {
		if a, err := take(c.frame); !errors.Is(err, c.code) || a.ID != 9 && !strings.Contains(name, "codec") {
			t.Errorf("%s: request %d: %v, want %s", name, a.ID, err, c.code)
		}
	}
	// Many that are within the limit are not, together.
	var message []byte
	for id := range byte(30) {
		message = append(message, codedAppend(codec, id+1, 3, good, len(block))...)
	}
	message = wire.AppendCredit(message, wire.Credit{Sub: 1})
	frames := wire.NewFrames(message, codec, limit)
	taken := 0
	for id := range byte(30) {
		var a wire.CommitFrame
		err := frames.Commit(&a)
		if fits := (int(id)+1)*len(block) <= limit; fits != (err == nil) || !fits && !errors.Is(err, core.CodeFrameTooLarge) || a.ID != uint64(id)+1 {
			t.Fatalf("the append %d of %d bytes each: %v", a.ID, len(block), err)
		}
		if err == nil {
			taken++
		}
	}
	if _, err := frames.Credit(); err != nil || taken == 0 {
		t.Errorf("%d were taken, and the frame behind them: %v", taken, err)
	}
}

// TestZstdOfOthers reads what the reference implementation (zstd 1.5.4) makes of
// records(3): of a file, and of a stream whose size it does not know and sums up.
func TestZstdOfOthers(t *testing.T) {
	block := records(3)
	for _, text := range []string{
		"28b52ffd60000bfd000068fe0701000141000022782201020500eb4125fc417503e499910715944116",
		"28b52ffd0458fd000068fe0701000141000022782201020500eb4125fc417503e499910715944116456ee5b7",
	} {
		coded, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		frames := wire.NewFrames(codedAppend(wire.Zstd, 9, 3, coded, len(block)), wire.Zstd, len(block))
		var a wire.CommitFrame
		if err := frames.Commit(&a); err != nil || !hasRecords(&a) {
			t.Errorf("%s: %+v, %v", text, a, err)
		}
		coded[len(coded)-1] ^= 1 // of the sum, or of the last block
		frames = wire.NewFrames(codedAppend(wire.Zstd, 9, 3, coded, len(block)), wire.Zstd, len(block))
		if err := frames.Commit(&a); !errors.Is(err, core.CodeProtocolError) {
			t.Errorf("%s, damaged: %v", text, err)
		}
	}
}

// TestZstdBombs has frames of Zstandard that lie about themselves: about their size, about
// the memory that they need, or not at all. None is given more than the message says.
func TestZstdBombs(t *testing.T) {
	magic := []byte{0x28, 0xb5, 0x2f, 0xfd}
	frame := func(parts ...[]byte) []byte { return slices.Concat(append([][]byte{magic}, parts...)...) }
	// A block of 128 KiB of a byte, without and with the mark of the last.
	rle, last := []byte{2, 0, 0x10, 0}, []byte{3, 0, 0x10, 0}
	many := bytes.Repeat(rle, 1000)
	skippable := append([]byte{0x50, 0x2a, 0x4d, 0x18, 0xff, 0xff, 0xff, 0xff}, many...)
	for name, block := range map[string][]byte{
		"128 MB from 4 kB, of no size":  frame([]byte{0, 0x58}, many, last),
		"and of another size":           frame([]byte{0xa0, 0, 0, 1, 0}, many, last),
		"and of that size":              frame([]byte{0xa0, 0, 0, 0x52, 0x07}, many, last),
		"a window of 3.75 TiB":          frame([]byte{0, 0xff}, last),
		"a content of 2^64-1 bytes":     frame([]byte{0xe0}, bytes.Repeat([]byte{0xff}, 8), last),
		"a dictionary":                  frame([]byte{0x01, 0x58, 7}, last),
		"a frame of 4 GiB to pass over": skippable,
		"a block that is no block":      frame([]byte{0, 0x58}, []byte{7, 0, 0x10, 0}),
		"no end":                        frame([]byte{0, 0x58}, rle),
	} {
		const limit = 256 << 10
		var before, after runtime.MemStats
		frames := wire.NewFrames(codedAppend(wire.Zstd, 9, 1, block, limit), wire.Zstd, limit)
		runtime.ReadMemStats(&before)
		var a wire.CommitFrame
		err := frames.Commit(&a)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, core.CodeProtocolError) || a.ID != 9 {
			t.Errorf("%s: request %d: %v", name, a.ID, err)
		}
		// The block itself, and a decoder that is new.
		if took := after.TotalAlloc - before.TotalAlloc; took > 1<<20 {
			t.Errorf("%s: %d bytes were allocated", name, took)
		}
	}
}

// TestCompressedByClients compresses whole frames, and finds in them what was there.
func TestCompressedByClients(t *testing.T) {
	c := wire.NewCompressor(1)
	a := core.Append{Stream: strings.Repeat("s", core.MaxStreamNameBytes), Expect: core.StreamExists}
	for i := range 20 {
		a.Events = append(a.Events, core.NewEvent{ID: core.ID{0: 1, 15: byte(i)}, Type: "A", Data: []byte(`"` + strings.Repeat("x", 200) + `"`)})
	}
	for name, commit := range map[string]core.Commit{
		"APPEND": {Appends: []core.Append{a}},
		"COMMIT": {Appends: []core.Append{a, a, {Stream: "l", Expect: 7, Links: []core.ID{id}}}, Checks: []core.Check{{Stream: "c"}}},
	} {
		f := wire.CommitFrame{ID: 300, Timeout: 1500 * time.Millisecond, Commit: commit}
		plain := wire.AppendCommit(nil, &f)
		for _, codec := range codecs {
			message, ok := c.Commit(codec, &f, plain)
			if !ok || len(message) > len(plain)/3 {
				t.Fatalf("%s by %s: %d bytes of %d, %v", name, codec, len(message), len(plain), ok)
			}
			frames := wire.NewFrames(message, codec, len(plain))
			var back wire.CommitFrame
			if err := frames.Commit(&back); err != nil || !bytes.Equal(wire.AppendCommit(nil, &back), plain) {
				t.Errorf("%s by %s: %d appends came back, %v", name, codec, len(back.Commit.Appends), err)
			}
		}
	}
	f := wire.CommitFrame{Commit: core.Commit{Appends: []core.Append{{Stream: "s", Events: a.Events[:1]}}}}
	if _, ok := c.Commit(wire.Zstd, &f, wire.AppendCommit(nil, &f)); ok {
		t.Error("one small event was compressed")
	}
}
