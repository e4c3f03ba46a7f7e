package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/internal/localring"
	"github.com/gyre-events/gyre/internal/pgtest"
	"github.com/gyre-events/gyre/sdk"
)

const (
	ringNodes = 3
	// ringCallers append at a time, to one node or spread over all.
	ringCallers = 96
	ringBatch   = 100
	// wholeWithin is more than a ring takes to have all its nodes again.
	wholeWithin = time.Minute
)

// ringBench is a ring of three processes and a process of a plain node, over one PostgreSQL.
type ringBench struct {
	*bench
	gyre   string // the program
	server *pgtest.Server
	ring   *localring.Ring
	nodes  []*sdk.Client // one to each node of the ring
	plain  *sdk.Client   // to the plain node
}

func benchCluster(b *bench) (err error) {
	r := &ringBench{bench: b, gyre: filepath.Join(b.dir, "gyre")}
	build := exec.CommandContext(b.ctx, "go", "build", "-o", r.gyre, "./cmd/gyre")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("gyre cannot be built: %w", err)
	}
	if r.server, err = b.startPostgres(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.server.Close()) }()
	return r.measure()
}

func (r *ringBench) measure() (err error) {
	addresses, err := freeAddresses(2*ringNodes + 1)
	if err != nil {
		return err
	}
	if r.ring, err = localring.Start(r.ctx, localring.Config{
		Gyre: r.gyre, Postgres: r.server.URL, Store: "ring", Dir: filepath.Join(r.dir, "logs"),
		Listen: addresses[:ringNodes], Gossip: addresses[ringNodes : 2*ringNodes],
	}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.ring.Close()) }()
	if err := r.whole(); err != nil {
		return err
	}
	if err := r.speed(addresses[2*ringNodes]); err != nil {
		return err
	}
	return r.recovery()
}

// speed measures the ring while nothing fails, against a plain node.
func (r *ringBench) speed(address string) error {
	node := exec.CommandContext(r.ctx, r.gyre, "serve", "--node", "plain", "--listen", address, "--postgres", r.server.URL, "--store", "plain")
	if err := node.Start(); err != nil {
		return err
	}
	defer func() {
		_ = node.Process.Kill()
		_ = node.Wait() // it was killed
	}()
	var err error
	if r.plain, err = dialUntil(r.ctx, address); err != nil {
		return err
	}
	defer func() { _ = r.plain.Close() }()
	for _, n := range r.ring.Nodes {
		c, err := dialUntil(r.ctx, n.Listen)
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		r.nodes = append(r.nodes, c)
	}
	for _, measure := range []func() error{r.forward, r.deliver, r.throughput, r.viewChanges} {
		if err := measure(); err != nil {
			return err
		}
	}
	return nil
}

// freeAddresses returns addresses of this machine that nobody listens on.
func freeAddresses(n int) (list []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }()
		list = append(list, l.Addr().String())
	}
	return list, nil
}

// dialUntil connects to a node that may not listen yet.
func dialUntil(ctx context.Context, address string) (c *sdk.Client, err error) {
	for begin := time.Now(); time.Since(begin) < wholeWithin; time.Sleep(20 * time.Millisecond) {
		if c, err = sdk.Dial(ctx, "http://"+address, sdk.Options{}); err == nil {
			return c, nil
		}
	}
	return nil, err
}

// status is how a node sees the ring.
func (r *ringBench) status(n *localring.Node) (ring.Status, error) {
	ctx, cancel := context.WithTimeout(r.ctx, 2*time.Second)
	defer cancel()
	c, err := sdk.Dial(ctx, "http://"+n.Listen, sdk.Options{Once: true})
	if err != nil {
		return ring.Status{}, err
	}
	defer func() { _ = c.Close() }()
	return c.Cluster().Status(ctx, "")
}

// whole waits until all nodes are in the view that each of them knows, and serve.
func (r *ringBench) whole() error {
	var last error
	for begin := time.Now(); time.Since(begin) < wholeWithin; time.Sleep(20 * time.Millisecond) {
		done := true
		for _, n := range r.ring.Nodes {
			s, err := r.status(n)
			if err == nil && (!s.Serving || len(s.View.Members) < ringNodes) {
				err = fmt.Errorf("%s: view %d has %d members, %s", n.Name, s.View.Epoch, len(s.View.Members), s.Reason)
			}
			if err != nil {
				done, last = false, err
				break
			}
		}
		if done {
			return nil
		}
	}
	return fmt.Errorf("the ring is not whole after %v: %w", wholeWithin, last)
}

// owned returns names of n streams that a node owns while the ring is whole.
func (r *ringBench) owned(node, n int) (streams []string, err error) {
	s, err := r.status(r.ring.Nodes[(node+1)%ringNodes])
	if err != nil {
		return nil, err
	}
	owners := s.View.Owners()
	for i := 0; len(streams) < n; i++ {
		stream := fmt.Sprintf("order-%d", i)
		if m, ok := owners.Owner(ring.Slot(stream)); ok && m.Node == r.ring.Nodes[node].Name {
			streams = append(streams, stream)
		}
	}
	return streams, nil
}

