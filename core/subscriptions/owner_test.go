package subscriptions_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/disk"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/core/subscriptions/expression"
	"github.com/gyre-events/gyre/internal/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a store, and its owner of subscriptions.
type node struct {
	t     testing.TB
	store *core.Store
	*subscriptions.Owner
}

// overEngines runs a test over each engine.
func overEngines(t *testing.T, test func(t *testing.T, n *node)) {
	t.Parallel()
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		test(t, newNode(t, memory.New()))
	})
	t.Run("disk", func(t *testing.T) {
		t.Parallel()
		engine, err := disk.Open(t.Context(), disk.Config{Dir: t.TempDir(), SegmentBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		test(t, newNode(t, engine))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		server := pgtest.Shared(t)
		test(t, newNode(t, openStore(t, server.URL, server.Store(t))))
	})
}

// openStore opens a store in PostgreSQL, as one of the processes that share it.
func openStore(t testing.TB, url, name string) *postgres.Engine {
	t.Helper()
	engine, err := postgres.Open(t.Context(), postgres.Config{URL: url, Store: name, Ring: "ring"})
	if err != nil {
		t.Fatal(err)
	}
	return engine
}

func newNode(t testing.TB, engine core.Engine) *node {
	t.Helper()
	n := &node{t: t, store: core.NewStore(engine, core.StoreConfig{})}
	t.Cleanup(func() { _ = n.store.Close() })
	n.own()
	return n
}

// own makes an owner in place of the one there is, as after a restart.
func (n *node) own() {
	n.t.Helper()
	o, err := subscriptions.New(subscriptions.Config{Store: n.store, Compile: expression.NewCompiler().Compile})
	if err != nil {
		n.t.Fatal(err)
	}
	n.Owner = o
	n.t.Cleanup(func() { n.close(o) })
}

func (n *node) close(o *subscriptions.Owner) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := o.Close(ctx); err != nil {
		n.t.Errorf("close: %v", err)
	}
}

// fill appends events to streams named s-0, s-1, … in turn.
func (n *node) fill(events, streams int) {
	n.t.Helper()
	var c core.Commit
	for i := range events {
		c.Appends = append(c.Appends, core.Append{
			Stream: fmt.Sprintf("s-%d", i%streams), Expect: core.AnyVersion,
			Events: []core.NewEvent{{Type: fmt.Sprintf("T%d", i%3), Data: fmt.Appendf(nil, `{"n":%d,"kind":"k%d"}`, i, i%2)}},
		})
		if len(c.Appends) == 1000 || i == events-1 {
			if _, err := n.store.Append(n.t.Context(), c); err != nil {
				n.t.Fatal(err)
			}
			c = core.Commit{}
		}
	}
}

// definition is the default one, changed.
func definition(change func(*subscriptions.Definition)) *subscriptions.Definition {
	d := subscriptions.DefaultDefinition()
	if change != nil {
		change(&d)
	}
	return &d
}

func (n *node) put(name string, change func(*subscriptions.Definition)) subscriptions.Info {
	n.t.Helper()
	info, _, err := n.Put(n.t.Context(), name, definition(change))
	if err != nil {
		n.t.Fatal(err)
	}
	return info
}

func (n *node) info(name string) subscriptions.Info {
	n.t.Helper()
	info, err := n.Info(n.t.Context(), name)
	if err != nil {
		n.t.Fatal(err)
	}
	return info
}

var unlimited = delivery.Credit{Events: delivery.Unlimited, Bytes: delivery.Unlimited}

// consumer is a subscriber that remembers.
type consumer struct {
	t testing.TB
	*subscriptions.Waiting
	state delivery.State
}

func (n *node) join(name string, credit delivery.Credit) *consumer {
	n.t.Helper()
	return n.joinAs(subscriptions.JoinRequest{Name: name, Consumer: "c", Credit: credit})
}

func (n *node) joinAs(r subscriptions.JoinRequest) *consumer {
	n.t.Helper()
	s, err := subscriptions.JoinWaiting(n.t.Context(), n, r)
	if err != nil {
		n.t.Fatal(err)
	}
	return &consumer{t: n.t, Waiting: s}
}

// take waits for so many events and returns their positions.
func (c *consumer) take(count int) (positions []uint64) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
	defer cancel()
	for len(positions) < count {
		d, err := c.Next(ctx, core.Limit{Events: count - len(positions), Bytes: 1 << 20})
		if err != nil {
			c.t.Fatalf("after %d of %d events: %v", len(positions), count, err)
		}
		c.state = d.State
		if len(d.Attempts) != d.Count {
			c.t.Fatalf("%d attempts for %d events", len(d.Attempts), d.Count)
		}
		for e := range d.Events() {
			positions = append(positions, e.Position)
		}
	}
	return positions
}

