package host_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
)

// counter counts events per type, and appends one for each tenth.
func counter(c *call) error {
	if string(c.Type) == "Tenth" {
		return nil
	}
	n, err := c.count(string(c.Type))
	if err != nil || n%10 != 0 {
		return err
	}
	return c.append("tenths-"+string(c.Type), -1, "Tenth", fmt.Sprintf(`{"n":%d}`, n))
}

var counterManifest = plugins.Manifest{Subscription: plugins.Input{Stream: core.All}}

var counterGrants = []string{"append:tenths-*", "state"}

func TestHandlerAppendsAndKeepsState(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.add("counter", "1", counterManifest, counter)
		n.append("A", 25, 3)
		n.append("B", 13, 3)
		n.deploy("counter", plugins.Deploy{Version: "1", Grants: counterGrants, AllowLoops: new(true)})
		n.await("counter", 38)
		n.append("A", 30, 3)
		s := n.awaitStatus("counter", "has appended six events", func(s *plugins.Status) bool { return s.Checkpoint == 68+6 && s.Totals.Appended == 6 })
		if got := n.state("counter", 0); !maps.Equal(got, map[string]string{"A": "55", "B": "13"}) {
			t.Errorf("the state is %v", got)
		}
		if a, b := len(n.events("tenths-A")), len(n.events("tenths-B")); a != 5 || b != 1 {
			t.Errorf("%d and %d events were appended", a, b)
		}
		if s.State != plugins.Running || s.StateBytes != 6 || s.Parked != 0 {
			t.Errorf("%+v", s)
		}
		n.stop()
		n.start()
		n.append("A", 5, 1)
		n.await("counter", 79+1)
		if got := n.state("counter", 0)["A"]; got != "60" {
			t.Errorf("after a restart, state is %s", got)
		}
	})
}

// copier appends a copy of each event: Bad ones are parked, Odd ones succeed with their third
// attempt.
func copier(c *call) error {
	switch typ := string(c.Type); {
	case typ == "Copy":
		return nil
	case typ == "Bad" && c.Flags&abi.Replay == 0:
		return c.park("it is bad")
	case typ == "Odd" && c.Attempt < 3:
		return c.retry("not yet", time.Millisecond)
	}
	n, err := c.count("copied")
	if err != nil {
		return err
	}
	return c.append("copies", -1, "Copy", fmt.Sprintf(`{"n":%d,"of":%d}`, n, c.Position))
}

var copierManifest = plugins.Manifest{Subscription: plugins.Input{Filter: subscriptions.Filter{Streams: []string{"s-*"}}}}

func (n *node) deployCopier() plugins.Status {
	n.add("copier", "1", copierManifest, copier)
	return n.deploy("copier", plugins.Deploy{Version: "1", Grants: []string{"append:copies", "state"}})
}

// copied are the positions of the events that were copied.
func (n *node) copied() (positions []string) {
	for _, e := range n.events("copies") {
		positions = append(positions, strings.TrimSuffix(strings.Split(string(e.Data), `"of":`)[1], "}"))
	}
	return positions
}

func TestRetriesParksAndReplays(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		for _, typ := range []string{"Good", "Bad", "Odd", "Good", "Bad", "Good"} {
			n.append(typ, 1, 1)
		}
		n.deployCopier()
		n.await("copier", 6)
		n.awaitStatus("copier", "has parked two", func(s *plugins.Status) bool { return s.Parked == 2 }) // lanes are ahead of that
		if got := strings.Join(n.copied(), " "); got != "1 3 4 6" {
			t.Errorf("copied %s", got)
		}
		parked, err := n.subs.Parked(t.Context(), "copier", subscriptions.ParkedRequest{})
		if err != nil || len(parked.Parked) != 2 || parked.Parked[0].Position != 2 || parked.Parked[0].Reason != "it is bad" {
			t.Fatalf("parked: %+v, %v", parked.Parked, err)
		}
		if _, err := n.subs.Replay(t.Context(), "copier", subscriptions.Selection{Positions: []uint64{5}}); err != nil {
			t.Fatal(err)
		}
		s := n.awaitStatus("copier", "has one event parked", func(s *plugins.Status) bool { return s.Parked == 1 })
		if got := strings.Join(n.copied(), " "); got != "1 3 4 6 5" {
			t.Errorf("copied %s", got)
		}
		if got := n.state("copier", 0)["copied"]; got != "5" || s.LaneStatus[0].Checkpoint != 6 {
			t.Errorf("the state is %s, %+v", got, s)
		}
		if dropped, err := n.subs.Drop(t.Context(), "copier", subscriptions.Selection{All: true}); err != nil || dropped != 1 {
			t.Fatalf("%d dropped: %v", dropped, err)
		}
		for _, table := range []string{"plugin_traces", "subscription_parked"} {
			if left, err := n.store.Records(t.Context(), core.RecordsRequest{Table: table, Limit: 10}); err != nil || len(left) > 0 {
				t.Errorf("%s has %d records, %v", table, len(left), err)
			}
		}
	})
}

