package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
)

// followLoad is what gyre bench follow does.
type followLoad struct {
	events    int
	followers int
	perSecond int
	size      int
}

func newBenchFollow(a *app) *cobra.Command {
	var load followLoad
	cmd := &cobra.Command{
		Use:     "follow",
		Short:   "Measure followers: the time from an append to the event's arrival",
		Example: "  gyre bench follow --events 5000 --followers 10 --rate 1000",
		Args:    takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if load.events < 1 || load.followers < 1 || load.perSecond < 1 || load.size < 0 || load.size > core.MaxEventBytes {
				return usagef("gyre bench follow --help").because("a number is out of range")
			}
			return a.withClient(cmd.Context(), func(client *sdk.Client) error {
				return a.benchFollow(cmd.Context(), client, load)
			})
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&load.events, "events", 5_000, "how many events to append")
	flags.IntVar(&load.followers, "followers", 1, "how many followers, over one connection")
	flags.IntVar(&load.perSecond, "rate", 1_000, "events to append each second")
	flags.IntVar(&load.size, "size", 256, "bytes of data of an event")
	return a.talks(cmd)
}

func (a *app) benchFollow(ctx context.Context, client *sdk.Client, load followLoad) error {
	meter := a.newMeter("bench follow", int64(load.events))
	defer meter.finish()
	samples, err := a.runFollowers(ctx, client, load, meter)
	took := meter.elapsed()
	meter.finish()
	if err != nil {
		return err
	}
	delivered := int64(len(samples))
	result := benchResult{Benchmark: "follow", What: fmt.Sprintf("from append to arrival, %d followers, %d/s appended", load.followers, load.perSecond),
		Events: delivered, Bytes: delivered * int64(load.size)}
	return printOne(a, result.finished(took, samples), benchResult.words)
}

// runFollowers appends at a rate and waits until every follower has seen all of it.
func (a *app) runFollowers(ctx context.Context, client *sdk.Client, load followLoad, meter *meter) ([]time.Duration, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var followers sync.WaitGroup
	samples := make([][]time.Duration, load.followers)
	stream := benchStream()
	for i := range load.followers {
		followers.Go(func() {
			// The follow waits for its stream, so it is there from the first event on.
			for e, err := range core.FollowEvents(ctx, client, core.FollowRequest{Stream: stream}) {
				if err != nil {
					cancel(err)
					return
				}
				samples[i] = append(samples[i], time.Since(e.Time))
				if len(samples[i]) == load.events {
					return
				}
			}
		})
	}
	appendAtRate(ctx, client, stream, load, meter, cancel)
	followers.Wait()
	var all []time.Duration
	for _, s := range samples {
		all = append(all, s...)
	}
	return all, context.Cause(ctx)
}

// appendAtRate submits events when they are due, not when the one before was
// answered, and has them say when they were due: a node that falls behind shows as
// latency. The first error goes to fail.
func appendAtRate(ctx context.Context, client *sdk.Client, stream string, load followLoad, meter *meter, fail func(error)) {
	data := benchData(load.size)
	began := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := range load.events {
		due := began.Add(time.Duration(i) * time.Second / time.Duration(load.perSecond))
		timer.Reset(time.Until(due))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		event := core.NewEvent{ID: core.NewID(), Type: "Benchmarked", Time: due, Data: data}
		c := core.Commit{Appends: []core.Append{{Stream: stream, Expect: core.AnyVersion, Events: []core.NewEvent{event}}}}
		client.Submit(ctx, c, func(_ core.Result, err error) {
			if err != nil {
				fail(err)
			}
		})
		meter.set(int64(i), int64(i))
	}
}
