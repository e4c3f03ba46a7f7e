package host_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/host"
)

// backlog is a world with a binding that was paused when events came, so that they are
// delivered to it together. It is for a bubble of synctest.
func backlog(t *testing.T, h handle, d plugins.Deploy, add []core.Append, play func(w *world)) {
	t.Helper()
	lib := newLibrary()
	lib.add("fold", "1", foldManifest, h)
	w := newWorld(t, lib, 0)
	defer w.close()
	d.Version = "1"
	if problem := w.retry("deploy", func(p *process) error { _, err := p.host.Deploy(t.Context(), "fold", d); return err }); problem != "" {
		t.Fatal(problem)
	}
	if _, err := w.now.host.Pause(t.Context(), "fold"); err != nil {
		t.Fatal(err)
	}
	w.add(add)
	if _, err := w.now.host.Resume(t.Context(), "fold"); err != nil {
		t.Fatal(err)
	}
	play(w)
}

// add appends events, each Append alone.
func (w *world) add(all []core.Append) {
	w.t.Helper()
	for _, a := range all {
		r, err := w.client.Append(w.t.Context(), core.Commit{Epoch: w.client.State().Epoch, Appends: []core.Append{a}})
		if err != nil {
			w.t.Fatal(err)
		}
		w.last = r.Position
	}
}

// stream has n events of a type.
func stream(name, typ string, n int, data string, metadata []byte) core.Append {
	a := core.Append{Stream: name, Expect: core.AnyVersion}
	for range n {
		a.Events = append(a.Events, core.NewEvent{ID: core.NewID(), Type: typ, Data: []byte(data), Metadata: metadata})
	}
	return a
}

func (w *world) want(checkpoint uint64, parked int) {
	w.t.Helper()
	s, err := w.now.host.Status(w.t.Context(), "fold")
	if err != nil || s.Checkpoint != checkpoint || s.Parked != parked {
		w.t.Errorf("the checkpoint is %d and %d are parked, want %d and %d: %s, %v", s.Checkpoint, s.Parked, checkpoint, parked, s.Reason, err)
	}
}

// TestBatchesThatDoNotFit: events whose batch would be too large for a handler come in two.
func TestBatchesThatDoNotFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ran := 0
		var large []core.Append
		for range 3 {
			metadata := []byte(`{"correlation_id":"` + strings.Repeat("c", 128) + `","causation_id":"` + strings.Repeat("d", 128) + `"}`)
			large = append(large, stream("s-0", "Plain", 100, `"`+strings.Repeat("a", 32<<10)+`"`, metadata))
		}
		h := func(c *call) error {
			if len(c.Data) == 1 {
				time.Sleep(5 * time.Second) // until the others wait
				return nil
			}
			ran++
			return nil
		}
		d := plugins.Deploy{Limits: &plugins.Limits{BatchEvents: 256, BatchBytes: 8 << 20, TimeMs: 10_000}}
		backlog(t, h, d, []core.Append{stream("s-0", "Plain", 1, "1", nil)}, func(w *world) {
			time.Sleep(time.Second)
			w.add(large)
			time.Sleep(time.Minute)
			w.want(301, 0)
		})
		if ran != 300 {
			t.Errorf("%d of the 300 that wait were handled", ran)
		}
	})
}

// killers is a handler that ends the process with events of type Killer, if are says so of one,
// and what carries that out, as often as it happens.
func killers(are func(c *call) bool) (h handle, ends func(w *world) (killed int)) {
	kill := make(chan struct{})
	h = func(c *call) error {
		if string(c.Type) != "Killer" {
			return nil
		}
		if !are(c) {
			return c.park("later")
		}
		kill <- struct{}{}
		<-c.ctx.Done()
		return c.ctx.Err()
	}
	ends = func(w *world) (killed int) {
		for {
			select {
			case <-kill:
				w.now.wire.kill()
				w.restart()
				killed++
			case <-time.After(time.Minute):
				return killed
			}
		}
	}
	return h, ends
}

