package wsapi_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// codecs are those there are.
var codecs = []wire.Codec{wire.Deflate, wire.Zstd}

// compressed makes a connection on which a codec is agreed.
func (n *node) compressed(codec wire.Codec) *peer {
	n.t.Helper()
	p := n.connect(wire.Bin)
	p.say(fmt.Sprintf(`{"op":"hello","id":1,"accept":{"compress":[%q]}}`, codec))
	if w := p.receive(); w["compress"] != codec.String() {
		n.t.Fatalf("%v was agreed on instead of %s", w["compress"], codec)
	}
	return p
}

func TestWSCompressionIsAgreed(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	for _, c := range []struct {
		protocol, hello string
		want            any
	}{
		{wire.Bin, `{"op":"hello","id":1,"accept":{"compress":["zstd","deflate-raw"]}}`, "zstd"},
		{wire.Bin, `{"op":"hello","id":1,"accept":{"compress":["br","deflate-raw","zstd"]}}`, "deflate-raw"},
		{wire.Bin, `{"op":"hello","id":1,"accept":{"compress":["zstd"]}}`, "zstd"},
		{wire.Bin, `{"op":"hello","id":1,"accept":{"compress":["br",""]}}`, nil},
		{wire.Bin, `{"op":"hello","id":1,"accept":{"batch":true}}`, nil},
		{wire.Bin, `{"op":"hello","id":1}`, nil},
		{wire.JSON, `{"op":"hello","id":1,"accept":{"compress":["zstd","deflate-raw"]}}`, nil},
	} {
		p := n.connect(c.protocol)
		p.say(c.hello)
		if w := p.receive(); w["op"] != "welcome" || w["compress"] != c.want {
			t.Errorf("%s: %s: compress is %v, want %v", c.protocol, c.hello, w["compress"], c.want)
		}
	}
}

// TestWSCompressedEvents follows and reads the same with compression and without.
func TestWSCompressedEvents(t *testing.T) {
	for _, codec := range codecs {
		t.Run(codec.String(), func(t *testing.T) { compressedEvents(t, codec) })
	}
}

func compressedEvents(t *testing.T, codec wire.Codec) {
	n := newNode(t, wsapi.Config{})
	n.fill("s", 200, 100)
	type seen struct {
		bytes int    // on the wire
		block []byte // of the events
		codec wire.Codec
	}
	take := func(p *peer) (s seen, e wire.EventsFrame) {
		for {
			kind, message, err := p.ReadMessage()
			if err != nil {
				t.Fatal(err)
			}
			if kind != websocket.BinaryMessage {
				continue
			}
			frames := wire.NewFrames(message, codec, 1<<20)
			if e, err = frames.Events(); err != nil {
				t.Fatal(err)
			}
			return seen{len(message), e.Batch.Block, wire.Codec(message[1] & 3)}, e
		}
	}
	both := func(ask string, number uint64) {
		t.Helper()
		plain, compressed := n.greeted(wire.Bin), n.compressed(codec)
		plain.say(ask)
		compressed.say(ask)
		want, _ := take(plain)
		got, e := take(compressed)
		if want.codec != wire.Uncompressed || got.codec != codec || !bytes.Equal(got.block, want.block) || e.Sub != number || got.bytes > want.bytes/3 {
			t.Errorf("%s: %d bytes instead of %d, by %q and %q, the same %v", ask, got.bytes, want.bytes, got.codec, want.codec, bytes.Equal(got.block, want.block))
		}
	}
	both(`{"op":"read","id":5,"stream":"s","limit":150}`, 5)
	both(`{"op":"subscribe","id":2,"sub":7,"stream":"s","credit":{"events":150,"bytes":1000000}}`, 7)

	// A single event is not worth it.
	p := n.compressed(codec)
	p.say(`{"op":"read","id":6,"stream":"s","limit":1}`)
	if s, e := take(p); s.codec != wire.Uncompressed || e.Sub != 6 {
		t.Errorf("one event is %d bytes, by %q", s.bytes, s.codec)
	}
}

