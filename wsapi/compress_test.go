package wsapi_test

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const helloCompressed = `{"op":"hello","id":1,"accept":{"compress":["zstd","deflate-raw"]}}`

func TestWSCompressionIsAgreed(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	for _, c := range []struct {
		protocol, hello string
		want            any
	}{
		{wire.Bin, helloCompressed, "deflate-raw"},
		{wire.Bin, `{"op":"hello","id":1,"accept":{"compress":["zstd"]}}`, nil},
		{wire.Bin, `{"op":"hello","id":1,"accept":{"batch":true}}`, nil},
		{wire.Bin, `{"op":"hello","id":1}`, nil},
		{wire.JSON, helloCompressed, nil},
	} {
		p := n.connect(c.protocol)
		p.say(c.hello)
		if w := p.hear(); w["op"] != "welcome" || w["compress"] != c.want {
			t.Errorf("%s: %s: compress is %v, want %v", c.protocol, c.hello, w["compress"], c.want)
		}
	}
}

// TestWSCompressedEvents follows and reads the same with compression and without.
func TestWSCompressedEvents(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	n.fill("s", 200, 100)
	type seen struct {
		bytes int    // on the wire
		block []byte // of the events
		coded bool
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
			frames := wire.NewFrames(message, 1<<20)
			if e, err = frames.Events(); err != nil {
				t.Fatal(err)
			}
			return seen{len(message), e.Batch.Block, message[1]&3 != 0}, e
		}
	}
	both := func(ask string, number uint64) {
		t.Helper()
		plain, compressed := n.greeted(wire.Bin), n.connect(wire.Bin)
		compressed.say(helloCompressed)
		compressed.hear()
		plain.say(ask)
		compressed.say(ask)
		want, _ := take(plain)
		got, e := take(compressed)
		if want.coded || !got.coded || !bytes.Equal(got.block, want.block) || e.Sub != number || got.bytes > want.bytes/3 {
			t.Errorf("%s: %d bytes instead of %d, coded %v and %v, the same %v", ask, got.bytes, want.bytes, got.coded, want.coded, bytes.Equal(got.block, want.block))
		}
	}
	both(`{"op":"read","id":5,"stream":"s","limit":150}`, 5)
	both(`{"op":"subscribe","id":2,"sub":7,"stream":"s","credit":{"events":150,"bytes":1000000}}`, 7)

	// A single event is not worth it.
	p := n.connect(wire.Bin)
	p.say(helloCompressed)
	p.hear()
	p.say(`{"op":"read","id":6,"stream":"s","limit":1}`)
	if s, e := take(p); s.coded || e.Sub != 6 {
		t.Errorf("one event is %d bytes, coded %v", s.bytes, s.coded)
	}
}

// TestWSCreditIsOfEventsAsTheyAre gives credit in bytes: compressed or not, it lasts as
// long.
func TestWSCreditIsOfEventsAsTheyAre(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	n.fill("s", 100, 1000)
	p := n.connect(wire.Bin)
	p.say(helloCompressed)
	p.hear()
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
		frames := wire.NewFrames(message, 1<<20)
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
	n := newNode(t, wsapi.Config{Limits: wsapi.Limits{Frame: 1 << 20}})
	p := n.connect(wire.Bin)
	p.say(helloCompressed)
	p.hear()
	frame := func(id byte, raw []byte, count int) []byte {
		var coded bytes.Buffer
		w, _ := flate.NewWriter(&coded, flate.BestCompression)
		_, _ = w.Write(raw)
		_ = w.Close()
		f := []byte{wire.FrameAppend, 1, id, 1, 1, 's', byte(count)}
		f = binary.AppendUvarint(f, uint64(len(raw)))
		f = binary.AppendUvarint(f, uint64(coded.Len()))
		return append(f, coded.Bytes()...)
	}
	var events []byte
	for range 3 {
		events = core.EncodeNewEvent(events, &core.NewEvent{Type: "A", Data: []byte(`"` + strings.Repeat("x", 1000) + `"`)})
	}
	bad := core.EncodeNewEvent(nil, &core.NewEvent{Type: "A", Data: []byte(strings.Repeat("[", 2000))})
	bomb := frame(3, make([]byte, 1<<20+1), 1)
	message := append(frame(2, events, 3), bomb...)
	message = append(message, frame(4, bad, 1)...)
	p.send(append(message, frame(5, events, 3)...))
	answers := map[float64]string{}
	for range 4 {
		m := p.hear()
		answers[m["id"].(float64)] = fmt.Sprint(m["op"], m["version"])
		if e, ok := m["error"].(map[string]any); ok {
			answers[m["id"].(float64)] = fmt.Sprint(e["code"])
		}
	}
	if got, want := fmt.Sprint(answers), "map[2:ok3 3:frame_too_large 4:invalid_data 5:ok6]"; got != want {
		t.Errorf("answered %s, want %s", got, want)
	}
	n.headIs(6)

	// A bomb that does not say so ends the connection.
	lies := frame(6, make([]byte, 512<<10), 1)
	lies = append(append(lies[:7:7], 100), lies[10:]...)
	p.send(lies)
	p.closed("a bomb", 4502)
	n.headIs(6)
}
