package runtime_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/internal/pgtest"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/wasm/guests"
	"github.com/gyre-events/gyre/plugins/wasm/wasmtest"
	"github.com/gyre-events/gyre/runtime"
	"github.com/gyre-events/gyre/sdk"
)

// uploadOrders uploads the guest Orders as a filter, a map and a partitioner.
func uploadOrders(t *testing.T, client *sdk.Client) {
	t.Helper()
	for _, kind := range []plugins.Kind{plugins.KindFilter, plugins.KindMap, plugins.KindPartition} {
		_, _, err := client.Plugins().Upload(t.Context(), sdk.Upload{
			Plugin: string(kind), Version: "1", Module: guests.Orders, Manifest: fmt.Appendf(nil, `{"name":%q,"version":"1","abi":"gyre_1","kind":%q}`, kind, kind),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// shaped is a definition that the guest Orders shapes, in JSON and in Go.
const shaped = `{"filter":{"plugin":"filter@1"},"map":{"plugin":"map@1"},"partitionBy":"plugin:partition@1"}`

func shapedDefinition() *subscriptions.Definition {
	d := subscriptions.DefaultDefinition()
	d.Filter.Plugin, d.Map.Plugin, d.PartitionBy = "filter@1", "map@1", "plugin:partition@1"
	return &d
}

// next takes so many events of a subscriber, and returns their data.
func next(t *testing.T, s *sdk.Subscriber, count int) (data []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for len(data) < count {
		d, err := s.Next(ctx, core.Limit{Events: count - len(data), Bytes: 1 << 20})
		if err != nil {
			t.Fatalf("after %d of %d events: %v", len(data), count, err)
		}
		for e := range d.Events() {
			data = append(data, string(e.Data))
			if err := e.Ack(); err != nil {
				t.Fatal(err)
			}
		}
	}
	return data
}

// Plugins shape subscriptions over HTTP and WebSockets, transient ones and those of bindings, and
// after a restart.
func TestPluginsShapeSubscriptions(t *testing.T) {
	withPlugins(t, func(t *testing.T, config runtime.Config) {
		n := start(t, config)
		client := dial(t, n)
		uploadOrders(t, client)
		totals(t, n, "1")
		feed(t, n, 0, 120) // of which 20 have a total of 100 or more
		if status, text := send(t, "PUT", n.URL()+"/v1/subscriptions/fetched", shaped, "Content-Type: application/json"); status != http.StatusCreated || !strings.Contains(text, `"map":{"plugin":"map@1"}`) {
			t.Fatalf("%d %s", status, text)
		}
		if status, text := send(t, "POST", n.URL()+"/v1/subscriptions/fetched/fetch", `{"max":3,"waitMs":30000}`, "Content-Type: application/json"); status != http.StatusOK || !strings.Contains(text, `{"sum":102}`) {
			t.Fatalf("%d %s", status, text)
		}
		want := []string{}
		for i := 100; i < 120; i++ {
			want = append(want, fmt.Sprintf(`{"sum":%d}`, i))
		}
		for name, o := range map[string]sdk.SubscribeOptions{"stored": {Definition: shapedDefinition()}, "transient": {Definition: shapedDefinition(), Transient: true}} {
			s, err := client.Subscribe(t.Context(), name, o)
			if err != nil {
				t.Fatal(err)
			}
			if got := next(t, s, 20); !slices.Equal(got, want) {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
			if err := s.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
		input := plugins.Input{Filter: subscriptions.Filter{Streams: []string{"in-*"}, Plugin: "filter@1"}, Map: subscriptions.Map{Plugin: "map@1"}}
		if err := deploy(n, plugins.Deploy{Version: "1", Grants: all, Input: &input, Lanes: 1}); err != nil {
			t.Fatal(err)
		}
		sumOf(t, n, "sum", 100, 120)
		if err := client.Plugins().DeleteVersion(t.Context(), "filter", "1"); !errors.Is(err, core.CodePluginInUse) || !strings.Contains(err.Error(), "subscription fetched, subscription stored, subscription totals") {
			t.Errorf("a filter in use was deleted: %v", err)
		}
		if _, text := get(t, n.URL()+"/metrics"); !regexp.MustCompile(`gyre_judge_events_total\{kind="map",plugin="map",version="1"\} [1-9]`).MatchString(text) {
			t.Error("no metric says that the map has judged events")
		}
		stop(t, n)
		n = start(t, config)
		feed(t, n, 120, 130)
		s, err := dial(t, n).Subscribe(t.Context(), "stored", sdk.SubscribeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := next(t, s, 10); got[0] != `{"sum":120}` {
			t.Errorf("after a restart: %q", got)
		}
		sumOf(t, n, "sum", 100, 130)
	})
}

// sumOf waits until the binding totals, in its one lane, has added up the numbers of a range under a
// name of so many letters.
func sumOf(t *testing.T, n *runtime.Node, name string, from, to int) {
	t.Helper()
	want, got := int64(0), int64(-1)
	for i := from; i < to; i++ {
		want += int64(i)
	}
	for range 1000 {
		entry, err := n.Plugins().Bindings.Get(t.Context(), "totals", plugins.KeyRequest{Key: "totals"})
		if err == nil {
			if got = int64(binary.LittleEndian.Uint64(entry.Value[8*len(name):])); got == want {
				return
			}
		}
		time.Sleep(10 * time.Millisecond) // nothing tells of it
	}
	t.Errorf("the sum is %d, want %d", got, want)
}

// A node that runs no plugins has no subscriptions with plugins, and leaves those that there are.
func TestNoPluginsInSubscriptions(t *testing.T) {
	config := runtime.Config{Data: filepath.Join(t.TempDir(), "data"), Plugins: runtime.PluginConfig{Compile: wasmtest.Command()}}
	n := start(t, config)
	uploadOrders(t, dial(t, n))
	if _, _, err := dial(t, n).Subscriptions().Put(t.Context(), "s", shapedDefinition()); err != nil {
		t.Fatal(err)
	}
	stop(t, n)
	config.Plugins.Disabled = true
	n = start(t, config)
	client := dial(t, n)
	if _, _, err := client.Subscriptions().Put(t.Context(), "other", shapedDefinition()); !errors.Is(err, core.CodeNotSupported) {
		t.Error(err)
	}
	if _, err := client.Subscribe(t.Context(), "s", sdk.SubscribeOptions{}); !errors.Is(err, core.CodeNotSupported) {
		t.Error(err)
	}
	if _, err := client.Subscriptions().Info(t.Context(), "s"); err != nil {
		t.Error(err)
	}
}

// In a ring the owner of a subscription runs its plugins, and the next owner goes on.
func TestPluginsShapeSubscriptionsInRing(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	nodes := map[string]*runtime.Node{}
	for _, id := range []string{"one", "two"} {
		nodes[id] = start(t, runtime.Config{
			Node: id, Postgres: postgres.Config{URL: server.URL, Store: store},
			Ring:    runtime.RingConfig{Enabled: true, Gossip: "127.0.0.1:0", Quorum: 1},
			Plugins: runtime.PluginConfig{Compile: wasmtest.Command(), Cache: filepath.Join(t.TempDir(), id)},
		})
	}
	for _, n := range nodes {
		untilReady(t, n.URL(), http.StatusOK, "ok")
	}
	uploadOrders(t, dial(t, nodes["one"]))
	feed(t, nodes["one"], 90, 110)
	w, err := dial(t, nodes["one"]).Cluster().WhereIs(t.Context(), ring.KindSubscription, "s")
	if err != nil || w.Owner == nil {
		t.Fatal(w, err)
	}
	owner := w.Owner.Node
	stays := map[string]string{"one": "two", "two": "one"}[owner]
	s, err := dial(t, nodes[stays]).Subscribe(t.Context(), "s", sdk.SubscribeOptions{Definition: shapedDefinition()})
	if err != nil {
		t.Fatal(err)
	}
	if got := next(t, s, 10); got[0] != `{"sum":100}` || got[9] != `{"sum":109}` {
		t.Errorf("delivered %q", got)
	}
	stop(t, nodes[owner])
	feed(t, nodes[stays], 110, 115)
	if got := next(t, s, 5); got[4] != `{"sum":114}` {
		t.Errorf("the next owner delivers %q", got)
	}
}
