package host_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
)

// poisoned plays a batch of n events of which some are poison, by their index, and counts what that
// took: handlers that started, and Commits with effects.
func poisoned(t *testing.T, n int, poison ...int) (starts, commits uint64) {
	synctest.Test(t, func(t *testing.T) {
		crash := func(c *call) error {
			if string(c.Type) == "Poison" {
				return errors.New("it crashed")
			}
			_, err := c.count("total")
			return err
		}
		all := stream("s-0", "Plain", n, "1", nil)
		for _, i := range poison {
			all.Events[i].Type = "Poison"
		}
		d := plugins.Deploy{
			Grants: []string{"state"}, Limits: &plugins.Limits{BatchEvents: n}, OnError: &plugins.ErrorPolicy{Attempts: 1, MinMs: 1, MaxMs: 1},
		}
		backlog(t, crash, d, []core.Append{all}, func(w *world) {
			if problem := w.drained("fold", len(poison)); problem != "" {
				t.Fatal(problem)
			}
			if got := w.outcome("fold", 1).state["0/total"]; got != fmt.Sprint(n-len(poison)) {
				t.Errorf("%s of %d events are in the state", got, n-len(poison))
			}
			parked, err := w.now.subs.Parked(t.Context(), "fold", subscriptions.ParkedRequest{})
			if err != nil || len(parked.Parked) != len(poison) {
				t.Fatalf("%d are parked, %v", len(parked.Parked), err)
			}
			for i, p := range parked.Parked {
				if p.Position != uint64(poison[i]+1) {
					t.Errorf("the event at %d is parked, want %d", p.Position, poison[i]+1)
				}
			}
			s, err := w.now.host.Status(t.Context(), "fold")
			if err != nil {
				t.Fatal(err)
			}
			starts, commits = s.Totals.Starts, s.Totals.Batches
		})
	})
	return starts, commits
}

// TestPoisonIsFoundByHalves: an event that a batch fails by is found in about 2·log₂ of the batch,
// and it alone is parked.
func TestPoisonIsFoundByHalves(t *testing.T) {
	for _, n := range []int{2, 5, 64, 256} {
		log := uint64(bits.Len(uint(n - 1)))
		for _, at := range []int{0, 1, n / 2, n - 2, n - 1} {
			starts, commits := poisoned(t, n, at)
			if starts > log+3 || commits > 2*log+1 {
				t.Errorf("event %d of %d took %d starts and %d Commits, log₂ is %d", at, n, starts, commits, log)
			}
		}
	}
	everyOther := make([]int, 32)
	for i := range everyOther {
		everyOther[i] = 2 * i
	}
	if starts, commits := poisoned(t, 64, everyOther...); starts > 3*64/2 || commits > 64 {
		t.Errorf("every other of 64 took %d starts and %d Commits", starts, commits)
	}
}

// TestTraceKeepsTheLastAttempt: of a parked event are kept its stack, the steps and the cost of the
// last attempt, and all attempts, through a restart, and through a replay that fails.
func TestTraceKeepsTheLastAttempt(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.add("shop", "1", copierManifest, func(c *call) error {
			if string(c.Type) != "Bad" {
				return nil
			}
			c.Output.Log(abi.Info, fmt.Appendf(nil, "attempt %d", c.Attempt))
			if err := c.put("seen", "1"); err != nil {
				return err
			}
			if err := c.put("large", strings.Repeat("x", plugins.MaxStepBytes+1)); err != nil {
				return err
			}
			_ = c.append("elsewhere", -1, "Seen", "{}") // it is not granted
			c.Output.Log(abi.Warn, []byte("before the end"))
			return &plugins.Failure{Reason: "crashed", Detail: "no total", Stack: "shop.total\nshop.handle"}
		})
		d := plugins.Deploy{Version: "1", Grants: []string{"state"}, OnError: &plugins.ErrorPolicy{Attempts: 3, MinMs: 150, MaxMs: 150}}
		n.deploy("shop", d)
		n.append("Good", 3, 1)
		n.append("Bad", 1, 1)
		n.append("Good", 3, 1)
		n.awaitStatus("shop", "has tried it", func(s *plugins.Status) bool { return s.LaneStatus[0].Attempts > 0 || s.Parked == 1 })
		n.stop()
		n.start()
		n.awaitStatus("shop", "parks it", func(s *plugins.Status) bool { return s.Parked == 1 })
		n.wantTrace(3)
		if _, err := n.subs.Replay(t.Context(), "shop", subscriptions.Selection{All: true}); err != nil {
			t.Fatal(err)
		}
		n.awaitTrace(4)
		n.wantTrace(4)
	})
}