// TestKillerIsFound: an event that ends the process is parked after its attempts, however
// many others wait in other lanes (L12).
func TestKillerIsFound(t *testing.T) {
	streams := streamsOfLanes()
	d := plugins.Deploy{Lanes: 2, OnError: &plugins.ErrorPolicy{Attempts: 3, MinMs: 1, MaxMs: 10}}
	add := []core.Append{stream(streams[0], "Plain", 1000, "1", nil), stream(streams[0], "Plain", 1000, "1", nil), stream(streams[1], "Killer", 1, "1", nil)}
	synctest.Test(t, func(t *testing.T) {
		h, ends := killers(func(*call) bool { return true })
		backlog(t, h, d, add, func(w *world) {
			if killed := ends(w); killed > 4 {
				t.Errorf("the process was ended %d times, 3 attempts are allowed and one that was not suspect", killed)
			}
			w.want(2001, 1)
		})
	})
}

// TestKillerInAReplayIsFound: so is one that ends the process only when it is replayed.
func TestKillerInAReplayIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, ends := killers(func(c *call) bool { return c.Flags&abi.Replay != 0 })
		d := plugins.Deploy{OnError: &plugins.ErrorPolicy{Attempts: 3, MinMs: 1, MaxMs: 10}}
		add := []core.Append{stream("s-0", "Killer", 1, "1", nil), stream("s-0", "Plain", 1, "1", nil)}
		backlog(t, h, d, add, func(w *world) {
			time.Sleep(time.Minute)
			if _, err := w.now.subs.Replay(w.t.Context(), "fold", subscriptions.Selection{All: true}); err != nil {
				t.Fatal(err)
			}
			if killed := ends(w); killed != 3 {
				t.Errorf("the process was ended %d times, 3 attempts are allowed", killed)
			}
			w.want(2, 1)
		})
	})
}

// TestNodeWithoutRoom: a handler that the node has no room for parks nothing.
func TestNodeWithoutRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var full atomic.Bool
		full.Store(true)
		h := func(*call) error {
			if full.Load() {
				return core.Errorf(core.CodeOverloaded, "the node has no memory for this handler now")
			}
			return nil
		}
		backlog(t, h, plugins.Deploy{}, []core.Append{stream("s-0", "Plain", 20, "1", nil)}, func(w *world) {
			time.Sleep(time.Minute)
			w.want(0, 0)
			full.Store(false)
			time.Sleep(time.Minute)
			w.want(20, 0)
		})
	})
}

// TestRecordThatCannotBeRead: a binding that cannot be read stops no other.
func TestRecordThatCannotBeRead(t *testing.T) {
	problem := scene(t, 0, new(folder).handle, func(w *world) string {
		bad := core.RecordOp{Table: "plugin_bindings", Key: "aaa", Expect: core.AnyVersion, Value: []byte("{")}
		if _, err := w.client.Append(w.t.Context(), core.Commit{Epoch: w.client.State().Epoch, Records: []core.RecordOp{bad}}); err != nil {
			return err.Error()
		}
		w.now.wire.kill()
		w.restart()
		w.append(events("Plain", 1))
		list, err := w.now.host.List(w.t.Context(), plugins.ListRequest{Limit: 10})
		if err != nil || len(list.Bindings) != 2 || list.Bindings[0].State != plugins.Broken || list.Bindings[1].State == plugins.Broken {
			return fmt.Sprintf("%+v, %v", list.Bindings, err)
		}
		return w.drained("fold", 0)
	})
	if problem != "" {
		t.Error(problem)
	}
}

// TestEndOfAChainCostsOneEvent: an event at the end of a chain has its batch handled twice,
// and not once for each event before it.
func TestEndOfAChainCostsOneEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		h := func(c *call) error {
			if runs++; string(c.Type) == "Deep" {
				_ = c.append("out-x", -1, "Out", `{}`)
			}
			return nil
		}
		add := []core.Append{stream("s-0", "Plain", 63, "1", nil), stream("s-0", "Deep", 1, "1", []byte(`{"causation_depth":16}`))}
		backlog(t, h, plugins.Deploy{Grants: []string{"append:out-*"}}, add, func(w *world) {
			time.Sleep(time.Minute)
			w.want(64, 1)
		})
		if runs > 64+5 {
			t.Errorf("%d runs of a handler for 64 events", runs)
		}
	})
}

