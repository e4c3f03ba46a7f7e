package host_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/disk"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/plugins"
)

// watcher keeps a copy of a state by what a watch says, and checks that.
type watcher struct {
	t       testing.TB
	watch   plugins.Watch
	state   map[string]string // by lane and key
	staged  []plugins.Entry   // of a difference
	live    bool
	last    plugins.WatchMessage
	seen    map[string]bool // changes, by lane and position
	resets  int
	changes int
	// counts says that each change of a key adds one to its value.
	counts bool
}

func (n *node) watch(name string, r plugins.WatchRequest) *watcher {
	n.t.Helper()
	w := &watcher{t: n.t, state: map[string]string{}, seen: map[string]bool{}}
	w.open(n, name, r)
	return w
}

func (w *watcher) open(n *node, name string, r plugins.WatchRequest) {
	w.t.Helper()
	var err error
	if w.watch, err = n.host.Watch(n.t.Context(), name, r); err != nil {
		w.t.Fatal(err)
	}
}

// next takes the next message; it is false if none comes.
func (w *watcher) next(wait time.Duration) bool {
	w.t.Helper()
	m, err := w.watch.Next(w.t.Context(), wait)
	if err != nil {
		w.t.Fatal(err)
	}
	if m == nil {
		return false
	}
	w.take(m)
	return true
}

func (w *watcher) take(m *plugins.WatchMessage) {
	w.t.Helper()
	if m.Reset {
		w.resets++
		clear(w.state)
		w.staged = nil
	}
	switch m.Kind {
	case plugins.WatchState:
		w.apply(m.Entries)
		w.live = false
	case plugins.WatchDifference:
		w.staged = append(w.staged, m.Entries...)
	case plugins.WatchLive:
		w.apply(w.staged)
		w.staged, w.live = nil, true
	case plugins.WatchChange:
		if !w.live {
			w.t.Fatalf("a change before the state is whole: %+v", m)
		}
		w.change(m)
	}
	if m.Cursor == "" && (m.Kind == plugins.WatchLive || m.Kind == plugins.WatchChange) {
		w.t.Fatalf("no cursor: %+v", m)
	}
	w.last = *m
}

func (w *watcher) change(m *plugins.WatchMessage) {
	w.t.Helper()
	if len(m.Entries) == 0 {
		return
	}
	w.changes++
	at := fmt.Sprintf("%d/%d/%d", m.Generation, m.Lane, m.Position)
	if w.seen[at] {
		w.t.Fatalf("twice: %+v", m)
	}
	w.seen[at] = true
	for _, e := range m.Entries {
		key := fmt.Sprintf("%d/%s", e.Lane, e.Key)
		before, _ := strconv.Atoi(w.state[key])
		if now, _ := strconv.Atoi(string(e.Value)); w.counts && e.Key != "version" && now != before+1 {
			w.t.Fatalf("%s goes from %d to %d: %+v", key, before, now, m)
		}
	}
	w.apply(m.Entries)
}

func (w *watcher) apply(entries []plugins.Entry) {
	for _, e := range entries {
		key := fmt.Sprintf("%d/%s", e.Lane, e.Key)
		if w.state[key] = string(e.Value); e.Deleted {
			delete(w.state, key)
		}
	}
}

// until takes messages until something is so.
func (w *watcher) until(what string, done func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); {
		if time.Now().After(deadline) {
			w.t.Fatalf("waited until %s; the state is %v, the last message %+v", what, w.state, w.last)
		}
		w.next(100 * time.Millisecond)
	}
}

func (w *watcher) untilLive() {
	w.t.Helper()
	w.until("it is live", func() bool { return w.live && len(w.staged) == 0 })
}

// whole is the stored state of all lanes.
func (n *node) whole(name string, lanes int) map[string]string {
	all := map[string]string{}
	for lane := range lanes {
		for key, value := range n.state(name, lane) {
			all[fmt.Sprintf("%d/%s", lane, key)] = value
		}
	}
	return all
}

// tally counts events by their stream, one key each.
func tally(c *call) error {
	_, err := c.count(string(c.Stream))
	return err
}

var tallyManifest = plugins.Manifest{
	Kind: plugins.KindProjection, Subscription: plugins.Input{Stream: core.All, PartitionBy: "stream"}, Lanes: 4,
	Limits: plugins.Limits{BatchEvents: 1},
}