// kept is what a trace has.
type kept struct {
	Reason, Stack string
	Attempts      int
	Micros        int64
	Steps         plugins.Steps
	History       []plugins.Attempt
}

func (n *node) trace() (k kept) {
	n.t.Helper()
	found, err := n.store.Records(n.t.Context(), core.RecordsRequest{Table: "plugin_traces", Limit: 10})
	if err != nil || len(found) != 1 {
		n.t.Fatalf("%d traces, %v", len(found), err)
	}
	if err := json.Unmarshal(found[0].Value, &k); err != nil {
		n.t.Fatal(err)
	}
	return k
}

// awaitTrace waits until a trace has so many attempts.
func (n *node) awaitTrace(attempts int) {
	n.t.Helper()
	n.awaitStatus("shop", fmt.Sprintf("has %d attempts", attempts), func(*plugins.Status) bool { return n.trace().Attempts == attempts })
}

func (n *node) wantTrace(attempts int) {
	n.t.Helper()
	k := n.trace()
	if k.Reason != "plugin crashed: no total (to append to stream elsewhere needs the grant append:elsewhere)" || k.Stack != "shop.total\nshop.handle" || k.Attempts != attempts {
		n.t.Errorf("the trace is %+v", k)
	}
	want := []plugins.Step{
		{Do: plugins.DoLog, Level: "info", Text: fmt.Sprintf("attempt %d", attempts)},
		{Do: plugins.DoPut, Key: "seen", Bytes: 1, Content: &plugins.Content{Value: []byte("1")}},
		{Do: plugins.DoPut, Key: "large", Bytes: plugins.MaxStepBytes + 1},
		{Do: plugins.DoAppend, Stream: "elsewhere", Type: "Seen", Bytes: 2, Content: &plugins.Content{Value: []byte("{}")}, Refused: "to append to stream elsewhere needs the grant append:elsewhere"},
		{Do: plugins.DoLog, Level: "warn", Text: "before the end"},
	}
	if !reflect.DeepEqual(k.Steps.List, want) {
		n.t.Errorf("the steps are %+v", k.Steps)
	}
	if len(k.History) != attempts {
		n.t.Fatalf("the history is %+v", k.History)
	}
	for i, a := range k.History {
		if a.Attempt != i+1 || a.Version != "1" || a.Generation != 1 || a.At.IsZero() || a.Reason != k.Reason {
			n.t.Errorf("attempt %d is %+v", i+1, a)
		}
	}
}

// TestTraceIsBounded: what a hostile handler has kept of itself fits its record.
func TestTraceIsBounded(t *testing.T) {
	n := newNode(t, memory.New())
	n.add("shop", "1", copierManifest, func(c *call) error {
		for range 8 {
			c.Output.Log(abi.Info, []byte(strings.Repeat("<", abi.MaxLineBytes)))
		}
		return &plugins.Failure{Reason: strings.Repeat("<", 1<<20), Stack: strings.Repeat("\x00", 1<<20)}
	})
	n.deploy("shop", plugins.Deploy{Version: "1", OnError: &plugins.ErrorPolicy{Attempts: 40, MinMs: 1, MaxMs: 1}})
	n.append("Bad", 1, 1)
	n.awaitStatus("shop", "parks it", func(s *plugins.Status) bool { return s.Parked == 1 })
	found, err := n.store.Records(t.Context(), core.RecordsRequest{Table: "plugin_traces", Limit: 10})
	if err != nil || len(found) != 1 || len(found[0].Value) > 64<<10 {
		t.Fatalf("%d traces, the first of %d bytes: %v", len(found), len(found[0].Value), err)
	}
	if k := n.trace(); k.Attempts != 40 || len(k.History) != plugins.MaxHistory || k.History[0].Attempt != 40-plugins.MaxHistory+1 || k.Reason == "" {
		t.Errorf("%d attempts, %d in the history, %d bytes of reason", k.Attempts, len(k.History), len(k.Reason))
	}
}