// forward measures what an append takes at a node that does not own its stream, against the
// owner.
func (r *ringBench) forward() error {
	r.progress("cluster/forward: %d rounds", rounds)
	streams, err := r.owned(1, 1)
	if err != nil {
		return err
	}
	append1 := func(log core.Log) (sample, error) {
		load := &pgLoad{logs: []core.Log{log}, appenders: 1, commit: func(int) core.Commit { return eventsTo(streams[0], 1) }}
		_, err := load.run(r.ctx, window)
		return sample{value: inMillis(quantile(load.latencies, 0.5)), ops: len(load.latencies)}, err
	}
	m, err := pair(rounds,
		func() (sample, error) { return append1(r.nodes[0]) },
		func() (sample, error) { return append1(r.nodes[1]) })
	if err != nil {
		return err
	}
	r.added("cluster/forward", m, 0.3)
	return nil
}

// added adds how much longer a measure takes than its floor, in ms.
func (r *ringBench) added(name string, m paired, most float64) {
	difference := m.compared(func(value, floor sample) float64 { return value.value - floor.value })
	r.add(alone(name+"/added p50", "ms", difference, atMost(ofValue, most), fmt.Sprintf("%s ms, floor %s ms", m.value(), m.floor())))
}

func eventsTo(stream string, events int) core.Commit {
	return core.Commit{Appends: []core.Append{{Stream: stream, Expect: core.AnyVersion, Events: newEvents(events)}}}
}

// throughput measures appends that arrive at all nodes, against a plain node.
func (r *ringBench) throughput() error {
	three := []core.Log{r.nodes[0], r.nodes[1], r.nodes[2]}
	for _, c := range []struct {
		name   string
		events int
		least  float64
	}{{"single", 1, 0.6}, {"batch100", ringBatch, 0.85}} {
		r.progress("cluster/throughput/%s: %d rounds", c.name, rounds)
		run := func(logs []core.Log) (sample, error) {
			load := &pgLoad{logs: logs, appenders: ringCallers, commit: func(caller int) core.Commit {
				return eventsTo(fmt.Sprintf("order-%07d", caller), c.events)
			}}
			return load.run(r.ctx, 2*window)
		}
		m, err := pair(rounds,
			func() (sample, error) { return run(three) },
			func() (sample, error) { return run([]core.Log{r.plain}) })
		if err != nil {
			return err
		}
		r.add(m.result("cluster/throughput/"+c.name, "events/s", atLeast(ofRatio, c.least)))
	}
	return nil
}

// deliver measures how long an append at one node takes to a follower and to a subscriber
// at another one, against the same on a plain node.
func (r *ringBench) deliver() error {
	for _, c := range []struct {
		name  string
		times func(ctx context.Context, at, from *sdk.Client) (sample, error)
	}{{"cluster/deliver/follow", timesToFollower}, {"cluster/deliver/subscription", timesToSubscriber}} {
		r.progress("%s: %d rounds", c.name, rounds)
		m, err := pair(rounds,
			func() (sample, error) { return c.times(r.ctx, r.nodes[0], r.nodes[1]) },
			func() (sample, error) { return c.times(r.ctx, r.plain, r.plain) })
		if err != nil {
			return err
		}
		r.added(c.name, m, 2)
	}
	return nil
}

// timesToFollower appends one event after the other, at a client, and waits for each at a
// follower of another client.
func timesToFollower(ctx context.Context, at, from *sdk.Client) (sample, error) {
	follower, err := from.Follow(ctx, core.FollowRequest{Stream: core.All, From: core.From{Kind: core.FromEnd}})
	if err != nil {
		return sample{}, err
	}
	defer func() { _ = follower.Close() }()
	return timesTo(ctx, at, func(ctx context.Context) (core.Batch, error) {
		d, err := follower.Next(ctx, core.Limit{Events: 100})
		return d.Batch, err
	})
}

func timesToSubscriber(ctx context.Context, at, from *sdk.Client) (sample, error) {
	d := subscriptions.DefaultDefinition()
	d.From = core.From{Kind: core.FromEnd}
	s, err := subscriptions.JoinWaiting(ctx, from, subscriptions.JoinRequest{
		Name: "times-" + core.NewID().String(), Definition: &d, Credit: delivery.Credit{Events: delivery.Unlimited, Bytes: delivery.Unlimited},
	})
	if err != nil {
		return sample{}, err
	}
	defer s.Leave(true)
	return timesTo(ctx, at, func(ctx context.Context) (core.Batch, error) {
		d, err := s.Next(ctx, core.Limit{Events: 100, Bytes: core.MaxPageBytes})
		if err != nil {
			return core.Batch{}, err
		}
		var positions []uint64
		for e := range d.Events() {
			positions = append(positions, e.Position)
		}
		if len(positions) > 0 {
			s.Answer(subscriptions.Answer{Kind: subscriptions.Ack, Positions: positions}, func(error) {})
		}
		return d.Batch, nil
	})
}

// timesTo takes the median of how long it is from the sending of an append until next
// returns its event.
func timesTo(ctx context.Context, at *sdk.Client, next func(context.Context) (core.Batch, error)) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, wholeWithin)
	defer cancel()
	var took []time.Duration
	for begin := time.Now(); time.Since(begin) < window; {
		c := eventsTo(fmt.Sprintf("order-%d", len(took)%100), 1)
		id := c.Appends[0].Events[0].ID
		sent := time.Now()
		failed := make(chan error, 1)
		at.Submit(ctx, c, func(_ core.Result, err error) { failed <- err })
		for arrived := false; !arrived; {
			b, err := next(ctx)
			if err != nil {
				return sample{}, err
			}
			for e := range b.Events() {
				arrived = arrived || e.ID == id
			}
		}
		took = append(took, time.Since(sent))
		if err := <-failed; err != nil {
			return sample{}, err
		}
	}
	return sample{value: inMillis(quantile(took, 0.5)), ops: len(took)}, nil
}
