package host_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/host"
)

// schedule is a run: what is handled, and what happens meanwhile.
type schedule struct {
	seed     uint64
	events   []source
	lanes    int
	batch    int
	quiet    bool  // nothing goes wrong
	rebuilds bool  // and switches, and rollbacks
	parks    bool  // with them: then the order of what is replayed is another
	both     bool  // an owner that was overtaken goes on, and only records tell it
	deep     int64 // the faults of Commits behind which others were under way
	ended    plugins.Status
}

// makeSchedule makes the schedule of a seed. Where generations park and replay different events, none
// expects a version of what another has appended, too.
func makeSchedule(seed uint64) schedule {
	r := rand.New(rand.NewPCG(seed, 1))
	s := schedule{seed: seed, lanes: 1 + r.IntN(3), batch: []int{1, 3, 64}[r.IntN(3)], rebuilds: r.IntN(4) == 0, both: r.IntN(3) == 0}
	kinds := types
	if s.rebuilds {
		without := []string{"Bad", "Stubborn"}
		if s.parks = r.IntN(2) == 0; s.parks {
			without = []string{"Exact"}
		}
		kinds = slices.DeleteFunc(slices.Clone(types), func(k string) bool { return slices.Contains(without, k) })
	}
	s.events = sources(r, 20+r.IntN(40), kinds)
	return s
}

var foldManifest = plugins.Manifest{Subscription: plugins.Input{Filter: subscriptions.Filter{Streams: []string{"s-*"}}, PartitionBy: subscriptions.ByStream}}

func (f *folder) library() *library {
	lib := newLibrary()
	lib.add("fold", "1", foldManifest, f.handle)
	lib.add("fold", "2", foldManifest, f.handle)
	return lib
}

// run runs a schedule without some rules. problem says what did not end.
func (s *schedule) run(t testing.TB, without host.Rules) (o outcome, problem string) {
	f := &folder{}
	return s.play(f, newWorld(t, f.library(), without))
}

// play runs a schedule in a world with a folder's library, and closes the world.
func (s *schedule) play(f *folder, w *world) (o outcome, problem string) {
	r := rand.New(rand.NewPCG(s.seed, 2))
	defer func() {
		w.close()
		s.deep = w.deep.Load()
	}()
	d := plugins.Deploy{
		Version: "1", Lanes: s.lanes, Grants: []string{"append:out-*", "state"},
		Limits:  &plugins.Limits{BatchEvents: s.batch},
		OnError: &plugins.ErrorPolicy{Attempts: 1000, MinMs: 1, MaxMs: 50},
	}
	if problem = w.retry("deploy", func(p *process) error { _, err := p.host.Deploy(context.Background(), "fold", d); return err }); problem != "" {
		return o, problem
	}
	if !s.quiet {
		w.have(fates(r.Uint64()))
	}
	for rest := s.events; len(rest) > 0; {
		n := min(len(rest), 1+r.IntN(24))
		if s.rebuilds {
			n = min(n, 8)
		}
		w.append(rest[:n])
		rest = rest[n:]
		if !s.quiet {
			s.disturb(w, r)
		}
	}
	time.Sleep(time.Duration(r.IntN(200)) * time.Millisecond)
	w.have(nil)
	parked := 0
	for _, e := range s.events {
		if e.typ == "Bad" || e.typ == "Stubborn" {
			parked++
		}
	}
	if s.parks && !s.quiet { // what a switch has replayed is not parked any more
		parked = anyParked
	}
	if problem = w.settled(); problem != "" {
		return o, problem
	}
	if problem = w.drained("fold", parked); problem != "" {
		return o, problem
	}
	for range 3 {
		f.round.Add(1)
		if problem = s.replay(w, r); problem != "" {
			return o, problem
		}
	}
	if problem = w.drained("fold", 0); problem == "" {
		o = w.outcome("fold", s.lanes)
		s.ended, _ = w.now.host.Status(context.Background(), "fold") // it was drained
	}
	return o, problem
}

