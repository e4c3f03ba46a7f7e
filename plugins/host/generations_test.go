package host_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/host"
)

// rebuild rebuilds a binding, and waits until the new generation is live.
func (n *node) rebuild(name string, r plugins.Rebuild) plugins.Status {
	n.t.Helper()
	before, err := n.host.Status(n.t.Context(), name) // what Rebuild answers may be behind the switch
	if err != nil {
		n.t.Fatal(err)
	}
	if _, err := n.host.Rebuild(n.t.Context(), name, r); err != nil {
		n.t.Fatal(err)
	}
	return n.awaitStatus(name, "was switched", func(s *plugins.Status) bool { return s.Generation > before.Generation && s.Beside == nil })
}

// gated is a copier that waits at each event until gate is closed.
func gated(gate <-chan struct{}) handle {
	return func(c *call) error {
		select {
		case <-gate:
		case <-c.ctx.Done():
			return c.ctx.Err()
		}
		if err := copier(c); err != nil {
			return err
		}
		return c.put("version", "2")
	}
}

// TestGenerationsBesideEachOther: the live generation goes on while another is built, which is
// switched to when it has caught up. A rollback goes back to the one before, which catches up and
// appends nothing again; and forward again.
func TestGenerationsBesideEachOther(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.append("Good", 20, 3)
		n.deployCopier()
		n.await("copier", 20)
		gate := make(chan struct{})
		n.add("copier", "2", copierManifest, gated(gate))
		s, err := n.host.Rebuild(t.Context(), "copier", plugins.Rebuild{Version: "2"})
		if err != nil || s.Generation != 1 || s.Beside == nil || s.Beside.Generation != 2 || s.Beside.Version != "2" || s.Rollback != nil {
			t.Fatalf("%+v, %v", s, err)
		}
		n.append("Good", 5, 1)
		s = n.awaitStatus("copier", "goes on meanwhile", func(s *plugins.Status) bool { return len(n.copied()) == 25 && s.Beside.Target >= 45 })
		if s.Generation != 1 || s.Beside.Checkpoint != 0 || s.Beside.Percent != 0 {
			t.Fatalf("%+v, %+v", s, s.Beside)
		}
		if got := n.state("copier", 0); got["copied"] != "25" || got["version"] != "" {
			t.Errorf("the state is %v", got)
		}
		close(gate)
		s = n.awaitStatus("copier", "was switched", func(s *plugins.Status) bool { return s.Generation == 2 })
		if s.Version != "2" || s.Before == nil || s.Before.Generation != 1 || s.Before.Version != "1" || s.Rollback == nil || s.Rollback.To != plugins.ToGeneration {
			t.Fatalf("%+v", s)
		}
		if got := n.state("copier", 0); got["copied"] != "25" || got["version"] != "2" {
			t.Errorf("after the switch, the state is %v", got)
		}
		for round, version := range []string{"1", "2", "1"} {
			n.append("Good", 5, 1)
			all := 25 + 5*(round+1)
			n.awaitStatus("copier", "has copied all", func(*plugins.Status) bool { return len(n.copied()) == all })
			if s, err = n.host.Rollback(t.Context(), "copier", plugins.Rollback{To: plugins.ToGeneration}); err != nil || s.Version != version {
				t.Fatalf("%+v, %v", s, err)
			}
			n.awaitStatus("copier", "has caught up", func(s *plugins.Status) bool { return n.state("copier", 0)["copied"] == fmt.Sprint(all) })
			if got := len(n.copied()); got != all {
				t.Errorf("%d copied, %d were", got, all)
			}
		}
	})
}