// until waits for a state, without events before it.
func (c *consumer) until(state delivery.State) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
	defer cancel()
	for c.state != state {
		d, err := c.Next(ctx, core.Limit{Events: 1000, Bytes: 1 << 20})
		if err != nil || d.Count > 0 {
			c.t.Fatalf("%d events and %v while waiting for %s", d.Count, err, state)
		}
		c.state = d.State
	}
}

func (c *consumer) ends(code core.Code) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
	defer cancel()
	for {
		if _, err := c.Next(ctx, core.Limit{Events: 1000, Bytes: 1 << 20}); err != nil {
			if !errors.Is(err, code) {
				c.t.Errorf("ended with %v, want %s", err, code)
			}
			return
		}
	}
}

func (c *consumer) Ack(positions []uint64) error {
	return c.Do(c.t.Context(), subscriptions.Answer{Kind: subscriptions.Ack, Positions: positions})
}

func (c *consumer) AckUpTo(position uint64) error {
	return c.Do(c.t.Context(), subscriptions.Answer{Kind: subscriptions.AckUpTo, UpTo: position})
}

func (c *consumer) Nack(positions []uint64, n delivery.Nack) error {
	return c.Do(c.t.Context(), subscriptions.Answer{Kind: subscriptions.Nack, Positions: positions, Nack: n})
}

func (c *consumer) Extend(positions []uint64, d time.Duration) error {
	return c.Do(c.t.Context(), subscriptions.Answer{Kind: subscriptions.Extend, Positions: positions, Extend: d})
}

func (c *consumer) ack(positions ...uint64) {
	c.t.Helper()
	if err := c.Ack(positions); err != nil {
		c.t.Fatal(err)
	}
}

// stored waits until the checkpoint is stored.
func (n *node) stored(name string, checkpoint uint64) {
	n.t.Helper()
	eventually(n.t, func() error {
		info, err := n.Info(n.t.Context(), name)
		if err == nil && info.Checkpoint != checkpoint {
			err = fmt.Errorf("checkpoint %d, want %d", info.Checkpoint, checkpoint)
		}
		return err // also while a server is away
	})
}

// eventually waits for something that another goroutine does and tells nobody.
func eventually(t testing.TB, check func() error) {
	t.Helper()
	var err error
	for range 1000 {
		if err = check(); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal(err)
}

func numbers(from, to uint64) (list []uint64) {
	for i := from; i <= to; i++ {
		list = append(list, i)
	}
	return list
}

func wantPositions(t testing.TB, got, want []uint64) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("got %d, want %d", got, want)
	}
}

// G01, G02, H01, H02, I02: everything that is there and comes, in order and once; the
// checkpoint follows each ack.
func TestFromStartThenLive(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.fill(150, 3)
		n.put("s", nil)
		c := n.join("s", unlimited)
		for next := uint64(1); next <= 150; {
			got := c.take(1)
			wantPositions(t, got, []uint64{next})
			next++
			c.ack(got...)
		}
		c.until(delivery.Live)
		n.stored("s", 150)
		n.fill(5, 1)
		wantPositions(t, c.take(5), numbers(151, 155))
		if err := c.AckUpTo(155); err != nil {
			t.Error(err)
		}
		n.stored("s", 155)
		if info := n.info("s"); info.Lag != 0 || info.InFlight != 0 || info.Totals.Acked != 155 {
			t.Errorf("%+v", info)
		}
	})
}

// G10, I05, L03: a subscriber that comes back gets what was not acked.
func TestResume(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.fill(10, 1)
		n.put("s", nil)
		c := n.join("s", unlimited)
		wantPositions(t, c.take(10), numbers(1, 10))
		c.ack(1, 2, 3, 7)
		c.Leave(false)
		n.stored("s", 3)
		c = n.join("s", unlimited)
		wantPositions(t, c.take(6), []uint64{4, 5, 6, 8, 9, 10})
		c.ack(4)
		n.close(n.Owner)
		c.ends(core.CodeShuttingDown)
		n.own()
		if got := n.info("s"); got.Checkpoint != 4 || got.State != delivery.Idle || got.Lag != 6 || got.LagSeconds <= 0 {
			t.Errorf("%+v", got)
		}
		wantPositions(t, n.join("s", unlimited).take(6), numbers(5, 10))
	})
}
