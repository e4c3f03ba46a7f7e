package main

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"testing"

	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/sdk"
)

// stateFollower watches the state of a binding at one node, and keeps a copy of it.
type stateFollower struct {
	mu     sync.Mutex // protects the fields below
	state  map[string]string
	staged []plugins.Entry
	live   bool
	seen   map[int]uint64 // the position of the last change, by lane
	of     uint64         // the generation
	resets int
	err    error
}

// followState ends with the test.
func followState(t *testing.T, n *ringNode, binding string) *stateFollower {
	t.Helper()
	client, err := sdk.Dial(t.Context(), "http://"+n.listen, sdk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f := &stateFollower{}
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() {
		for m, err := range client.Plugins().Watch(ctx, binding, plugins.WatchRequest{Lane: plugins.OnlyLane}) {
			f.take(m, err)
		}
	})
	t.Cleanup(func() {
		cancel()
		watching.Wait()
		_ = client.Close()
	})
	return f
}

// take applies a message. Changes of a lane come once and in order.
func (f *stateFollower) take(m *plugins.WatchMessage, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.err != nil:
		return
	case err != nil:
		f.err = err
		return
	case m.Reset:
		f.resets++
		f.state, f.staged, f.live = map[string]string{}, nil, false
	}
	switch m.Kind {
	case plugins.WatchDifference:
		f.staged = append(f.staged, m.Entries...)
		return
	case plugins.WatchLive:
		f.apply(f.staged)
		f.staged, f.live, f.of, f.seen = nil, true, m.Generation, map[int]uint64{}
	case plugins.WatchChange:
		if !f.live || m.Generation != f.of || len(m.Entries) > 0 && m.Position <= f.seen[m.Lane] {
			f.err = fmt.Errorf("behind position %d of lane %d in generation %d comes %+v", f.seen[m.Lane], m.Lane, f.of, m)
		}
		f.seen[m.Lane] = max(f.seen[m.Lane], m.Position)
	}
	f.apply(m.Entries)
}

func (f *stateFollower) apply(entries []plugins.Entry) {
	for _, e := range entries {
		key := fmt.Sprint(e.Lane, "/", e.Key)
		if f.state[key] = string(e.Value); e.Deleted {
			delete(f.state, key)
		}
	}
}

// has waits until the copy is the state of a generation.
func (f *stateFollower) has(generation uint64, state map[string]string) error {
	return until(ringLatest, func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.err != nil || f.live && f.of == generation && maps.Equal(f.state, state) {
			return f.err
		}
		return fmt.Errorf("generation %d, live %v, after %d resets, has %d of %d keys", f.of, f.live, f.resets, len(f.state), len(state))
	})
}

// watched checks what those who watch the state of totals have, when everything is handled.
func (r *pluginRing) watched(what string, followers []*stateFollower) {
	r.t.Helper()
	state := map[string]string{}
	for lane := range 2 {
		var page struct{ Entries []plugins.Entry }
		r.must(r.nodes[0], "GET", fmt.Sprintf("totals/state?lane=%d", lane), "", &page)
		for _, e := range page.Entries {
			state[fmt.Sprint(lane, "/", e.Key)] = string(e.Value)
		}
	}
	var s plugins.Status
	r.must(r.nodes[0], "GET", "totals", "", &s)
	for i, f := range followers {
		if err := f.has(s.Generation, state); err != nil {
			r.t.Errorf("after %s, the watch at node %d: %v", what, i, err)
		}
	}
}