func TestSwitchIsHeld(t *testing.T) {
	n := newNode(t, memory.New())
	n.append("Good", 20, 3)
	n.deployCopier()
	n.await("copier", 20)
	wants := func(what string, err error, code core.Code) {
		t.Helper()
		if !errors.Is(err, code) {
			t.Errorf("%s: %v, want %s", what, err, code)
		}
	}
	ctx := t.Context()
	_, err := n.host.Switch(ctx, "copier")
	wants("switch to nothing", err, core.CodeNoRebuild)
	_, err = n.host.CancelRebuild(ctx, "copier")
	wants("cancel nothing", err, core.CodeNoRebuild)
	_, err = n.host.DropBefore(ctx, "copier")
	wants("drop nothing", err, core.CodeNothingBefore)
	_, err = n.host.Rollback(ctx, "copier", plugins.Rollback{})
	wants("roll back to nothing", err, core.CodeNothingBefore)
	_, err = n.host.Rollback(ctx, "copier", plugins.Rollback{To: plugins.ToGeneration})
	wants("roll back to no generation", err, core.CodeNothingBefore)
	_, err = n.host.Rollback(ctx, "copier", plugins.Rollback{To: "else"})
	wants("roll back to something else", err, core.CodeInvalidRequest)
	_, err = n.host.Rebuild(ctx, "copier", plugins.Rebuild{Version: "9"})
	wants("rebuild with no version", err, core.CodeVersionNotFound)
	for _, do := range []func(string) error{
		func(name string) error { _, err := n.host.Rebuild(ctx, name, plugins.Rebuild{}); return err },
		func(name string) error { _, err := n.host.Switch(ctx, name); return err },
		func(name string) error { _, err := n.host.CancelRebuild(ctx, name); return err },
		func(name string) error { _, err := n.host.DropBefore(ctx, name); return err },
		func(name string) error { _, err := n.host.Rollback(ctx, name, plugins.Rollback{}); return err },
	} {
		wants("without a binding", do("nobody"), core.CodeBindingNotFound)
	}

	gate := make(chan struct{})
	n.add("copier", "2", copierManifest, gated(gate))
	if _, err := n.host.Rebuild(ctx, "copier", plugins.Rebuild{Version: "2", Hold: true}); err != nil {
		t.Fatal(err)
	}
	_, err = n.host.Rebuild(ctx, "copier", plugins.Rebuild{})
	wants("rebuild again", err, core.CodeRebuildUnderWay)
	_, err = n.host.Rollback(ctx, "copier", plugins.Rollback{})
	wants("roll back", err, core.CodeRebuildUnderWay)
	_, err = n.host.Deploy(ctx, "copier", plugins.Deploy{Grants: []string{"state"}})
	wants("deploy", err, core.CodeRebuildUnderWay)
	_, err = n.host.Switch(ctx, "copier")
	wants("switch too soon", err, core.CodeRebuildBehind)
	close(gate)
	n.awaitStatus("copier", "waits for the switch", func(s *plugins.Status) bool { return s.Beside != nil && s.Beside.Percent == 100 })
	n.append("Good", 3, 1)
	n.awaitStatus("copier", "goes on", func(*plugins.Status) bool { return len(n.copied()) == 23 })
	s, err := n.host.Switch(ctx, "copier")
	if err != nil || s.Generation != 2 || s.Beside != nil || s.Before == nil || s.Checkpoint < 20 {
		t.Fatalf("%+v, %v", s, err)
	}
	if got := n.state("copier", 0); got["copied"] != "23" {
		t.Errorf("at once after the switch, the state is %v", got)
	}
	if s, err = n.host.DropBefore(ctx, "copier"); err != nil || s.Before != nil || s.Rollback != nil {
		t.Errorf("%+v, %v", s, err)
	}
	n.awaitSwept("state/copier/1", "plugin_sweeps", "plugin_others", "subscriptions_unnamed", "subscription_removals")
}

// lanesRead is a Store that does something once behind a read of lanes, before that is answered.
type lanesRead struct {
	*core.Store
	then atomic.Pointer[func()]
}

func (s *lanesRead) Records(ctx context.Context, r core.RecordsRequest) ([]core.Record, error) {
	found, err := s.Store.Records(ctx, r)
	if r.Table == "plugin_lanes" {
		if then := s.then.Swap(nil); then != nil {
			(*then)()
		}
	}
	return found, err
}

// restart has the node go on with a Store that does something behind the next read of lanes. nil
// leaves that for later.
func (n *node) restart(then func()) *lanesRead {
	n.t.Helper()
	n.stop()
	store := &lanesRead{Store: n.store}
	if then != nil {
		store.then.Store(&then)
	}
	n.configure = func(c *host.Config) { c.Store = store }
	n.start()
	return store
}

