package host_test

import (
	"errors"
	"fmt"
	"slices"
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

// TestWithoutRules shows what each rule of doc.go is for: a schedule that comes to what it
// should with all of them comes to something else without it.
func TestWithoutRules(t *testing.T) {
	for _, x := range []struct {
		name     string
		rule     host.Rules
		schedule func(t testing.TB, without host.Rules) (problem string)
	}{
		{"L1 a late Commit writes over a newer one", host.RuleCompare | host.RuleFence, lateCommit},
		{"L1 a Commit is made behind one that is not", host.RuleCompare, lostAhead},
		{"L1 a late Commit is made while the binding is paused", host.RuleCheck, lateWhilePaused},
		{"L1 an event that was told to be handled is not", host.RuleTell, schedules(1)},
		{"L2 a batch sees the state before a late Commit", host.RuleReadFirst, schedules(8)},
		{"L3 a handler remembers what was not committed", host.RuleDiscard, schedules(5)},
		{"L3 events of a Commit in doubt are not run again", host.RuleKeepPlaces, schedules(7)},
		{"L4 events of a late Commit are run again", host.RuleJudgeLate, schedules(4)},
		{"L5 a parked event is taken for handled", host.RuleTrace, schedules(3)},
		{"L6 a replay is run again", host.RuleReplay, schedules(18)},
		{"L7 the machine parks what its lane handles", host.RuleOnlyLanes, slowHandler},
		{"L9 a generation begins where the one before was", host.RuleGeneration, schedules(6)},
		{"L11 an event whose ids are taken is lost", host.RuleDuplicate, takenID},
		{"L12 an event ends the process again and again", host.RuleSuspect, killer},
		{"L13 a late Commit is made behind another than it was for", host.RuleFence, lateBehind},
		{"L13 a batch sees the state before a Commit under way", host.RuleAhead, schedules(1)},
		{"L13 a batch reads a stream without a Commit under way", host.RuleAhead, readers},
		{"L13 events behind a Commit in doubt are not run again", host.RuleAllBack, lostAhead},
		{"L14 what the live generation has not passed is not appended", host.RuleBehindLive, aheadOfLive},
		{"L14 what the live generation has parked is not appended", host.RuleCarry, parkedInLive},
		{"L15 what was removed while it waited is handled", host.RuleExpire, removedWhileQueued},
		{"L15 what was removed while it was tried is tried again", host.RuleExpire, removedWhileTried},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			if problem := x.schedule(t, 0); problem != "" {
				t.Errorf("with the rule: %s", problem)
			}
			if problem := x.schedule(t, x.rule); problem == "" {
				t.Error("nothing is wrong without the rule")
			} else {
				t.Logf("without the rule: %.300s", problem)
			}
		})
	}
}

// schedules goes through random schedules from a seed on. How goroutines interleave is not
// part of a schedule, so one may not be enough; with all rules there is one, since TestModel
// goes through many.
func schedules(seed uint64) func(t testing.TB, without host.Rules) string {
	const most = 100
	return func(t testing.TB, without host.Rules) (problem string) {
		for i := uint64(0); i < most && problem == ""; i++ {
			synctest.Test(t.(*testing.T), func(t *testing.T) {
				s := makeSchedule(seed + i)
				problem = s.check(t, without)
			})
			if without == 0 {
				break
			}
		}
		return problem
	}
}

// scene is a world with a binding of one lane that handles an event at a time.
func scene(t testing.TB, without host.Rules, h handle, play func(w *world) string) (problem string) {
	synctest.Test(t.(*testing.T), func(t *testing.T) {
		lib := newLibrary()
		lib.add("fold", "1", foldManifest, h)
		w := newWorld(t, lib, without)
		defer w.close()
		d := plugins.Deploy{
			Version: "1", Grants: []string{"append:out-*", "state"}, Limits: &plugins.Limits{BatchEvents: 1},
			OnError: &plugins.ErrorPolicy{Attempts: 3, MinMs: 1, MaxMs: 10},
		}
		if problem = w.retry("deploy", func(p *process) error { _, err := p.host.Deploy(t.Context(), "fold", d); return err }); problem == "" {
			time.Sleep(time.Second)
			problem = play(w)
		}
	})
	return problem
}

