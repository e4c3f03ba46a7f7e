package main

import (
	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
)

const linkHelp = `Link events into a stream by their ids: all of them or none. Each link takes a version of the
stream. Readers and followers of the stream get the event that the link names, with the place
where it was written. The events stay in their streams, and $all has each event once. A stream
has an event at most once.

--expect says which version the stream must be at: a number (0 = no events yet), no_stream,
stream_exists, or any. If it is at another, nothing is written and the exit code is 4.

The command can be repeated safely: it writes once. gyre read STREAM -o ndjson prints the ids
of events.`

func newLink(a *app) *cobra.Command {
	var expect string
	cmd := &cobra.Command{
		Use:   "link STREAM EVENT_ID…",
		Short: "Link events into a stream",
		Long:  linkHelp,
		Example: `  gyre link paid-orders 0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11
  gyre link paid-orders 0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11 --expect 0`,
		Args: takes(2, core.MaxCommitEvents+1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := linkCommit(expect, args[0], args[1:])
			if err != nil {
				return err
			}
			return a.append(cmd.Context(), c)
		},
	}
	cmd.Flags().StringVar(&expect, "expect", "any", "version the stream must be at: N, any, no_stream or stream_exists")
	return a.completeStream(a.talks(cmd))
}

// linkCommit makes the Commit of the command line.
func linkCommit(expect, stream string, ids []string) (core.Commit, error) {
	x, err := core.ParseExpect(expect)
	if err != nil {
		return core.Commit{}, err
	}
	a := core.Append{Stream: stream, Expect: x}
	for _, text := range ids {
		id, err := core.ParseID(text)
		if err != nil {
			return core.Commit{}, err
		}
		a.Links = append(a.Links, id)
	}
	return core.Commit{Appends: []core.Append{a}}, nil
}