// TestStatusBeforeTheLanesAreRead: a binding that begins to run is where it was, also before its
// runner knows.
func TestStatusBeforeTheLanesAreRead(t *testing.T) {
	n := newNode(t, memory.New())
	n.append("Good", 20, 3)
	n.deployCopier()
	n.await("copier", 20)
	read, goesOn := make(chan struct{}), make(chan struct{})
	n.restart(func() {
		close(read)
		<-goesOn
	})
	<-read
	stored, err := n.host.Status(t.Context(), "copier")
	close(goesOn)
	if err != nil || stored.State != plugins.Starting || len(stored.LaneStatus) != 1 || stored.LaneStatus[0].Checkpoint != 20 {
		t.Errorf("%+v, %v", stored, err)
	}
	n.awaitStatus("copier", "runs", func(s *plugins.Status) bool { return s.State == plugins.Running })
}

// TestCheckpointOfAStatus: it is not ahead of the lanes, which may go on while they are read.
func TestCheckpointOfAStatus(t *testing.T) {
	n := newNode(t, memory.New())
	store := n.restart(nil)
	n.append("Good", 5, 1)
	n.deployCopier()
	n.await("copier", 5)
	if _, err := n.host.Pause(t.Context(), "copier"); err != nil {
		t.Fatal(err)
	}
	goOn := func() {
		n.append("Good", 5, 1) // behind five copies
		if _, err := n.host.Resume(t.Context(), "copier"); err != nil {
			t.Error(err)
		}
		n.awaitStatus("copier", "goes on", func(*plugins.Status) bool {
			is, err := n.subs.Info(t.Context(), "copier")
			return err == nil && is.Checkpoint >= 15
		})
	}
	store.then.Store(&goOn)
	s, err := n.host.Status(t.Context(), "copier")
	if err != nil || s.LaneStatus[0].Checkpoint != 5 || s.Checkpoint > 10 {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestWhatBreaksBeside: a version that does not work in a rebuild does not touch the live one.
func TestWhatBreaksBeside(t *testing.T) {
	for name, h := range map[string]handle{
		"crashes": func(*call) error { return &plugins.Failure{Reason: "crashed", Permanent: true} },
		"stops":   func(*call) error { return errStop },
		"parks":   func(c *call) error { return c.park("all of it") },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, memory.New())
			n.append("Good", 5, 3)
			n.deployCopier()
			n.await("copier", 5)
			n.add("copier", "2", copierManifest, h)
			if _, err := n.host.Rebuild(t.Context(), "copier", plugins.Rebuild{Version: "2", Hold: true}); err != nil {
				t.Fatal(err)
			}
			n.awaitStatus("copier", "breaks beside", func(s *plugins.Status) bool {
				return s.Beside.Parked == 5 || s.Beside.State == plugins.Stopped && s.Beside.Reason != ""
			})
			n.append("Good", 1, 1)
			s := n.awaitStatus("copier", "goes on", func(*plugins.Status) bool { return len(n.copied()) == 6 })
			if s.State != plugins.Running || s.Parked != 0 || s.Totals.Failures != 0 {
				t.Errorf("%+v", s)
			}
			if s, err := n.host.CancelRebuild(t.Context(), "copier"); err != nil || s.Beside != nil || s.Generation != 1 {
				t.Errorf("%+v, %v", s, err)
			}
			n.awaitSwept("state/copier/2", "plugin_sweeps", "plugin_others", "subscriptions_unnamed", "plugin_traces", "subscription_parked")
			if s := n.rebuild("copier", plugins.Rebuild{}); s.Generation != 3 || n.state("copier", 0)["copied"] != "6" || len(n.copied()) != 6 {
				t.Errorf("rebuilt: %+v", s)
			}
		})
	}
}