// replay has all that is parked handled again, with faults meanwhile, and waits until it was.
func (s *schedule) replay(w *world, r *rand.Rand) string {
	problem := w.retry("replay", func(p *process) error {
		_, err := p.subs.Replay(context.Background(), "fold", subscriptions.Selection{All: true})
		return err
	})
	if !s.quiet {
		w.have(fates(r.Uint64()))
	}
	for range r.IntN(4) {
		time.Sleep(time.Duration(r.IntN(60)) * time.Millisecond)
		w.restart()
	}
	w.have(nil)
	if problem != "" {
		return problem
	}
	return w.retry("waiting until all is replayed", func(p *process) error {
		page, err := p.subs.Parked(context.Background(), "fold", subscriptions.ParkedRequest{})
		for _, e := range page.Parked {
			if e.Replaying {
				return errAgain
			}
		}
		return err
	})
}

// fates has some Commits fail.
func fates(seed uint64) func(*core.Commit) (fate, time.Duration) {
	r := rand.New(rand.NewPCG(seed, 3))
	return func(*core.Commit) (fate, time.Duration) {
		took := time.Duration(max(0, r.IntN(8)-4)) * time.Millisecond
		if r.IntN(12) > 0 {
			return fine, took
		}
		f := fate(r.IntN(int(unavailable)) + 1)
		if f == late {
			took = time.Duration(r.IntN(300)) * time.Millisecond
		}
		return f, took
	}
}

// disturb does something to the world.
func (s *schedule) disturb(w *world, r *rand.Rand) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	time.Sleep(time.Duration(r.IntN(40)) * time.Millisecond)
	w.restart()
	h := w.now.host
	what := r.IntN(9)
	if s.rebuilds && r.IntN(2) == 0 {
		what = 5 + r.IntN(4)
	}
	switch what {
	case 0:
		w.now.wire.kill()
		w.restart()
	case 1: // another owner, while this one goes on for a while
		if !s.both && w.log != nil {
			_ = w.log.AdvanceEpoch(w.client.State().Epoch)
		}
		old := w.now
		w.now = w.start()
		time.Sleep(time.Duration(r.IntN(30)) * time.Millisecond)
		w.end(old)
	case 2: // a clean restart
		old := w.now
		w.end(old)
		w.now = w.start()
	case 3:
		_, _ = h.Pause(ctx, "fold")
		time.Sleep(time.Duration(r.IntN(20)) * time.Millisecond)
	case 4:
		_, _ = h.Deploy(ctx, "fold", plugins.Deploy{Version: strconv.Itoa(1 + r.IntN(2))})
	case 5:
		if s.rebuilds {
			_, _ = h.Rebuild(ctx, "fold", plugins.Rebuild{Version: []string{"", "1", "2"}[r.IntN(3)], Hold: r.IntN(3) == 0})
		}
	case 6:
		if s.rebuilds {
			_, _ = h.Switch(ctx, "fold")
		}
	case 7:
		if s.rebuilds {
			_, _ = h.Rollback(ctx, "fold", plugins.Rollback{})
		}
	case 8:
		if s.rebuilds && r.IntN(3) == 0 {
			_, _ = h.CancelRebuild(ctx, "fold")
		}
	}
	_ = w.retry("resume", func(p *process) error { _, err := p.host.Resume(context.Background(), "fold"); return err })
}

// check runs a schedule, and again without anything that goes wrong, and says how the outcomes
// differ.
func (s *schedule) check(t testing.TB, without host.Rules) string {
	got, problem := s.run(t, without)
	if problem != "" {
		return problem
	}
	undisturbed := *s
	undisturbed.quiet = true
	want, problem := undisturbed.run(t, 0)
	if problem != "" {
		return "undisturbed: " + problem
	}
	if problem := want.withoutIDs().diff(s.sequential()); problem != "" {
		return "undisturbed: " + problem
	}
	switch {
	case s.parks:
		got, want = got.causes(), want.causes()
	case s.rebuilds: // generations have ids of their own
		got, want = got.withoutIDs(), want.withoutIDs()
	}
	return got.diff(want)
}

