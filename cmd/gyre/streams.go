package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi/wire"
)

func newStreams(a *app) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "streams",
		Short: "List streams, or show one",
	})
	cmd.AddCommand(newStreamsLs(a), newStreamsInfo(a))
	return cmd
}

// listedStream is a stream of the list, as it is printed.
type listedStream struct {
	Stream  string `json:"stream"`
	Version uint64 `json:"version"`
}

func newStreamsLs(a *app) *cobra.Command {
	var r core.StreamsRequest
	var limit int
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List streams by name, with their versions",
		Example: `  gyre streams ls --prefix order-
  gyre streams ls -o ndjson | jq -r 'select(.version > 100).stream'`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return usagef("--limit 100").because("--limit %d is less than 0", limit)
			}
			return a.withClient(cmd.Context(), func(client *sdk.Client) error {
				return a.listStreams(cmd.Context(), client, r, limit)
			})
		},
	}
	cmd.Flags().StringVar(&r.Prefix, "prefix", "", "only names with this prefix")
	cmd.Flags().IntVar(&limit, "limit", 0, "how many streams at most (default all)")
	cmd.Flags().BoolVar(&r.System, "system", false, "list the system's streams, too, whose names begin with $")
	return a.talks(cmd)
}

// listStreams prints a page after another, up to limit if it is not 0.
func (a *app) listStreams(ctx context.Context, client *sdk.Client, r core.StreamsRequest, limit int) error {
	streams := list[listedStream]{app: a, header: []string{"stream", "version"}, row: func(s listedStream) []string {
		return []string{cell(s.Stream, core.MaxStreamNameBytes), fmt.Sprint(s.Version)}
	}}
	return streams.printAll(ctx, limit, func(ctx context.Context, most int) (items []listedStream, end bool, err error) {
		r.Limit = most
		page, err := client.Streams(ctx, r)
		for _, s := range page.Streams {
			items = append(items, listedStream{s.Name, s.Version})
			r.After = s.Name
		}
		return items, page.End || len(items) == 0, err
	})
}

// streamInfo is the printed form of a stream.
type streamInfo struct {
	Stream  string    `json:"stream"`
	Version uint64    `json:"version"`
	First   eventInfo `json:"first"`
	Last    eventInfo `json:"last"`
}

type eventInfo struct {
	Position uint64 `json:"position"`
	Type     string `json:"type"`
	Time     string `json:"time"`
	Recorded string `json:"recorded"`
}

func newStreamsInfo(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "info STREAM",
		Short:   "Show a stream's version, and its first and last event",
		Example: "  gyre streams info order-1",
		Args:    takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var info streamInfo
			err := a.withClient(cmd.Context(), func(client *sdk.Client) (err error) {
				info, err = a.streamInfo(cmd.Context(), client, args[0])
				return err
			})
			if err != nil {
				return err
			}
			return printOne(a, info, streamInfo.words)
		},
	}
	return a.completeStream(a.talks(cmd))
}

func (a *app) streamInfo(ctx context.Context, log core.Log, stream string) (streamInfo, error) {
	info := streamInfo{Stream: stream}
	for _, end := range []struct {
		backward bool
		event    *eventInfo
	}{{false, &info.First}, {true, &info.Last}} {
		page, err := a.readPage(ctx, log, core.ReadRequest{Stream: stream, Backward: end.backward, Limit: core.Limit{Events: 1}})
		if err != nil {
			return info, err
		}
		info.Version = page.Version
		for e := range page.Events() {
			*end.event = eventInfo{e.Position, e.Type, wire.FormatTime(e.Time), wire.FormatTime(e.Recorded)}
		}
	}
	return info, nil
}

func (i streamInfo) words() string {
	var b strings.Builder
	fmt.Fprintf(&b, "stream   %s\n", cell(i.Stream, core.MaxStreamNameBytes))
	fmt.Fprintf(&b, "version  %d\n", i.Version)
	fmt.Fprintf(&b, "first    %s  %s  position %d\n", i.First.Time, visible(i.First.Type), i.First.Position)
	fmt.Fprintf(&b, "last     %s  %s  position %d", i.Last.Time, visible(i.Last.Type), i.Last.Position)
	return b.String()
}