// TestRebuildAppendsWhatWasParked: a rebuild holds back what was appended, and nothing else. What the
// live generation has parked is handled after the switch.
func TestRebuildAppendsWhatWasParked(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		for _, typ := range []string{"Good", "Bad", "Good", "Bad"} {
			n.append(typ, 1, 1)
		}
		mending := func(positions ...uint64) handle {
			return func(c *call) error {
				if slices.Contains(positions, c.Position) {
					c.Type = []byte("Good")
				} else if string(c.Type) == "Bad" {
					return c.park("it is bad")
				}
				return copier(c)
			}
		}
		n.add("copier", "1", copierManifest, mending())
		n.add("copier", "2", copierManifest, mending(2))
		n.add("copier", "3", copierManifest, mending(2, 4))
		n.deploy("copier", plugins.Deploy{Version: "1", Grants: []string{"append:copies", "state"}})
		n.awaitStatus("copier", "has two parked", func(s *plugins.Status) bool { return s.Checkpoint >= 4 && s.Parked == 2 })
		rebuild := func(what string, r plugins.Rebuild, parked int, copied ...string) {
			t.Helper()
			n.rebuild("copier", r)
			n.awaitStatus("copier", what, func(s *plugins.Status) bool {
				return s.Parked == parked && slices.Equal(n.copied(), copied) && n.state("copier", 0)["copied"] == fmt.Sprint(4-parked)
			})
		}
		rebuild("still has both", plugins.Rebuild{}, 2, "1", "3")
		rebuild("has mended one", plugins.Rebuild{Version: "2"}, 1, "1", "3", "2")
		rebuild("is the same again", plugins.Rebuild{}, 1, "1", "3", "2")
		_, err := n.host.Rebuild(t.Context(), "copier", plugins.Rebuild{From: core.From{Kind: core.AfterPosition, N: 4}})
		if !errors.Is(err, core.CodeInvalidRequest) || !strings.Contains(err.Error(), "position 4 is parked") {
			t.Errorf("a rebuild that would lose what is parked: %v", err)
		}
		if _, err := n.subs.Replay(t.Context(), "copier", subscriptions.Selection{All: true}); err != nil {
			t.Fatal(err)
		}
		rebuild("has mended all", plugins.Rebuild{Version: "3"}, 0, "1", "3", "2", "4")
		rebuild("is the same at last", plugins.Rebuild{}, 0, "1", "3", "2", "4")
	})
}

// TestReplaysWhileAnotherIsBuilt: the live generation handles a parked event that the one beside has
// come to. It is appended once, and is in the state of both once.
func TestReplaysWhileAnotherIsBuilt(t *testing.T) {
	n := newNode(t, memory.New())
	for _, typ := range []string{"Good", "Bad", "Good"} {
		n.append(typ, 1, 1)
	}
	n.deployCopier()
	n.awaitStatus("copier", "has one parked", func(s *plugins.Status) bool { return s.Checkpoint >= 3 && s.Parked == 1 })
	if _, err := n.host.Rebuild(t.Context(), "copier", plugins.Rebuild{Hold: true}); err != nil {
		t.Fatal(err)
	}
	n.awaitStatus("copier", "has it parked beside", func(s *plugins.Status) bool { return s.Beside.Parked == 1 && s.Beside.Percent == 100 })
	if _, err := n.subs.Replay(t.Context(), "copier", subscriptions.Selection{All: true}); err != nil {
		t.Fatal(err)
	}
	n.awaitStatus("copier", "has copied it", func(s *plugins.Status) bool { return s.Parked == 0 && len(n.copied()) == 3 })
	if _, err := n.host.Switch(t.Context(), "copier"); err != nil {
		t.Fatal(err)
	}
	n.awaitStatus("copier", "has handled it", func(s *plugins.Status) bool { return s.Parked == 0 && n.state("copier", 0)["copied"] == "3" })
	n.append("Good", 1, 1)
	n.awaitStatus("copier", "goes on", func(*plugins.Status) bool { return len(n.copied()) >= 4 })
	if got := strings.Join(n.copied(), " "); got != "1 3 2 6" && got != "1 3 2 7" {
		t.Errorf("copied %s", got)
	}
}

// TestProjectionsAreRebuiltInOrder: what appends nothing handles what was parked in its turn.
func TestProjectionsAreRebuiltInOrder(t *testing.T) {
	n := newNode(t, memory.New())
	last := func(bad bool) handle {
		return func(c *call) error {
			if bad && string(c.Type) == "Bad" {
				return c.park("it is bad")
			}
			order, _, err := c.get("order")
			if err != nil {
				return err
			}
			return c.put("order", order+string(c.Type[:1]))
		}
	}
	m := copierManifest
	m.Kind = plugins.KindProjection
	n.add("order", "1", m, last(true))
	n.add("order", "2", m, last(false))
	for _, typ := range []string{"Good", "Bad", "Odd"} {
		n.append(typ, 1, 1)
	}
	n.deploy("order", plugins.Deploy{Version: "1", Grants: []string{"state"}})
	n.awaitStatus("order", "has one parked", func(s *plugins.Status) bool { return s.Checkpoint == 3 && s.Parked == 1 })
	if s := n.rebuild("order", plugins.Rebuild{Version: "2"}); s.Parked != 0 || n.state("order", 0)["order"] != "GBO" {
		t.Errorf("the order is %v: %+v", n.state("order", 0), s)
	}
}