// TestWSCreditIsOfEventsAsTheyAre gives credit in bytes: compressed or not, it lasts as
// long.
func TestWSCreditIsOfEventsAsTheyAre(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	n.fill("s", 100, 1000)
	const codec = wire.Zstd
	p := n.compressed(codec)
	p.say(`{"op":"subscribe","id":2,"sub":1,"stream":"s","credit":{"events":1000,"bytes":30000}}`)
	total := 0
	for total == 0 {
		kind, message, err := p.ReadMessage()
		if err != nil {
			t.Fatal(err)
		}
		if kind != websocket.BinaryMessage {
			continue
		}
		frames := wire.NewFrames(message, codec, 1<<20)
		e, err := frames.Events()
		if err != nil {
			t.Fatal(err)
		}
		total = len(e.Batch.Block)
	}
	if total < 20_000 || total > 31_000 {
		t.Errorf("30,000 bytes of credit were %d of events", total)
	}
}

// TestWSCompressedAppends sends appends that are compressed, and bombs between them.
func TestWSCompressedAppends(t *testing.T) {
	for _, codec := range codecs {
		t.Run(codec.String(), func(t *testing.T) { compressedAppends(t, codec) })
	}
}

// codedAppend is an APPEND frame of count records.
func codedAppend(codec wire.Codec, id byte, records []byte, count int) []byte {
	coded, _ := wire.NewCompressor(1).Block(codec, records)
	f := []byte{wire.FrameAppend, byte(codec), id, 1, 1, 's', byte(count)}
	f = binary.AppendUvarint(f, uint64(coded.Raw))
	f = binary.AppendUvarint(f, uint64(len(coded.Block)))
	return append(f, coded.Block...)
}

func compressedAppends(t *testing.T, codec wire.Codec) {
	n := newNode(t, wsapi.Config{Limits: wsapi.Limits{Frame: 1 << 20}})
	p := n.compressed(codec)
	frame := func(id byte, raw []byte, count int) []byte { return codedAppend(codec, id, raw, count) }
	var events []byte
	for range 3 {
		events = core.EncodeNewEvent(events, &core.NewEvent{Type: "A", Data: []byte(`"` + strings.Repeat("x", 1000) + `"`)})
	}
	bad := core.EncodeNewEvent(nil, &core.NewEvent{Type: "A", Data: []byte(strings.Repeat("[", 2000))})
	bomb := frame(3, make([]byte, 1<<20+1), 1)
	message := append(frame(2, events, 3), bomb...)
	message = append(message, frame(4, bad, 1)...)
	p.send(append(message, frame(5, events, 3)...))
	answers := map[uint64]string{}
	for _, r := range p.replies(4) {
		answers[r.id] = fmt.Sprintf("%v %v", r.appends, r.err["code"])
	}
	if got, want := fmt.Sprint(answers), "map[2:[{3 3 3}] <nil> 3:[] frame_too_large 4:[] invalid_data 5:[{6 6 3}] <nil>]"; got != want {
		t.Errorf("answered %s, want %s", got, want)
	}
	n.headIs(6)

	// A bomb that does not say so ends the connection.
	lies := frame(6, make([]byte, 512<<10), 1)
	lies = append(append(lies[:7:7], 100), lies[10:]...)
	p.send(lies)
	p.closed("a bomb", 4502)
	n.headIs(6)

	// So does a frame of another codec than was agreed on, or of any where none was.
	for _, agreed := range append(codecs, wire.Uncompressed) {
		if agreed == codec {
			continue
		}
		p := n.greeted(wire.Bin)
		if agreed != wire.Uncompressed {
			p = n.compressed(agreed)
		}
		p.send(frame(7, events, 3))
		p.closed("a frame by "+codec.String()+" where "+agreed.String()+" was agreed on", 4502)
	}
	n.headIs(6)
}
