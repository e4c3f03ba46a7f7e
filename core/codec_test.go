package core

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// golden are events beside their encoding, which files and frames hold: a change
// here is a change of formats.
var golden = []struct {
	name string
	at   Placement
	e    NewEvent
	hex  string
}{
	{
		"plain",
		Placement{Stream: "order-1", Version: 1, Position: 1, Recorded: 1_795_408_687_000_001, Incarnation: 1, ID: testID},
		NewEvent{Type: "OrderPlaced", Data: []byte(`{"n":1}`)},
		"37" + "01" + "01" + "c1e90329ea600600" + "0193b6b06f3e7cc19d2b5c8f0a2e4d11" +
			"076f726465722d31" + "0b4f72646572506c61636564" + "00" + "00" + "7b226e223a317d",
	},
	{
		"metadata and large numbers",
		Placement{Stream: "a", Version: 300, Position: 1 << 32, Recorded: -1, Incarnation: 1, ID: testID},
		NewEvent{Type: "t", Data: []byte("null"), Metadata: []byte("{}")},
		"2b" + "8080808010" + "ac02" + "ffffffffffffffff" + "0193b6b06f3e7cc19d2b5c8f0a2e4d11" +
			"0161" + "0174" + "00" + "027b7d" + "6e756c6c",
	},
	{
		"every field",
		Placement{Stream: "a", Version: 2, Position: 3, Recorded: 1_000_000, Incarnation: 2, ID: testID},
		NewEvent{Type: "t", Format: Bytes, ContentType: "image/png", Time: time.Unix(0, 0), Data: []byte{0, 255}},
		"44" + "03" + "02" + "40420f0000000000" + "0193b6b06f3e7cc19d2b5c8f0a2e4d11" + "0161" + "0174" + "81" + "00" +
			"21" + "01000800" + "0000000000000000" + "02000900" + "696d6167652f706e67" + "03000400" + "02000000" + "00ff",
	},
}

var testID = ID{0x01, 0x93, 0xb6, 0xb0, 0x6f, 0x3e, 0x7c, 0xc1, 0x9d, 0x2b, 0x5c, 0x8f, 0x0a, 0x2e, 0x4d, 0x11}

func TestGoldenEvents(t *testing.T) {
	for _, g := range golden {
		got := EncodeEvent(nil, g.at, &g.e)
		if hex.EncodeToString(got) != g.hex {
			t.Errorf("%s:\n got %x\nwant %s", g.name, got, g.hex)
		}
		checkDecoded(t, got, g.at, g.e)
	}
}

// checkDecoded compares what is decoded from b with what was encoded.
func checkDecoded(t *testing.T, b []byte, at Placement, sent NewEvent) {
	t.Helper()
	var e Event
	n, err := DecodeEvent(b, &e)
	if err != nil || n != len(b) || !bytes.Equal(e.Raw, b) {
		t.Fatalf("decoded %d of %d bytes, %v", n, len(b), err)
	}
	if e.Stream != at.Stream || e.Version != at.Version || e.Position != at.Position || e.ID != at.ID ||
		e.Recorded.UnixMicro() != at.Recorded || e.Incarnation != at.Incarnation {
		t.Errorf("%+v, want it at %+v", e, at)
	}
	if e.Type != sent.Type || e.Format != sent.Format || e.ContentType != sent.ContentType ||
		!bytes.Equal(e.Data, sent.Data) || !bytes.Equal(e.Metadata, sent.Metadata) {
		t.Errorf("%+v, want %+v", e, sent)
	}
	want := sent.Time
	if want.IsZero() {
		want = e.Recorded
	}
	if e.Time.UnixMicro() != want.UnixMicro() || e.Time.Location() != time.UTC || e.Recorded.Location() != time.UTC {
		t.Errorf("time %v, want %v, in UTC", e.Time, want)
	}
	if limit := MaxEncodedBytes(at.Stream, &sent); n > limit {
		t.Errorf("%d bytes, MaxEncodedBytes says %d", n, limit)
	}
	h, ok := decodeHead(b)
	if !ok || h != (eventHead{size: n, position: e.Position, version: e.Version, recorded: e.Recorded.UnixMicro(), stream: e.Stream, typ: e.Type, home: e.Stream, incarnation: e.Incarnation}) {
		t.Errorf("head %+v, %v", h, ok)
	}
}

