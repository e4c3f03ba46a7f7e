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
	"github.com/gyre-events/gyre/runtime"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const (
	inFlight    = 256
	connections = 64
	wsLog       = 1_000_000 // events in the log that follows read
)

// benchWS measures a node through its WebSocket, with client and node in one
// process, so that they share its cores.
func benchWS(b *bench) error {
	node, err := runtime.Start(b.ctx, runtime.Config{Listen: "127.0.0.1:0", Data: filepath.Join(b.dir, "ws")})
	if err != nil {
		return err
	}
	defer func() { _ = node.Close(context.Background()) }()
	for _, measure := range []func(*bench, *runtime.Node) error{
		benchWSAppends, benchLatency, benchWSFollow, benchSlowReader,
	} {
		if err := measure(b, node); err != nil {
			return err
		}
	}
	return benchIdleFollowers(b)
}

func benchWSAppends(b *bench, node *runtime.Node) error {
	client, err := sdk.Dial(b.ctx, node.URL(), sdk.Options{})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	inProcess := &load{log: node.Store(), perCommit: 1, appenders: inFlight}
	p, err := pair(rounds,
		func() (sample, error) { return pipeline(b.ctx, client, window) },
		func() (sample, error) { return inProcess.run(b.ctx, 0, window) })
	if err != nil {
		return err
	}
	p.note = "floor: 256 concurrent appenders in the process"
	b.add(p.result("ws/append/pipelined256", "events/s", atLeast(ofRatio, 0.4)))
	return benchConnections(b, node)
}

// benchConnections measures many connections with one append in flight each,
// against a bare echo on as many: with a client as bare as the echo's, which tells
// what the node costs, and with the Go client.
func benchConnections(b *bench, node *runtime.Node) error {
	raws, err := dialRaws(node.URL(), connections)
	defer closeRaws(raws)
	if err != nil {
		return err
	}
	clients, err := dialMany(b.ctx, node.URL(), connections)
	defer closeAll(clients)
	if err != nil {
		return err
	}
	echo, err := startEcho(connections)
	if err != nil {
		return err
	}
	defer echo.close()
	for _, m := range []struct {
		name, note string
		run        func(i int) error
	}{
		{"ws/append/conns64", "by bare clients", func(i int) error { return raws[i].append(fmt.Sprintf("conn-%02d", i)) }},
		{"ws/append/conns64/sdk", "by Go clients", func(i int) error { return appendTo(b.ctx, clients[i], fmt.Sprintf("conn-%02d", i)) }},
	} {
		p, err := pair(rounds,
			func() (sample, error) { return atOnce(connections, window, m.run) },
			func() (sample, error) { return echo.run(eventBytes, window) })
		if err != nil {
			return err
		}
		p.note = m.note + "; floor: bare WebSocket echo of the same bytes, nothing stored"
		b.add(p.result(m.name, "events/s", nil))
	}
	return nil
}

func dialMany(ctx context.Context, url string, n int) ([]*sdk.Client, error) {
	var clients []*sdk.Client
	for range n {
		c, err := sdk.Dial(ctx, url, sdk.Options{})
		if err != nil {
			return clients, err
		}
		clients = append(clients, c)
	}
	return clients, nil
}

func closeAll(clients []*sdk.Client) {
	for _, c := range clients {
		_ = c.Close()
	}
}

// pipeline keeps 256 single-event appends in flight on one connection.
func pipeline(ctx context.Context, client *sdk.Client, d time.Duration) (sample, error) {
	slots := make(chan struct{}, inFlight)
	var failure atomic.Pointer[error]
	var written atomic.Int64
	begin := time.Now()
	for n := 0; time.Since(begin) < d && failure.Load() == nil; n++ {
		slots <- struct{}{}
		client.Submit(ctx, core.Commit{Appends: []core.Append{{
			Stream: fmt.Sprintf("pipeline-%03d", n%inFlight), Expect: core.AnyVersion, Events: newEvents(1),
		}}}, func(_ core.Result, err error) {
			if err != nil {
				failure.Store(&err)
			}
			written.Add(1)
			<-slots
		})
	}
	for range inFlight {
		slots <- struct{}{}
	}
	if err := failure.Load(); err != nil {
		return sample{}, *err
	}
	return rate(int(written.Load()), begin), nil
}