// effects has each Commit of a lane that changes its state go as f says; the first is 1.
func effects(f func(n int) (fate, time.Duration)) func(*core.Commit) (fate, time.Duration) {
	n := 0
	return func(c *core.Commit) (fate, time.Duration) {
		if !slices.ContainsFunc(c.Records, func(r core.RecordOp) bool { return r.Table == "state/fold/1" }) && len(c.Appends) == 0 {
			return fine, 0
		}
		n++
		return f(n)
	}
}

// events are sources of a type, with ids of their own.
func events(typ string, n int) (list []source) {
	for i := range n {
		list = append(list, source{"s-0", typ, core.ID{1, byte(i)}})
	}
	return list
}

// total is how many events the state says that there were.
func (w *world) total() int { return len(w.outcome("fold", 1).state["0/total"]) }

func lateCommit(t testing.TB, without host.Rules) string {
	return scene(t, without, new(folder).handle, func(w *world) string {
		w.have(effects(func(n int) (fate, time.Duration) {
			if n == 1 {
				return late, time.Second
			}
			return fine, 0
		}))
		w.append(events("Quiet", 2))
		time.Sleep(5 * time.Second)
		if n := w.total(); n != 2 {
			return fmt.Sprintf("%d of 2 events are in the state", n)
		}
		return ""
	})
}

// lostAhead loses the Commit of one batch while that of the next is under way.
func lostAhead(t testing.TB, without host.Rules) string {
	return scene(t, without, new(folder).handle, func(w *world) string {
		w.have(effects(func(n int) (fate, time.Duration) {
			if n == 2 {
				return lost, time.Second
			}
			return fine, 0
		}))
		w.append(events("Plain", 4))
		if problem := w.drained("fold", 0); problem != "" {
			return problem
		}
		if n, appended := w.total(), len(readAll(w.t, w.client, "out-s-0")); n != 4 || appended != 4 {
			return fmt.Sprintf("%d of 4 events are in the state, %d were appended", n, appended)
		}
		return ""
	})
}

// lateBehind loses the Commit of a batch, and delays that of the next until there is another
// behind the same place: it was made for the whole of the first batch, of which half is made.
func lateBehind(t testing.TB, without host.Rules) string {
	seen := 0
	h := func(c *call) error {
		if string(c.Type) == "Slow" {
			if seen++; seen == 2 {
				return c.retry("not now", time.Millisecond)
			} else if seen > 2 {
				time.Sleep(5 * time.Second)
			}
		}
		return new(folder).handle(c)
	}
	return scene(t, without, h, func(w *world) string {
		w.have(effects(func(n int) (fate, time.Duration) {
			switch n {
			case 2:
				return lost, time.Second
			case 3:
				return late, 3 * time.Second
			}
			return fine, 0
		}))
		if _, err := w.now.host.Deploy(w.t.Context(), "fold", plugins.Deploy{Limits: &plugins.Limits{BatchEvents: 2}}); err != nil {
			return err.Error()
		}
		time.Sleep(time.Second)
		w.append(events("Plain", 2))
		w.append([]source{{"s-0", "Plain", core.ID{2}}, {"s-0", "Slow", core.ID{3}}, {"s-0", "Plain", core.ID{4}}, {"s-0", "Plain", core.ID{5}}})
		if problem := w.drained("fold", 0); problem != "" {
			return problem
		}
		if n, appended := w.total(), len(readAll(w.t, w.client, "out-s-0")); n != 6 || appended != 6 {
			return fmt.Sprintf("%d of 6 events are in the state, %d were appended", n, appended)
		}
		return ""
	})
}

// reader appends what it reads: how many events it has appended, and the keys of the last two.
func reader(c *call) error {
	view, e := c.Reads.ReadStream([]byte("out-s-0"), 1, 100)
	if e != abi.OK && e != abi.NotFound {
		return c.errno(e)
	}
	n := 0
	if e == abi.OK {
		b, err := abi.OpenBatch(view)
		if err != nil {
			return err
		}
		n = b.Count
	}
	entries, e := c.Reads.Scan([]byte("n"), nil, 100, 1000)
	if e != abi.OK {
		return c.errno(e)
	}
	var keys []string
	for ; len(entries) > 0; entries = entries[10:] { // two lengths of 4 bytes, "n" and a digit, no value
		keys = append(keys, string(entries[8:10]))
	}
	if err := c.put(fmt.Sprintf("n%d", n), ""); err != nil {
		return err
	}
	if n > 1 {
		if e := c.Effects.Delete(c.index, fmt.Appendf(nil, "n%d", n-2)); e != abi.OK {
			return c.errno(e)
		}
	}
	return c.append("out-s-0", -1, "Read", fmt.Sprintf(`"%d %s"`, n, keys))
}

