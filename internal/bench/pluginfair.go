package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/sdk"
)

const (
	fairShare  = 0.3 // of the appends that the node can do
	fairFor    = 3 * time.Second
	fairOrders = 50_000 // more than are burned through

	manyBindings  = 100
	bindingOrders = 10_000
	// bindingsWithin bounds the time that all bindings have.
	bindingsWithin = 15 * time.Minute
)

// pluginNode is a node in a process of its own that has orders and the plugin for them.
type pluginNode struct {
	*bench
	server *child
	client *sdk.Client
}

func startPluginNode(b *bench, name string, orders int) (*pluginNode, error) {
	module, err := buildGuest(b, "./internal/bench/guest/orders")
	if err != nil {
		return nil, err
	}
	manifest, err := json.Marshal(pathManifest())
	if err != nil {
		return nil, err
	}
	n := &pluginNode{bench: b}
	if n.server, err = startChild(b.ctx, "serve", filepath.Join(b.dir, name)); err != nil {
		return nil, err
	}
	var url string
	if err = n.server.read(&url); err == nil {
		n.client, err = sdk.Dial(b.ctx, url, sdk.Options{})
	}
	if err == nil {
		err = fillOrders(b.ctx, n.client, orders)
	}
	if err == nil {
		_, _, err = n.client.Plugins().Upload(b.ctx, sdk.Upload{Plugin: pathPlugin, Version: pathVersion, Module: module, Manifest: manifest})
	}
	if err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

func (n *pluginNode) close() {
	if n.client != nil {
		_ = n.client.Close()
	}
	n.server.kill()
}

// benchFair measures how long appends take, at a part of what the node can do, while a plugin
// computes all the time, against the same while it is paused.
func benchFair(b *bench) error {
	n, err := startPluginNode(b, "fair", fairOrders)
	if err != nil {
		return err
	}
	defer n.close()
	most, err := pipeline(b.ctx, n.client, fairFor)
	if err != nil {
		return err
	}
	const name = "burner"
	d := overOrders("burn")
	d.Limits = &plugins.Limits{TimeMs: plugins.MaxLimits().TimeMs} // its fuel is what bounds it
	if _, err := n.client.Plugins().Deploy(b.ctx, name, d); err != nil {
		return err
	}
	rate := int(most.value * fairShare)
	b.progress("plugin/fair: %d rounds at %d appends a second", rounds, rate)
	var p50, p99 paired
	for range rounds {
		if _, err := n.client.Plugins().Pause(b.ctx, name); err != nil {
			return err
		}
		alone, err := pacedAppends(b.ctx, n.client, rate)
		if err != nil {
			return err
		}
		beside, err := n.besideBurner(name, rate)
		if err != nil {
			return err
		}
		p50.add(sample{value: inMillis(quantile(beside, 0.5))}, sample{value: inMillis(quantile(alone, 0.5))})
		p99.add(sample{value: inMillis(quantile(beside, 0.99))}, sample{value: inMillis(quantile(alone, 0.99))})
	}
	p50.note = fmt.Sprintf("%d appends a second, %.0f %% of what the node does at most; the floor is while the plugin is paused", rate, 100*fairShare)
	p99.note = p50.note
	b.add(p50.result("plugin/fair/p50", "ms", atMost(ofRatio, 1.25)))
	b.add(p99.result("plugin/fair/p99", "ms", atMost(ofRatio, 2)))
	return nil
}

// besideBurner times appends while a binding computes.
func (n *pluginNode) besideBurner(name string, rate int) ([]time.Duration, error) {
	if _, err := n.client.Plugins().Resume(n.ctx, name); err != nil {
		return nil, err
	}
	if _, err := n.await(name, func(s *plugins.Status) bool { return s.Totals.Batches > 0 }); err != nil {
		return nil, err
	}
	before, err := n.client.Plugins().Status(n.ctx, name)
	if err != nil {
		return nil, err
	}
	took, err := pacedAppends(n.ctx, n.client, rate)
	if err != nil {
		return nil, err
	}
	after, err := n.client.Plugins().Status(n.ctx, name)
	if err == nil && (after.Totals.Seconds-before.Totals.Seconds < fairFor.Seconds()/2 || after.Totals.Failures > 0) {
		err = fmt.Errorf("the plugin did not compute all the time: %+v, then %+v", before.Totals, after.Totals)
	}
	return took, err
}

// await waits until a binding is as it should be.
func (n *pluginNode) await(name string, is func(*plugins.Status) bool) (plugins.Status, error) {
	for {
		s, err := n.client.Plugins().Status(n.ctx, name)
		if err != nil || is(&s) {
			return s, err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-n.ctx.Done():
			return s, n.ctx.Err()
		}
	}
}

// pacedAppends appends so many events a second, each alone, and returns how long each took.
func pacedAppends(ctx context.Context, client *sdk.Client, rate int) ([]time.Duration, error) {
	var running sync.WaitGroup
	var mu sync.Mutex // protects the variables below
	var took []time.Duration
	var failure error
	begin := time.Now()
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for sent := 0; time.Since(begin) < fairFor; <-tick.C {
		for due := int(time.Since(begin).Seconds() * float64(rate)); sent < due; sent++ {
			running.Add(1)
			since := time.Now()
			client.Submit(ctx, core.Commit{Appends: []core.Append{{
				Stream: fmt.Sprintf("paced-%03d", sent%inFlight), Expect: core.AnyVersion, Events: newEvents(1),
			}}}, func(_ core.Result, err error) {
				defer running.Done()
				mu.Lock()
				defer mu.Unlock()
				took = append(took, time.Since(since))
				if err != nil {
					failure = err
				}
			})
		}
	}
	running.Wait()
	return took, failure
}

// benchBindings measures the memory of a node whose bindings each handle all orders, beside one
// that is blocked all the time.
func benchBindings(b *bench) error {
	orders := b.n(bindingOrders)
	n, err := startPluginNode(b, "bindings", orders)
	if err != nil {
		return err
	}
	defer n.close()
	b.progress("plugin/bindings: %d orders for each of %d bindings", orders, manyBindings)
	ctx, cancel := context.WithTimeout(b.ctx, bindingsWithin)
	defer cancel()
	const blocked = "blocked"
	if _, err := n.client.Plugins().Deploy(ctx, blocked, overOrders("block")); err != nil {
		return err
	}
	isBlocked := func(s *plugins.Status) bool { return s.State == plugins.Blocked }
	if _, err := n.await(blocked, isBlocked); err != nil {
		return err
	}
	begin := time.Now()
	for i := range manyBindings {
		if _, err := n.client.Plugins().Deploy(ctx, fmt.Sprint("drains-", i), overOrders("append")); err != nil {
			return err
		}
	}
	for i := range manyBindings {
		if err := n.drained(fmt.Sprint("drains-", i), orders); err != nil {
			return err
		}
	}
	rated := rate(manyBindings*orders, begin)
	s, err := n.client.Plugins().Status(ctx, blocked)
	if err == nil && (!isBlocked(&s) || s.Checkpoint > 0) {
		err = fmt.Errorf("the binding that is to be blocked is %s, at %d", s.State, s.Checkpoint)
	}
	if err != nil {
		return err
	}
	rss, err := statusMiB(strconv.Itoa(n.server.cmd.Process.Pid), "VmHWM")
	note := fmt.Sprintf("%d bindings handled %d orders each, %.0f a second together, beside one that is blocked", manyBindings, orders, rated.value)
	b.add(alone("plugin/bindings/rss", "MiB", once(rss), atMost(ofValue, 1024), note))
	return err
}

// drained waits until a binding has handled all orders. It must not have failed at any.
func (n *pluginNode) drained(name string, orders int) error {
	s, err := n.await(name, func(s *plugins.Status) bool {
		return s.Totals.Failures > 0 || s.Reason != "" || s.Totals.Events == uint64(orders)
	})
	if err == nil && (s.Totals.Failures > 0 || s.Reason != "") {
		err = fmt.Errorf("binding %s: %d failures; %s", name, s.Totals.Failures, s.Reason)
	}
	return err
}
