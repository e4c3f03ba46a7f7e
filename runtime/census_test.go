//go:build unix

package runtime_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/gyre-events/gyre/census"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/internal/pgtest"
	"github.com/gyre-events/gyre/runtime"
	"github.com/gyre-events/gyre/sdk"
)

// TestRingCounts ends one node after another, so that the counts change hands, under load. Each
// event is counted once, and every node has the counts.
func TestRingCounts(t *testing.T) {
	server := pgtest.Shared(t)
	store := server.Store(t)
	nodes := map[string]*runtime.Node{}
	for _, id := range []string{"one", "two", "three"} {
		nodes[id] = member(t, server, store, id)
	}
	total := uint64(0)
	load := func(client *sdk.Client) {
		for range 40 {
			n := total % 10
			c := core.Commit{Appends: []core.Append{{Stream: fmt.Sprintf("c%d-%d", n%2, n), Expect: core.AnyVersion, Events: []core.NewEvent{{ID: core.NewID(), Type: fmt.Sprint("T", n%5), Data: []byte("1")}}}}}
			if _, err := client.Append(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			total++
		}
	}
	for _, id := range []string{"one", "two", "three"} {
		for _, n := range nodes {
			untilReady(t, n.URL(), http.StatusOK, "ok")
		}
		for other, n := range nodes {
			if other != id {
				load(dial(t, n))
			}
		}
		stop(t, nodes[id])
		delete(nodes, id)
		for _, n := range nodes {
			load(dial(t, n))
		}
		nodes[id] = member(t, server, store, id)
	}
	for id, n := range nodes {
		counted(t, id, dial(t, n), total)
	}
}

// counted waits until a node has the counts of all events.
func counted(t *testing.T, id string, client *sdk.Client, total uint64) {
	t.Helper()
	late := time.After(time.Minute)
	for {
		types, err := client.Types(t.Context(), census.ListRequest{})
		if err != nil {
			t.Fatal(id, err)
		}
		sum := uint64(0)
		for _, n := range types.Types {
			sum += n.Events
		}
		if types.UpTo == types.Head && types.Head >= total {
			categories, err := client.Categories(t.Context(), census.ListRequest{})
			if sum != total || types.Total != 5 || err != nil || len(categories.Categories) != 2 || categories.Categories[0].Streams != 5 {
				t.Errorf("node %s: %d events of %d are counted: %+v; %+v, %v", id, sum, total, types, categories, err)
			}
			return
		}
		select {
		case <-late:
			t.Fatalf("node %s has counted %+v", id, types)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