// readers has batches read what those before have written, whose Commits take a while. One of
// them is not made.
func readers(t testing.TB, without host.Rules) string {
	return scene(t, without, reader, func(w *world) string {
		_, err := w.now.host.Deploy(w.t.Context(), "fold", plugins.Deploy{Grants: []string{"append:out-*", "state", "streams.read"}})
		if err != nil {
			return err.Error()
		}
		w.have(effects(func(n int) (fate, time.Duration) {
			if n == 3 {
				return lost, time.Second
			}
			return fine, time.Second
		}))
		w.append(events("Plain", 6))
		if problem := w.drained("fold", 0); problem != "" {
			return problem
		}
		var got []string
		for _, e := range readAll(w.t, w.client, "out-s-0") {
			got = append(got, string(e.Data))
		}
		if got, want := strings.Join(got, ""), `"0 []""1 [n0]""2 [n0 n1]""3 [n1 n2]""4 [n2 n3]""5 [n3 n4]"`; got != want {
			return got
		}
		return ""
	})
}

func lateWhilePaused(t testing.TB, without host.Rules) string {
	return scene(t, without, new(folder).handle, func(w *world) string {
		begun := make(chan struct{}, 10)
		w.have(effects(func(int) (fate, time.Duration) {
			begun <- struct{}{}
			return late, time.Second
		}))
		w.append(events("Quiet", 1))
		<-begun
		if _, err := w.now.host.Pause(w.t.Context(), "fold"); err != nil {
			return err.Error()
		}
		w.have(nil)
		time.Sleep(5 * time.Second)
		if n := w.total(); n != 0 {
			return "an event was handled while the binding was paused"
		}
		return ""
	})
}

func slowHandler(t testing.TB, without host.Rules) string {
	slow := func(c *call) error {
		time.Sleep(2 * time.Second)
		return new(folder).handle(c)
	}
	return scene(t, without, slow, func(w *world) string {
		w.append(events("Plain", 3))
		return w.drained("fold", 0)
	})
}

// takenID has an event whose output has the id of an event that is in its stream already.
func takenID(t testing.TB, without host.Rules) (problem string) {
	var id core.ID
	problem = scene(t, 0, new(folder).handle, func(w *world) string {
		w.append(events("Plain", 1))
		problem := w.drained("fold", 0)
		id = readAll(w.t, w.client, "out-s-0")[0].ID
		return problem
	})
	if problem != "" {
		return problem
	}
	return scene(t, without, new(folder).handle, func(w *world) string {
		taken := core.Append{Stream: "out-s-0", Expect: core.AnyVersion, Events: []core.NewEvent{{ID: id, Type: "Taken", Data: []byte("1")}}}
		if _, err := w.client.Append(w.t.Context(), core.Commit{Appends: []core.Append{taken}}); err != nil {
			return err.Error()
		}
		w.append(events("Plain", 2))
		if problem := w.drained("fold", 1); problem != "" {
			return problem
		}
		if n := w.total(); n != 1 {
			return fmt.Sprintf("%d events are in the state, one is parked", n)
		}
		return ""
	})
}

// aheadOfLive has a generation beside come to events that the live one, which is paused, has not.
func aheadOfLive(t testing.TB, without host.Rules) string {
	return scene(t, without, new(folder).handle, func(w *world) string {
		if _, err := w.now.host.Pause(w.t.Context(), "fold"); err != nil {
			return err.Error()
		}
		w.append(events("Plain", 3))
		return w.rebuilt(3)
	})
}

// parkedInLive has a generation beside come to an event that the live one has parked.
func parkedInLive(t testing.TB, without host.Rules) string {
	f, mended := &folder{}, atomic.Bool{}
	h := func(c *call) error {
		if mended.Load() {
			c.Type = []byte("Plain")
		}
		return f.handle(c)
	}
	return scene(t, without, h, func(w *world) string {
		w.append(append(events("Bad", 1), source{"s-0", "Plain", core.ID{8}}))
		if problem := w.drained("fold", 1); problem != "" {
			return problem
		}
		mended.Store(true)
		return w.rebuilt(2)
	})
}

