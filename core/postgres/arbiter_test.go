package postgres_test

import (
	"testing"

	"github.com/gyre-events/gyre/cluster/arbitertest"
	"github.com/gyre-events/gyre/core/postgres"
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