func TestBrokenVersionsChangeNothing(t *testing.T) {
	n := newNode(t, memory.New())
	n.append("Good", 3, 1)
	n.deployCopier()
	n.await("copier", 3)
	n.add("copier", "2", copierManifest, copier)
	n.breakVersion("copier@2", core.Errorf(core.CodeInvalidModule, "it does not compile"))
	if _, err := n.host.Deploy(t.Context(), "copier", plugins.Deploy{Version: "2"}); !errors.Is(err, core.CodeInvalidModule) {
		t.Errorf("deploy: %v", err)
	}
	n.append("Good", 1, 1)
	if s := n.await("copier", 5); s.Version != "1" || s.State != plugins.Running {
		t.Errorf("%+v", s)
	}

	// A version that breaks later stops its binding only, and the node starts.
	n.stop()
	n.breakVersion("copier@1", core.Errorf(core.CodeInvalidModule, "its code is gone"))
	n.add("counter", "1", counterManifest, counter)
	n.start()
	s := n.awaitStatus("copier", "is broken", func(s *plugins.Status) bool { return s.State == plugins.Broken })
	if !strings.Contains(s.Reason, "its code is gone") {
		t.Errorf("the reason is %q", s.Reason)
	}
	n.deploy("counter", plugins.Deploy{Version: "1", Grants: counterGrants, AllowLoops: new(true)})
	n.await("counter", n.store.State().Head)
}

