package postgres_test

import (
	"testing"

	"github.com/gyre-events/gyre/cluster/arbitertest"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/internal/pgtest"
)

// TestArbiter runs the contract, and through a pooler, too.
func TestArbiter(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	pooler := server.Pooler(t)
	for name, url := range map[string]string{"direct": server.URL, "pooler": pooler.URL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			arbitertest.Run(t, func(t testing.TB) arbitertest.Nodes {
				config := postgres.Config{URL: url, Store: server.Store(t), Ring: shared}
				a := openStore(t, config)
				config.Node = "other"
				return arbitertest.Nodes{A: a, B: openStore(t, config), Advance: func() {
					if changed, err := a.AdvanceEpoch(t.Context()); !changed || err != nil {
						t.Errorf("advance: %t, %v", changed, err)
					}
				}}
			})
		})
	}
}

// L08: the rings of two stores of one database do not know of each other, whatever their
// nodes are called.
func TestRingsOfTwoStores(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	ctx := t.Context()
	var arbiters []*postgres.Engine
	var sessions []uint64
	for range 2 {
		a := openStore(t, postgres.Config{URL: server.URL, Store: server.Store(t), Node: "node1"})
		session, err := a.Register(ctx, shared, ring.Member{Node: "node1"}, [32]byte{})
		if err != nil {
			t.Fatal(err)
		}
		arbiters, sessions = append(arbiters, a), append(sessions, session)
	}
	before, err := arbiters[0].Beat(ctx, sessions[0], 0, false)
	if err != nil {
		t.Fatalf("a node of the same name in another store has superseded it: %v", err)
	}
	standing, err := arbiters[1].Beat(ctx, sessions[1], 0, false)
	if err != nil {
		t.Fatal(err)
	}
	next := ring.View{Epoch: standing.Epoch + 1, Members: []ring.Member{standing.Sessions[0].Member}, Quorum: 1, Proposer: sessions[1]}
	if err := arbiters[1].Propose(ctx, standing.Epoch, next, nil); err != nil {
		t.Fatal(err)
	}
	after, err := arbiters[0].Beat(ctx, sessions[0], 0, false)
	if err != nil || after.Epoch != before.Epoch || len(after.Sessions) != 1 {
		t.Errorf("after a view in another store: %+v, %v", after, err)
	}
}
