package main

import (
	"context"
	"fmt"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/runtime"
	"github.com/gyre-events/gyre/sdk"
)

// What is loaded: streams with a snapshot in the middle, which has as many bytes as a state has,
// and a tail after it.
const (
	loadedStreams = 100
	loadedTail    = 100
	loadedState   = 2 << 10
)

// benchLoad measures loading a state, which is a snapshot and the events after it, against
// reading those events alone.
func benchLoad(b *bench) error {
	return b.onEngines(func(engine string, node *runtime.Node, client *sdk.Client) error {
		if err := writeLoaded(b.ctx, node.Store()); err != nil {
			return err
		}
		limit := core.Limit{Events: core.MaxReadEvents}
		loading := func(stream string) (int, error) {
			l, err := client.Load(b.ctx, core.LoadRequest{Stream: stream, Limit: limit})
			if err == nil && l.Snapshot == nil {
				err = fmt.Errorf("%s has no snapshot", stream)
			}
			return l.Count, err
		}
		reading := func(stream string) (int, error) {
			page, err := client.Read(b.ctx, core.ReadRequest{Stream: stream, From: loadedTail + 1, Limit: limit})
			return page.Count, err
		}
		name := "streams/load/" + engine
		b.progress("%s: %d rounds", name, rounds)
		p, err := pair(rounds,
			func() (sample, error) { return loadFor(loading, window) },
			func() (sample, error) { return loadFor(reading, window) })
		if err != nil {
			return err
		}
		p.note = fmt.Sprintf("a snapshot of %d bytes and %d events; floor: the events", loadedState, loadedTail)
		b.add(p.result(name, "loads/s", atLeast(ofRatio, 1/1.2)))
		return nil
	})
}

// writeLoaded writes the streams and their snapshots.
func writeLoaded(ctx context.Context, s core.SnapshotStore) error {
	state := make([]byte, loadedState)
	for i := range loadedStreams {
		stream := loadedName(i)
		c := core.Commit{Appends: []core.Append{{Stream: stream, Expect: core.NoStream, Events: newEvents(2 * loadedTail)}}}
		p := core.SnapshotPut{Snapshot: core.Snapshot{Stream: stream, Version: loadedTail, Format: core.Bytes, Data: state}}
		if _, err := core.AppendWithSnapshots(ctx, s, c, []core.SnapshotPut{p}); err != nil {
			return err
		}
	}
	return nil
}

func loadedName(i int) string { return fmt.Sprintf("loaded-%d", i%loadedStreams) }

// loadFor loads one stream after another for d.
func loadFor(load func(stream string) (int, error), d time.Duration) (sample, error) {
	begin := time.Now()
	n := 0
	for ; time.Since(begin) < d; n++ {
		switch count, err := load(loadedName(n)); {
		case err != nil:
			return sample{}, err
		case count != loadedTail:
			return sample{}, fmt.Errorf("%s: %d events", loadedName(n), count)
		}
	}
	return rate(n, begin), nil
}
