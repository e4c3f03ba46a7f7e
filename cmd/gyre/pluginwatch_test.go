package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/sdk"
)

// stateFollower watches the state of a binding at one node, and keeps a copy of it.
type stateFollower struct {
	over string // by which protocol
	stop func()

	mu     sync.Mutex // protects the fields below
	state  map[string]string
	staged []plugins.Entry
	live   bool
	seen   map[int]uint64 // the position of the last change, by lane
	of     uint64         // the generation
	cursor string         // behind the last message that has one
	resets int
	runs   []changeRun
	err    error
}

// changeRun is changes without a gap.
type changeRun struct {
	from    []uint64         // the positions behind which it begins, by lane
	changed map[int][]uint64 // the positions of changes, by lane
}

func newStateFollower(over string) *stateFollower {
	return &stateFollower{over: over, state: map[string]string{}, seen: map[int]uint64{}}
}

// resumed is a follower that knows what f does, to go on behind f's cursor.
func (f *stateFollower) resumed(over string) *stateFollower {
	f.mu.Lock()
	defer f.mu.Unlock()
	next := newStateFollower(over)
	next.state, next.seen = maps.Clone(f.state), maps.Clone(f.seen)
	next.live, next.of, next.cursor, next.runs, next.err = f.live, f.of, f.cursor, slices.Clone(f.runs), f.err
	return next
}

// follow has read call take until it is stopped, by the end of the test at the latest.
func (f *stateFollower) follow(t *testing.T, read func(ctx context.Context)) *stateFollower {
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() { read(ctx) })
	f.stop = sync.OnceFunc(func() {
		cancel()
		watching.Wait()
	})
	t.Cleanup(f.stop)
	return f
}

// followState watches with the client, which comes back if its connection is lost.
func followState(t *testing.T, n *ringNode, binding string) *stateFollower {
	t.Helper()
	client, err := sdk.Dial(t.Context(), "http://"+n.listen, sdk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	f := newStateFollower("client")
	return f.follow(t, func(ctx context.Context) {
		for m, err := range client.Plugins().Watch(ctx, binding, plugins.WatchRequest{Lane: plugins.OnlyLane}) {
			f.take(m, err)
		}
	})
}

// overEvents has a follower watch by server-sent events, from where it is.
func (f *stateFollower) overEvents(t *testing.T, n *ringNode, binding string) *stateFollower {
	t.Helper()
	answer := n.openEvents(t, "/v1/plugins/"+binding+"/state?watch", f.cursor)
	return f.follow(t, func(ctx context.Context) {
		defer context.AfterFunc(ctx, func() { _ = answer.Close() })()
		lines := bufio.NewScanner(answer)
		for lines.Buffer(nil, 1<<20); lines.Scan(); {
			if text, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: ")); ok {
				f.takeText(text)
			}
		}
		f.broken(ctx, lines.Err())
	})
}

// overSocket has a follower watch over a WebSocket, from where it is.
func (f *stateFollower) overSocket(t *testing.T, n *ringNode, binding string) *stateFollower {
	t.Helper()
	s := n.dialSocket(t)
	fields := fmt.Sprintf(`"sub":1,"binding":%q`, binding)
	if f.cursor != "" {
		fields += fmt.Sprintf(`,"cursor":%q`, f.cursor)
	}
	if text := s.must("plugin.watch", fields); !bytes.Contains(text, []byte(`"op":"ok"`)) {
		t.Fatalf("%s: a watch is answered with %s", n.listen, text)
	}
	_ = s.SetReadDeadline(time.Time{}) // the read fails where this does
	return f.follow(t, func(ctx context.Context) {
		defer context.AfterFunc(ctx, func() { _ = s.Close() })()
		for {
			text, err := s.read()
			if err != nil {
				f.broken(ctx, err)
				return
			}
			f.takeText(text)
		}
	})
}

// broken takes the end of a connection that nobody has ended.
func (f *stateFollower) broken(ctx context.Context, err error) {
	if ctx.Err() == nil {
		f.take(nil, fmt.Errorf("the connection has ended: %w", cmp.Or(err, io.EOF)))
	}
}

// takeText takes a message in JSON.
func (f *stateFollower) takeText(text []byte) {
	var m struct {
		plugins.WatchMessage
		Op    string          `json:"op"`
		Error json.RawMessage `json:"error"`
	}
	err := json.Unmarshal(text, &m)
	if err == nil && (m.Error != nil || m.Op != "" && m.Op != "plugin.watch") {
		err = fmt.Errorf("a watch is sent %s", text)
	}
	f.take(&m.WatchMessage, err)
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
	f.cursor = cmp.Or(m.Cursor, f.cursor)
	switch m.Kind {
	case plugins.WatchDifference:
		f.staged = append(f.staged, m.Entries...)
		return
	case plugins.WatchLive:
		f.apply(f.staged)
		f.staged, f.live, f.of, f.seen = nil, true, m.Generation, map[int]uint64{}
		f.runs = append(f.runs, changeRun{m.Positions, map[int][]uint64{}})
	case plugins.WatchChange:
		if !f.live || m.Generation != f.of || len(m.Entries) > 0 && m.Position <= f.seen[m.Lane] {
			f.err = fmt.Errorf("behind position %d of lane %d in generation %d comes %+v", f.seen[m.Lane], m.Lane, f.of, m)
		}
		f.seen[m.Lane] = max(f.seen[m.Lane], m.Position)
		if len(m.Entries) > 0 && f.err == nil {
			run := &f.runs[len(f.runs)-1]
			run.changed[m.Lane] = append(run.changed[m.Lane], m.Position)
		}
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
		return fmt.Errorf("over %s, generation %d, live %v, after %d resets, has %d of %d keys", f.over, f.of, f.live, f.resets, len(f.state), len(state))
	})
}

// once checks that each event of each lane has come as a change, once and in order, but those in the
// states that it began with.
func (f *stateFollower) once(lanes [][]uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, run := range f.runs {
		for lane, events := range lanes {
			first, _ := slices.BinarySearch(events, run.from[lane]+1)
			want := events[first:]
			got := run.changed[lane]
			if i+1 < len(f.runs) {
				want = want[:min(len(want), len(got))]
			}
			if !slices.Equal(got, want) {
				return fmt.Errorf("over %s, behind position %d of lane %d come the changes %d, want %d", f.over, run.from[lane], lane, got, want)
			}
		}
	}
	return nil
}

// watched checks what those who watch the state of a binding have, when everything is handled.
func (r *pluginRun) watched(what, binding string, lanes int, followers []*stateFollower) {
	r.t.Helper()
	state := map[string]string{}
	for lane := range lanes {
		for key, value := range r.stateOf(binding, lane) {
			state[fmt.Sprint(lane, "/", key)] = value
		}
	}
	var s plugins.Status
	if err := r.nodes[0].askPlugins("GET", binding, "", nil, &s); err != nil {
		r.t.Fatal(err)
	}
	for i, f := range followers {
		if err := f.has(s.Generation, state); err != nil {
			r.t.Errorf("after %s, watch %d: %v", what, i, err)
		}
	}
}
