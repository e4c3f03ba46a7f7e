package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/registry"
	"github.com/gyre-events/gyre/plugins/wasm/guests"
	"github.com/gyre-events/gyre/runtime"
)

const (
	filterLog  = 1_000_000 // events that subscriptions filter
	filterKeep = 100       // of which one of so many is kept, and the last one
)

// filterBench measures a subscription whose events a plugin in C judges, against one whose events
// an expression judges in the same way.
type filterBench struct {
	*bench
	node   *runtime.Node
	events int
	names  int
}

// benchFilters measures how fast a subscription passes over a log.
func benchFilters(b *bench) error {
	f := &filterBench{bench: b, events: b.n(filterLog)}
	config := runtime.Config{Listen: "127.0.0.1:0", Data: filepath.Join(b.dir, "plugin-filter")}
	var err error
	if config.Plugins, err = pluginConfig(); err != nil {
		return err
	}
	if f.node, err = runtime.Start(b.ctx, config); err != nil {
		return err
	}
	defer func() { _ = f.node.Close(context.Background()) }()
	if err := errors.Join(f.fill(), f.upload(plugins.KindFilter), f.upload(plugins.KindMap)); err != nil {
		return err
	}
	for _, m := range []struct {
		name          string
		plugin, floor func(d *subscriptions.Definition)
		note          string
	}{
		{"plugin/filter",
			func(d *subscriptions.Definition) { d.Filter.Plugin = "filter@1" },
			func(d *subscriptions.Definition) { d.Filter.Expr = "data.total >= 100" },
			"floor: the same filter as an expression"},
		{"plugin/map",
			func(d *subscriptions.Definition) { d.Map.Plugin = "map@1" },
			func(d *subscriptions.Definition) { d.Map.Expr = `{"sum": data.total}` },
			"floor: the same map as an expression"},
	} {
		b.progress("%s: %d rounds of %d events", m.name, rounds, f.events)
		p, err := pair(rounds,
			func() (sample, error) { return f.pass(m.plugin) },
			func() (sample, error) { return f.pass(m.floor) })
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		p.note = m.note
		b.add(p.result(m.name, "events/s", atLeast(ofRatio, 0.5)))
	}
	return nil
}

// fill appends events of 200 bytes, whose total says whether the filter keeps them.
func (f *filterBench) fill() error {
	note := bytes.Repeat([]byte("abcdefghij klmnopqrst "), 5)
	for at := 0; at < f.events; {
		var c core.Commit
		for ; len(c.Appends) < 1000 && at < f.events; at++ {
			total := at % 100
			if at%filterKeep == 0 || at == f.events-1 {
				total += 100
			}
			data := fmt.Appendf(nil, `{"customer":"customer-%05d","currency":"EUR","total":%d,"note":"%s"}`, at%5000, total, note)
			c.Appends = append(c.Appends, core.Append{
				Stream: fmt.Sprintf("order-%05d", at%subStreams), Expect: core.AnyVersion,
				Events: []core.NewEvent{{ID: core.NewID(), Type: "OrderPlaced", Data: data}},
			})
		}
		if _, err := f.node.Store().Append(f.ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func (f *filterBench) upload(kind plugins.Kind) error {
	manifest, err := json.Marshal(plugins.Manifest{Name: string(kind), Version: "1", ABI: "gyre_1", Kind: kind})
	if err != nil {
		return err
	}
	_, _, err = f.node.Plugins().Versions.Upload(f.ctx, registry.Upload{Plugin: string(kind), Version: "1", Module: bytes.NewReader(guests.Orders), Manifest: manifest})
	return err
}

// pass subscribes with a definition, and measures until the last event is delivered.
func (f *filterBench) pass(define func(d *subscriptions.Definition)) (sample, error) {
	f.names++
	d := subscriptions.DefaultDefinition()
	d.BufferSize = subBuffer
	define(&d)
	s, err := subscriptions.JoinWaiting(f.ctx, f.node.Subscriptions(), subscriptions.JoinRequest{
		Name: fmt.Sprint("filter-", f.names), Definition: &d, Credit: delivery.Credit{Events: delivery.Unlimited, Bytes: delivery.Unlimited},
	})
	if err != nil {
		return sample{}, err
	}
	defer s.Leave(true)
	ctx, cancel := context.WithTimeout(f.ctx, time.Minute)
	defer cancel()
	begin := time.Now()
	for last := uint64(0); last < uint64(f.events); {
		got, err := s.Next(ctx, core.Limit{Events: core.MaxReadEvents, Bytes: core.MaxPageBytes})
		if err != nil {
			return sample{}, err
		}
		if got.Count > 0 {
			last = got.Last
			if err := s.Do(ctx, subscriptions.Answer{Kind: subscriptions.AckUpTo, UpTo: last}); err != nil {
				return sample{}, err
			}
		}
	}
	return rate(f.events, begin), nil
}
