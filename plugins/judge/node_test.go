package judge_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/disk"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/core/subscriptions/expression"
	"github.com/gyre-events/gyre/internal/pgtest"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/judge"
	"github.com/gyre-events/gyre/plugins/registry"
	"github.com/gyre-events/gyre/plugins/wasm/guests"
	"github.com/gyre-events/gyre/plugins/wasm/wasmtest"
)

func TestMain(m *testing.M) { wasmtest.Main(m) }

// node is a store with versions of plugins, and its owner of subscriptions.
type node struct {
	t        testing.TB
	store    *core.Store
	versions *registry.Registry
	*subscriptions.Owner
}

// overEngines runs a test over each engine.
func overEngines(t *testing.T, test func(t *testing.T, n *node)) {
	t.Run("memory", func(t *testing.T) { test(t, newNode(t, memory.New())) })
	t.Run("disk", func(t *testing.T) {
		engine, err := disk.Open(t.Context(), disk.Config{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		test(t, newNode(t, engine))
	})
	t.Run("postgres", func(t *testing.T) {
		server := pgtest.Shared(t)
		engine, err := postgres.Open(t.Context(), postgres.Config{URL: server.URL, Store: server.Store(t)})
		if err != nil {
			t.Fatal(err)
		}
		test(t, newNode(t, engine))
	})
}

func newNode(t testing.TB, engine core.Engine) *node {
	t.Helper()
	n := &node{t: t, store: core.NewStore(engine, core.StoreConfig{})}
	t.Cleanup(func() { _ = n.store.Close() })
	var err error
	n.versions, err = registry.New(registry.Config{
		Store: n.store, CacheDir: filepath.Join(t.TempDir(), "code"), Command: wasmtest.Command(),
		Uses: func(ctx context.Context, plugin, version string) ([]string, error) {
			return n.Uses(ctx, plugin, version)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.versions.Close(); err != nil {
			t.Error(err)
		}
	})
	n.own()
	return n
}

// own makes an owner in place of the one there is, as after a restart.
func (n *node) own() {
	n.t.Helper()
	o, err := subscriptions.New(subscriptions.Config{
		Store: n.store, Compile: expression.NewCompiler().Compile, Judges: judge.NewJudges(n.versions, slog.New(slog.DiscardHandler)),
	})
	if err != nil {
		n.t.Fatal(err)
	}
	n.Owner = o
	n.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := o.Close(ctx); err != nil {
			n.t.Errorf("close: %v", err)
		}
	})
}

// upload uploads a module as a version of a plugin of a kind, of which it has the name.
func (n *node) upload(kind plugins.Kind, version string, module []byte, limits string) {
	n.t.Helper()
	manifest := fmt.Sprintf(`{"name":%q,"version":%q,"abi":"gyre_1","kind":%q,"limits":{%s}}`, kind, version, kind, limits)
	_, _, err := n.versions.Upload(n.t.Context(), registry.Upload{Plugin: string(kind), Version: version, Module: bytes.NewReader(module), Manifest: []byte(manifest)})
	if err != nil {
		n.t.Fatal(err)
	}
}

// uploadAll uploads a module as a filter, a map and a partitioner.
func (n *node) uploadAll(version string, module []byte, limits string) {
	n.t.Helper()
	for _, kind := range []plugins.Kind{plugins.KindFilter, plugins.KindMap, plugins.KindPartition} {
		n.upload(kind, version, module, limits)
	}
}

// append appends events of some types to a stream.
func (n *node) append(stream, data string, types ...string) {
	n.t.Helper()
	a := core.Append{Stream: stream, Expect: core.AnyVersion}
	for _, typ := range types {
		a.Events = append(a.Events, core.NewEvent{Type: typ, Data: []byte(data)})
	}
	if _, err := n.store.Append(n.t.Context(), core.Commit{Appends: []core.Append{a}}); err != nil {
		n.t.Fatal(err)
	}
}

// orders appends events with totals from 0 on, in steps of 10.
func (n *node) orders(count int) {
	n.t.Helper()
	for i := range count {
		n.append(fmt.Sprintf("order-%d", i%5), fmt.Sprintf(`{"total":%d}`, 10*i), "Placed")
	}
}

func definition(change func(d *subscriptions.Definition)) *subscriptions.Definition {
	d := subscriptions.DefaultDefinition()
	change(&d)
	return &d
}

func (n *node) put(name string, change func(d *subscriptions.Definition)) {
	n.t.Helper()
	if _, _, err := n.Put(n.t.Context(), name, definition(change)); err != nil {
		n.t.Fatal(err)
	}
}

// consumer is a subscriber.
type consumer struct {
	t testing.TB
	*subscriptions.Waiting
}

func (n *node) join(name string) *consumer {
	n.t.Helper()
	s, err := subscriptions.JoinWaiting(n.t.Context(), n, subscriptions.JoinRequest{
		Name: name, Credit: delivery.Credit{Events: delivery.Unlimited, Bytes: delivery.Unlimited},
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return &consumer{n.t, s}
}

// take waits for so many events, acks them, and returns each as position, key and data.
func (c *consumer) take(count int) (got []string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	for len(got) < count {
		d, err := c.Next(ctx, core.Limit{Events: count - len(got), Bytes: 1 << 20})
		if err != nil {
			c.t.Fatalf("after %d of %d events: %v", len(got), count, err)
		}
		var positions []uint64
		for e := range d.Events() {
			got = append(got, fmt.Sprintf("%d %s", e.Position, e.Data))
			positions = append(positions, e.Position)
		}
		if d.Count == 0 {
			continue
		}
		if err := c.Do(ctx, subscriptions.Answer{Kind: subscriptions.Ack, Positions: positions}); err != nil {
			c.t.Fatal(err)
		}
	}
	return got
}

// passed waits until the checkpoint of a subscription is at a position.
func (n *node) passed(name string, position uint64) subscriptions.Info {
	n.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) { // it tells nobody
		info, err := n.Info(n.t.Context(), name)
		if err != nil {
			n.t.Fatal(err)
		}
		if info.Checkpoint == position {
			return info
		}
		if time.Now().After(deadline) {
			n.t.Fatalf("the checkpoint of %s is %d, want %d", name, info.Checkpoint, position)
		}
	}
}

// parked are the parked events of a subscription, as position, key and reason.
func (n *node) parked(name string) (list []string) {
	n.t.Helper()
	page, err := n.Parked(n.t.Context(), name, subscriptions.ParkedRequest{})
	if err != nil {
		n.t.Fatal(err)
	}
	for _, p := range page.Parked {
		if p.Cause != delivery.CauseFault {
			n.t.Errorf("%d is parked for %s", p.Position, p.Cause)
		}
		list = append(list, fmt.Sprintf("%d %s", p.Position, p.Reason))
	}
	return list
}

var orders, unfit = guests.Orders, guests.Unfit

func lines(list []string) string { return strings.Join(list, "\n") }
