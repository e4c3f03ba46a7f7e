package main

import (
	"bufio"
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const tailHelp = `Print events as they come, until interrupted: of a stream, which need not be there yet, or
of $all. A lost connection is made again and goes on after the last event.

--from end (the default) prints what is appended from now on, start everything from the
first event, a number begins with that version (or position of $all), and a cursor goes on
where an earlier tail ended.

--types and --streams take patterns, in which * stands for any characters.`

// tailFlags are the flags of gyre tail.
type tailFlags struct {
	from           string
	types, streams []string
	limit          int
}

func newTail(a *app) *cobra.Command {
	var f tailFlags
	cmd := &cobra.Command{
		Use:   "tail [STREAM|'$all']",
		Short: "Print events as they come",
		Long:  tailHelp,
		Example: `  gyre tail
  gyre tail order-1 --from start
  gyre tail --types 'Order*' -o ndjson | jq .data`,
		Args: takes(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if a.output == asJSON {
				return usagef("-o ndjson").because("a tail has no end, so it cannot be one JSON value")
			}
			r := core.FollowRequest{Stream: core.All, Filter: core.Filter{Streams: f.streams, Types: f.types}}
			if len(args) == 1 {
				r.Stream = args[0]
			}
			var err error
			if r.From, err = parseFrom(f.from, r.Stream); err != nil {
				return err
			}
			return a.withClient(cmd.Context(), func(client *sdk.Client) error {
				return a.tail(cmd.Context(), client, r, f.limit)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.from, "from", "end", "start, end, N (a version, or position of $all) or a cursor")
	flags.StringSliceVar(&f.types, "types", nil, "only events of these types")
	flags.StringSliceVar(&f.streams, "streams", nil, "only events of these streams")
	flags.IntVar(&f.limit, "limit", 0, "stop after so many events (default never)")
	return a.completeStream(a.talks(cmd))
}

// parseFrom reads --from. A number is the first event to print; a From says what to
// begin after.
func parseFrom(s, stream string) (core.From, error) {
	switch s {
	case "start", "origin":
		return core.From{Kind: core.FromStart}, nil
	case "end", "current":
		return core.From{Kind: core.FromEnd}, nil
	}
	if n, err := strconv.ParseUint(s, 10, 64); err == nil && n <= core.MaxNumber {
		kind := core.AfterVersion
		if stream == core.All {
			kind = core.AfterPosition
		}
		return core.From{Kind: kind, N: max(n, 1) - 1}, nil
	}
	cursor, err := core.ParseCursor(s)
	if err != nil {
		return core.From{}, usagef("--from start, end, a number or a cursor").because("--from %q is none of them", s)
	}
	return cursor.From(), nil
}

func (a *app) tail(ctx context.Context, log core.Log, r core.FollowRequest, limit int) error {
	follower, err := log.Follow(ctx, r)
	if err != nil {
		return err
	}
	defer func() { _ = follower.Close() }()

	encode := tailLine
	if a.output == asNDJSON {
		encode = wire.AppendEventJSON
	}
	p := &eventLines{out: bufio.NewWriter(a.stdout), encode: encode}
	for printed := 0; ; {
		d, err := follower.Next(ctx, core.Limit{Events: core.MaxReadEvents, Bytes: 256 << 10})
		if err != nil {
			return err
		}
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
