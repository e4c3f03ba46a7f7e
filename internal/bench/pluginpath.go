package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/host"
	"github.com/gyre-events/gyre/plugins/registry"
	"github.com/gyre-events/gyre/runtime"
	"github.com/gyre-events/gyre/sdk"
)

const (
	pathOrders  = 50_000 // that a run handles
	pathStreams = 64     // which they are in
	pathBatch   = 64
	pathPlugin  = "orders"
	pathVersion = "1.0.0"
)

// pathBench has two nodes with the same orders: one runs plugins in the sandbox and serves a
// worker, the other runs the same handler in Go in its process.
type pathBench struct {
	*bench
	node, bare *runtime.Node
	native     *host.Host
	orders     int
	names      int // of bindings and places so far: each run has one of its own
}

// benchPath measures a handler through the whole path, from delivery to Commit, on the
// embedded engine. It gets each order of 300 bytes and appends it to another stream.
func benchPath(b *bench) error { return onPath(b, "path", b.n(pathOrders), (*pathBench).measure) }

// benchDryRuns measures dry runs over logs that have nothing but orders, so both sides read the same.
// There are enough orders that the start of a handler is no part of the bar.
func benchDryRuns(b *bench) error {
	return onPath(b, "dry-run", 3*b.n(pathOrders), (*pathBench).dryRuns)
}

// onPath measures something on two nodes of its own.
func onPath(b *bench, name string, orders int, measure func(*pathBench) error) (err error) {
	p := &pathBench{bench: b, orders: orders}
	if p.node, err = p.start(name, false); err != nil {
		return err
	}
	defer func() { _ = p.node.Close(context.Background()) }()
	if p.bare, err = p.start(name+"-native", true); err != nil {
		return err
	}
	defer func() { _ = p.bare.Close(context.Background()) }()
	programs := nativeOrders{}
	p.native, err = host.New(host.Config{Store: p.bare.Store(), Subscriptions: p.bare.Subscriptions(), Programs: programs, Versions: programs})
	if err != nil {
		return err
	}
	defer func() { _ = p.native.Close(context.Background()) }()
	if err := p.upload(); err != nil {
		return err
	}
	return measure(p)
}

func (p *pathBench) dryRuns() error {
	p.progress("plugin/path/dry-run: %d rounds of %d orders", rounds, p.orders)
	hosted := p.node.Plugins().Bindings
	pairs, err := pair(rounds, func() (sample, error) { return p.dryRun(hosted) }, func() (sample, error) { return p.dryRun(p.native) })
	if err != nil {
		return fmt.Errorf("dry-run: %w", err)
	}
	pairs.note = "the floor is the handler in the node's process, over the same read"
	p.add(pairs.result("plugin/path/dry-run", "events/s", atLeast(ofRatio, 0.5)))
	return nil
}

func (p *pathBench) measure() error {
	client, err := sdk.Dial(p.ctx, p.node.URL(), sdk.Options{})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	hosted := p.node.Plugins().Bindings
	sandbox := func(mode string, lanes int) func() (sample, error) {
		return func() (sample, error) { return p.bind(hosted, mode, lanes) }
	}
	for _, m := range []struct {
		name           string
		measure, floor func() (sample, error)
		least          float64
		note           string
	}{
		{"worker", sandbox("append", 1), func() (sample, error) { return p.work(client) }, 1.5, "the floor is a worker with a WebSocket"},
		{"native", sandbox("append", 1), func() (sample, error) { return p.bind(p.native, "append", 1) }, 0.5, "the floor is the handler in the node's process"},
		{"lanes", sandbox("work", 4), sandbox("work", 1), 1.25, "4 lanes; the floor is one"},
		{"state", sandbox("state", 1), sandbox("append", 1), 0.5, "state only; the floor appends"},
	} {
		p.progress("plugin/path/%s: %d rounds of %d orders", m.name, rounds, p.orders)
		pairs, err := pair(rounds, m.measure, m.floor)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		pairs.note = m.note
		p.add(pairs.result("plugin/path/"+m.name, "events/s", atLeast(ofRatio, m.least)))
	}
	return nil
}

// start starts a node with orders in it.
func (p *pathBench) start(name string, plain bool) (node *runtime.Node, err error) {
	config := runtime.Config{Listen: "127.0.0.1:0", Data: filepath.Join(p.dir, name)}
	config.Plugins, err = pluginConfig()
	if err != nil {
		return nil, err
	}
	config.Plugins.Disabled = plain
	node, err = runtime.Start(p.ctx, config)
	if err != nil {
		return nil, err
	}
	if err := fillOrders(p.ctx, node.Store(), p.orders); err != nil {
		return nil, errors.Join(err, node.Close(context.Background()))
	}
	return node, nil
}

// pluginConfig has this program compile plugins.
func pluginConfig() (runtime.PluginConfig, error) {
	self, err := os.Executable()
	return runtime.PluginConfig{Compile: []string{self, childCommand, "compile"}}, err
}

