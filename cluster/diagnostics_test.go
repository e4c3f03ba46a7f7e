package cluster_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/cluster"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
)

// diagnostics are those of a node. What it owns is given; it asks other nodes through
// others.
func (r *simRing) diagnostics(id string, others map[string]ring.Reporter, owned ...ring.Owned) *cluster.Diagnostics {
	node := r.nodes[id]
	return cluster.NewDiagnostics(cluster.DiagnosticsConfig{
		Name: "gyre", Ring: node, Views: node.handle.Views, Seen: node.Seen, Waiting: func() int { return 7 },
		Providers: func() []ring.Provider { return []ring.Provider{{Name: "peers of " + id}} },
		Streams: func(owns func(int) bool) (list []ring.Owned) {
			for _, o := range owned {
				if o.Kind == ring.KindStream && owns(ring.Slot(o.Name)) {
					list = append(list, o)
				}
			}
			return list
		},
		Hosted: func() []ring.Owned { return []ring.Owned{{Name: "hosted by " + id}} },
		Drain: func(ctx context.Context, on bool) error {
			if on {
				return node.Drain(ctx)
			}
			node.Undrain()
			return nil
		},
		Leave: node.Leave,
		Ask: func(_ context.Context, m ring.Member, do func(ring.Reporter) error) error {
			if others[m.Node] == nil {
				return core.Errorf(core.CodeUnavailable, "%s cannot be reached", m.Node)
			}
			return do(others[m.Node])
		},
	})
}

// N01, Q01: what is asked about the ring has one answer at every node.
func TestDiagnostics(t *testing.T) {
	inRing(t, 3, func(r *simRing) {
		t, ctx := r.t, r.t.Context()
		r.await(10*time.Second, "a ring", r.whole("node1", "node2", "node3"))
		others := map[string]ring.Reporter{}
		streams := []ring.Owned{{Kind: ring.KindStream, Name: "a", Version: 3}, {Kind: ring.KindStream, Name: "b"}, {Kind: ring.KindStream, Name: "c"}}
		for _, id := range r.ids() {
			others[id] = r.diagnostics(id, others, streams...)
		}
		one := others["node1"]
		status, err := one.Status(ctx, "node2")
		if err != nil || status.Self.Node != "node2" || !status.Serving || status.Alive != 3 || len(status.Members) != 3 || status.Waiting != 7 ||
			status.Epoch != status.View.Epoch || status.Warnings != nil || len(status.Providers) != 1 || status.Providers[0].Name != "peers of node2" {
			t.Errorf("status: %+v, %v", status, err)
		}
		if _, err := one.Status(ctx, "node9"); !errors.Is(err, core.CodeNotFound) || !strings.Contains(err.Error(), "node1, node2, node3") {
			t.Errorf("status of nobody: %v", err)
		}
		slots := 0
		for _, m := range status.Members {
			slots += m.Slots
			if m.GossipState != ring.GossipAlive || !m.Beats || !m.InView {
				t.Errorf("member %+v", m)
			}
		}
		if slots != ring.Slots {
			t.Errorf("the members own %d slots", slots)
		}
		views, err := one.Views(ctx, 0, 10)
		if err != nil || len(views) == 0 || views[0].Epoch != status.View.Epoch {
			t.Errorf("views: %+v, %v", views, err)
		}
		if older, err := one.Views(ctx, views[0].Epoch, 10); err != nil || len(older) != len(views)-1 {
			t.Errorf("older views: %+v, %v", older, err)
		}
		wheresAll(t, r, others)
		pages(t, one, status.Self.Node)

		delete(others, "node2")
		if w, err := one.WhereIs(ctx, ring.KindStream, ownedBy(r, "node2")); err != nil || w.Owner.Node != "node2" || w.Open != nil || !strings.Contains(w.Problem, "cannot be reached") {
			t.Errorf("whereis with an owner that is gone: %+v, %v", w, err)
		}
		if err := one.Drain(ctx, "node3", true); err != nil {
			t.Errorf("drain: %v", err)
		}
		if status, err := one.Status(ctx, "node3"); err != nil || !status.Draining || !status.Serving || len(status.View.Members) != 2 {
			t.Errorf("status of a drained node: %+v, %v", status, err)
		} else if got := states(status.Members); !maps.Equal(got, map[string]ring.SessionState{"node1": "member", "node2": "member", "node3": "drained"}) {
			t.Errorf("states while node3 is drained: %v", got)
		}
		had := 0
		for _, m := range status.Members {
			if m.Node == "node3" {
				had = m.Slots
			}
		}
		if views, err := one.Views(ctx, 0, 1); err != nil || len(views) != 1 || views[0].Moved != had {
			t.Errorf("node3 had %d slots; views: %+v, %v", had, views, err)
		}
		r.kill("node3")
		listed := func() bool {
			list, err := one.Members(ctx, "")
			return err != nil || len(list.Members) == 3
		}
		if !listed() {
			t.Error("a node that was killed a moment ago is not listed")
		}
		time.Sleep(ring.ForgetAfter)
		r.await(10*time.Second, "a node that has long been dead is no longer listed", func() bool { return !listed() })
	})
}