// appendTo appends one event.
func appendTo(ctx context.Context, log core.Log, stream string) error {
	_, err := log.Append(ctx, core.Commit{Appends: []core.Append{{Stream: stream, Expect: core.AnyVersion, Events: newEvents(1)}}})
	return err
}

// atOnce has n goroutines do something again and again, and counts how often.
func atOnce(n int, d time.Duration, do func(i int) error) (sample, error) {
	var running sync.WaitGroup
	var total atomic.Int64
	errs := make([]error, n)
	begin := time.Now()
	for i := range n {
		running.Go(func() {
			for time.Since(begin) < d && errs[i] == nil {
				errs[i] = do(i)
				total.Add(1)
			}
		})
	}
	running.Wait()
	return rate(int(total.Load()), begin), errors.Join(errs...)
}

// benchLatency measures, at 1,000 appends a second, the time from an append to
// its arrival at a follower on another connection.
func benchLatency(b *bench, node *runtime.Node) error {
	clients, err := dialMany(b.ctx, node.URL(), 2)
	defer closeAll(clients)
	if err != nil {
		return err
	}
	loop, err := newSyncLoop(b.dir, eventBytes, 1<<20)
	if err != nil {
		return err
	}
	defer loop.close()
	var p50, p99 []float64
	var syncs []time.Duration
	for range rounds {
		got, err := latencyRun(b.ctx, clients[0], clients[1], 1000)
		if err != nil {
			return err
		}
		p50, p99 = append(p50, inMillis(quantile(got, 0.5))), append(p99, inMillis(quantile(got, 0.99)))
		for range 200 {
			begin := time.Now()
			if err := loop.write(); err != nil {
				return err
			}
			syncs = append(syncs, time.Since(begin))
		}
	}
	sync := inMillis(quantile(syncs, 0.5))
	note := fmt.Sprintf("bar: the limit and one fsync of %.2f ms", sync)
	b.add(alone("ws/latency/p50", "ms", figure(p50), atMost(ofValue, 1+sync), note))
	b.add(alone("ws/latency/p99", "ms", figure(p99), atMost(ofValue, 5+sync), note))
	return nil
}

func inMillis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// latencyRun appends n events at 1,000 a second and times their arrival.
func latencyRun(ctx context.Context, writer, reader *sdk.Client, n int) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	follower, err := reader.Follow(ctx, core.FollowRequest{Stream: core.All, From: core.From{Kind: core.FromEnd}})
	if err != nil {
		return nil, err
	}
	defer func() { _ = follower.Close() }()
	if _, err := follower.Next(ctx, core.Limit{Events: 1, Bytes: 1}); err != nil { // it is at the end
		return nil, err
	}
	sent := make([]atomic.Int64, n)
	failed := make(chan error, 1)
	go func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for i := range n {
			<-tick.C
			event := core.NewEvent{ID: core.NewID(), Type: "Timed", Data: strconv.AppendInt(nil, int64(i), 10), Metadata: nil}
			sent[i].Store(time.Now().UnixNano())
			writer.Submit(ctx, core.Commit{Appends: []core.Append{{Stream: "timed", Expect: core.AnyVersion, Events: []core.NewEvent{event}}}},
				func(_ core.Result, err error) {
					if err != nil {
						cancel()
						select {
						case failed <- err:
						default:
						}
					}
				})
		}
	}()
	var latencies []time.Duration
	for len(latencies) < n {
		d, err := follower.Next(ctx, core.Limit{Events: 100, Bytes: 64 << 10})
		if err != nil {
			return nil, errors.Join(err, drained(failed))
		}
		now := time.Now().UnixNano()
		for e := range d.Events() {
			i, err := strconv.Atoi(string(e.Data))
			if err != nil {
				return nil, err
			}
			latencies = append(latencies, time.Duration(now-sent[i].Load()))
		}
	}
	return latencies, nil
}