// TestRebuildsGoOnAfterAStop: what is stored of a generation beside is all that there is of it.
func TestRebuildsGoOnAfterAStop(t *testing.T) {
	n := newNode(t, memory.New())
	n.append("Good", 20, 3)
	n.deployCopier()
	n.await("copier", 20)
	gate := make(chan struct{})
	n.add("copier", "2", copierManifest, func(c *call) error {
		if c.Position == 10 {
			select {
			case <-gate:
			case <-c.ctx.Done():
				return c.ctx.Err()
			}
		}
		return copier(c)
	})
	if _, err := n.host.Rebuild(t.Context(), "copier", plugins.Rebuild{Version: "2"}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Millisecond)
	n.stop()
	n.start()
	s := n.awaitStatus("copier", "is there again", func(s *plugins.Status) bool { return s.Beside != nil && s.Beside.State == plugins.Running })
	if s.Generation != 1 || s.Version != "1" {
		t.Errorf("%+v", s)
	}
	close(gate)
	n.awaitStatus("copier", "was switched", func(s *plugins.Status) bool { return s.Generation == 2 && s.Version == "2" })
	if got := n.state("copier", 0)["copied"]; got != "20" || len(n.copied()) != 20 {
		t.Errorf("%s are in the state, %d copied", got, len(n.copied()))
	}
}

// TestChangesAreToldInOrder: who observes a binding is told of each Commit of a lane, with what it has
// changed, and of the switch behind those of the generation before.
func TestChangesAreToldInOrder(t *testing.T) {
	n := newNode(t, memory.New())
	n.deployCopier()
	var mu sync.Mutex
	var seen []string
	last := map[uint64]uint64{} // the revision of each generation's lane
	stop := host.Observe(n.host, "copier", func(generation, revision uint64, switched bool, keys []string) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case switched:
			seen = append(seen, fmt.Sprintf("switch to %d", generation))
		case keys != nil:
			if revision != last[generation]+1 {
				seen = append(seen, fmt.Sprintf("revision %d of generation %d comes behind %d", revision, generation, last[generation]))
			}
			seen = append(seen, fmt.Sprintf("%d changes %s", generation, strings.Join(keys, " ")))
		}
		if !switched {
			last[generation] = revision
		}
	})
	defer stop()
	reported := func(times int) { // which is after the status has it
		t.Helper()
		n.awaitStatus("copier", fmt.Sprintf("has told of %d changes", times), func(*plugins.Status) bool {
			mu.Lock()
			defer mu.Unlock()
			return len(seen) >= times
		})
	}
	n.append("Good", 1, 1)
	reported(1)
	if _, err := n.host.Rebuild(t.Context(), "copier", plugins.Rebuild{Hold: true}); err != nil {
		t.Fatal(err)
	}
	reported(2)
	if _, err := n.host.Switch(t.Context(), "copier"); err != nil {
		t.Fatal(err)
	}
	n.append("Good", 1, 1)
	reported(4)
	mu.Lock()
	defer mu.Unlock()
	if want := []string{"1 changes copied", "2 changes copied", "switch to 2", "2 changes copied"}; !slices.Equal(seen, want) {
		t.Errorf("observed %q, want %q", seen, want)
	}
}