// TestWatch: a watcher has the state, and sees each change once and in order while others write, over
// a switch to another generation and back, and when it comes back with its cursor.
func TestWatch(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.add("tally", "1", tallyManifest, tally)
		n.add("tally", "2", tallyManifest, func(c *call) error {
			if err := tally(c); err != nil {
				return err
			}
			return c.put("version", "2")
		})
		n.append("T", 100, 7)
		n.deploy("tally", plugins.Deploy{Version: "1", Grants: []string{"state"}})
		ctx, stop := context.WithCancel(t.Context())
		var writing sync.WaitGroup
		defer writing.Wait()
		defer stop()
		writing.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				c := core.Commit{Appends: []core.Append{{
					Stream: fmt.Sprintf("s-%d", i%11), Expect: core.AnyVersion, Events: []core.NewEvent{{ID: core.NewID(), Type: "T", Data: []byte("1")}},
				}}}
				if _, err := n.store.Append(t.Context(), c); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		})
		w := n.watch("tally", plugins.WatchRequest{Lane: plugins.OnlyLane})
		w.counts = true
		w.untilLive()
		w.until("it has seen changes", func() bool { return w.changes > 50 })

		if _, err := n.host.Rebuild(t.Context(), "tally", plugins.Rebuild{Version: "2"}); err != nil {
			t.Fatal(err)
		}
		w.until("it sees the other generation", func() bool { return w.last.Generation == 2 && w.last.Cursor != "" })
		w.until("it has seen changes", func() bool { return w.changes > 100 })
		if w.resets != 1 {
			t.Errorf("%d resets, the switch is to be a difference", w.resets)
		}
		if _, err := n.host.Rollback(t.Context(), "tally", plugins.Rollback{To: plugins.ToGeneration}); err != nil {
			t.Fatal(err)
		}
		w.until("it sees the generation before", func() bool { return w.last.Generation == 1 && w.last.Cursor != "" })

		// It comes back, and goes on.
		cursor := w.last.Cursor
		for range 3 {
			w.watch.Close()
			w.open(n, "tally", plugins.WatchRequest{Lane: plugins.OnlyLane, Cursor: cursor})
			changes, resets := w.changes, w.resets
			w.until("it has seen changes", func() bool { return w.changes > changes+20 })
			if w.resets != resets {
				t.Error("it began anew")
			}
			cursor = w.last.Cursor
		}
		stop()
		writing.Wait()
		n.awaitStatus("tally", "has handled all", func(s *plugins.Status) bool { return s.Lag == 0 })
		w.until("it has the whole state", func() bool { return maps.Equal(w.state, n.whole("tally", 4)) })
		for w.next(1200 * time.Millisecond) {
			if len(w.last.Entries) > 0 {
				t.Errorf("there is more: %+v", w.last)
			}
		}
		w.watch.Close()
		if open := n.host.Watches().Open; open != 0 {
			t.Errorf("%d watches are open", open)
		}
	})
}

// TestWatchOfAPart: only keys with the prefix, and of one lane.
func TestWatchOfAPart(t *testing.T) {
	n := newNode(t, memory.New())
	n.add("tally", "1", tallyManifest, func(c *call) error {
		if string(c.Type) == "Gone" {
			if e := c.Effects.Delete(c.index, c.Stream); e != 0 {
				return e
			}
			return nil
		}
		return tally(c)
	})
	n.deploy("tally", plugins.Deploy{Version: "1", Grants: []string{"state"}})
	w := n.watch("tally", plugins.WatchRequest{Lane: plugins.OnlyLane, Prefix: "a-"})
	defer w.watch.Close()
	w.untilLive()
	if len(w.state) != 0 || w.resets != 1 {
		t.Errorf("%v, %d resets", w.state, w.resets)
	}
	n.write("a-1", "T")
	n.write("b-1", "T")
	n.write("a-2", "T")
	w.until("it has both", func() bool { return len(w.state) == 2 })
	n.write("a-1", "Gone")
	w.until("one is gone", func() bool { return len(w.state) == 1 })
	n.write("b-2", "T")
	head := n.store.State().Head
	w.until("it knows the position of what it is not shown", func() bool { return w.last.Position == head && len(w.last.Entries) == 0 })
	for lane := range 4 {
		one := n.watch("tally", plugins.WatchRequest{Lane: lane})
		one.untilLive()
		want := map[string]string{}
		for key, value := range n.state("tally", lane) {
			want[fmt.Sprintf("%d/%s", lane, key)] = value
		}
		if !maps.Equal(one.state, want) {
			t.Errorf("lane %d: %v, want %v", lane, one.state, want)
		}
		one.watch.Close()
	}
}

