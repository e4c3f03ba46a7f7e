package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const (
	manySubs    = 1000
	manyClients = 10
	// Each subscription gets ten events a second: a thousand Commits a second have an
	// event for ten of them each.
	tickEvery = time.Millisecond
	perTick   = manySubs / 100
	// probeEvery is how often an append is timed meanwhile.
	probeEvery = 5 * time.Millisecond
	manyFor    = 4 * time.Second
)

// manyBench is a node in a process of its own, as nodes are, and what it is called by;
// its subscribers are another process.
type manyBench struct {
	*bench
	server *child
	url    string
	log    *sdk.Client // of those who append
	probe  *sdk.Client
	names  int
}

// benchManySubscriptions measures the 99th percentile of an append beside a thousand
// active subscriptions, against the same beside the same appends and none.
func benchManySubscriptions(b *bench) error {
	server, err := startChild(b.ctx, "serve", filepath.Join(b.dir, "many"))
	if err != nil {
		return err
	}
	defer server.kill()
	s := &manyBench{bench: b, server: server}
	if err := server.read(&s.url); err != nil {
		return err
	}
	appenders, err := dialMany(b.ctx, s.url, 2)
	defer closeAll(appenders)
	if err != nil {
		return err
	}
	s.log, s.probe = appenders[0], appenders[1]
	return s.measure()
}

func (s *manyBench) measure() error {
	var p99 paired
	var idle, busy []time.Duration
	delivered := 0
	for range 5 {
		alone, err := s.timedAppends()
		if err != nil {
			return err
		}
		among, n, err := s.amongMany()
		if err != nil {
			return err
		}
		idle, busy = append(idle, alone.took...), append(busy, among.took...)
		delivered += n
		p99.add(among.p99(), alone.p99())
	}
	p99.note = fmt.Sprintf("%d subscriptions got %.1f events/s each; floor: the same appends without them; p50 %.2f and %.2f ms; processor time of the node, each event appended",
		manySubs, float64(delivered)/5/manyFor.Seconds()/manySubs, inMillis(quantile(busy, 0.5)), inMillis(quantile(idle, 0.5)))
	s.add(p99.result("subscription/many1000", "ms", atMost(ofRatio, 2)))
	return nil
}

// appendRun is what appends took while others went on beside them.
type appendRun struct {
	took   []time.Duration
	events int           // of all appends
	cpu    time.Duration // processor time of the node
}

func (r *appendRun) p99() sample {
	return sample{value: inMillis(quantile(r.took, 0.99)), ops: r.events, cpu: r.cpu}
}

// timedAppends appends events for all subscriptions, and times other appends.
func (s *manyBench) timedAppends() (r appendRun, err error) {
	ctx, cancel := context.WithTimeout(s.ctx, manyFor)
	defer cancel()
	before, err := s.server.cpuTime()
	if err != nil {
		return r, err
	}
	var running sync.WaitGroup
	var tickErr error
	running.Go(func() { r.events, tickErr = s.tick(ctx) })
	ticker := time.NewTicker(probeEvery)
	defer ticker.Stop()
	for ctx.Err() == nil && err == nil {
		<-ticker.C
		begin := time.Now()
		_, err = s.probe.Append(s.ctx, core.Commit{Appends: []core.Append{{Stream: "probe", Expect: core.AnyVersion, Events: newEvents(1)}}})
		r.took = append(r.took, time.Since(begin))
	}
	running.Wait()
	r.events += len(r.took)
	after, cpuErr := s.server.cpuTime()
	r.cpu = after - before
	return r, errors.Join(err, tickErr, cpuErr)
}

// tick appends ten events a second to each of the streams. It does not wait for one
// Commit before the next. It returns how many events that were.
func (s *manyBench) tick(ctx context.Context) (events int, err error) {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	var waiting sync.WaitGroup
	var failure atomic.Pointer[error]
	for n := 0; ctx.Err() == nil && failure.Load() == nil; n++ {
		<-ticker.C
		events += perTick
		var c core.Commit
		for i := range perTick {
			c.Appends = append(c.Appends, core.Append{
				Stream: fmt.Sprintf("ticks-%d", (n*perTick+i)%manySubs), Expect: core.AnyVersion, Events: newEvents(1),
			})
		}
		waiting.Add(1)
		s.log.Submit(s.ctx, c, func(_ core.Result, err error) {
			defer waiting.Done()
			if err != nil {
				failure.Store(&err)
			}
		})
	}
	waiting.Wait()
	if err := failure.Load(); err != nil {
		return events, *err
	}
	return events, nil
}

// amongMany is timedAppends with a subscription for each stream, which acks every
// event by itself.
func (s *manyBench) amongMany() (r appendRun, delivered int, err error) {
	s.names++ // each round's are new, and have nothing to catch up with
	subscribers, err := startChild(s.ctx, "subscribers", s.url, strconv.Itoa(s.names))
	if err != nil {
		return r, 0, err
	}
	defer subscribers.kill()
	if err := subscribers.read(&delivered); err != nil {
		return r, 0, err
	}
	if r, err = s.timedAppends(); err != nil {
		return r, 0, err
	}
	_ = subscribers.in.Close()
	return r, delivered, subscribers.read(&delivered)
}

// childSubscribers joins the subscriptions of a round, tells that it did, and acks
// until its standard input closes. Then it tells how many events there were.
func childSubscribers(_ context.Context, args []string) error {
	clients, err := dialRaws(args[0], manyClients)
	defer closeRaws(clients)
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	counts, errs := make([]int, len(clients)), make([]error, len(clients))
	for i, c := range clients {
		running.Go(func() { errs[i] = c.joinMany(args[1], i) })
	}
	running.Wait()
	if err := errors.Join(append(errs, json.NewEncoder(os.Stdout).Encode(0))...); err != nil {
		return err
	}
	for i, c := range clients {
		running.Go(func() { counts[i], errs[i] = c.receive(time.Hour, false, ackEach(c)) })
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	closeRaws(clients)
	running.Wait()
	total := 0
	for _, n := range counts {
		total += n
	}
	return json.NewEncoder(os.Stdout).Encode(total)
}

// joinMany joins the subscriptions of one of the clients, each of one stream.
func (c *rawClient) joinMany(round string, client int) error {
	for i := client; i < manySubs; i += manyClients {
		sub := uint64(i/manyClients + 1)
		o := options(map[string]any{"stream": fmt.Sprintf("ticks-%d", i), "from": "end"})
		m := &wire.Subscribe{ID: sub + 1, Sub: sub, Subscription: fmt.Sprintf("many-%s-%d", round, i), Options: o}
		if err := c.say(m); err != nil {
			return err
		}
	}
	for live := 0; live < manySubs/manyClients; {
		m, _, err := c.next()
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *wire.OK: // it may be live at once
			if m.State == wire.StateLive {
				live++
			}
		case *wire.Status:
			if m.State == wire.StateLive {
				live++
			}
		}
	}
	return nil
}

// ackEach acks what came of each sub.
func ackEach(c *rawClient) func(uint64, core.Batch) {
	var positions []uint64
	return func(sub uint64, b core.Batch) {
		positions = positions[:0]
		for e := range b.Events() {
			positions = append(positions, e.Position)
		}
		c.ack(sub, positions)
	}
}
