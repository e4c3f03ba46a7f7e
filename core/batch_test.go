package core

import (
	"bytes"
	"slices"
	"testing"
)

// batchOf has events at the positions, each of some 50 bytes; a position that
// divides by 7 is of an event of 1000.
func batchOf(positions ...uint64) Batch {
	var b Batch
	for _, p := range positions {
		e := NewEvent{Type: "t", Data: []byte("1")}
		if p%7 == 0 {
			e.Data = make([]byte, 1000)
		}
		b.Add(EncodeEvent(nil, Placement{Stream: "a", Version: p, Position: p, Recorded: 1, Incarnation: 1, ID: testID}, &e), p)
	}
	return b
}

func positionsOf(b Batch) []uint64 {
	var positions []uint64
	for e := range b.Events() {
		positions = append(positions, e.Position)
	}
	return positions
}

func rangeOf(first, last uint64) []uint64 {
	var positions []uint64
	for p := first; p <= last; p++ {
		positions = append(positions, p)
	}
	return positions
}

// wellFormed checks what is true of every Batch, and that it says where its events are.
func wellFormed(t *testing.T, b Batch) {
	t.Helper()
	parsed, err := ParseBatch(b.Block, b.Count)
	if err != nil || parsed.First != b.First || parsed.Last != b.Last {
		t.Errorf("batch of %d from %d to %d: parsed %d to %d, %v", b.Count, b.First, b.Last, parsed.First, parsed.Last, err)
	}
	var places []Place
	for p := range b.Places() {
		places = append(places, p)
	}
	at := 0
	for i, e := range b.Slice() {
		if want := (Place{e.Position, e.Version, e.Recorded.UnixMicro(), e.Stream, at, len(e.Raw)}); i >= len(places) || places[i] != want {
			t.Fatalf("places %+v, want %+v", places, want)
		}
		at += len(e.Raw)
	}
	if b.Count != len(b.Slice()) || b.Count == 0 && (b.First != 0 || b.Last != 0) {
		t.Errorf("batch of %d from %d to %d has %d events", b.Count, b.First, b.Last, len(b.Slice()))
	}
}

func TestParseBatch(t *testing.T) {
	b := batchOf(3, 4, 5)
	wellFormed(t, b)
	wellFormed(t, Batch{})
	for _, bad := range []struct {
		block []byte
		count int
	}{
		{b.Block, 2}, {b.Block, 4}, {b.Block, 0}, {b.Block, -1}, {nil, 1},
		{b.Block[:len(b.Block)-1], 3}, {b.Block[1:], 3}, {append(bytes.Clone(b.Block), 0), 3},
	} {
		if got, err := ParseBatch(bad.block, bad.count); err == nil {
			t.Errorf("%d bytes as %d events: parsed %d", len(bad.block), bad.count, got.Count)
		}
	}
	backward := batchOf(9, 8, 7)
	if wellFormed(t, backward); backward.First != 9 || backward.Last != 7 {
		t.Errorf("first %d, last %d", backward.First, backward.Last)
	}
}

func TestEventsOfABatchStop(t *testing.T) {
	n := 0
	for range batchOf(1, 2, 3).Events() {
		if n++; n == 2 {
			break
		}
	}
	if n != 2 {
		t.Errorf("%d events", n)
	}
}

func TestCut(t *testing.T) {
	whole := batchOf(rangeOf(1, 20)...)
	for events := range 22 {
		for _, size := range []int{1, 49, 50, 100, 120, 500, 1000, 1100, 2000, 1 << 20} {
			head, tail := whole.Cut(Limit{events, size})
			wellFormed(t, head)
			wellFormed(t, tail)
			if got := slices.Concat(positionsOf(head), positionsOf(tail)); !slices.Equal(got, rangeOf(1, 20)) {
				t.Fatalf("cut at %d, %d: %v", events, size, got)
			}
			if head.Count > events || head.Count > 1 && len(head.Block) > size || head.Count == 0 && events > 0 {
				t.Errorf("cut at %d, %d: %d events of %d bytes", events, size, head.Count, len(head.Block))
			}
			if tail.Count > 0 && head.Count < events {
				next, _ := decodeHead(tail.Block)
				if len(head.Block)+next.size <= size {
					t.Errorf("cut at %d, %d: %d events of %d bytes, one of %d would fit", events, size, head.Count, len(head.Block), next.size)
				}
			}
			one, none := batchOf(7).Cut(Limit{max(events, 1), size})
			wellFormed(t, one)
			if one.Count != 1 || none.Count != 0 || none.Last != 0 {
				t.Errorf("one event cut at %d, %d: %d and %d events, to %d", events, size, one.Count, none.Count, none.Last)
			}
			// What is appended to the head must not run into the tail.
			_ = append(head.Block, 0xff)
			wellFormed(t, tail)
		}
	}
}

func TestAfter(t *testing.T) {
	whole := batchOf(5, 6, 9, 10, 30)
	for position := range uint64(40) {
		got := whole.after(position)
		wellFormed(t, got)
		want := slices.DeleteFunc(positionsOf(whole), func(p uint64) bool { return p <= position })
		if !slices.Equal(positionsOf(got), want) {
			t.Errorf("after %d: %v, want %v", position, positionsOf(got), want)
		}
	}
}

func TestJoinAfter(t *testing.T) {
	batches := []Batch{batchOf(rangeOf(1, 4)...), batchOf(rangeOf(5, 5)...), batchOf(rangeOf(6, 16)...), batchOf(rangeOf(17, 20)...)}
	whole := batchOf(rangeOf(1, 20)...)
	for position := range uint64(21) {
		for _, l := range []Limit{{1, 1}, {1, 1000}, {3, 1000}, {100, 1}, {100, 60}, {100, 200}, {100, 1100}, {100, 1 << 20}, {5, 1 << 20}} {
			got := joinAfter(batches, position, l)
			wellFormed(t, got)
			want, _ := whole.after(position).Cut(l)
			if !slices.Equal(positionsOf(got), positionsOf(want)) {
				t.Errorf("after %d, at most %+v: %v, want %v", position, l, positionsOf(got), positionsOf(want))
			}
		}
	}
}

func FuzzParseBatch(f *testing.F) {
	f.Add(batchOf(1, 2, 3).Block, 3)
	f.Add([]byte{}, 0)
	f.Fuzz(func(t *testing.T, block []byte, count int) {
		b, err := ParseBatch(block, count)
		if err != nil {
			return
		}
		if len(b.Slice()) != count {
			t.Fatalf("%d events, said to be %d", len(b.Slice()), count)
		}
		head, tail := b.Cut(Limit{Events: 1 + count/2, Bytes: 100})
		if !bytes.Equal(slices.Concat(head.Block, tail.Block), block) {
			t.Error("cut in two, it is another block")
		}
	})
}
