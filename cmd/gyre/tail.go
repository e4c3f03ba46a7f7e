package main

import (
	"bufio"
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const tailHelp = `Print the events of a stream or of $all as they are appended, until interrupted. The stream
need not exist yet. After a lost connection, the command reconnects and goes on after the last
event.

--from end (the default) prints new events, --from start all events. A number is the first
version (or position of $all) to print, a time the first moment, and a cursor the place after an
event. --after N begins after a version or position, --progress NAME at a worker's stored place
(gyre progress --help).

--types and --streams take patterns, in which * stands for any characters.

$all passes over the events of the system's streams, whose names begin with $; --system prints
them, too.`

// tailFlags are the flags of gyre tail.
type tailFlags struct {
	from           string
	after          uint64
	progress       string
	types, streams []string
	limit          int
	system         bool
}

func newTail(a *app) *cobra.Command {
	var f tailFlags
	cmd := &cobra.Command{
		Use:   "tail [STREAM|'$all']",
		Short: "Print events as they are appended",
		Long:  tailHelp,
		Example: `  gyre tail
  gyre tail order-1 --from start
  gyre tail --types 'Order*' -o ndjson | jq .data`,
		Args: takes(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if a.output == asJSON {
				return usagef("-o ndjson").because("a tail has no end, so it cannot be one JSON value")
			}
			r := core.FollowRequest{Stream: core.All, Filter: core.Filter{Streams: f.streams, Types: f.types}, System: f.system}
			if len(args) == 1 {
				r.Stream = args[0]
			}
			var err error
			if r.From, err = f.beginning(cmd, r.Stream); err != nil {
				return err
			}
			return a.withClient(cmd.Context(), func(client *sdk.Client) error {
				return a.tail(cmd.Context(), client, r, f.limit)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.from, "from", "end", "start, end, N (a version, or position of $all), a time or a cursor")
	flags.Uint64Var(&f.after, "after", 0, "begin after this version, or position of $all")
	flags.StringVar(&f.progress, "progress", "", "begin at the stored place of this name, or at the start if there is none")
	flags.StringSliceVar(&f.types, "types", nil, "only events of these types")
	flags.StringSliceVar(&f.streams, "streams", nil, "only events of these streams")
	flags.IntVar(&f.limit, "limit", 0, "stop after this many events (default never)")
	flags.BoolVar(&f.system, "system", false, "of $all: print the events of the system's streams, too")
	return a.completeStream(a.talks(cmd))
}

// beginning is where the flags say that a tail of stream begins.
func (f *tailFlags) beginning(cmd *cobra.Command, stream string) (core.From, error) {
	isAfter, err := beginsAfter(cmd)
	atProgress := cmd.Flags().Changed("progress")
	switch {
	case err != nil:
		return core.From{}, err
	case atProgress && (isAfter || cmd.Flags().Changed("from")):
		return core.From{}, usagef("leave one of them out").because("--progress says where to begin, and so does --from or --after")
	case atProgress:
		return core.From{Kind: core.AfterProgress, Progress: f.progress}, core.ValidateProgressName(f.progress)
	case isAfter:
		return core.FromAfter(f.after, stream), nil
	}
	return parsePlace(f.from, stream)
}

// errTwoBeginnings is the error of a command with both --from and --after.
var errTwoBeginnings = usagef("leave one of them out").because("--from and --after both say where to begin")

// beginsAfter reports whether a command has --after, which excludes --from.
func beginsAfter(cmd *cobra.Command) (bool, error) {
	after := cmd.Flags().Changed("after")
	if after && cmd.Flags().Changed("from") {
		return after, errTwoBeginnings
	}
	return after, nil
}

func (a *app) tail(ctx context.Context, log core.Log, r core.FollowRequest, limit int) error {
	var follower core.Follower
	err := a.onceServed(ctx, func(ctx context.Context) (err error) {
		follower, err = log.Follow(ctx, r)
		return err
	})
	if err != nil {
		return err
	}
	defer func() { _ = follower.Close() }()

	encode := tailLine
	if a.output == asNDJSON {
		encode = wire.AppendEventJSON
	}
	p := &eventLines{out: bufio.NewWriter(a.stdout), encode: encode}
	waiting := false
	for printed := 0; ; {
		d, err := follower.Next(ctx, core.Limit{Events: core.MaxReadEvents, Bytes: 256 << 10})
		if err != nil {
			return err
		}
		switch {
		case d.NoQuorum != "":
			a.sayWaiting(noDelivery + d.NoQuorum)
		case waiting:
			fmt.Fprintln(a.stderr, goesOn)
		}
		waiting = d.NoQuorum != ""
		for e := range d.Events() {
			if err := p.print(&e); err != nil {
				return err
			}
			if printed++; printed == limit {
				return p.close()
			}
		}
		// What has come is shown before waiting for more.
		if err := p.close(); err != nil {
			return err
		}
	}
}