// withoutIDs has the version, type and data of each event.
func (o outcome) withoutIDs() outcome {
	streams := map[string][]string{}
	for stream, events := range o.streams {
		for _, e := range events {
			streams[stream] = append(streams[stream], strings.Join(strings.Split(e, " ")[1:4], " "))
		}
	}
	return outcome{streams, o.state}
}

// causes has, of each stream, the types and the causes of its events, in any order.
func (o outcome) causes() outcome {
	streams := map[string][]string{}
	for stream, events := range o.streams {
		for _, e := range events {
			parts := strings.Split(e, " ")
			_, cause, _ := strings.Cut(parts[4], `"causation_id":"`)
			streams[stream] = append(streams[stream], parts[2]+" of "+cause[:36])
		}
		slices.Sort(streams[stream])
	}
	return outcome{streams, o.state}
}

// sequential is what the schedule has to come to: each event once, those that are parked after
// all others, and the stubborn ones after them.
func (s *schedule) sequential() outcome {
	o := outcome{streams: map[string][]string{}, state: map[string]string{}}
	for round := range 3 {
		for _, e := range s.events {
			if round == slices.Index([]string{"", "Bad", "Stubborn"}, e.typ) || round == 0 && e.typ != "Bad" && e.typ != "Stubborn" {
				o.fold(e, host.LaneOf(e.stream, s.lanes))
			}
		}
	}
	return o
}

// fold is what an event of a lane comes to.
func (o outcome) fold(e source, lane int) {
	key := func(name string) string { return fmt.Sprintf("%d/%s", lane, name) }
	count := func(name string) int {
		n, _ := strconv.Atoi(o.state[key(name)])
		o.state[key(name)] = strconv.Itoa(n + 1)
		return n + 1
	}
	o.state[key("total")] += "|"
	n := count("count-" + e.stream)
	outputs := map[string]int{"Quiet": 0, "Double": 2}
	outs, ok := outputs[e.typ]
	if !ok {
		outs = 1
	}
	for i := range outs {
		version := count("written-" + e.stream)
		o.streams["out-"+e.stream] = append(o.streams["out-"+e.stream],
			fmt.Sprintf(`%d Out%s {"n":%d,"i":%d,"total":%d}`, version, e.typ, n, i, len(o.state[key("total")])))
	}
}

// TestModel runs random schedules of faults, kills, moves and changes, and compares what comes
// of each with an undisturbed run: ids, versions, types, data and metadata of each stream, and
// the state of each lane. HOST_SEED runs one, HOST_SEEDS as many.
func TestModel(t *testing.T) {
	first, n := uint64(1), 100
	if seed := os.Getenv("HOST_SEED"); seed != "" {
		first, _ = strconv.ParseUint(seed, 10, 64)
		n = 1
	}
	if seeds := os.Getenv("HOST_SEEDS"); seeds != "" {
		n, _ = strconv.Atoi(seeds)
	}
	var deep, switched, back atomic.Int64
	t.Cleanup(func() {
		met := fmt.Sprintf("%d faults met Commits behind which others were under way; %d ended with a later generation, %d with an earlier one",
			deep.Load(), switched.Load(), back.Load())
		if t.Log(met); n >= 100 && !t.Failed() && (deep.Load() < int64(n)/10 || switched.Load() < int64(n)/20 || n >= 1000 && back.Load() == 0) {
			t.Error("that is not enough")
		}
	})
	for i := range uint64(n) {
		t.Run(fmt.Sprint(first+i), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := makeSchedule(first + i)
				if problem := s.check(t, 0); problem != "" {
					s.events = nil
					t.Errorf("%+v:\n%s", s, problem)
				}
				deep.Add(s.deep)
				if before := s.ended.Before; before != nil && before.Generation > s.ended.Generation {
					back.Add(1)
				} else if s.ended.Generation > 1 {
					switched.Add(1)
				}
			})
		})
	}
}
