package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/registry"
	"github.com/gyre-events/gyre/plugins/wasm/guests"
	"github.com/gyre-events/gyre/plugins/wasm/wasmtest"
	"github.com/gyre-events/gyre/runtime"
	"github.com/gyre-events/gyre/sdk"
)

// validate deploys the guest Orders, which refuses a total below 0, for streams in-….
func validate(t *testing.T, n *runtime.Node) {
	t.Helper()
	_, _, err := n.Plugins().Versions.Upload(t.Context(), registry.Upload{
		Plugin: "orders", Version: "1", Module: strings.NewReader(string(guests.Orders)),
		Manifest: []byte(`{"name":"orders","version":"1","abi":"gyre_1","kind":"validate","subscription":{"filter":{"streams":["in-*"]}}}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	if s, err := dial(t, n).Plugins().Deploy(t.Context(), "orders", plugins.Deploy{Version: "1"}); err != nil || s.State != plugins.Running {
		t.Fatalf("%s %s, %v", s.State, s.Reason, err)
	}
}

// total appends one event with a total, and with an id.
func total(t *testing.T, c *sdk.Client, stream string, id core.ID, total int) (core.Result, error) {
	t.Helper()
	return c.Append(t.Context(), core.Commit{Appends: []core.Append{{
		Stream: stream, Expect: core.AnyVersion, Events: []core.NewEvent{{ID: id, Type: "OrderPlaced", Data: fmt.Appendf(nil, `{"total":%d}`, total)}},
	}}})
}

// TestValidatorsOverRestarts: a validator is in force as soon as a node takes appends, on each
// engine that stores. A retry of what was written before is answered with its first result.
func TestValidatorsOverRestarts(t *testing.T) {
	withPlugins(t, func(t *testing.T, config runtime.Config) {
		n := start(t, config)
		id := core.NewID()
		first, err := total(t, dial(t, n), "in-1", id, -5) // before there is a validator
		if err != nil {
			t.Fatal(err)
		}
		validate(t, n)
		for range 2 {
			c := dial(t, n)
			if _, err := total(t, c, "in-1", core.NewID(), -5); !errors.Is(err, core.CodeAppendRefused) || !strings.HasSuffix(err.Error(), "the total is below 0") {
				t.Errorf("refused: %v", err)
			}
			if r, err := total(t, c, "in-1", id, -5); err != nil || !r.Duplicate || r.Position != first.Position {
				t.Errorf("sent again: %+v, %v", r, err)
			}
			if _, err := total(t, c, "in-1", core.NewID(), 5); err != nil {
				t.Errorf("accepted: %v", err)
			}
			said(t, n, `gyre_validator_judged_total\{validator="orders"\} 3`)
			said(t, n, `gyre_validator_refused_total\{validator="orders"\} 2`)
			said(t, n, `gyre_validator_ready\{validator="orders"\} 1`)
			stop(t, n)
			n = start(t, config)
		}
		stop(t, n)
		config.Plugins.Disabled = true
		n = start(t, config)
		if _, err := n.Store().Append(t.Context(), core.Commit{Appends: []core.Append{{Stream: "in-1", Expect: core.AnyVersion, Events: []core.NewEvent{{Type: "T", Data: []byte("1")}}}}}); !errors.Is(err, core.CodeValidatorUnavailable) {
			t.Errorf("without plugins: %v", err)
		}
	})
}

// TestValidatorsInRing: the node that writes a Commit judges it, whichever node was asked, and all
// nodes have a validator in force within moments.
func TestValidatorsInRing(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	var nodes []*runtime.Node
	for _, id := range []string{"one", "two"} {
		nodes = append(nodes, start(t, runtime.Config{
			Node: id, Postgres: postgres.Config{URL: server.URL, Store: store},
			Ring:    runtime.RingConfig{Enabled: true, Gossip: "127.0.0.1:0", Quorum: 1},
			Plugins: runtime.PluginConfig{Compile: wasmtest.Command(), Cache: filepath.Join(t.TempDir(), id)},
		}))
	}
	for _, n := range nodes {
		untilReady(t, n.URL(), http.StatusOK, "ok")
	}
	validate(t, nodes[0])
	until(t, "both nodes have loaded it", func() bool {
		return !slices.ContainsFunc(nodes, func(n *runtime.Node) bool {
			in := n.Plugins().Validators.InForce()
			return len(in) != 1 || in[0].State != plugins.Running
		})
	})
	for i, n := range nodes {
		c := dial(t, n)
		for k := range 20 { // of either owner
			stream := fmt.Sprint("in-", k)
			if _, err := total(t, c, stream, core.NewID(), -k-1); !errors.Is(err, core.CodeAppendRefused) {
				t.Errorf("node %d, %s: %v", i, stream, err)
			}
			if _, err := total(t, c, stream, core.NewID(), k); err != nil {
				t.Errorf("node %d, %s: %v", i, stream, err)
			}
		}
	}
	judged := uint64(0)
	for i, n := range nodes {
		in := n.Plugins().Validators.InForce()
		if len(in) != 1 || in[0].Totals.Batches == 0 || in[0].Totals.Failures > 0 {
			t.Fatalf("node %d: %+v", i, in)
		}
		judged += in[0].Totals.Batches
	}
	if judged != 80 {
		t.Errorf("%d of 80 appends were judged", judged)
	}
	if _, err := dial(t, nodes[1]).Plugins().Pause(t.Context(), "orders"); err != nil {
		t.Fatal(err)
	}
	for i, n := range nodes {
		until(t, "it is paused at each node", func() bool {
			_, err := total(t, dial(t, n), "in-1", core.NewID(), -1)
			return err == nil && len(nodes[i].Plugins().Validators.InForce()) == 0
		})
	}
}

// until waits for what nothing tells of.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for !is() {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("it is not so: %s", what)
		}
	}
}