// TestSlowWatch: one that does not take what it is sent begins anew, and costs no other anything.
func TestSlowWatch(t *testing.T) {
	n := newNode(t, memory.New())
	value := strings.Repeat("x", 100<<10)
	n.add("large", "1", plugins.Manifest{Subscription: plugins.Input{Stream: core.All}, Limits: plugins.Limits{BatchEvents: 1}}, func(c *call) error {
		return c.put(fmt.Sprint(c.Position), value)
	})
	n.deploy("large", plugins.Deploy{Version: "1", Grants: []string{"state"}})
	slow, quick := n.watch("large", plugins.WatchRequest{}), n.watch("large", plugins.WatchRequest{})
	slow.untilLive()
	quick.untilLive()
	for i := range 30 {
		n.append("T", 1, 1)
		quick.until("it has it", func() bool { return len(quick.state) == i+1 })
	}
	slow.until("it has all", func() bool { return len(slow.state) == 30 && slow.live })
	if slow.resets != 2 || quick.resets != 1 || n.host.Watches().Resets != 1 {
		t.Errorf("%d and %d resets, %+v", slow.resets, quick.resets, n.host.Watches())
	}
	slow.watch.Close()
	quick.watch.Close()
	late := n.watch("large", plugins.WatchRequest{})
	late.untilLive()
	cursor := late.last.Cursor
	late.watch.Close()
	n.append("T", 30, 1)
	n.await("large", 60)
	late.open(n, "large", plugins.WatchRequest{Cursor: cursor})
	late.until("it has all", func() bool { return len(late.state) == 60 && late.live })
	if late.resets != 2 {
		t.Errorf("%d resets of one that comes back too late", late.resets)
	}
	late.watch.Close()
}

// TestLargeWatch: a state is listed in messages of a bounded size.
func TestLargeWatch(t *testing.T) {
	engine, err := disk.Open(t.Context(), disk.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	n := newNode(t, engine)
	const events, keys = 200, 100
	n.add("many", "1", plugins.Manifest{Subscription: plugins.Input{Stream: core.All}}, func(c *call) error {
		for i := range keys {
			if err := c.put(fmt.Sprintf("%08d/%03d", c.Position, i), strings.Repeat("v", 50)); err != nil {
				return err
			}
		}
		return nil
	})
	n.append("T", events, 1)
	n.deploy("many", plugins.Deploy{Version: "1", Grants: []string{"state"}, Limits: &plugins.Limits{BatchEvents: 16}})
	n.await("many", events)
	w := n.watch("many", plugins.WatchRequest{})
	defer w.watch.Close()
	for !w.live {
		w.next(time.Minute)
		size := 0
		for _, e := range w.last.Entries {
			size += len(e.Key) + len(e.Value)
		}
		if size > 66<<10 || len(w.last.Entries) > 256 {
			t.Fatalf("a message of %d bytes, %d entries", size, len(w.last.Entries))
		}
	}
	if len(w.state) != events*keys {
		t.Errorf("%d keys", len(w.state))
	}
}

func TestWatchesThatCannotBe(t *testing.T) {
	n := newNode(t, memory.New())
	n.add("tally", "1", tallyManifest, tally)
	n.deploy("tally", plugins.Deploy{Version: "1", Grants: []string{"state"}})
	other := n.watch("tally", plugins.WatchRequest{Lane: plugins.OnlyLane, Prefix: "other"})
	other.untilLive()
	for name, x := range map[string]struct {
		binding string
		r       plugins.WatchRequest
		code    core.Code
	}{
		"no binding":   {"none", plugins.WatchRequest{}, core.CodeBindingNotFound},
		"no lane":      {"tally", plugins.WatchRequest{Lane: 4}, core.CodeInvalidRequest},
		"long prefix":  {"tally", plugins.WatchRequest{Prefix: strings.Repeat("p", 513)}, core.CodeInvalidRequest},
		"no cursor":    {"tally", plugins.WatchRequest{Cursor: "!"}, core.CodeInvalidCursor},
		"short cursor": {"tally", plugins.WatchRequest{Cursor: "AAAAAA"}, core.CodeInvalidCursor},
		"other cursor": {"tally", plugins.WatchRequest{Lane: plugins.OnlyLane, Cursor: other.last.Cursor}, core.CodeInvalidCursor},
	} {
		if _, err := n.host.Watch(t.Context(), x.binding, x.r); !errors.Is(err, x.code) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var open []plugins.Watch
	for {
		w, err := n.host.Watch(t.Context(), "tally", plugins.WatchRequest{})
		if errors.Is(err, core.CodeTooManyWatches) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, w)
	}
	if len(open) != 63 {
		t.Errorf("%d watches beside another", len(open))
	}
	for _, w := range open {
		w.Close()
	}
	if err := n.host.Delete(t.Context(), "tally"); err != nil {
		t.Fatal(err)
	}
	for {
		_, err := other.watch.Next(t.Context(), time.Second)
		if errors.Is(err, core.CodeBindingNotFound) || errors.Is(err, core.CodeSubscriptionNotFound) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	other.watch.Close()
}
