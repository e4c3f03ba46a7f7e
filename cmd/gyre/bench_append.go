package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
)

// appendLoad is what gyre bench append does.
type appendLoad struct {
	events  int64
	workers int
	batch   int
	size    int
}

func newBenchAppend(a *app) *cobra.Command {
	var load appendLoad
	cmd := &cobra.Command{
		Use:     "append",
		Short:   "Measure appends: each worker waits for its answer",
		Example: "  gyre bench append --events 100000 --workers 256",
		Args:    takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if load.events < 1 || load.workers < 1 || load.batch < 1 || load.batch > core.MaxCommitEvents || load.size < 0 || load.size > core.MaxEventBytes {
				return usagef("gyre bench append --help").because("a number is out of range")
			}
			return a.withClient(cmd.Context(), func(client *sdk.Client) error {
				return a.benchAppend(cmd.Context(), client, load)
			})
		},
	}
	flags := cmd.Flags()
	flags.Int64Var(&load.events, "events", 20_000, "how many events to append")
	flags.IntVar(&load.workers, "workers", 64, "appends in flight, each to its own stream")
	flags.IntVar(&load.batch, "batch", 1, "events of one append")
	flags.IntVar(&load.size, "size", 256, "bytes of data of an event")
	return a.talks(cmd)
}

func (a *app) benchAppend(ctx context.Context, log core.Log, load appendLoad) error {
	meter := a.newMeter("bench append", load.events)
	defer meter.finish()
	samples, events, err := a.runAppends(ctx, log, load, meter)
	took := meter.elapsed()
	meter.finish()
	if err != nil {
		return err
	}
	result := benchResult{Benchmark: "append", What: fmt.Sprintf("of an append of %d, %d in flight", load.batch, load.workers),
		Events: events, Bytes: events * int64(load.size)}
	return printOne(a, result.finished(took, samples), benchResult.words)
}

// runAppends runs the workers and waits for them. The first error ends them all.
func (a *app) runAppends(ctx context.Context, log core.Log, load appendLoad, meter *meter) ([]time.Duration, int64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var workers sync.WaitGroup
	var left, done atomic.Int64
	left.Store(load.events)
	samples := make([][]time.Duration, load.workers)
	stream, data := benchStream(), benchData(load.size)
	for i := range load.workers {
		workers.Go(func() {
			name := fmt.Sprintf("%s-%d", stream, i)
			for ctx.Err() == nil {
				n := min(int64(load.batch), left.Add(-int64(load.batch))+int64(load.batch))
				if n <= 0 {
					return
				}
				took, err := a.timedAppend(ctx, log, name, data, int(n))
				if err != nil {
					cancel(err)
					return
				}
				samples[i] = append(samples[i], took)
				done.Add(n)
			}
		})
	}
	watch(&workers, func() { meter.set(done.Load(), done.Load()) })
	var all []time.Duration
	for _, s := range samples {
		all = append(all, s...)
	}
	return all, done.Load(), context.Cause(ctx)
}

// timedAppend appends n events and returns the time to the answer.
func (a *app) timedAppend(ctx context.Context, log core.Log, stream string, data []byte, n int) (time.Duration, error) {
	events := make([]core.NewEvent, n)
	for i := range events {
		events[i] = core.NewEvent{ID: core.NewID(), Type: "Benchmarked", Data: data}
	}
	began := time.Now()
	_, err := a.appendOnce(ctx, log, core.Commit{Appends: []core.Append{{Stream: stream, Expect: core.AnyVersion, Events: events}}})
	return time.Since(began), err
}

// watch waits for workers, and calls tell now and then until they are done.
func watch(workers *sync.WaitGroup, tell func()) {
	done := make(chan struct{})
	go func() {
		workers.Wait()
		close(done)
	}()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			tell()
		case <-done:
			return
		}
	}
}
