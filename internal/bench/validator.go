package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/registry"
	"github.com/gyre-events/gyre/plugins/wasm/guests"
	"github.com/gyre-events/gyre/runtime"
)

// benchValidator measures appends that a validator judges, which looks through their data for a
// number, beside appends to other streams of the same node.
func benchValidator(b *bench) error {
	config := runtime.Config{Listen: "127.0.0.1:0", Data: filepath.Join(b.dir, "validator")}
	var err error
	if config.Plugins, err = pluginConfig(); err != nil {
		return err
	}
	node, err := runtime.Start(b.ctx, config)
	if err != nil {
		return err
	}
	defer func() { _ = node.Close(context.Background()) }()
	if err := deployValidator(b, node); err != nil {
		return err
	}
	for _, c := range []struct {
		name      string
		appenders int
	}{{"plugin/validator/single", 1}, {"plugin/validator/concurrent64", 64}} {
		b.progress("%s: %d rounds", c.name, 2*rounds)
		run := func(prefix string) func() (sample, error) {
			l := &load{log: renamed{node.Store(), prefix}, perCommit: 1, appenders: c.appenders}
			return func() (sample, error) { return l.run(b.ctx, 0, window) }
		}
		p, err := pair(2*rounds, run("judged-"), run("free-"))
		if err != nil {
			return err
		}
		s, err := node.Plugins().Validators.Status(b.ctx, "orders")
		if err != nil {
			return err
		}
		if s.Totals.Batches == 0 || s.Totals.Failures > 0 {
			return fmt.Errorf("%d appends were judged, %d failed", s.Totals.Batches, s.Totals.Failures)
		}
		p.note = fmt.Sprintf("%.1f µs in the validator", 1e6*s.Totals.Seconds/float64(s.Totals.Batches))
		b.add(p.result(c.name, "appends/s", atLeast(ofRatio, 1/1.15)))
	}
	return nil
}

func deployValidator(b *bench, node *runtime.Node) error {
	manifest := `{"name":"orders","version":"1","abi":"gyre_1","kind":"validate","subscription":{"stream":"judged-*"}}`
	_, _, err := node.Plugins().Versions.Upload(b.ctx, registry.Upload{
		Plugin: "orders", Version: "1", Module: strings.NewReader(string(guests.Orders)), Manifest: []byte(manifest),
	})
	if err != nil {
		return err
	}
	_, err = node.Plugins().Validators.Deploy(b.ctx, "orders", plugins.Deploy{Version: "1"})
	return err
}

// renamed appends to streams whose names have a prefix.
type renamed struct {
	core.Log
	prefix string
}

// Append is core.Log.Append.
func (r renamed) Append(ctx context.Context, c core.Commit) (core.Result, error) {
	c.Appends[0].Stream = r.prefix + c.Appends[0].Stream
	return r.Log.Append(ctx, c)
}
