package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"time"

	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/wasm"
	"github.com/gyre-events/gyre/plugins/wasm/guests"
)

// pluginMemory is the memory of the hosts that are measured.
const pluginMemory = 1 << 30

// benchPlugins measures the sandbox alone. A batch is 64 events of 300 bytes of JSON.
func benchPlugins(b *bench) error {
	golang, err := buildGuest(b, "./internal/bench/guest")
	if err != nil {
		return err
	}
	if err := benchCall(b); err != nil {
		return err
	}
	for _, g := range []struct {
		name   string
		module []byte
		most   float64
	}{{"c", guests.Totals, 1.5}, {"rust", guests.Words, 1.5}, {"go", golang, 1.8}} {
		if err := benchFuel(b, g.name, g.module, g.most); err != nil {
			return fmt.Errorf("fuel of %s: %w", g.name, err)
		}
	}
	if err := benchStop(b); err != nil {
		return err
	}
	if err := benchCollector(b); err != nil {
		return err
	}
	return benchStart(b, golang)
}

// buildGuest builds a plugin in Go, which the toolchain caches.
func buildGuest(b *bench, directory string) ([]byte, error) {
	path := filepath.Join(b.dir, "guest.wasm")
	build := exec.CommandContext(b.ctx, "go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", path, directory)
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	return os.ReadFile(path)
}

// pluginBatch is 64 orders of 300 bytes.
func pluginBatch() ([]byte, error) {
	const events, size = 64, 300
	r := rand.New(rand.NewPCG(1, 2))
	var w abi.BatchWriter
	w.Reset(1, 0, 0)
	for i := range uint64(events) {
		data := fmt.Appendf(nil, `{"customer":"customer-%02d","items":[`, r.IntN(50))
		for j := range 3 {
			data = fmt.Appendf(data, `{"sku":"sku-%04d","quantity":%d,"price":%d},`, r.IntN(10_000), 1+r.IntN(9), 100*j+r.IntN(9999))
		}
		data = fmt.Appendf(data[:len(data)-1], `],"note":"`)
		for len(data) < size-2 {
			data = append(data, "abcdefghij klmnopqrst"[r.IntN(21)])
		}
		e := abi.Event{
			Position: i + 1, Version: i, TimeMicros: int64(i), ID: abi.ID{byte(i + 1)}, Flags: abi.JSON,
			Stream: []byte("orders-1234"), Type: []byte("OrderPlaced"), Data: append(data, `"}`...),
		}
		if err := w.Add(&e); err != nil {
			return nil, err
		}
	}
	return w.Bytes(), nil
}

// loadGuest makes a program of a module in this process.
func loadGuest(ctx context.Context, module []byte) (*wasm.Program, error) {
	m, err := wasm.Parse(module)
	if err != nil {
		return nil, err
	}
	code, err := wasm.InProcess(m)
	if err != nil {
		return nil, err
	}
	return wasm.NewHost(pluginMemory).Load(ctx, code, abi.Handle)
}

// benchCall measures a call of a guest that copies its batch, and does nothing with it.
func benchCall(b *bench) error {
	p, err := loadGuest(b.ctx, guests.Read)
	if err != nil {
		return err
	}
	defer func() { _ = p.Close() }()
	in, err := p.New(b.ctx, sinkConfig(wasm.DefaultLimits()))
	if err != nil {
		return err
	}
	defer in.Close()
	batch, err := pluginBatch()
	if err != nil {
		return err
	}
	into := make([]byte, len(batch))
	calls := b.n(200_000)
	b.progress("plugin: %d rounds of %d calls", rounds, calls)
	pairs, err := pair(rounds, func() (sample, error) {
		return each(calls, func() error {
			verdict, _, err := in.Call(b.ctx, batch)
			return done(verdict, err)
		})
	}, func() (sample, error) {
		return each(calls, func() error { copy(into, batch); return nil })
	})
	if err != nil {
		return err
	}
	pairs.note = fmt.Sprintf("%d bytes; the floor is to copy them", len(batch))
	b.add(pairs.result("plugin/call", "µs", atMost(ofValue, 5)))
	return nil
}

// each is the processor time of one of n runs of f, in µs. Nothing in f waits.
func each(n int, f func() error) (sample, error) {
	before := cpuTime()
	for range n {
		if err := f(); err != nil {
			return sample{}, err
		}
	}
	return sample{value: inMicros(cpuTime()-before) / float64(n), ops: n}, nil
}

func done(verdict abi.Verdict, err error) error {
	if err == nil && verdict != abi.Done {
		return fmt.Errorf("the guest returned verdict %d", verdict)
	}
	return err
}

// benchFuel compares a guest with and without the meter, under the same bare runtime.
func benchFuel(b *bench, name string, module []byte, most float64) error {
	m, err := wasm.Parse(module)
	if err != nil {
		return err
	}
	batch, err := pluginBatch()
	if err != nil {
		return err
	}
	metered, err := newBareGuest(b.ctx, m.Meter(), batch)
	if err != nil {
		return err
	}
	defer metered.close()
	plain, err := newBareGuest(b.ctx, module, batch)
	if err != nil {
		return err
	}
	defer plain.close()
	calls := b.n(2000)
	pairs, err := pair(rounds,
		func() (sample, error) { return each(calls, metered.call) },
		func() (sample, error) { return each(calls, plain.call) })
	if err != nil {
		return err
	}
	pairs.note = "the floor is the same guest without the meter"
	b.add(pairs.result("plugin/fuel/"+name, "µs", atMost(ofCPURatio, most)))
	return nil
}

