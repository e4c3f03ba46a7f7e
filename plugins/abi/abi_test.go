package abi

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"
)

func goldenEvents() []Event {
	fields := AppendField(AppendField(nil, Correlation, []byte("order-1")), Subject, []byte("customer-7"))
	return []Event{
		{Position: 41, Version: 3, TimeMicros: 1_700_000_000_000_001, ID: ID{1, 2, 3, 15: 255}, Attempt: 1, Flags: JSON,
			Stream: []byte("order-1"), Type: []byte("OrderPlaced"), Data: []byte(`{"total":10}`), Metadata: []byte(`{"by":"ann"}`), Fields: fields},
		{Position: 43, TimeMicros: -1, Attempt: 2, Flags: Replay | Truncated, Stream: []byte("ä"), Type: []byte("T"), Data: []byte{0, 1, 2}},
	}
}

func goldenBatch(t testing.TB) []byte {
	var w BatchWriter
	w.Reset(1_700_000_000_000_002, 1, 0)
	for _, e := range goldenEvents() {
		if err := w.Add(&e); err != nil {
			t.Fatal(err)
		}
	}
	return w.Bytes()
}

func goldenAppended(t testing.TB) (b []byte) {
	var err error
	for _, e := range []Appended{
		{ID: ID{9}, Type: []byte("Shipped"), Data: []byte(`{"at":1}`), Metadata: []byte(`{}`)},
		{Content: ContentBytes, Type: []byte("Raw"), Data: []byte{0xff}},
	} {
		if b, err = AppendEvent(b, &e); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// The bytes are the contract: guests that were built once read them for ever.
func TestGoldenVectors(t *testing.T) {
	for name, got := range map[string][]byte{"batch": goldenBatch(t), "appended": goldenAppended(t)} {
		text, err := os.ReadFile("testdata/" + name + ".hex")
		if err != nil {
			t.Fatal(err)
		}
		want, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s:\n%s, want\n%s", name, hex.Dump(got), hex.Dump(want))
		}
	}
}

func TestBatchIsReadAsWritten(t *testing.T) {
	b, err := OpenBatch(goldenBatch(t))
	if err != nil {
		t.Fatal(err)
	}
	if b.Header != (Header{Count: 2, NowMicros: 1_700_000_000_000_002, Attempt: 1}) {
		t.Errorf("header %+v", b.Header)
	}
	for i, want := range goldenEvents() {
		var got Event
		if ok, err := b.Next(&got); !ok || err != nil {
			t.Fatalf("event %d: %v, %v", i, ok, err)
		}
		if !equal(&got, &want) {
			t.Errorf("event %d: %+v, want %+v", i, got, want)
		}
		if value, ok := got.Field(Subject); ok != (i == 0) || ok && string(value) != "customer-7" {
			t.Errorf("event %d: subject %q, %v", i, value, ok)
		}
	}
	if ok, err := b.Next(&Event{}); ok || err != nil {
		t.Errorf("after the last event: %v, %v", ok, err)
	}
}

// equal compares events. Fields may end in padding.
func equal(a, b *Event) bool {
	return a.Position == b.Position && a.Version == b.Version && a.TimeMicros == b.TimeMicros && a.ID == b.ID &&
		a.Attempt == b.Attempt && a.Flags == b.Flags && bytes.Equal(a.Stream, b.Stream) && bytes.Equal(a.Type, b.Type) &&
		bytes.Equal(a.Data, b.Data) && bytes.Equal(a.Metadata, b.Metadata) && bytes.HasPrefix(a.Fields, b.Fields)
}

func TestAppendedIsReadAsWritten(t *testing.T) {
	b := goldenAppended(t)
	var first, second Appended
	rest, err := NextEvent(b, &first)
	if err != nil {
		t.Fatal(err)
	}
	rest, err = NextEvent(rest, &second)
	if err != nil || len(rest) != 0 {
		t.Fatalf("%d bytes left, %v", len(rest), err)
	}
	if string(first.Type) != "Shipped" || string(first.Data) != `{"at":1}` || string(first.Metadata) != "{}" || first.ID != (ID{9}) {
		t.Errorf("first: %+v", first)
	}
	if second.Content != ContentBytes || !bytes.Equal(second.Data, []byte{0xff}) {
		t.Errorf("second: %+v", second)
	}
}

func TestLimits(t *testing.T) {
	var w BatchWriter
	w.Reset(0, 0, 0)
	if err := w.Add(&Event{Data: make([]byte, MaxBatchBytes)}); !errors.Is(err, TooLarge) {
		t.Errorf("a batch over its limit: %v", err)
	}
	for range MaxBatchEvents {
		if err := w.Add(&Event{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Add(&Event{}); !errors.Is(err, TooLarge) {
		t.Errorf("an event over the limit: %v", err)
	}
	if _, err := AppendEvent(nil, &Appended{Data: make([]byte, MaxEffectBytes)}); !errors.Is(err, TooLarge) {
		t.Errorf("an appended event over its limit: %v", err)
	}
}

func TestCodecsDoNotAllocate(t *testing.T) {
	batch, events := goldenBatch(t), goldenEvents()
	var w BatchWriter
	w.Reset(0, 0, 0)
	w.buf = append(w.buf, make([]byte, 4096)...)
	if n := testing.AllocsPerRun(100, func() {
		w.Reset(1, 1, 0)
		for i := range events {
			_ = w.Add(&events[i])
		}
		w.Bytes()
		b, _ := OpenBatch(batch)
		var e Event
		for ok := true; ok; {
			ok, _ = b.Next(&e)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a batch", n)
	}
}

func TestErrnoTexts(t *testing.T) {
	if Unsupported.Error() != "unsupported" || OK.Error() != "ok" || Errno(-10).Error() != "unknown errno" || Errno(1).Error() != "unknown errno" {
		t.Error("the texts of errnos do not fit their numbers")
	}
}

func FuzzOpenBatch(f *testing.F) {
	f.Add(goldenBatch(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := OpenBatch(data)
		if err != nil {
			return
		}
		var w BatchWriter
		w.Reset(b.NowMicros, b.Attempt, b.Flags)
		n := 0
		for {
			var e Event
			ok, err := b.Next(&e)
			if err != nil {
				return
			}
			if !ok {
				break
			}
			e.Field(Shredded)
			if n++; w.Add(&e) != nil {
				return
			}
		}
		again, err := OpenBatch(w.Bytes())
		if err != nil || again.Header.Count != n || n != b.Header.Count {
			t.Errorf("%d events of %d were written as %d: %v", n, b.Header.Count, again.Header.Count, err)
		}
	})
}

func FuzzNextEvent(f *testing.F) {
	f.Add(goldenAppended(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		var e, again Appended
		for len(data) > 0 {
			rest, err := NextEvent(data, &e)
			if err != nil {
				return
			}
			written, err := AppendEvent(nil, &e)
			if err != nil {
				return
			}
			if _, err := NextEvent(written, &again); err != nil || !bytes.Equal(again.Data, e.Data) || !bytes.Equal(again.Type, e.Type) {
				t.Fatalf("%+v was written as %+v: %v", e, again, err)
			}
			data = rest
		}
	})
}