// TestBackBehindADeploy: after a rebuild and then a deploy, rollbacks go to and fro between the versions,
// and the generation before is gone back to by name, with its own state.
func TestBackBehindADeploy(t *testing.T) {
	n := newNode(t, memory.New())
	n.append("Good", 5, 1)
	n.deployCopier()
	n.await("copier", 5)
	marked := func(c *call) error {
		if err := copier(c); err != nil {
			return err
		}
		return c.put("version", "2")
	}
	n.add("copier", "2", copierManifest, marked)
	n.add("copier", "3", copierManifest, marked)
	n.rebuild("copier", plugins.Rebuild{Version: "2"})
	n.deploy("copier", plugins.Deploy{Version: "3"})
	for _, step := range []struct {
		to         plugins.RollbackTo
		version    string
		generation uint64
	}{{"", "2", 2}, {"", "3", 2}, {plugins.ToGeneration, "1", 1}, {"", "3", 2}, {plugins.ToVersion, "2", 2}} {
		s, err := n.host.Rollback(t.Context(), "copier", plugins.Rollback{To: step.to})
		if err != nil || s.Version != step.version || s.Generation != step.generation {
			t.Fatalf("rollback to %q: generation %d of version %s, %v; want %+v", step.to, s.Generation, s.Version, err, step)
		}
		want := ""
		if step.generation == 2 {
			want = "2"
		}
		if got := n.state("copier", 0)["version"]; got != want {
			t.Errorf("the state of generation %d was made by version %q", step.generation, got)
		}
	}
}

// TestFewerGrants: a deploy that takes a grant to read back keeps the state, and notes what that may be
// made of. A rebuild makes a generation without it, and a rollback goes back to one with it.
func TestFewerGrants(t *testing.T) {
	n := newNode(t, memory.New())
	n.append("Good", 5, 1)
	n.deployCopier()
	n.await("copier", 5)
	grants := n.awaitStatus("copier", "is there", func(*plugins.Status) bool { return true }).Grants
	wants := func(what string, s plugins.Status, generation uint64, former ...string) {
		t.Helper()
		if s.Generation != generation || !slices.Equal(s.FormerGrants, former) || n.state("copier", 0)["copied"] != "5" {
			t.Errorf("%s: generation %d was granted %q; the state is %v", what, s.Generation, s.FormerGrants, n.state("copier", 0))
		}
	}
	n.deploy("copier", plugins.Deploy{Grants: append(slices.Clone(grants), "streams.read:a-*")})
	wants("with one more", n.deploy("copier", plugins.Deploy{}), 1)
	wants("without it", n.deploy("copier", plugins.Deploy{Grants: grants}), 1, "streams.read:a-*")
	wants("another", n.deploy("copier", plugins.Deploy{Grants: append(slices.Clone(grants), "streams.read:b-*")}), 1, "streams.read:a-*")
	wants("rebuilt", n.rebuild("copier", plugins.Rebuild{}), 2)
	n.deploy("copier", plugins.Deploy{Grants: grants})
	s, err := n.host.Rollback(t.Context(), "copier", plugins.Rollback{To: plugins.ToGeneration})
	if err != nil {
		t.Fatal(err)
	}
	wants("rolled back", s, 1, "streams.read:a-*", "streams.read:b-*")
}

// TestRebuildMeetsAChange: a rebuild that begins while the binding is changed begins once more.
func TestRebuildMeetsAChange(t *testing.T) {
	n := newNode(t, memory.New())
	n.deployCopier()
	tries := 0
	admit := func(_, _ *plugins.Binding) error {
		if tries++; tries == 1 {
			_, err := n.host.Pause(t.Context(), "copier")
			return err
		}
		return nil
	}
	if s, err := n.host.Rebuild(t.Context(), "copier", plugins.Rebuild{Admit: admit, Hold: true}); err != nil || tries != 2 || s.Beside == nil {
		t.Errorf("%d tries, %+v, %v", tries, s, err)
	}
}

// TestRollbackMeetsADeploy: a rollback that begins while another version is deployed undoes that.
func TestRollbackMeetsADeploy(t *testing.T) {
	n := newNode(t, memory.New())
	n.deployCopier()
	n.add("copier", "2", copierManifest, copier)
	n.add("copier", "3", copierManifest, copier)
	n.deploy("copier", plugins.Deploy{Version: "2"})
	n.whenHeld(func() { n.deploy("copier", plugins.Deploy{Version: "3"}) })
	if s, err := n.host.Rollback(t.Context(), "copier", plugins.Rollback{}); err != nil || s.Version != "2" || s.Previous != "3" {
		t.Errorf("version %s is live, and %s was before: %v", s.Version, s.Previous, err)
	}
}
