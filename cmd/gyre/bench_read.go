package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
)

func newBenchRead(a *app) *cobra.Command {
	var events int64
	var page int
	cmd := &cobra.Command{
		Use:     "read [STREAM|'$all']",
		Short:   "Measure reads: page by page from the first event on",
		Example: "  gyre bench read --events 100000",
		Args:    takes(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if events < 1 || page < 1 || page > core.MaxReadEvents {
				return usagef("gyre bench read --help").because("a number is out of range")
			}
			r := core.ReadRequest{Stream: core.All, Limit: core.Limit{Events: page}}
			if len(args) == 1 {
				r.Stream = args[0]
			}
			return a.withClient(cmd.Context(), func(client *sdk.Client) error {
				return a.benchRead(cmd.Context(), client, r, events)
			})
		},
	}
	cmd.Flags().Int64Var(&events, "events", 100_000, "how many events to read at most")
	cmd.Flags().IntVar(&page, "page", core.MaxReadEvents, "events of one page")
	return a.talks(cmd)
}

func (a *app) benchRead(ctx context.Context, log core.Log, r core.ReadRequest, most int64) error {
	meter := a.newMeter("bench read", most)
	defer meter.finish()
	result := benchResult{Benchmark: "read", What: "of a page"}
	var samples []time.Duration
	for {
		began := time.Now()
		page, err := a.readPage(ctx, log, r)
		if err != nil {
			return err
		}
		samples = append(samples, time.Since(began))
		for e := range page.Events() {
			result.Events++
			result.Bytes += int64(len(e.Data))
		}
		meter.set(result.Events, result.Events)
		if page.End || result.Events >= most {
			break
		}
		r.From = page.Next
	}
	took := meter.elapsed()
	meter.finish()
	return printOne(a, result.finished(took, samples), benchResult.words)
}