func states(members []ring.Seen) map[string]ring.SessionState {
	states := map[string]ring.SessionState{}
	for _, m := range members {
		states[m.Node] = m.State
	}
	return states
}

// wheresAll asks every node where streams and subscriptions are.
func wheresAll(t *testing.T, r *simRing, others map[string]ring.Reporter) {
	for _, name := range []string{"a", "b", "c", "hosted by node1"} {
		kind := ring.KindStream
		if strings.HasPrefix(name, "hosted") {
			kind = ring.KindSubscription
		}
		owner, _ := r.nodes["node1"].State().Owner(name)
		for id, node := range others {
			w, err := node.WhereIs(t.Context(), kind, name)
			if err != nil || w.Owner == nil || w.Owner.Node != owner.Node || w.Slot != ring.Slot(name) || w.Problem != "" {
				t.Errorf("%s at %s: %+v, %v", name, id, w, err)
				continue
			}
			if open := kind == ring.KindStream || owner.Node == "node1"; (w.Open != nil) != open {
				t.Errorf("%s at %s is open: %+v", name, id, w.Open)
			}
			if name == "a" && w.Open != nil && w.Open.Version != 3 {
				t.Errorf("%s has version %d", name, w.Open.Version)
			}
		}
	}
}

// pages lists all that a node owns in pages of one.
func pages(t *testing.T, at ring.Reporter, node string) {
	whole, err := at.Owned(t.Context(), node, ring.OwnedRequest{})
	if err != nil || whole.Node != node || whole.Next != "" || whole.Subs != 1 || whole.Streams+whole.Subs != len(whole.Owned) {
		t.Fatalf("owned: %+v, %v", whole, err)
	}
	r := ring.OwnedRequest{Limit: 1}
	for i := 0; ; i++ {
		page, err := at.Owned(t.Context(), node, r)
		if err != nil || len(page.Owned) != 1 || page.Owned[0].Name != whole.Owned[i].Name {
			t.Fatalf("page %d: %+v, %v", i, page, err)
		}
		if r.After = page.Next; r.After == "" {
			if i != len(whole.Owned)-1 {
				t.Errorf("%d pages, want %d", i+1, len(whole.Owned))
			}
			return
		}
	}
}

// ownedBy is a stream that a node owns.
func ownedBy(r *simRing, id string) string {
	for name := "x"; ; name += "x" {
		if owner, ok := r.nodes["node1"].State().Owner(name); ok && owner.Node == id {
			return name
		}
	}
}

func TestWarnings(t *testing.T) {
	view := func(quorum int, quorums ...int) *cluster.State {
		v := &ring.View{Epoch: 2, Quorum: quorum}
		for i, q := range quorums {
			v.Members = append(v.Members, ring.Member{Node: string(rune('a' + i)), Quorum: q})
		}
		return &cluster.State{View: v}
	}
	for _, w := range []struct {
		state *cluster.State
		want  []string
	}{
		{view(0), nil},
		{view(2, 2, 2, 2), nil},
		{view(2, 2, 2, 2, 2), []string{"4 members are more than a quorum of 2 is for"}},
		{view(2, 2, 3, 2), []string{"a 2, b 3, c 2"}},
	} {
		got := w.state.Warnings()
		if len(got) != len(w.want) {
			t.Errorf("warnings %q, want %q", got, w.want)
			continue
		}
		for i := range got {
			if !strings.Contains(got[i], w.want[i]) {
				t.Errorf("warning %q, want %q", got[i], w.want[i])
			}
		}
	}
}

// holding is a ring with a State that does not change.
type holding struct {
	cluster.Ring
	state *cluster.State
}

func (h holding) State() *cluster.State { return h.state }

// Slots are on their way until the session that had them has released them, or is dead.
func TestStatusMoves(t *testing.T) {
	members := []ring.Member{{Session: 1, Node: "a"}, {Session: 2, Node: "b"}}
	one, two := &ring.View{Epoch: 2, Members: members[:1]}, &ring.View{Epoch: 3, Members: members}
	state := &cluster.State{View: two, Owners: two.Owners(), Before: one.Owners(), Closed: core.Errorf(core.CodeNoNodeAvailable, "a test")}
	for _, w := range []struct {
		giver ring.Seen
		moves int
	}{
		{ring.Seen{Member: members[0], Beats: true, Released: 2}, 1},
		{ring.Seen{Member: members[0], Beats: true, Released: 3}, 0},
		{ring.Seen{Member: members[0], Released: 2}, 0},
	} {
		d := cluster.NewDiagnostics(cluster.DiagnosticsConfig{
			Ring: holding{state: state}, Waiting: func() int { return 0 }, Providers: func() []ring.Provider { return nil },
			Seen: func() ring.MemberList { return ring.MemberList{Members: []ring.Seen{w.giver}} },
		})
		status, err := d.Status(t.Context(), "")
		if err != nil || len(status.Moves) != w.moves {
			t.Errorf("of %+v: %+v, %v", w.giver, status.Moves, err)
		}
		for _, m := range status.Moves {
			if m.From != "a" || m.To != "b" || m.Slots != two.Owners().Count(2) {
				t.Errorf("move %+v", m)
			}
		}
	}
}
