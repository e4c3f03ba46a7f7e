package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/sdk"
)

const (
	movingSubs    = 10_000
	movingClients = 100
	// movingRate is how many events a second all of them get together.
	movingRate = 2000
	// movedWithin is how long the effects of a view change are watched.
	movedWithin = 12 * time.Second
)

// viewChange is subscriptions that are hosted all over the ring, each of a stream of its
// own, while a node gives its share away.
type viewChange struct {
	*ringBench
	clients []*sdk.Client
	subs    []*movingSub
	ctx     context.Context
	running sync.WaitGroup
}

// movingSub is a subscriber, and when it saw what.
type movingSub struct {
	name string
	sent atomic.Int64 // when its newest event was sent, in ns; 0: it has arrived

	mu      sync.Mutex // protects the fields below
	late    []time.Duration
	moving  time.Time // since when it is, or zero
	resumed time.Duration
	moved   bool
}

// viewChanges measures what a view change costs subscriptions: those that stay with their
// owner, and those that move.
func (r *ringBench) viewChanges() error {
	n := r.n(movingSubs)
	r.progress("cluster/viewchange: %d subscriptions, %d view changes", n, ringNodes)
	ctx, cancel := context.WithCancel(r.ctx)
	v := &viewChange{ringBench: r, ctx: ctx}
	defer func() {
		cancel()
		closeAll(v.clients)
		v.running.Wait()
	}()
	if err := v.join(n); err != nil {
		return err
	}
	v.running.Go(v.append)
	var before, stays, median, last []float64
	for i := range ringNodes {
		c, err := v.drain(i)
		if err != nil {
			return err
		}
		before, stays = append(before, inMillis(quantile(c.before, 0.99))), append(stays, inMillis(quantile(c.stay, 0.99)))
		median, last = append(median, quantile(c.move, 0.5).Seconds()), append(last, quantile(c.move, 1).Seconds())
	}
	note := fmt.Sprintf("%d subscriptions, %d events/s", n, movingRate)
	r.add(alone("cluster/viewchange/stay p99", "ms", figure(stays), atMost(ofValue, 200), fmt.Sprintf("%s; without a view change %s ms", note, figure(before))))
	r.add(alone("cluster/viewchange/move p50", "s", figure(median), atMost(ofValue, 2), note))
	r.add(alone("cluster/viewchange/move last", "s", figure(last), atMost(ofValue, 10), note))
	return nil
}

// join joins n subscriptions, through all nodes.
func (v *viewChange) join(n int) error {
	for i := range n {
		v.subs = append(v.subs, &movingSub{name: fmt.Sprintf("moving-%d", i)})
	}
	var joining sync.WaitGroup
	errs := make([]error, movingClients)
	for i := range movingClients {
		c, err := dialUntil(v.ctx, v.ring.Nodes[i%ringNodes].Listen)
		if err != nil {
			return err
		}
		v.clients = append(v.clients, c)
		joining.Go(func() {
			for k := i; k < n && errs[i] == nil; k += movingClients {
				errs[i] = v.consume(c, v.subs[k])
			}
		})
	}
	joining.Wait()
	return errors.Join(errs...)
}

// consume joins a subscription, and takes and acks what comes until the end.
func (v *viewChange) consume(c *sdk.Client, m *movingSub) error {
	d := subscriptions.DefaultDefinition()
	d.Stream, d.From = m.name, core.From{Kind: core.FromEnd}
	s, err := subscriptions.JoinWaiting(v.ctx, c, subscriptions.JoinRequest{
		Name: m.name, Definition: &d, AnyOptions: true, Credit: delivery.Credit{Events: delivery.Unlimited, Bytes: delivery.Unlimited},
	})
	if err != nil {
		return err
	}
	v.running.Go(func() {
		for {
			d, err := s.Next(v.ctx, core.Limit{Events: 10, Bytes: core.MaxPageBytes})
			if err != nil {
				return // with v.ctx, or the view change shows that it is missing
			}
			m.took(&d)
			for e := range d.Events() {
				s.Answer(subscriptions.Answer{Kind: subscriptions.Ack, Positions: []uint64{e.Position}}, func(error) {})
			}
		}
	})
	return nil
}

func (m *movingSub) took(d *subscriptions.Delivery) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if sent := m.sent.Swap(0); d.Count > 0 && sent > 0 {
		m.late = append(m.late, now.Sub(time.Unix(0, sent)))
	}
	switch {
	case d.State == delivery.Moving && m.moving.IsZero():
		m.moving = now
	case d.State == delivery.Live && !m.moving.IsZero():
		m.resumed, m.moved, m.moving = now.Sub(m.moving), true, time.Time{}
	}
}

// append appends to the streams in turn, and does not wait for answers.
func (v *viewChange) append() {
	ticks := time.NewTicker(10 * time.Millisecond)
	defer ticks.Stop()
	for i := 0; v.ctx.Err() == nil; {
		for range movingRate / 100 {
			m := v.subs[i%len(v.subs)]
			m.sent.CompareAndSwap(0, time.Now().UnixNano())
			v.nodes[i%ringNodes].Submit(v.ctx, eventsTo(m.name, 1), func(core.Result, error) {})
			i++
		}
		select {
		case <-ticks.C:
		case <-v.ctx.Done():
		}
	}
}

// changed is what a view change cost: how late events were before it, and then of
// subscriptions that stay, and how long those that move paused.
type changed struct{ before, stay, move []time.Duration }

// drain has a node give away what it owns, and take it back.
func (v *viewChange) drain(node int) (c changed, err error) {
	s, err := v.status(v.ring.Nodes[node])
	if err != nil {
		return c, err
	}
	owners, id := s.View.Owners(), v.ring.Nodes[node].Name
	v.restart()
	time.Sleep(movedWithin / 4)
	c.before = v.restart()
	ctx, cancel := context.WithTimeout(v.ctx, wholeWithin)
	defer cancel()
	if err := v.nodes[(node+1)%ringNodes].Cluster().Drain(ctx, id, true); err != nil {
		return c, err
	}
	time.Sleep(movedWithin)
	for _, m := range v.subs {
		owner, _ := owners.Owner(ring.Slot(m.name))
		m.mu.Lock()
		switch {
		case owner.Node != id:
			c.stay = append(c.stay, m.late...)
		case m.moved:
			c.move = append(c.move, m.resumed)
		case !m.moving.IsZero(): // still
			c.move = append(c.move, time.Since(m.moving))
		}
		m.mu.Unlock()
	}
	if len(c.move) == 0 || len(c.stay) == 0 || len(c.before) == 0 {
		return c, fmt.Errorf("%d subscriptions have moved, %d events came of those that stay, and %d before",
			len(c.move), len(c.stay), len(c.before))
	}
	err = v.nodes[(node+1)%ringNodes].Cluster().Drain(ctx, id, false)
	return c, errors.Join(err, v.whole())
}

// restart forgets what all subscribers have seen, and returns how late their events were.
func (v *viewChange) restart() (late []time.Duration) {
	for _, m := range v.subs {
		m.mu.Lock()
		late = append(late, m.late...)
		m.late, m.moved, m.resumed = nil, false, 0
		m.mu.Unlock()
	}
	return late
}
