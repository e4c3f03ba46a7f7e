package wire_test

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// deflated is text as raw DEFLATE, as well as it gets.
func deflated(t testing.TB, text []byte) []byte {
	t.Helper()
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

// deflatedAppend is an APPEND frame of these records, which say that they are raw bytes.
func deflatedAppend(id byte, count int, coded []byte, raw int) []byte {
	frame := []byte{wire.FrameAppend, 1, id, 1 /* any */, 1, 's'}
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

func TestDeflatedEvents(t *testing.T) {
	var b core.Batch
	for i := range uint64(50) {
		n := core.NewEvent{Type: "OrderPlaced", Data: []byte(`{"total":10,"customer":"somebody"}`)}
		raw := core.EncodeEvent(nil, core.Placement{Stream: "order-1", Version: i + 1, Position: i + 1, Recorded: 1, Incarnation: 1, ID: core.ID{0: 1, 15: byte(i)}}, &n)
		b.Add(raw, i+1)
	}
	coded, ok := wire.NewDeflater(1).Block(b.Block)
	if !ok || len(coded) > len(b.Block)/3 {
		t.Fatalf("%d bytes of %d, %v", len(coded), len(b.Block), ok)
	}
	message := append(wire.AppendDeflatedHeader(nil, 7, false, b.Count, len(b.Block), len(coded)), coded...)
	message = wire.AppendCredit(message, wire.Credit{Sub: 1, Events: 2, Bytes: 3})
	frames := wire.NewFrames(message, len(b.Block))
	e, err := frames.Events()
	if err != nil || e.Sub != 7 || e.Answer || e.Batch.Count != b.Count || !bytes.Equal(e.Batch.Block, b.Block) {
		t.Errorf("%v: sub %d, %d events, %d bytes", err, e.Sub, e.Batch.Count, len(e.Batch.Block))
	}
	if c, err := frames.Credit(); err != nil || c.Events != 2 {
		t.Errorf("the frame behind it: %+v, %v", c, err)
	}
	for cut := range len(message) {
		frames := wire.NewFrames(message[:cut], 1<<20)
		if _, err := frames.Events(); err == nil && cut < len(message)-5 {
			t.Fatalf("%d bytes of %d were taken", cut, len(message))
		}
	}
	frames = wire.NewFrames(message, 0)
	if _, err := frames.Events(); !errors.Is(err, core.CodeProtocolError) {
		t.Errorf("without an agreement: %v", err)
	}
}

func TestDeflateIsWorthIt(t *testing.T) {
	d := wire.NewDeflater(2)
	noise := make([]byte, 64<<10)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	for name, block := range map[string][]byte{"noise": noise, "little": bytes.Repeat([]byte("x"), 100), "nothing": nil} {
		if _, ok := d.Block(block); ok {
			t.Errorf("%s was compressed", name)
		}
	}
	// More at once than it has compressors for.
	var working sync.WaitGroup
	for i := range 16 {
		working.Go(func() {
			text := bytes.Repeat([]byte{byte(i), 'a', 'b'}, 5000)
			coded, ok := d.Block(text)
			back, err := io.ReadAll(flate.NewReader(bytes.NewReader(coded)))
			if !ok || err != nil || !bytes.Equal(back, text) || len(coded) > 1000 {
				t.Errorf("%d bytes, %v, %d back, %v", len(coded), ok, len(back), err)
			}
		})
	}
	working.Wait()
}

// TestDeflatedAppends takes appends that are compressed, and refuses what asks for
// more than it may. What is refused for its size alone is passed over.
func TestDeflatedAppends(t *testing.T) {
	block := records(3)
	good := deflated(t, block)
	bomb := deflated(t, make([]byte, 4<<20))
	const limit = 64 << 10
	take := func(message []byte) (a wire.AppendFrame, err error) {
		frames := wire.NewFrames(message, limit)
		err = frames.Append(&a)
		return a, err
	}
	if a, err := take(deflatedAppend(9, 3, good, len(block))); err != nil || a.ID != 9 || len(a.Append.Events) != 3 || len(a.Append.Events[2].Data) != 1002 {
		t.Errorf("%+v, %v", a, err)
	}
	for name, c := range map[string]struct {
		frame []byte
		code  core.Code
	}{
		"a bomb that says so":        {deflatedAppend(9, 1, bomb, 4<<20), core.CodeFrameTooLarge},
		"a bomb that does not":       {deflatedAppend(9, 1, bomb, 1000), core.CodeProtocolError},
		"less than it says":          {deflatedAppend(9, 3, good, len(block)+1), core.CodeProtocolError},
		"more than it says":          {deflatedAppend(9, 3, good, len(block)-1), core.CodeProtocolError},
		"more than can be":           {deflatedAppend(9, 3, []byte{1, 2}, limit), core.CodeProtocolError},
		"damaged":                    {deflatedAppend(9, 3, bytes.Repeat([]byte{0xff}, len(good)), len(block)), core.CodeProtocolError},
		"cut":                        {deflatedAppend(9, 3, good[:len(good)-1], len(block)), core.CodeProtocolError},
		"something behind it":        {deflatedAppend(9, 3, append(slices.Clone(good), 0), len(block)), core.CodeProtocolError},
		"more events than there are": {deflatedAppend(9, 4, good, len(block)), core.CodeProtocolError},
		"fewer events":               {deflatedAppend(9, 2, good, len(block)), core.CodeProtocolError},
		"nothing":                    {deflatedAppend(9, 0, nil, 0), core.CodeProtocolError},
		"another codec":              {append([]byte{2, 2}, deflatedAppend(9, 3, good, len(block))[2:]...), core.CodeProtocolError},
	} {
		if a, err := take(c.frame); !errors.Is(err, c.code) || a.ID != 9 && name != "another codec" {
			t.Errorf("%s: request %d: %v, want %s", name, a.ID, err, c.code)
		}
	}
	// Many that are within the limit are not, together.
	var message []byte
	for id := range byte(30) {
		message = append(message, deflatedAppend(id+1, 3, good, len(block))...)
	}
	message = wire.AppendCredit(message, wire.Credit{Sub: 1})
	frames := wire.NewFrames(message, limit)
	taken := 0
	for id := range byte(30) {
		var a wire.AppendFrame
		err := frames.Append(&a)
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