// TestBlockedLanesStopNoOther: of ten bindings, one tries an event again in an hour and another
// does not come back from one. Their other lanes go on, and so do the other bindings.
func TestBlockedLanesStopNoOther(t *testing.T) {
	const bindings, events = 10, 500
	handles := map[string]handle{
		"b-0": func(c *call) error { return c.retry("not yet", time.Hour) },
		"b-1": func(c *call) error { <-c.ctx.Done(); return c.ctx.Err() },
	}
	streams := streamsOfLanes()
	synctest.Test(t, func(t *testing.T) {
		lib := newLibrary()
		w := newWorld(t, lib, 0)
		defer w.close()
		w.add([]core.Append{stream(streams[0], "Plain", events, "1", nil), stream(streams[1], "Plain", events, "1", nil)})
		for i := range bindings {
			name := fmt.Sprintf("b-%d", i)
			blocks := handles[name]
			lib.add(name, "1", foldManifest, func(c *call) error {
				if blocks != nil && string(c.Stream) == streams[0] {
					return blocks(c)
				}
				return nil
			})
			if _, err := w.now.host.Deploy(t.Context(), name, plugins.Deploy{Version: "1", Lanes: 2}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		for i := range bindings {
			name := fmt.Sprintf("b-%d", i)
			s, err := w.now.host.Status(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			want := [2]uint64{events, 2 * events}
			if handles[name] != nil {
				want[0] = 0
			}
			if got := [2]uint64{s.LaneStatus[0].Checkpoint, s.LaneStatus[1].Checkpoint}; got != want || s.Parked > 0 {
				t.Errorf("lanes of %s are at %d, want %d: %s, %s", name, got, want, s.State, s.Reason)
			}
		}
	})
}

// streamsOfLanes has a stream for each of two lanes.
func streamsOfLanes() (streams [2]string) {
	for i := 0; streams[0] == "" || streams[1] == ""; i++ {
		name := fmt.Sprintf("s-%d", i)
		streams[host.LaneOf(name, len(streams))] = name
	}
	return streams
}

// TestConflictIsTheReason: an event whose append is refused at each attempt is parked for that, also
// by a lane that is suspect, and by a replay: both write attempts before they make them.
func TestConflictIsTheReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := func(c *call) error {
			if string(c.Type) == "Late" {
				return c.append("out-x", 7, "Out", `{}`)
			}
			return nil
		}
		d := plugins.Deploy{Grants: []string{"append:out-x"}, OnError: &plugins.ErrorPolicy{Attempts: 3, MinMs: 1, MaxMs: 10}}
		backlog(t, h, d, []core.Append{stream("s-0", "Plain", 1, "1", nil)}, func(w *world) {
			time.Sleep(time.Minute)
			w.now.wire.kill()
			w.restart()
			w.add([]core.Append{stream("s-0", "Late", 1, "1", nil)})
			time.Sleep(time.Minute)
			w.wantParked(3, "wrong_expected_version")
			w.replayAll()
			w.wantParked(4, "wrong_expected_version")
		})
	})
}

// TestReplayWaitsForRoom: a replay that the node has no room for is not one that ended the node.
func TestReplayWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var full atomic.Bool
		full.Store(true)
		h := func(c *call) error {
			switch {
			case c.Flags&abi.Replay == 0:
				return c.park("later")
			case full.Load():
				return core.Errorf(core.CodeOverloaded, "the node has no memory for this handler now")
			}
			return nil
		}
		backlog(t, h, plugins.Deploy{}, []core.Append{stream("s-0", "Plain", 1, "1", nil)}, func(w *world) {
			time.Sleep(time.Minute)
			w.replayAll()
			w.wantParked(1, "later")
			full.Store(false)
			time.Sleep(time.Minute)
			w.want(1, 0)
		})
	})
}

// replayAll replays what is parked, and waits for what comes of it.
func (w *world) replayAll() {
	w.t.Helper()
	if _, err := w.now.subs.Replay(w.t.Context(), "fold", subscriptions.Selection{All: true}); err != nil {
		w.t.Fatal(err)
	}
	time.Sleep(time.Minute)
}

// wantParked checks that one event is parked after so many attempts, and why.
func (w *world) wantParked(attempts int, why string) {
	w.t.Helper()
	list, err := w.now.subs.Parked(w.t.Context(), "fold", subscriptions.ParkedRequest{})
	if err != nil || len(list.Parked) != 1 {
		w.t.Fatalf("parked: %+v, %v", list.Parked, err)
	}
	if p := &list.Parked[0]; p.Attempts != attempts || !strings.Contains(p.Reason, why) {
		w.t.Errorf("parked after %d attempts, %s, want %d and %s", p.Attempts, p.Reason, attempts, why)
	}
}
