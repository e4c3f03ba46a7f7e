package core_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
)

// TestFollowersSeeWhatWorkersWrite drives both workers, the tail and storage at
// once: many writers, followers of every kind, all must see all in order.
func TestFollowersSeeWhatWorkersWrite(t *testing.T) {
	s := core.NewStore(memory.New(), core.StoreConfig{TailBytes: 4 << 10})
	defer s.Close()
	const writers, each = 8, 500
	var running sync.WaitGroup
	for w := range writers {
		stream := fmt.Sprint("s", w)
		running.Go(func() {
			for range each {
				if _, err := s.Append(t.Context(), core.Commit{Appends: []core.Append{{
					Stream: stream, Expect: core.AnyVersion,
					Events: []core.NewEvent{{Type: "T", Format: core.Bytes, Data: make([]byte, 40)}},
				}}}); err != nil {
					t.Error(err)
					return
				}
			}
		})
		running.Go(func() { expectVersions(t, s, core.FollowRequest{Stream: stream}, each) })
		running.Go(func() {
			expectVersions(t, s, core.FollowRequest{Stream: core.All, Filter: core.Filter{Streams: []string{stream + "*"}}}, each)
		})
	}
	for range 4 {
		running.Go(func() {
			next := uint64(1)
			for e, err := range core.FollowEvents(t.Context(), s, core.FollowRequest{Stream: core.All}) {
				if err != nil || e.Position != next {
					t.Errorf("position %d, %v; want %d", e.Position, err, next)
					return
				}
				if next++; next > writers*each {
					return
				}
			}
		})
	}
	running.Wait()
}

func expectVersions(t *testing.T, log core.Log, r core.FollowRequest, n uint64) {
	next := uint64(1)
	for e, err := range core.FollowEvents(t.Context(), log, r) {
		if err != nil || e.Version != next {
			t.Errorf("%+v: version %d, %v; want %d", r, e.Version, err, next)
			return
		}
		if next++; next > n {
			return
		}
	}
}

// TestFollowFromAnyPosition begins to follow a stream at each position of the log: near the
// stream's end and far from it.
func TestFollowFromAnyPosition(t *testing.T) {
	s := openStore(t, core.StoreConfig{})
	const each = 40 // at positions 1, 3, 5 and so on
	for range each {
		for _, stream := range []string{"a", "b"} {
			if _, err := s.Append(t.Context(), one(stream)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for position := range uint64(2*each - 1) {
		f, err := s.Follow(t.Context(), core.FollowRequest{Stream: "a", From: core.From{Kind: core.AfterPosition, N: position}})
		if err != nil {
			t.Fatal(err)
		}
		d, err := f.Next(t.Context(), core.Limit{Events: 1})
		if want := position/2*2 + 1 + position%2*2; err != nil || d.First != want {
			t.Errorf("the first event after position %d is at %d, %v; want %d", position, d.First, err, want)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}