func randomEvent(r *rand.Rand) (Placement, NewEvent) {
	text := func(n int) string { return strings.Repeat("ü", r.IntN(n)) + "x" }
	at := Placement{
		Stream: text(MaxStreamNameBytes / 2), Version: r.Uint64N(MaxNumber) >> r.IntN(53), Position: r.Uint64N(MaxNumber) >> r.IntN(53),
		Recorded: r.Int64() >> r.IntN(63), Incarnation: 1 + r.Uint32()>>r.IntN(33), ID: NewID(),
	}
	at.Incarnation = max(at.Incarnation, 1)
	e := NewEvent{Type: text(MaxEventTypeBytes / 2), Format: Format(r.IntN(2)), Data: make([]byte, r.IntN(1<<r.IntN(12)+1))}
	if r.IntN(2) == 0 {
		e.Metadata = []byte(text(200))
	}
	if r.IntN(2) == 0 {
		e.ContentType = text(MaxContentTypeBytes / 2)
	}
	switch r.IntN(3) {
	case 0:
		e.Time = time.Unix(0, r.Int64())
	case 1:
		e.Time = fromMicros(at.Recorded)
	}
	return at, e
}

func TestEventsKeepEverything(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 5000 {
		at, e := randomEvent(r)
		prefix := []byte("before")
		b := EncodeEvent(prefix, at, &e)
		if !bytes.HasPrefix(b, prefix) {
			t.Fatal("what was there is gone")
		}
		checkDecoded(t, b[len(prefix):], at, e)
	}
	largest := NewEvent{Type: strings.Repeat("t", MaxEventTypeBytes), ContentType: strings.Repeat("c", MaxContentTypeBytes),
		Time: time.Unix(1, 0), Format: Bytes, Data: make([]byte, MaxEventBytes-1), Metadata: []byte("x")}
	at := Placement{Stream: strings.Repeat("s", MaxStreamNameBytes), Version: MaxNumber, Position: MaxNumber, Recorded: 1, Incarnation: math.MaxUint32}
	checkDecoded(t, EncodeEvent(nil, at, &largest), at, largest)
}

func TestTruncatedEventsAreMalformed(t *testing.T) {
	for _, g := range golden {
		b := EncodeEvent(nil, g.at, &g.e)
		for n := range b {
			var e Event
			if _, err := DecodeEvent(b[:n], &e); err == nil {
				t.Errorf("%s: decoded from %d of %d bytes", g.name, n, len(b))
			}
			if _, ok := decodeHead(b[:n]); ok {
				t.Errorf("%s: head decoded from %d of %d bytes", g.name, n, len(b))
			}
			// The same with a length that says all is there.
			if n > 1 {
				short := append([]byte{byte(n - 1)}, b[1:n]...)
				if _, err := DecodeEvent(short, &e); err == nil && len(e.Data) >= len(g.e.Data) {
					t.Errorf("%s: decoded whole from a body of %d bytes", g.name, n-1)
				}
			}
		}
	}
}

func TestUnknownFieldsArePassedOver(t *testing.T) {
	at := Placement{Stream: "a", Version: 1, Position: 1, Recorded: 5, Incarnation: 1, ID: testID}
	sent := NewEvent{Type: "t", ContentType: "text/plain", Format: Bytes, Data: []byte("data")}
	b := EncodeEvent(nil, at, &sent)
	field := []byte{2, 0, 10, 0}
	i := bytes.Index(b, field)
	if i < 0 {
		t.Fatalf("no content type in %x", b)
	}
	extra := []byte{0xee, 0xee, 3, 0, 1, 2, 3}
	grown := append(append(append([]byte{}, b[:i]...), extra...), b[i:]...)
	grown[0] += byte(len(extra))
	grown[i-1] += byte(len(extra))
	var e Event
	if _, err := DecodeEvent(grown, &e); err != nil || e.ContentType != "text/plain" || string(e.Data) != "data" {
		t.Errorf("%+v, %v", e, err)
	}
	bad := bytes.Clone(b)
	bad[i] = fieldTime // of ten bytes
	if _, err := DecodeEvent(bad, &e); err == nil {
		t.Error("a time of ten bytes was decoded")
	}
}

func TestAnOverlongLengthIsMalformed(t *testing.T) {
	for _, b := range [][]byte{
		nil, {0}, {5}, {0x80}, bytes.Repeat([]byte{0xff}, 20),
		binary.AppendUvarint(nil, math.MaxUint64), binary.AppendUvarint(nil, math.MaxInt64),
		append(binary.AppendUvarint(nil, 1<<63), 1, 2, 3),
	} {
		var e Event
		if n, err := DecodeEvent(b, &e); err == nil {
			t.Errorf("%x: decoded %d bytes", b, n)
		}
	}
}

