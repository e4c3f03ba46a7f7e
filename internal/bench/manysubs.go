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
	url   string
	log   *sdk.Client // of those who append
	probe *sdk.Client
	names int
}

// benchManySubscriptions measures the 99th percentile of an append beside a thousand
// active subscriptions, against the same beside the same appends and none.
func benchManySubscriptions(b *bench) error {
	server, err := startChild(b.ctx, "serve", filepath.Join(b.dir, "many"))
	if err != nil {
		return err
	}
	defer server.kill()
	s := &manyBench{bench: b}
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
	var idle, busy []time.Duration
	delivered := 0
	for range 5 {
		got, err := s.timedAppends()
		if err != nil {
			return err
		}
		idle = append(idle, got...)
		got, n, err := s.amongMany()
		if err != nil {
			return err
		}
		busy = append(busy, got...)
		delivered += n
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	p := paired{values: []float64{ms(quantile(busy, 0.99))}, floors: []float64{ms(quantile(idle, 0.99))}}
	p.note = fmt.Sprintf("%d subscriptions got %.1f events/s each; floor: the same appends without them; p50 %.2f and %.2f ms",
		manySubs, float64(delivered)/5/manyFor.Seconds()/manySubs, ms(quantile(busy, 0.5)), ms(quantile(idle, 0.5)))
	s.atMostTimes("subscription/many1000", "ms", p, 2)
	return nil
}

// timedAppends appends events for all subscriptions, and times other appends.
func (s *manyBench) timedAppends() ([]time.Duration, error) {
	ctx, cancel := context.WithTimeout(s.ctx, manyFor)
	defer cancel()
	var running sync.WaitGroup
	var tickErr error
	running.Go(func() { tickErr = s.tick(ctx) })
	var took []time.Duration
	var err error
	ticker := time.NewTicker(probeEvery)
	defer ticker.Stop()
	for ctx.Err() == nil && err == nil {
		<-ticker.C
		begin := time.Now()
		_, err = s.probe.Append(s.ctx, core.Commit{Appends: []core.Append{{Stream: "probe", Expect: core.AnyVersion, Events: newEvents(1)}}})
		took = append(took, time.Since(begin))
	}
	running.Wait()
	return took, errors.Join(err, tickErr)
}

// tick appends ten events a second to each of the streams. It does not wait for one
// Commit before the next.
func (s *manyBench) tick(ctx context.Context) error {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	var waiting sync.WaitGroup
	var failure atomic.Pointer[error]
	for n := 0; ctx.Err() == nil && failure.Load() == nil; n++ {
		<-ticker.C
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
		return *err
	}
	return nil
}

// amongMany is timedAppends with a subscription for each stream, which acks every
// event by itself.
func (s *manyBench) amongMany() (took []time.Duration, delivered int, err error) {
	s.names++ // each round's are new, and have nothing to catch up with
	subscribers, err := startChild(s.ctx, "subscribers", s.url, strconv.Itoa(s.names))
	if err != nil {
		return nil, 0, err
	}
	defer subscribers.kill()
	if err := subscribers.read(&delivered); err != nil {
		return nil, 0, err
	}
	if took, err = s.timedAppends(); err != nil {
		return nil, 0, err
	}
	_ = subscribers.in.Close()
	return took, delivered, subscribers.read(&delivered)
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
		m, _, err := c.hear()
		if err != nil {
			return err
		}
		if status, ok := m.(*wire.Status); ok && status.State == wire.StateLive {
			live++
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
