package host_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/disk"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/internal/pgtest"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/host"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a store with the owner of its subscriptions, and a Host.
type node struct {
	t     testing.TB
	store *core.Store
	subs  *subscriptions.Owner
	host  *host.Host
	*library

	configure func(*host.Config) // nil leaves it as it is
}

// overEngines runs a test over each engine.
func overEngines(t *testing.T, test func(t *testing.T, n *node)) {
	eachEngine(t, func(t *testing.T, engine core.Engine) { test(t, newNode(t, engine)) })
}

// eachEngine runs a test with each engine.
func eachEngine(t *testing.T, test func(t *testing.T, engine core.Engine)) {
	t.Parallel()
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		test(t, memory.New())
	})
	t.Run("disk", func(t *testing.T) {
		t.Parallel()
		engine, err := disk.Open(t.Context(), disk.Config{Dir: t.TempDir(), SegmentBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		test(t, engine)
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		server := pgtest.Shared(t)
		engine, err := postgres.Open(t.Context(), postgres.Config{URL: server.URL, Store: server.Store(t), Ring: "ring"})
		if err != nil {
			t.Fatal(err)
		}
		test(t, engine)
	})
}

func newNode(t testing.TB, engine core.Engine) *node {
	return newNodeOf(t, core.NewStore(engine, core.StoreConfig{}))
}

// newNodeOf is a node over a Store, which it closes.
func newNodeOf(t testing.TB, store *core.Store) *node {
	n := &node{t: t, store: store, library: newLibrary()}
	t.Cleanup(func() { _ = n.store.Close() })
	n.start()
	t.Cleanup(n.stop)
	return n
}

// start starts what runs over the store.
func (n *node) start() {
	n.t.Helper()
	var err error
	if n.subs, err = subscriptions.New(subscriptions.Config{Store: n.store}); err != nil {
		n.t.Fatal(err)
	}
	config := host.Config{Store: n.store, Subscriptions: n.subs, Programs: n.library, Versions: n.library}
	if n.configure != nil {
		n.configure(&config)
	}
	n.host, err = host.New(config)
	if err != nil {
		n.t.Fatal(err)
	}
}

// stop ends it cleanly.
func (n *node) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := n.host.Close(ctx); err != nil {
		n.t.Error(err)
	}
	if err := n.subs.Close(ctx); err != nil {
		n.t.Error(err)
	}
}

func (n *node) deploy(name string, d plugins.Deploy) plugins.Status {
	n.t.Helper()
	s, err := n.host.Deploy(n.t.Context(), name, d)
	if err != nil {
		n.t.Fatal(err)
	}
	return s
}

// append appends events of a type to streams s-0, s-1, … in turn.
func (n *node) append(typ string, events, streams int) {
	n.t.Helper()
	c := core.Commit{}
	for i := range events {
		c.Appends = append(c.Appends, core.Append{
			Stream: fmt.Sprintf("s-%d", i%streams), Expect: core.AnyVersion,
			Events: []core.NewEvent{{ID: core.NewID(), Type: typ, Data: fmt.Appendf(nil, `{"n":%d}`, i)}},
		})
	}
	if _, err := n.store.Append(n.t.Context(), c); err != nil {
		n.t.Fatal(err)
	}
}

// await waits until a binding has reached a position, or says how it is.
func (n *node) await(name string, position uint64) plugins.Status {
	n.t.Helper()
	return n.awaitStatus(name, fmt.Sprintf("reaches %d", position), func(s *plugins.Status) bool { return s.Checkpoint >= position })
}

func (n *node) awaitStatus(name, what string, done func(s *plugins.Status) bool) plugins.Status {
	n.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		s, err := n.host.Status(n.t.Context(), name)
		if err != nil {
			n.t.Fatal(err)
		}
		if done(&s) {
			return s
		}
		if time.Now().After(deadline) {
			n.t.Fatalf("waited until binding %q %s; it is %+v", name, what, s)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// events are those of a stream.
func (n *node) events(stream string) []core.Event {
	n.t.Helper()
	return readAll(n.t, n.store, stream)
}

func readAll(t testing.TB, log core.Log, stream string) (events []core.Event) {
	t.Helper()
	for from := uint64(1); ; {
		page, err := log.Read(t.Context(), core.ReadRequest{Stream: stream, From: from, Limit: core.Limit{Events: core.MaxReadEvents}})
		if core.AsError(err) != nil && core.AsError(err).Code == core.CodeStreamNotFound {
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, page.Slice()...)
		if page.End {
			return events
		}
		from = page.Next
	}
}

// state is what a lane has stored.
func (n *node) state(name string, lane int) map[string]string {
	n.t.Helper()
	state := map[string]string{}
	for r := (plugins.StateRequest{Lane: lane, Limit: 7}); ; {
		page, err := n.host.Entries(n.t.Context(), name, r)
		if err != nil {
			n.t.Fatal(err)
		}
		for _, e := range page.Entries {
			state[e.Key] = string(e.Value)
			r.After = e.Key
		}
		if page.End {
			return state
		}
	}
}