func drained(failed chan error) error {
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// benchWSFollow measures following from storage over one connection against a
// bare connection that carries the same bytes.
func benchWSFollow(b *bench, node *runtime.Node) error {
	fill := &load{log: node.Store(), perCommit: 1000, appenders: 2}
	if _, err := fill.run(b.ctx, b.n(wsLog), 0); err != nil {
		return err
	}
	pipe, err := startPipe()
	if err != nil {
		return err
	}
	defer pipe.close()
	client, err := sdk.Dial(b.ctx, node.URL(), sdk.Options{})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	raw, err := dialRaw(node.URL(), wire.JSON)
	if err != nil {
		return err
	}
	defer func() { _ = raw.Close() }()
	for _, c := range []struct {
		name, note string
		run        func() (sample, error)
		bar        *bar
	}{
		{"ws/follow/bin", "the Go client", func() (sample, error) { return followFor(b.ctx, client, window) }, atLeast(ofRatio, 0.5)},
		{"ws/follow/json", "a client that counts events and does not decode them", func() (sample, error) { return raw.followJSON(window) }, atLeast(ofRatio, 0.25)},
	} {
		p, err := pair(rounds, c.run, func() (sample, error) { return pipe.run(window) })
		if err != nil {
			return err
		}
		p.note = c.note + "; floor: bare WebSocket, the same binary bytes in 64 KiB messages"
		b.add(p.result(c.name, "events/s", c.bar))
	}
	return nil
}

// benchSlowReader measures what 99 followers get with and without a hundredth
// that has stopped reading.
func benchSlowReader(b *bench, node *runtime.Node) error {
	clients, err := dialMany(b.ctx, node.URL(), 100)
	defer closeAll(clients)
	if err != nil {
		return err
	}
	events := b.n(20_000)
	others := func() (sample, error) { return followAll(b.ctx, clients[1:], events) }
	p, err := pair(rounds, func() (sample, error) {
		stalled, err := clients[0].Follow(b.ctx, core.FollowRequest{Stream: core.All})
		if err != nil {
			return sample{}, err
		}
		defer func() { _ = stalled.Close() }()
		return others()
	}, others)
	if err != nil {
		return err
	}
	p.note = "floor: the same 99 followers without the stalled one"
	b.add(p.result("ws/follow/one_of_100_stalled", "events/s", atLeast(ofRatio, 0.9)))
	return nil
}

// followAll has every client follow the first n events at once.
func followAll(ctx context.Context, clients []*sdk.Client, n int) (sample, error) {
	var running sync.WaitGroup
	errs := make([]error, len(clients))
	begin := time.Now()
	for i, c := range clients {
		running.Go(func() { errs[i] = followCount(ctx, c, n) })
	}
	running.Wait()
	return rate(n*len(clients), begin), errors.Join(errs...)
}

func followCount(ctx context.Context, log core.Log, n int) error {
	follower, err := log.Follow(ctx, core.FollowRequest{Stream: core.All})
	if err != nil {
		return err
	}
	defer func() { _ = follower.Close() }()
	for seen := 0; seen < n; {
		d, err := follower.Next(ctx, core.Limit{Events: core.MaxReadEvents, Bytes: 256 << 10})
		if err != nil {
			return err
		}
		seen += d.Count
	}
	return nil
}

// benchIdleFollowers measures what 2,000 followers that wait at the head cost
// a node that runs in a process of its own.
func benchIdleFollowers(b *bench) error {
	const idle = 2000
	server, err := startChild(b.ctx, "serve", filepath.Join(b.dir, "idle"))
	if err != nil {
		return err
	}
	defer server.kill()
	var url string
	if err := server.read(&url); err != nil {
		return err
	}
	pid := strconv.Itoa(server.cmd.Process.Pid)
	before, err := statusMiB(pid, "VmRSS")
	if err != nil {
		return err
	}
	clients, err := dialMany(b.ctx, url, idle)
	defer closeAll(clients)
	if err != nil {
		return err
	}
	for _, c := range clients {
		follower, err := c.Follow(b.ctx, core.FollowRequest{Stream: core.All, From: core.From{Kind: core.FromEnd}})
		if err != nil {
			return err
		}
		if d, err := follower.Next(b.ctx, core.Limit{Events: 1, Bytes: 1}); err != nil || !d.Live {
			return fmt.Errorf("a follower at the end is not live: %w", err)
		}
	}
	after, err := statusMiB(pid, "VmRSS")
	if err != nil {
		return err
	}
	b.add(alone("ws/idle_followers2000", "MiB", once(after-before), atMost(ofValue, 100), "resident memory of the node"))
	return nil
}

// childServe runs a node until its standard input closes.
func childServe(ctx context.Context, args []string) error {
	plugins, err := pluginConfig()
	if err != nil {
		return err
	}
	node, err := runtime.Start(ctx, runtime.Config{Listen: "127.0.0.1:0", Data: args[0], Plugins: plugins})
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(node.URL()); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	return node.Close(ctx)
}
