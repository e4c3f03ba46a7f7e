package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/runtime"
	"github.com/gyre-events/gyre/sdk"
)

// selectedLog is how many events the logs have whose selections are read.
const selectedLog = 2_000_000

// selected are the selections: a category with 30 % of the events, and types with 5 % and
// with 0.5 % of them.
var selected = []struct {
	name      string
	selection core.Selection
}{
	{"category30", core.Selection{Category: "file"}},
	{"type5", core.Selection{Filter: core.Filter{Types: []string{"Deleted"}}}},
	{"type0.5", core.Selection{Filter: core.Filter{Types: []string{"Archived"}}}},
}

// benchSelected measures reading what matches a selection against reading all of $all: events a
// second that a client gets.
func benchSelected(b *bench) error {
	return b.onEngines(func(engine string, node *runtime.Node, client *sdk.Client) error {
		events := b.n(selectedLog)
		if engine == runtime.EnginePostgres {
			events = b.n(selectedLog / 4)
		}
		return b.selected(engine, node, client, events)
	})
}

// onEngines measures a node with its log on disk, and one with its log in PostgreSQL, where it has
// the index of types.
func (b *bench) onEngines(measure func(engine string, node *runtime.Node, client *sdk.Client) error) error {
	config := runtime.Config{Listen: "127.0.0.1:0", Data: filepath.Join(b.dir, "disk")}
	if err := b.onNode(runtime.EngineDisk, config, measure); err != nil {
		return err
	}
	server, err := b.startPostgres()
	if err != nil {
		return err
	}
	config = runtime.Config{Listen: "127.0.0.1:0", Data: filepath.Join(b.dir, "postgres"), Engine: runtime.EnginePostgres, Postgres: postgres.Config{URL: server.URL}}
	if err := postgres.Migrate(b.ctx, config.Postgres, "type"); err != nil {
		return errors.Join(err, server.Close())
	}
	return errors.Join(b.onNode(runtime.EnginePostgres, config, measure), server.Close())
}

// onNode measures a node that it starts.
func (b *bench) onNode(engine string, config runtime.Config, measure func(engine string, node *runtime.Node, client *sdk.Client) error) error {
	node, err := runtime.Start(b.ctx, config)
	if err != nil {
		return err
	}
	defer func() { _ = node.Close(context.WithoutCancel(b.ctx)) }()
	client, err := sdk.Dial(b.ctx, node.URL(), sdk.Options{})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	return measure(engine, node, client)
}

// selected fills a node's log and measures the selections.
func (b *bench) selected(engine string, node *runtime.Node, client *sdk.Client, events int) error {
	b.progress("streams/selected: %d events to %s", events, engine)
	if err := writeSelectable(b.ctx, node.Store(), events); err != nil {
		return err
	}
	for _, s := range selected {
		name := fmt.Sprintf("streams/%s/%s", s.name, engine)
		b.progress("%s: %d rounds", name, rounds)
		p, err := pair(rounds,
			func() (sample, error) { return readFor(b.ctx, client, s.selection, window) },
			func() (sample, error) { return readFor(b.ctx, client, core.Selection{}, window) })
		if err != nil {
			return err
		}
		p.note = fmt.Sprintf("matching events of %d; floor: all events", events)
		b.add(p.result(name, "events/s", atLeast(ofRatio, 0.5)))
	}
	return nil
}

// writeSelectable appends events to streams of several categories, of which every twentieth is
// Deleted and every two hundredth Archived.
func writeSelectable(ctx context.Context, log core.Log, n int) error {
	const perCommit = 1000
	for done := 0; done < n; done += perCommit {
		appends := make([]core.Append, 10)
		for i := range appends {
			category := "service"
			if i%10 < 3 {
				category = "file"
			}
			appends[i] = core.Append{Stream: fmt.Sprintf("%s-%d", category, (done/perCommit*10+i)%10_000), Expect: core.AnyVersion, Events: newEvents(perCommit / len(appends))}
			for k := range appends[i].Events {
				switch {
				case k%200 == 7 && i%2 == 0:
					appends[i].Events[k].Type = "Archived"
				case k%20 == 3:
					appends[i].Events[k].Type = "Deleted"
				}
			}
		}
		if _, err := log.Append(ctx, core.Commit{Appends: appends}); err != nil {
			return err
		}
	}
	return nil
}

// readFor reads what matches of $all for d, page by page, from the start again at the end.
func readFor(ctx context.Context, log core.Log, selection core.Selection, d time.Duration) (sample, error) {
	begin := time.Now()
	total := 0
	for from := uint64(1); time.Since(begin) < d; {
		page, err := log.Read(ctx, core.ReadRequest{Stream: core.All, From: from, Select: selection, Limit: core.Limit{Events: core.MaxReadEvents}})
		if err != nil {
			return sample{}, err
		}
		total += page.Count
		if from = page.Next; page.End {
			from = 1
		}
	}
	return rate(total, begin), nil
}
