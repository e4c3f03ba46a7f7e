// Command progress is a worker that follows the log and appends one event for each that it
// gets, exactly once: its place in the log moves in the same commit as what it appends. Kill
// it, or the node, whenever you like. Start it twice under one name, and one of them works.
//
//	make run                                                    in one terminal
//	go run ./examples/progress -streams 'order-*' -to orders    in another
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
)

// worker follows streams and appends to another.
type worker struct {
	server  string
	name    string // of its place
	streams string // pattern
	to      string // stream
}

func main() {
	var w worker
	flag.StringVar(&w.server, "server", "localhost:4973", "the node, or several as A,B,C")
	flag.StringVar(&w.name, "name", "example", "the name of its place in the log")
	flag.StringVar(&w.streams, "streams", "order-*", "the streams to follow")
	flag.StringVar(&w.to, "to", "seen", "the stream to append to, which the pattern must not match")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := w.run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "progress:", err)
		os.Exit(1)
	}
}

// run works until ctx ends. Whatever fails, it begins again at the stored place: what was
// written has moved it, what was not has not.
func (w *worker) run(ctx context.Context) error {
	const pause = 100 * time.Millisecond
	for ctx.Err() == nil {
		err := w.work(ctx)
		if e := core.AsError(err); !e.Info().Retryable && e.Code != core.CodeProgressConflict && e.Code != core.CodeTimeout {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
	return nil
}

// work follows from the stored place until something fails.
func (w *worker) work(ctx context.Context) error {
	client, err := sdk.Dial(ctx, w.server, sdk.Options{Name: "progress"})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	place, err := client.Progress(ctx, w.name)
	if err != nil && !errors.Is(err, core.CodeNotFound) { // then it begins at the start
		return err
	}
	follower, err := client.Follow(ctx, core.FollowRequest{
		Stream: core.All, From: place.From(), Filter: core.Filter{Streams: []string{w.streams}},
	})
	if err != nil {
		return err
	}
	defer func() { _ = follower.Close() }()
	for at := place.Position; ; {
		d, err := follower.Next(ctx, core.Limit{Events: 64, Bytes: 1 << 20})
		if err != nil {
			return err
		}
		if d.Cursor == at {
			continue // how the follow stands has changed, and nothing else
		}
		if err := w.handle(ctx, client, at, &d); err != nil {
			return err
		}
		at = d.Cursor
	}
}

// handle appends what it makes of the events, and moves its place behind them.
func (w *worker) handle(ctx context.Context, client *sdk.Client, at uint64, d *core.Delivery) error {
	c := core.Commit{Progress: &core.Progress{Name: w.name, From: at, To: d.Cursor}}
	var seen []core.NewEvent
	for e := range d.Events() {
		data, err := json.Marshal(map[string]any{"stream": e.Stream, "version": e.Version, "position": e.Position, "type": e.Type})
		if err != nil {
			return err
		}
		seen = append(seen, core.NewEvent{Type: "Seen", Data: data})
	}
	if len(seen) > 0 {
		c.Appends = []core.Append{{Stream: w.to, Expect: core.AnyVersion, Events: seen}}
	}
	_, err := client.Append(ctx, c)
	return err
}