// rebuilt rebuilds the binding, and has it handle all of so many events that append one each. The
// generation beside has come to all that it comes to when it is switched to.
func (w *world) rebuilt(n int) string {
	if _, err := w.now.host.Rebuild(w.t.Context(), "fold", plugins.Rebuild{Hold: true}); err != nil {
		return err.Error()
	}
	time.Sleep(time.Second)
	if problem := w.settled(); problem != "" {
		return problem
	}
	if _, err := w.now.host.Resume(w.t.Context(), "fold"); err != nil {
		return err.Error()
	}
	if problem := w.drained("fold", 0); problem != "" {
		return problem
	}
	if total, appended := w.total(), len(readAll(w.t, w.client, "out-s-0")); total != n || appended != n {
		return fmt.Sprintf("%d of %d events are in the state, %d were appended", total, n, appended)
	}
	return ""
}

// killer has an event that ends the process that handles it.
func killer(t testing.TB, without host.Rules) string {
	var here *world
	h := func(c *call) error {
		if string(c.Type) == "Killer" {
			here.now.wire.kill()
			<-c.ctx.Done()
			return c.ctx.Err()
		}
		return new(folder).handle(c)
	}
	return scene(t, without, h, func(w *world) string {
		here = w
		w.append(append(append(events("Plain", 2), source{"s-0", "Killer", core.ID{9}}), source{"s-0", "Plain", core.ID{8}}))
		if problem := w.drained("fold", 1); problem != "" {
			return problem
		}
		if n := w.total(); n != 3 {
			return fmt.Sprintf("%d of 3 events are in the state", n)
		}
		return ""
	})
}

// TestKillerBehindCommits: an event that ends the process is found, too, where Commits were under
// way when it did: its three attempts count from the third kill on.
func TestKillerBehindCommits(t *testing.T) {
	kills := 0
	var here *world
	h := func(c *call) error {
		if string(c.Type) == "Killer" {
			kills++
			here.now.wire.kill()
			<-c.ctx.Done()
			return c.ctx.Err()
		}
		return new(folder).handle(c)
	}
	problem := scene(t, 0, h, func(w *world) string {
		here = w
		w.have(effects(func(int) (fate, time.Duration) { return fine, time.Second }))
		w.append(append(append(events("Plain", 4), source{"s-0", "Killer", core.ID{9}}), source{"s-0", "Plain", core.ID{8}}))
		if problem := w.drained("fold", 1); problem != "" {
			return problem
		}
		if n := w.total(); n != 5 || kills != 5 {
			return fmt.Sprintf("%d of 5 events are in the state, after %d kills", n, kills)
		}
		return ""
	})
	if problem != "" {
		t.Error(problem)
	}
}

// TestInterruptedStart: a binding runs when it is noted that it does. A start that a change interrupts
// before leaves nothing that the next one would suspect.
func TestInterruptedStart(t *testing.T) {
	problem := scene(t, 0, new(folder).handle, func(w *world) string {
		h, ctx := w.now.host, w.t.Context()
		status := func() plugins.Status {
			s, err := h.Status(ctx, "fold")
			if err != nil {
				w.t.Fatal(err)
			}
			return s
		}
		if _, err := h.Pause(ctx, "fold"); err != nil {
			return err.Error()
		}
		time.Sleep(time.Second)
		w.have(func(c *core.Commit) (fate, time.Duration) {
			if slices.ContainsFunc(c.Records, func(r core.RecordOp) bool { return r.Table == "plugin_runs" }) {
				return fine, time.Second
			}
			return fine, 0
		})
		if _, err := h.Resume(ctx, "fold"); err != nil {
			return err.Error()
		}
		time.Sleep(time.Second / 2)
		if s := status(); s.State != plugins.Starting {
			return fmt.Sprintf("before it is noted that it runs, it is %+v", s)
		}
		if _, err := h.Deploy(ctx, "fold", plugins.Deploy{Limits: &plugins.Limits{BatchEvents: 64}}); err != nil {
			return err.Error()
		}
		time.Sleep(10 * time.Second)
		if s := status(); s.State != plugins.Running {
			return fmt.Sprintf("at last it is %+v", s)
		}
		w.append(events("Plain", 20))
		problem := w.drained("fold", 0)
		if s := status(); problem == "" && s.Totals.Batches >= 20 {
			return fmt.Sprintf("each of 20 events is handled alone: %+v", s.Totals)
		}
		return problem
	})
	if problem != "" {
		t.Error(problem)
	}
}