func TestBoundSubscriptionsAreTheBindings(t *testing.T) {
	n := newNode(t, memory.New())
	n.deployCopier()
	ctx, subs := t.Context(), n.subs
	if _, err := subs.Join(ctx, subscriptions.JoinRequest{Name: "copier", Credit: delivery.Credit{Events: 1, Bytes: 1}}); !errors.Is(err, core.CodeSubscriptionInUse) {
		t.Errorf("join: %v", err)
	}
	d := subscriptions.DefaultDefinition()
	for name, err := range map[string]error{
		"reset":    subs.Reset(ctx, "copier", core.From{}),
		"delete":   subs.Delete(ctx, "copier"),
		"redefine": subs.Redefine(ctx, "copier", &d),
		"pause":    subs.Pause(ctx, "copier"),
		"resume":   subs.Resume(ctx, "copier"),
	} {
		if !errors.Is(err, core.CodeSubscriptionBound) || !strings.Contains(err.Error(), "gyre plugin ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := subs.Put(ctx, "other", &d); err != nil {
		t.Fatal(err)
	}
	if _, err := n.host.Deploy(ctx, "other", plugins.Deploy{Plugin: "copier", Version: "1"}); !errors.Is(err, core.CodeSubscriptionInUse) {
		t.Errorf("deploy over a subscription: %v", err)
	}
}

func TestLifeOfABinding(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		ctx := t.Context()
		n.append("Good", 10, 2)
		n.deployCopier()
		n.await("copier", 10)
		if s, err := n.host.Pause(ctx, "copier"); err != nil || s.State != plugins.Paused {
			t.Fatalf("%+v, %v", s, err)
		}
		n.append("Good", 5, 2)
		n.add("copier", "2", copierManifest, func(c *call) error {
			if err := copier(c); err != nil {
				return err
			}
			return c.put("version", "2")
		})
		if s := n.deploy("copier", plugins.Deploy{Version: "2"}); s.Previous != "1" || !s.Paused {
			t.Errorf("%+v", s)
		}
		if got := len(n.copied()); got != 10 {
			t.Errorf("%d copied while it is paused", got)
		}
		if _, err := n.host.Resume(ctx, "copier"); err != nil {
			t.Fatal(err)
		}
		n.await("copier", 15+10)
		if got := n.state("copier", 0); got["copied"] != "15" || got["version"] != "2" {
			t.Errorf("the state is %v", got)
		}
		if s, err := n.host.Rollback(ctx, "copier", plugins.Rollback{}); err != nil || s.Version != "1" || s.Previous != "2" {
			t.Errorf("%+v, %v", s, err)
		}

		if _, err := n.host.Get(ctx, "copier", plugins.KeyRequest{Lane: plugins.OnlyLane, Key: "nothing"}); !errors.Is(err, core.CodeStateNotFound) || !strings.Contains(err.Error(), "events up to position") {
			t.Errorf("a key that is not there: %v", err)
		}

		// What was copied before is held back, what comes after is not.
		first := n.events("copies")[0].ID
		if s := n.rebuild("copier", plugins.Rebuild{}); s.Generation != 2 || s.EmitAfter == 0 {
			t.Fatalf("%+v", s)
		}
		n.append("Good", 1, 1)
		n.await("copier", n.store.State().Head)
		n.awaitStatus("copier", "has copied all", func(*plugins.Status) bool { return len(n.copied()) == 16 })
		if got := n.state("copier", 0); got["copied"] != "16" || got["version"] != "" {
			t.Errorf("after the rebuild, the state is %v", got)
		}
		if s := n.rebuild("copier", plugins.Rebuild{EmitAgain: true}); s.Generation != 3 || s.EmitAfter != 0 {
			t.Fatalf("%+v", s)
		}
		n.awaitStatus("copier", "has copied all again", func(*plugins.Status) bool { return len(n.copied()) == 32 })
		if n.events("copies")[16].ID == first {
			t.Error("two generations made the same id")
		}

		if err := n.host.Delete(ctx, "copier"); err != nil {
			t.Fatal(err)
		}
		if _, err := n.host.Status(ctx, "copier"); !errors.Is(err, core.CodeBindingNotFound) {
			t.Errorf("status: %v", err)
		}
		n.awaitSwept("state/copier/1", "state/copier/2", "state/copier/3", "plugin_lanes", "plugin_bindings", "plugin_runs", "plugin_sweeps", "plugin_others", "subscriptions", "subscriptions_unnamed", "subscription_state")
		if s := n.deployCopier(); s.Generation != 4 {
			t.Errorf("made again: %+v", s)
		}
		n.awaitStatus("copier", "has copied all once more", func(*plugins.Status) bool { return len(n.copied()) == 48 })
	})
}

// TestDeployAfterDelete: a binding that is deployed again at once is a new one.
func TestDeployAfterDelete(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.append("Good", 50, 3)
		n.deployCopier()
		for generation := uint64(2); generation < 8; generation++ {
			n.awaitStatus("copier", "has begun", func(s *plugins.Status) bool { return s.Totals.Events > 0 })
			if err := n.host.Delete(t.Context(), "copier"); err != nil {
				t.Fatal(err)
			}
			if s := n.deployCopier(); s.Generation != generation || s.FirstGeneration != generation {
				t.Fatalf("deployed again: %+v, want generation %d", s, generation)
			}
		}
		s := n.awaitStatus("copier", "has handled all", func(s *plugins.Status) bool { return s.Checkpoint >= 50 && s.Totals.Events >= 50 })
		if got := n.state("copier", 0)["copied"]; got != "50" || s.Totals.Events != 50 || s.Parked != 0 {
			t.Errorf("the state is %s: %+v", got, s)
		}
		n.awaitSwept("state/copier/1", "state/copier/6", "plugin_sweeps")
	})
}

// TestStatusAfterDelete: a binding that is deployed under the name of a deleted one has done nothing,
// also while a handler of the deleted one has not returned.
func TestStatusAfterDelete(t *testing.T) {
	n := newNode(t, memory.New())
	entered, gate := make(chan struct{}, 1), make(chan struct{})
	n.append("Good", 1, 1)
	n.add("copier", "1", copierManifest, func(c *call) error {
		if c.Position > 1 {
			select {
			case entered <- struct{}{}:
			default:
			}
			<-gate
		}
		return copier(c)
	})
	order := plugins.Deploy{Version: "1", Grants: []string{"append:copies", "state"}}
	n.deploy("copier", order)
	n.await("copier", 1)
	n.append("Good", 1, 1)
	<-entered
	if err := n.host.Delete(t.Context(), "copier"); err != nil {
		t.Fatal(err)
	}
	s := n.deploy("copier", order)
	close(gate)
	if s.State != plugins.Starting || s.Checkpoint != 0 || s.Totals.Events != 0 || s.StateBytes != 0 {
		t.Errorf("at once it is %+v", s)
	}
	n.awaitStatus("copier", "has handled both", func(s *plugins.Status) bool { return s.Totals.Events == 2 })
}

