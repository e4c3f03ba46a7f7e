package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/sdk"
)

const logsHelp = `Print what a plugin has logged: time, level, version, lane, the position of the event that it was
about, and text. The newest 4 MiB are kept.

With --follow it goes on with what comes, until it is interrupted; while the node is away, it waits
for it.`

// logsWait is how long the node waits for a line before it answers that there is none.
const logsWait = 15 * time.Second

// logsRetry is how long a log that is followed waits for a node that is away, or starts.
const logsRetry = 500 * time.Millisecond

func newPluginLogs(a *app) *cobra.Command {
	var follow bool
	var last int
	cmd := &cobra.Command{
		Use:   "logs NAME",
		Short: "Print what a plugin has logged, and follow it",
		Long:  logsHelp,
		Example: `  gyre plugin logs counter
  gyre plugin logs counter -f
  gyre plugin logs counter -o ndjson | jq 'select(.level == "error")'`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if last < 1 || last > core.MaxReadEvents {
				return usagef("--last 100").because("--last %d is not from 1 to %d", last, core.MaxReadEvents)
			}
			if follow && a.output == asJSON {
				return usagef("-o ndjson").because("a log that is followed has no end, so it cannot be one JSON value")
			}
			return a.withClient(cmd.Context(), func(client *sdk.Client) error {
				return a.printLogs(cmd.Context(), client.Plugins(), args[0], plugins.LogsRequest{Last: last}, follow)
			})
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what comes")
	cmd.Flags().IntVar(&last, "last", 100, "begin with so many of the newest lines")
	return a.completeBinding(a.talks(cmd))
}

// printLogs prints lines as they are there, and with follow goes on until ctx ends.
func (a *app) printLogs(ctx context.Context, all sdk.Plugins, name string, r plugins.LogsRequest, follow bool) error {
	out := list[plugins.LogLine]{app: a}
	for {
		page, err := func() (plugins.LogsPage, error) {
			ctx, cancel := context.WithTimeout(ctx, a.timeout+r.Wait)
			defer cancel()
			return all.Logs(ctx, name, r)
		}()
		if follow && err != nil && core.AsError(err).Info().Retryable {
			select {
			case <-time.After(logsRetry):
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err != nil {
			return err
		}
		if err := a.printLines(&out, page.Lines); err != nil {
			return err
		}
		if !follow && page.End {
			return out.close()
		}
		r = plugins.LogsRequest{After: page.Next}
		if follow {
			r.Wait = logsWait
		}
	}
}

func (a *app) printLines(out *list[plugins.LogLine], lines []plugins.LogLine) error {
	if a.output == asJSON || a.output == asNDJSON {
		return out.print(lines)
	}
	for i := range lines {
		if _, err := fmt.Fprintln(a.stdout, visible(lines[i].String())); err != nil {
			return err
		}
	}
	return nil
}