// TestCommitsUnderWayAreBounded holds back a Commit, and counts what is handled meanwhile.
func TestCommitsUnderWayAreBounded(t *testing.T) {
	for _, x := range []struct {
		name  string
		bytes int // that an event stages
		ahead int
	}{{"Commits", 10, 8}, {"bytes", 400 << 10, 3}} {
		t.Run(x.name, func(t *testing.T) {
			var calls atomic.Int64
			h := func(c *call) error {
				calls.Add(1)
				half := strings.Repeat("x", x.bytes/2)
				return errors.Join(c.put("a", half), c.put("b", half))
			}
			problem := scene(t, 0, h, func(w *world) string {
				w.have(effects(func(n int) (fate, time.Duration) {
					if n == 2 {
						return fine, time.Minute
					}
					return fine, 0
				}))
				w.append(events("Plain", 20))
				time.Sleep(30 * time.Second)
				if calls.Load() != int64(1+x.ahead) { // the first is alone
					return fmt.Sprintf("%d events are handled while a Commit is under way", calls.Load()-1)
				}
				time.Sleep(time.Minute)
				if problem := w.drained("fold", 0); problem != "" || calls.Load() != 20 {
					return fmt.Sprintf("%d events are handled; %s", calls.Load(), problem)
				}
				return ""
			})
			if problem != "" {
				t.Error(problem)
			}
		})
	}
}

// TestDroppedEventsStayDropped kills the process when a parked event was dropped, before the
// progress of the subscription has passed it (L8).
func TestDroppedEventsStayDropped(t *testing.T) {
	problem := scene(t, 0, new(folder).handle, func(w *world) string {
		w.append(append(events("Bad", 1), source{"s-0", "Plain", core.ID{8}}))
		if problem := w.drained("fold", 1); problem != "" {
			return problem
		}
		if n, err := w.now.subs.Drop(w.t.Context(), "fold", subscriptions.Selection{All: true}); n != 1 || err != nil {
			return fmt.Sprintf("%d dropped, %v", n, err)
		}
		left, err := w.client.Records(w.t.Context(), core.RecordsRequest{Table: "plugin_traces", Limit: 1})
		if err != nil || len(left) > 0 {
			return fmt.Sprintf("traces %v, %v", left, err)
		}
		w.now.wire.kill()
		time.Sleep(time.Second)
		return w.drained("fold", 0)
	})
	if problem != "" {
		t.Error(problem)
	}
}

// TestReplayKilledBetweenCommitAndAck has one effect of a replay whose Commit was made, and whose
// process was killed before the machine was told (L6).
func TestReplayKilledBetweenCommitAndAck(t *testing.T) {
	problem := scene(t, 0, new(folder).handle, func(w *world) string {
		w.append(events("Bad", 1))
		if problem := w.drained("fold", 1); problem != "" {
			return problem
		}
		w.have(effects(func(int) (fate, time.Duration) { return killAfter, 0 }))
		if _, err := w.now.subs.Replay(w.t.Context(), "fold", subscriptions.Selection{All: true}); err != nil {
			return err.Error()
		}
		<-w.now.wire.dead
		w.have(nil)
		if problem := w.drained("fold", 0); problem != "" {
			return problem
		}
		if n := len(readAll(w.t, w.client, "out-s-0")); n != 1 || w.total() != 1 {
			return fmt.Sprintf("%d events were appended, the state has %d", n, w.total())
		}
		return ""
	})
	if problem != "" {
		t.Error(problem)
	}
}

// TestParkKilledBeforeTheMachineIsTold neither loses nor doubles a park (L5).
func TestParkKilledBeforeTheMachineIsTold(t *testing.T) {
	problem := scene(t, 0, new(folder).handle, func(w *world) string {
		w.have(func(c *core.Commit) (fate, time.Duration) {
			if slices.ContainsFunc(c.Records, func(r core.RecordOp) bool { return r.Table == "plugin_traces" }) {
				return killAfter, 0
			}
			return fine, 0
		})
		w.append(append(events("Bad", 1), source{"s-0", "Plain", core.ID{8}}))
		<-w.now.wire.dead
		w.have(nil)
		if problem := w.drained("fold", 1); problem != "" {
			return problem
		}
		if n := w.total(); n != 1 {
			return fmt.Sprintf("%d events are in the state", n)
		}
		return ""
	})
	if problem != "" {
		t.Error(problem)
	}
}