// TestWorkbench shows a parked event, runs another version on it without effect, and gives it back.
func TestWorkbench(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		ctx := t.Context()
		handles := func(bad bool) handle {
			return func(c *call) error {
				if bad && string(c.Type) == "Bad" {
					return c.park("it is bad")
				}
				k, err := c.count("handled")
				if err != nil {
					return err
				}
				return c.append("copies", -1, "Copy", fmt.Sprintf(`{"n":%d,"replay":%t,"attempt":%d}`, k, c.Flags&abi.Replay != 0, c.Attempt))
			}
		}
		n.add("shop", "1", copierManifest, handles(true))
		n.add("shop", "2", copierManifest, handles(false))
		n.append("Good", 1, 1)
		n.append("Bad", 2, 1)
		n.deploy("shop", plugins.Deploy{Version: "1", Grants: []string{"append:copies", "state"}})
		n.awaitStatus("shop", "parks two", func(s *plugins.Status) bool { return s.Parked == 2 })
		first, err := n.host.Poisoned(ctx, "shop", plugins.PoisonRequest{Limit: 1})
		if err != nil || first.End || len(first.Poison) != 1 || first.Poison[0].Position != 2 || first.Poison[0].Reason != "it is bad" || first.Poison[0].Type != "Bad" {
			t.Fatalf("%+v, %v", first, err)
		}
		rest, err := n.host.Poisoned(ctx, "shop", plugins.PoisonRequest{After: 2})
		if err != nil || !rest.End || len(rest.Poison) != 1 || rest.Poison[0].Position != 3 {
			t.Fatalf("%+v, %v", rest, err)
		}
		head, state := n.store.State().Head, n.state("shop", 0)
		ran, err := n.host.RunPoison(ctx, "shop", 2, plugins.PoisonRun{Version: "2"})
		if err != nil || ran.Fate != plugins.Acked || ran.Moved || ran.Tried.Outputs.Count != 1 || string(ran.Tried.Outputs.First[0].Value) != `{"n":2,"replay":true,"attempt":2}` {
			t.Errorf("%+v, %v", ran, err)
		}
		if d := ran.Tried.State; d.Changed != 1 || string(d.First[0].Before.Value) != "1" || string(d.First[0].After.Value) != "2" {
			t.Errorf("%+v", d)
		}
		if n.store.State().Head != head || !maps.Equal(n.state("shop", 0), state) {
			t.Error("the run has written something")
		}
		n.deploy("shop", plugins.Deploy{Version: "2"})
		if r, err := n.host.RetryPoison(ctx, "shop", 2); err != nil || r.Outcome != plugins.HandledAgain {
			t.Errorf("%+v, %v", r, err)
		}
		if got := n.events("copies"); len(got) != 2 || string(got[1].Data) != `{"n":2,"replay":true,"attempt":2}` {
			t.Errorf("%d were appended, the last is %s", len(got), got[len(got)-1].Data)
		}
		if err := n.host.DropPoison(ctx, "shop", 3); err != nil {
			t.Error(err)
		}
		if _, err := n.host.Poison(ctx, "shop", 3); !errors.Is(err, core.CodeEventNotParked) {
			t.Errorf("one that was dropped: %v", err)
		}
	})
}

// TestRunOfAnAppendThatWouldBeRefused: an append fails that expects another version than its stream
// is at now, or whose stream is deleted, as it would in a replay. What the event has appended before counts.
func TestRunOfAnAppendThatWouldBeRefused(t *testing.T) {
	n := newNode(t, memory.New())
	expecting := func(expected ...int64) handle {
		return func(c *call) error {
			for _, e := range expected {
				if err := c.append("bills", e, "Billed", "1"); err != nil {
					return err
				}
			}
			return nil
		}
	}
	n.add("shop", "1", copierManifest, func(c *call) error { return c.park("not yet") })
	n.deploy("shop", plugins.Deploy{Version: "1", Grants: []string{"append:bills"}})
	n.append("Good", 1, 1)
	n.awaitStatus("shop", "parks it", func(s *plugins.Status) bool { return s.Parked == 1 })
	n.write("bills", "Billed")
	for i, c := range []struct {
		before   []core.StreamAction
		expected []int64
		reason   string
	}{
		{nil, []int64{1, 2}, ""}, {nil, []int64{-1, 2, abi.StreamExists}, ""},
		{nil, []int64{abi.NoStream}, `wrong_expected_version: stream "bills" is at version 1, expected no_stream`},
		{nil, []int64{-1, 1}, `wrong_expected_version: stream "bills" is at version 2, expected 1`},
		{[]core.StreamAction{core.DeleteStream}, []int64{-1}, `stream_deleted: stream "bills" is deleted`},
		{[]core.StreamAction{core.UndeleteStream}, []int64{1}, ""},
		{[]core.StreamAction{core.TombstoneStream}, []int64{1}, `stream_tombstoned: stream "bills" is tombstoned`},
	} {
		for _, action := range c.before {
			n.change("bills", action)
		}
		version := fmt.Sprint(i + 2)
		n.add("shop", version, copierManifest, expecting(c.expected...))
		ran, err := n.host.RunPoison(t.Context(), "shop", 1, plugins.PoisonRun{Version: version})
		if err != nil || ran.Reason != c.reason || (ran.Fate == plugins.Parked) != (c.reason != "") {
			t.Errorf("%v: %s, %q, %v", c.expected, ran.Fate, ran.Reason, err)
		}
	}
}