// TestDeleteOfWhatCannotBeRead: a binding can be deleted whatever its record has.
func TestDeleteOfWhatCannotBeRead(t *testing.T) {
	for _, value := range []string{"{", `{}`, `{"binding":"copier","subscription":"copier","lanes":0}`} {
		n := newNode(t, memory.New())
		n.append("Good", 10, 2)
		n.deployCopier()
		n.await("copier", 10)
		n.rebuild("copier", plugins.Rebuild{EmitAgain: true})
		n.awaitStatus("copier", "has copied all again", func(*plugins.Status) bool { return len(n.copied()) == 20 })
		n.put("plugin_bindings", "copier", value)
		if _, err := n.host.Status(t.Context(), "copier"); err == nil || !strings.Contains(err.Error(), "gyre plugin rm copier") {
			t.Errorf("%s: the status says %v", value, err)
		}
		if err := n.host.Delete(t.Context(), "copier"); err != nil {
			t.Fatalf("%s: %v", value, err)
		}
		n.awaitSwept("state/copier/1", "state/copier/2", "plugin_lanes", "plugin_bindings", "plugin_runs", "plugin_sweeps", "plugin_others", "subscriptions", "subscriptions_unnamed", "subscription_state")
		if s := n.deployCopier(); s.Generation != 3 {
			t.Errorf("%s: made again: %+v", value, s)
		}
		n.awaitStatus("copier", "has copied all once more", func(*plugins.Status) bool { return len(n.copied()) == 30 })
	}
}

// TestOwned: what the node owns is known without a listing, running or not.
func TestOwned(t *testing.T) {
	n := newNode(t, memory.New())
	n.append("Good", 3, 1)
	n.deployCopier()
	n.await("copier", 3)
	n.deploy("idle", plugins.Deploy{Plugin: "copier", Version: "1"})
	if _, err := n.host.Pause(t.Context(), "idle"); err != nil {
		t.Fatal(err)
	}
	for by := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		owned, err := n.host.Owned(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(owned) == 2 && owned[0].Totals.Events == 3 && owned[0].State == plugins.Running && owned[1].Name == "idle" && owned[1].State == plugins.Paused {
			return
		}
		if time.Now().After(by) {
			t.Fatalf("it owns %+v", owned)
		}
	}
}

// put stores a record, as another node might.
func (n *node) put(table, key, value string) {
	n.t.Helper()
	op := core.RecordOp{Table: table, Key: key, Expect: core.AnyVersion, Value: []byte(value)}
	if _, err := n.store.Append(n.t.Context(), core.Commit{Records: []core.RecordOp{op}}); err != nil {
		n.t.Fatal(err)
	}
}

// TestSweepOfAnotherOwner: what another node has left to sweep is swept once this node is the
// owner.
func TestSweepOfAnotherOwner(t *testing.T) {
	n := newNode(t, memory.New())
	n.put("plugin_sweeps", "first/0000000000000001", "")
	n.host.Look()
	n.awaitSwept("plugin_sweeps")
	n.put("state/gone/1", "00/key", "value")
	n.put("plugin_sweeps", "gone/0000000000000001", "")
	n.host.Look()
	n.awaitSwept("plugin_sweeps", "state/gone/1")
}

// awaitSwept waits until tables are empty.
func (n *node) awaitSwept(tables ...string) {
	n.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for _, table := range tables {
		for {
			left, err := n.store.Records(n.t.Context(), core.RecordsRequest{Table: table, Limit: 10})
			if err != nil {
				n.t.Fatal(err)
			}
			if len(left) == 0 {
				break
			}
			if time.Now().After(deadline) {
				n.t.Fatalf("%s has %v still", table, left)
			}
			time.Sleep(time.Millisecond)
		}
	}
}