// TestDeposedOwnerHasNoEffect has an owner go on that another has overtaken: storage refuses
// what it does (P7).
func TestDeposedOwnerHasNoEffect(t *testing.T) {
	problem := scene(t, 0, new(folder).handle, func(w *world) string {
		if err := w.log.AdvanceEpoch(w.client.State().Epoch); err != nil {
			return err.Error()
		}
		old := w.now
		w.append(events("Plain", 3))
		time.Sleep(5 * time.Second)
		if n := len(readAll(w.t, w.client, "out-s-0")); n != 0 {
			return fmt.Sprintf("a deposed owner appended %d events", n)
		}
		if _, err := old.host.Pause(w.t.Context(), "fold"); !errors.Is(err, core.CodeStaleEpoch) {
			return fmt.Sprintf("a deposed owner pauses: %v", err)
		}
		w.now = w.start()
		problem := w.drained("fold", 0)
		w.end(old)
		if n := len(readAll(w.t, w.client, "out-s-0")); problem == "" && n != 3 {
			return fmt.Sprintf("%d events were appended", n)
		}
		return problem
	})
	if problem != "" {
		t.Error(problem)
	}
}

// TestAttemptsBeginAnew: each attempt is that of another handler, and waits for its backoff.
func TestAttemptsBeginAnew(t *testing.T) {
	var times []time.Time
	crashes := func(c *call) error {
		times = append(times, time.Now())
		if c.memory["begun"]++; c.memory["begun"] > 1 || int(c.Attempt) != len(times) {
			t.Errorf("attempt %d, call %d, is the handler's call %d", c.Attempt, len(times), c.memory["begun"])
		}
		if len(times) < 3 {
			return &plugins.Failure{Reason: "crashed"}
		}
		return c.put("total", "x")
	}
	problem := scene(t, 0, crashes, func(w *world) string {
		w.append(events("Plain", 1))
		return w.drained("fold", 0)
	})
	if problem != "" || len(times) != 3 {
		t.Fatalf("%s; %d attempts", problem, len(times))
	}
	if first, second := times[1].Sub(times[0]), times[2].Sub(times[1]); first < time.Millisecond || second < 2*time.Millisecond {
		t.Errorf("attempts came after %s and %s", first, second)
	}
}

// TestHandlerStops: a handler that asks to stop stops its binding, once, until it is resumed.
func TestHandlerStops(t *testing.T) {
	calls := 0
	stops := func(c *call) error {
		if calls++; calls == 1 {
			return errStop
		}
		return c.put("total", "x")
	}
	problem := scene(t, 0, stops, func(w *world) string {
		w.append(events("Plain", 1))
		time.Sleep(time.Minute)
		if s, err := w.now.host.Status(w.t.Context(), "fold"); err != nil || s.State != plugins.Stopped || calls != 1 {
			return fmt.Sprintf("%+v, %v", s, err)
		}
		if _, err := w.now.host.Resume(w.t.Context(), "fold"); err != nil {
			return err.Error()
		}
		return w.drained("fold", 0)
	})
	if problem != "" || calls != 2 {
		t.Fatalf("%s; %d calls", problem, calls)
	}
}

// TestParkedAttempts: what is parked says how often the lane has tried, replays included.
func TestParkedAttempts(t *testing.T) {
	crashes := func(*call) error { return &plugins.Failure{Reason: "crashed"} }
	problem := scene(t, 0, crashes, func(w *world) string {
		w.append(events("Plain", 1))
		for attempts := 3; attempts < 5; attempts++ {
			if problem := w.drained("fold", 1); problem != "" {
				return problem
			}
			p, err := w.now.subs.Parked(w.t.Context(), "fold", subscriptions.ParkedRequest{})
			if err != nil || len(p.Parked) != 1 || p.Parked[0].Attempts != attempts {
				return fmt.Sprintf("parked with %d attempts as %+v, %v", attempts, p.Parked, err)
			}
			if _, err := w.now.subs.Replay(w.t.Context(), "fold", subscriptions.Selection{All: true}); err != nil {
				return err.Error()
			}
			time.Sleep(time.Second)
		}
		return ""
	})
	if problem != "" {
		t.Error(problem)
	}
}