// benchStop measures how long a hostile guest goes on after its deadline.
func benchStop(b *bench) error {
	p, err := loadGuest(b.ctx, guests.Hostile)
	if err != nil {
		return err
	}
	defer func() { _ = p.Close() }()
	limits := wasm.MaxLimits()
	limits.Fuel, limits.Time = 1<<62, 50*time.Millisecond
	for _, h := range []struct {
		name    string
		attempt uint32
		most    float64 // ms
	}{{"loop", guests.Loop, 20}, {"calls", guests.Tree, 20}, {"log", guests.Log, 20}, {"memset", guests.Memset, 100}} {
		var late []float64
		for range b.n(3 * rounds) {
			in, err := p.New(b.ctx, sinkConfig(limits))
			if err != nil {
				return err
			}
			var w abi.BatchWriter
			w.Reset(0, h.attempt, 0)
			since := time.Now()
			if _, _, err := in.Call(b.ctx, w.Bytes()); err == nil {
				return fmt.Errorf("the hostile guest %s ended by itself", h.name)
			}
			late = append(late, inMicros(time.Since(since)-limits.Time)/1000)
			in.Close()
		}
		b.add(alone("plugin/stop/"+h.name, "ms", figure(late), atMost(ofValue, h.most), "after the deadline"))
	}
	return nil
}

// benchCollector measures the longest runs of Go's collector beside two hostile guests, of
// which a host with two processors runs one at a time, and beside as many loops in Go.
func benchCollector(b *bench) error {
	p, err := loadGuest(b.ctx, guests.Hostile)
	if err != nil {
		return err
	}
	defer func() { _ = p.Close() }()
	guest := func(attempt uint32) func(context.Context) error {
		return func(ctx context.Context) error {
			limits := wasm.MaxLimits()
			limits.Fuel, limits.Time = 1<<62, time.Hour
			in, err := p.New(ctx, sinkConfig(limits))
			if err != nil {
				return err
			}
			defer in.Close()
			var w abi.BatchWriter
			w.Reset(0, attempt, 0)
			_, _, err = in.Call(ctx, w.Bytes())
			return err
		}
	}
	spin := func(ctx context.Context) error {
		for ctx.Err() == nil {
		}
		return nil
	}
	collections := b.n(200)
	loops := slices.Repeat([]func(context.Context) error{spin}, min(2, max(1, goruntime.GOMAXPROCS(0)-1)))
	pairs, err := pair(rounds,
		func() (sample, error) { return collected(b.ctx, collections, guest(guests.Loop), guest(guests.Memset)) },
		func() (sample, error) { return collected(b.ctx, collections, loops...) })
	if err != nil {
		return err
	}
	pairs.note = fmt.Sprintf("p99 of %d runs; the floor is beside loops in Go", collections)
	b.add(pairs.result("plugin/gc", "ms", atMost(ofValue, 20)))
	return nil
}

// collected is the p99 of n runs of the collector, in ms, beside functions that end with
// their context.
func collected(ctx context.Context, n int, beside ...func(context.Context) error) (sample, error) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{}, len(beside))
	for _, f := range beside {
		go func() {
			_ = f(ctx) // canceled
			ended <- struct{}{}
		}()
	}
	var took []time.Duration
	for range n {
		since := time.Now()
		goruntime.GC()
		took = append(took, time.Since(since))
	}
	cancel()
	for range beside {
		<-ended
	}
	return sample{value: inMicros(quantile(took, 0.99)) / 1000, ops: n}, nil
}

// benchStart measures how long a plugin in Go takes to run: from its upload, and after a
// restart of the node.
func benchStart(b *bench, module []byte) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var uploads, restarts []float64
	for i := range 3 {
		compiler, err := wasm.NewCompiler(filepath.Join(b.dir, fmt.Sprint("plugins-", i)), []byte("key"), self, childCommand, "compile")
		if err != nil {
			return err
		}
		since := time.Now()
		m, err := wasm.Parse(module)
		if err != nil {
			return err
		}
		code, err := compiler.Compile(b.ctx, m)
		if err != nil {
			return err
		}
		if err := runOnce(b.ctx, code); err != nil {
			return err
		}
		uploads = append(uploads, time.Since(since).Seconds())
		for range rounds {
			since := time.Now()
			code, ok := compiler.Cached(m.ID())
			if !ok {
				return fmt.Errorf("the code was not kept")
			}
			if err := runOnce(b.ctx, code); err != nil {
				return err
			}
			restarts = append(restarts, inMicros(time.Since(since))/1000)
		}
	}
	note := fmt.Sprintf("a Go module of %.1f MB", float64(len(module))/1e6)
	b.add(alone("plugin/start/upload", "s", figure(uploads), atMost(ofValue, 5), note))
	b.add(alone("plugin/start/cached", "ms", figure(restarts), atMost(ofValue, 100), note))
	return nil
}

// runOnce loads code and hands an instance one batch.
func runOnce(ctx context.Context, code *wasm.Code) error {
	p, err := wasm.NewHost(pluginMemory).Load(ctx, code, abi.Handle)
	if err != nil {
		return err
	}
	defer func() { _ = p.Close() }()
	in, err := p.New(ctx, sinkConfig(wasm.DefaultLimits()))
	if err != nil {
		return err
	}
	defer in.Close()
	batch, err := pluginBatch()
	if err != nil {
		return err
	}
	verdict, _, err := in.Call(ctx, batch)
	return done(verdict, err)
}

// childCompile is the compiler of plugins.
func childCompile(_ context.Context, args []string) error { return wasm.RunCompiler(args[0], os.Stdin) }