// fillOrders appends n orders.
func fillOrders(ctx context.Context, log core.Log, n int) error {
	data, err := pluginOrders()
	for at := 0; err == nil && at < n; {
		var c core.Commit
		for ; len(c.Appends) < 1000 && at < n; at++ {
			e := core.NewEvent{ID: core.NewID(), Type: "OrderPlaced", Data: data[at%len(data)]}
			c.Appends = append(c.Appends, core.Append{
				Stream: fmt.Sprintf("orders-%02d", at%pathStreams), Expect: core.AnyVersion, Events: []core.NewEvent{e},
			})
		}
		_, err = log.Append(ctx, c)
	}
	return err
}

// pluginOrders returns the data of the orders of pluginBatch.
func pluginOrders() (data [][]byte, err error) {
	text, err := pluginBatch()
	if err != nil {
		return nil, err
	}
	batch, err := abi.OpenBatch(text)
	if err != nil {
		return nil, err
	}
	for {
		var e abi.Event
		if ok, err := batch.Next(&e); !ok {
			return data, err
		}
		data = append(data, e.Data)
	}
}

// pathManifest is that of both handlers.
func pathManifest() plugins.Manifest {
	return plugins.Manifest{Name: pathPlugin, Version: pathVersion, SDK: "go", ABI: "gyre_1", Kind: plugins.KindHandler, Capabilities: []string{"append:shipped-*", "state"}}
}

func (p *pathBench) upload() error {
	module, err := buildGuest(p.bench, "./internal/bench/guest/orders")
	if err != nil {
		return err
	}
	manifest, err := json.Marshal(pathManifest())
	if err != nil {
		return err
	}
	_, _, err = p.node.Plugins().Versions.Upload(p.ctx, registry.Upload{
		Plugin: pathPlugin, Version: pathVersion, Module: bytes.NewReader(module), Manifest: manifest,
	})
	return err
}

func (p *pathBench) newName() string {
	p.names++
	return fmt.Sprintf("path-%d", p.names)
}

// overOrders is a binding that handles all orders.
func overOrders(mode string) plugins.Deploy {
	input := plugins.Input{Stream: core.All, PartitionBy: "stream"}
	input.Filter.Streams = []string{"orders-*"}
	return plugins.Deploy{
		Plugin: pathPlugin, Version: pathVersion, Input: &input,
		Grants: []string{"append:shipped-*", "state"}, Config: fmt.Appendf(nil, `{"mode":%q}`, mode),
	}
}

// bind deploys a binding over all orders, and measures from its first batch to its last.
func (p *pathBench) bind(h *host.Host, mode string, lanes int) (sample, error) {
	name := p.newName()
	d := overOrders(mode)
	d.Lanes = lanes
	if _, err := h.Deploy(p.ctx, name, d); err != nil {
		return sample{}, err
	}
	var began time.Time
	var first int
	for {
		s, err := h.Status(p.ctx, name)
		if err != nil {
			return sample{}, err
		}
		done := int(s.Totals.Events)
		switch {
		case s.Totals.Failures > 0 || s.Reason != "":
			return sample{}, fmt.Errorf("binding %s: %d failures; %s", name, s.Totals.Failures, s.Reason)
		case done == p.orders:
			rated := rate(done-first, began)
			return rated, h.Delete(p.ctx, name)
		case done > 0 && first == 0:
			began, first = time.Now(), done
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// dryRun runs a paused binding over all orders, and measures the run.
func (p *pathBench) dryRun(h *host.Host) (sample, error) {
	name := p.newName()
	d := overOrders("append")
	if _, err := h.Deploy(p.ctx, name, d); err != nil {
		return sample{}, err
	}
	if _, err := h.Pause(p.ctx, name); err != nil {
		return sample{}, err
	}
	r, err := h.DryRun(p.ctx, name, plugins.DryRun{}, nil)
	if err != nil {
		return sample{}, err
	}
	if r.Events != p.orders || r.Tried.Outputs.Count != p.orders {
		return sample{}, fmt.Errorf("a dry run of %d orders has handled %d and has %d outputs", p.orders, r.Events, r.Tried.Outputs.Count)
	}
	return sample{value: float64(r.Events) / r.Seconds, ops: r.Events}, h.Delete(p.ctx, name)
}

// work is the worker outside: it follows the orders, and appends what it makes of 64 together
// with its place.
func (p *pathBench) work(client *sdk.Client) (sample, error) {
	f, err := client.Follow(p.ctx, core.FollowRequest{Stream: core.All, Filter: core.Filter{Streams: []string{"orders-*"}}})
	if err != nil {
		return sample{}, err
	}
	defer func() { _ = f.Close() }()
	place := core.Progress{Name: p.newName()}
	begin := time.Now()
	var c core.Commit
	for done := 0; done < p.orders; {
		d, err := f.Next(p.ctx, core.Limit{Events: pathBatch, Bytes: core.MaxPageBytes})
		if err != nil {
			return sample{}, err
		}
		for e := range d.Events() {
			shipped := core.NewEvent{ID: core.NewID(), Type: "OrderShipped", Data: e.Data}
			c.Appends = append(c.Appends, core.Append{Stream: "shipped-" + e.Stream, Expect: core.AnyVersion, Events: []core.NewEvent{shipped}})
			place.To = e.Position
			if done++; len(c.Appends) < pathBatch && done < p.orders {
				continue
			}
			c.Progress = &place
			if _, err := client.Append(p.ctx, c); err != nil {
				return sample{}, err
			}
			c, place.From = core.Commit{}, place.To
		}
	}
	return rate(p.orders, begin), nil
}
