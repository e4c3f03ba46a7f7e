package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/runtime"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const (
	subLog     = 1_000_000 // events in the log that subscriptions read
	subStreams = 10_000    // which they are in, in turn
	ackBatch   = 64
	subBuffer  = 4096 // events in flight to one subscriber, as many as a follow has credit for
)

// benchSubscriptions measures named subscriptions through a node's WebSocket.
func benchSubscriptions(b *bench) error {
	if err := benchFewSubscriptions(b); err != nil {
		return err
	}
	return benchManySubscriptions(b)
}

// benchFewSubscriptions has client and node in one process.
func benchFewSubscriptions(b *bench) error {
	node, err := runtime.Start(b.ctx, runtime.Config{Listen: "127.0.0.1:0", Data: filepath.Join(b.dir, "subscription")})
	if err != nil {
		return err
	}
	defer func() { _ = node.Close(context.Background()) }()
	if err := fillStreams(b.ctx, node.Store(), b.n(subLog)); err != nil {
		return err
	}
	s := &subBench{bench: b, node: node}
	for _, measure := range []func() error{s.ack64, s.competing8, s.strict} {
		if err := measure(); err != nil {
			return err
		}
	}
	return nil
}

// fillStreams appends n events to streams in turn.
func fillStreams(ctx context.Context, log core.Log, n int) error {
	for at := 0; at < n; {
		var c core.Commit
		for ; len(c.Appends) < 1000 && at < n; at++ {
			c.Appends = append(c.Appends, core.Append{
				Stream: fmt.Sprintf("account-%05d", at%subStreams), Expect: core.AnyVersion, Events: newEvents(1),
			})
		}
		if _, err := log.Append(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

type subBench struct {
	*bench
	node  *runtime.Node
	names int // of subscriptions so far: each run has one of its own
}

func (s *subBench) newName() string {
	s.names++
	return fmt.Sprintf("bench-%d", s.names)
}

func options(o map[string]any) []byte {
	text, err := json.Marshal(o)
	if err != nil {
		panic(err) // they are ours
	}
	return text
}

// ack64 measures one subscription, acked 64 events at a time, against a plain follow.
func (s *subBench) ack64() error {
	c, err := dialRaw(s.node.URL(), wire.Bin)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	p, err := pair(rounds,
		func() (sample, error) { return s.consume([]*rawClient{c}, map[string]any{"bufferSize": subBuffer}, 0) },
		func() (sample, error) { return s.plainFollow(c) })
	if err != nil {
		return err
	}
	p.note = "floor: a plain follow of the same log by the same client"
	s.add(p.result("subscription/ack64", "events/s", atLeast(ofRatio, 0.5)))
	return nil
}

// plainFollow follows the log with credit, as clients do.
func (s *subBench) plainFollow(c *rawClient) (sample, error) {
	const credit = 4096
	amount := &wire.Amount{Events: credit, Bytes: 8 << 20}
	if err := c.subscribe(&wire.Subscribe{ID: 2, Sub: 1, Stream: core.All, Credit: amount}); err != nil {
		return sample{}, err
	}
	begin := time.Now()
	spent, size := 0, 0
	var last uint64
	n, err := c.receive(window, true, func(_ uint64, b core.Batch) {
		for e := range b.Events() { // look at each, as whoever acks does
			last = max(last, e.Position)
		}
		spent, size = spent+b.Count, size+len(b.Block)
		if spent >= credit/2 {
			c.credit(1, spent, size)
			spent, size = 0, 0
		}
	})
	rate := rate(n, begin)
	if last < uint64(n) {
		err = errors.Join(err, fmt.Errorf("%d events up to position %d", n, last))
	}
	return rate, errors.Join(err, c.unsubscribe(3, 1))
}

// consume has clients compete for one subscription, and counts events.
func (s *subBench) consume(clients []*rawClient, o map[string]any, handler time.Duration) (sample, error) {
	name := s.newName()
	o["concurrencyLimit"] = len(clients)
	for _, c := range clients {
		m := &wire.Subscribe{ID: 2, Sub: 1, Subscription: name, Options: options(o)}
		if err := c.subscribe(m); err != nil {
			return sample{}, err
		}
	}
	var running sync.WaitGroup
	var total atomic.Int64
	errs := make([]error, len(clients))
	begin := time.Now()
	for i, c := range clients {
		running.Go(func() {
			n, err := c.receive(window, true, ackEvery(c, ackBatch, handler))
			total.Add(int64(n))
			errs[i] = err
		})
	}
	running.Wait()
	rate := rate(int(total.Load()), begin)
	for i, c := range clients {
		errs[i] = errors.Join(errs[i], c.unsubscribe(3, 1))
	}
	return rate, errors.Join(append(errs, s.node.Subscriptions().Delete(s.ctx, name))...)
}

// ackEvery handles and acks as many events at a time.
func ackEvery(c *rawClient, n int, handler time.Duration) func(uint64, core.Batch) {
	var positions []uint64
	return func(sub uint64, b core.Batch) {
		for e := range b.Events() {
			if positions = append(positions, e.Position); len(positions) == n {
				if handler > 0 {
					time.Sleep(handler) // what a handler waits for
				}
				c.ack(sub, positions)
				positions = positions[:0]
			}
		}
	}
}

// competing8 measures eight consumers of one subscription that is partitioned by
// stream, against one of the same: as it comes, with handlers that wait for something,
// as those that need several do, and with as much in flight as brings one consumer to
// its best, which eight have to share.
func (s *subBench) competing8() error {
	clients, err := dialRaws(s.node.URL(), 8)
	defer closeRaws(clients)
	if err != nil {
		return err
	}
	const byDefault = 64 // events in flight to a subscriber
	for _, c := range []struct {
		name, note string
		one, each  int // bufferSize of the one, and of each of the eight
		handler    time.Duration
		bar        *bar
	}{
		{"subscription/competing8", "both with the default options", byDefault, byDefault, 0, atLeast(ofRatio, 1)},
		{"subscription/competing8/waiting", "the same; handlers wait 1 ms for each batch of 64", byDefault, byDefault, time.Millisecond, nil},
		{"subscription/competing8/deep", "4096 events in flight to the one, and to the eight together", subBuffer, subBuffer / 8, 0, nil},
	} {
		p, err := pair(rounds,
			func() (sample, error) { return s.consume(clients, byStream(c.each), c.handler) },
			func() (sample, error) { return s.consume(clients[:1], byStream(c.one), c.handler) })
		if err != nil {
			return err
		}
		p.note = "floor: one consumer; " + c.note
		s.add(p.result(c.name, "events/s", c.bar))
	}
	return nil
}

func byStream(buffer int) map[string]any {
	return map[string]any{"partitionBy": "stream", "bufferSize": buffer}
}

// strict measures strict order, one event in flight, against round trips of a ping.
func (s *subBench) strict() error {
	c, err := dialRaw(s.node.URL(), wire.Bin)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	p, err := pair(rounds,
		func() (sample, error) { return s.oneByOne(c) },
		func() (sample, error) { return pings(c) })
	if err != nil {
		return err
	}
	p.note = "floor: round trips of a ping on the same connection"
	s.add(p.result("subscription/strict", "events/s", atLeast(ofRatio, 0.8)))
	return nil
}

func (s *subBench) oneByOne(c *rawClient) (sample, error) {
	name := s.newName()
	if err := c.subscribe(&wire.Subscribe{ID: 2, Sub: 1, Subscription: name, Options: options(map[string]any{"bufferSize": 1})}); err != nil {
		return sample{}, err
	}
	begin := time.Now()
	n, err := c.receive(window, true, ackEvery(c, 1, 0))
	rate := rate(n, begin)
	return rate, errors.Join(err, c.unsubscribe(3, 1), s.node.Subscriptions().Delete(s.ctx, name))
}

func pings(c *rawClient) (sample, error) {
	begin := time.Now()
	n := 0
	for ; time.Since(begin) < window; n++ {
		if err := c.say(&wire.Ping{N: uint64(n)}); err != nil {
			return sample{}, err
		}
		if _, _, err := c.next(); err != nil {
			return sample{}, err
		}
	}
	return rate(n, begin), nil
}