func FuzzDecodeEvent(f *testing.F) {
	for _, g := range golden {
		f.Add(EncodeEvent(nil, g.at, &g.e))
		f.Add(EncodeLinked(nil, g.at, Origin{"home", 1, 2}, &g.e))
		g.at.Stream = "$" + g.at.Stream
		f.Add(EncodeEvent(nil, g.at, &g.e))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var e Event
		n, err := DecodeEvent(b, &e)
		if err != nil {
			return
		}
		h, ok := decodeHead(b)
		if e.Link.IsZero() && (!ok || h != eventHead{size: n, position: e.Position, version: e.Version, recorded: e.Recorded.UnixMicro(), stream: e.Stream, typ: e.Type, home: e.Stream, incarnation: h.incarnation}) {
			t.Fatalf("head %+v, %v, event %+v", h, ok, e)
		}
		event := e.Link.IsZero()
		if e.Stream != "" && (InAll(b, true) != event || InAll(b, false) != (event && !IsSystem(e.Stream))) {
			t.Fatalf("in $all: %v, with the system's streams: %v, event %+v", InAll(b, false), InAll(b, true), e)
		}
		if !event {
			if !ok || !IsLink(b) {
				t.Fatalf("head %+v, %v, of the link %+v", h, ok, e)
			}
			return // EncodeEvent makes none
		}
		if e.Time.IsZero() || len(e.ContentType) > math.MaxUint16 || e.Incarnation == 0 {
			return // a field that no encoder writes
		}
		sent := NewEvent{ID: e.ID, Type: e.Type, Time: e.Time, Format: e.Format, ContentType: e.ContentType, Data: e.Data, Metadata: e.Metadata}
		at := Placement{e.Stream, e.Version, e.Position, e.Recorded.UnixMicro(), e.Incarnation, e.ID}
		checkDecoded(t, EncodeEvent(nil, at, &sent), at, sent)
	})
}

// TestGoldenLinks has a link as the log keeps it and as it is read.
func TestGoldenLinks(t *testing.T) {
	at := Placement{Stream: "a", Version: 2, Position: 300, Recorded: 1_000_000, Incarnation: 1, ID: testID}
	origin := Origin{Stream: "b", Version: 1, Position: 200}
	bare := EncodeLink(nil, at, origin, "t")
	const front = "ac02" + "02" + "40420f0000000000" + "0193b6b06f3e7cc19d2b5c8f0a2e4d11" + "0161" + "0174" + "80" + "00"
	if got, want := hex.EncodeToString(bare), "2a"+front+"08"+"05000400"+"c8010162"; got != want {
		t.Errorf("kept as\n %s, want\n %s", got, want)
	}
	e := NewEvent{Type: "t", Time: time.Unix(0, 0), Data: []byte("{}")}
	event, link := Event{}, Event{}
	if _, err := DecodeEvent(EncodeEvent(nil, Placement{Stream: "b", Version: 1, Position: 200, Incarnation: 1, ID: testID}, &e), &event); err != nil {
		t.Fatal(err)
	}
	if n, err := DecodeEvent(bare, &link); err != nil || n != len(bare) || link.Link != origin || len(link.Data) != 0 {
		t.Fatalf("%+v, %v", link, err)
	}
	read := link.Resolve(nil, &event)
	if got, want := hex.EncodeToString(read), "38"+front+"14"+"01000800"+"0000000000000000"+"05000400"+"c8010162"+"7b7d"; got != want {
		t.Errorf("read as\n %s, want\n %s", got, want)
	}
	if !bytes.Equal(read, EncodeLinked(nil, at, origin, &e)) {
		t.Error("the two ways to make a link that is read differ")
	}
	for _, x := range []struct {
		b          []byte
		link, bare bool
	}{{bare, true, true}, {read, true, false}, {event.Raw, false, false}} {
		h, ok := decodeHead(x.b)
		if !ok || h.isLink() != x.link || h.bare != x.bare || IsLink(x.b) != x.link || h.home != "b" {
			t.Errorf("head %+v, a link = %v, of %x", h, IsLink(x.b), x.b)
		}
	}
	if n := len(EncodeLink(nil, Placement{Stream: strings.Repeat("s", MaxStreamNameBytes), Version: MaxNumber, Position: MaxNumber, Incarnation: 9},
		Origin{strings.Repeat("s", MaxStreamNameBytes), MaxNumber, MaxNumber}, strings.Repeat("t", MaxEventTypeBytes))); n > MaxLinkBytes {
		t.Errorf("%d bytes, MaxLinkBytes says %d", n, MaxLinkBytes)
	}
}
