package core

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// pageOf is a page with an event for each mark, of stream a if that is true and else of b.
func pageOf(marks []bool) (page Batch) {
	for i, mine := range marks {
		p := Placement{Stream: "b", Version: 1, Position: uint64(i + 1), ID: ID{byte(i + 1)}}
		if mine {
			p.Stream = "a"
		}
		page.Add(EncodeEvent(nil, p, &NewEvent{Type: "T", Data: []byte(`"something"`)}), p.Position)
	}
	page.Block = bytes.Clone(page.Block)
	return page
}

// TestChosen: what is chosen of a page is what matches, up to the limit. Its memory is that of the page
// only if the page is the follower's own, and most of it is chosen.
func TestChosen(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	filter := &Filter{Streams: []string{"a"}}
	for round := range 300 {
		marks := make([]bool, 1+random.IntN(30))
		often := random.IntN(11)
		for i := range marks {
			marks[i] = random.IntN(10) < often
		}
		page, limit, owned := pageOf(marks), Limit{Events: 1 + random.IntN(40), Bytes: 1 << 20}, round%2 == 0
		want, rest := page.Matching(filter).Cut(limit)
		want.Block = bytes.Clone(want.Block)
		f := &follower{stream: All, filter: filter, key: filter.key()}
		got, all := f.chosen(page, limit, owned)
		if !bytes.Equal(got.Block, want.Block) || got.Count != want.Count || all != (rest.Count == 0) {
			t.Fatalf("of %v, limit %d: %d events, all %t, want %d and %d left", marks, limit.Events, got.Count, all, want.Count, rest.Count)
		}
		if got.Count > 0 && (got.First != want.First || got.Last != want.Last) {
			t.Fatalf("of %v: from %d to %d, want from %d to %d", marks, got.First, got.Last, want.First, want.Last)
		}
		clear(page.Block)
		shares := got.Count > 0 && !bytes.Equal(got.Block, want.Block)
		if shares && (!owned || len(got.Block) <= len(page.Block)/2) {
			t.Fatalf("%d of %d bytes keep the page, which is owned: %t", len(got.Block), len(page.Block), owned)
		}
	}
}

// TestChosenKeepsWholePages: a page of which all is chosen is not copied.
func TestChosenKeepsWholePages(t *testing.T) {
	page := pageOf([]bool{true, true, true})
	f := &follower{stream: All, filter: &Filter{Streams: []string{"a"}}, key: "a"}
	got, all := f.chosen(page, Limit{Events: 10, Bytes: 1 << 20}, true)
	if fmt.Sprintf("%p", got.Block) != fmt.Sprintf("%p", page.Block) || !all || !f.dense {
		t.Error("it was copied")
	}
}
