package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const exportHelp = `Print every event, or those of one stream, in order, one JSON object a line: stream,
version, position, id, type, time, data, metadata. The export is what was there when it
began. gyre import takes it.

An export of every event has no links; how many there are is told. That of a stream has
its links as the events that they name, with link: gyre import makes links of them again,
where the events are. So export everything and then the streams with links.`

func newExport(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export [STREAM]",
		Short: "Print all events, one JSON object a line",
		Long:  exportHelp,
		Example: `  gyre export > events.ndjson
  gyre export order-1 | jq .data`,
		Args: takes(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if a.output != "" && a.output != asNDJSON {
				return usagef("gyre export, or gyre read '$all' -o json").because("an export is ndjson only")
			}
			stream := core.All
			if len(args) == 1 {
				stream = args[0]
			}
			return a.withClient(cmd.Context(), func(client *sdk.Client) error {
				return a.export(cmd.Context(), client, stream)
			})
		},
	}
	return a.completeStream(a.talks(cmd))
}

func (a *app) export(ctx context.Context, log core.Log, stream string) error {
	first, err := a.readPage(ctx, log, core.ReadRequest{Stream: stream, Limit: core.Limit{Events: core.MaxReadEvents}})
	if err != nil {
		return err
	}
	meter := a.newMeter("export", int64(first.Version))
	defer meter.finish()
	out := &eventLines{out: bufio.NewWriterSize(a.stdout, 256<<10), encode: appendExported}
	n, err := a.exportFrom(ctx, log, stream, first, func(e *core.Event, n int64) error {
		if n%core.MaxReadEvents == 0 {
			meter.set(int64(numberIn(stream, e)), n)
		}
		return out.print(e)
	})
	if err == nil {
		err = out.close()
	}
	meter.finish()
	if err == nil {
		fmt.Fprintf(a.stderr, "%s events exported, %s, %s\n", comma(n), clock(meter.elapsed()), rate(n, meter.elapsed()))
		if links := int64(first.Version) - n; stream == core.All && links > 0 {
			fmt.Fprintf(a.stderr, "%s links were passed over: export their streams, too, to keep them\n", comma(links))
		}
	}
	return err
}

// exportFrom goes through the pages from the first one on, up to where the stream
// ended when that was read.
func (a *app) exportFrom(ctx context.Context, log core.Log, stream string, page core.Page, each func(e *core.Event, n int64) error) (int64, error) {
	n, end := int64(0), page.Version
	for {
		for e := range page.Events() {
			if numberIn(stream, &e) > end {
				return n, nil
			}
			if err := each(&e, n); err != nil {
				return n, err
			}
			n++
		}
		if page.End || page.Next > end {
			return n, nil
		}
		var err error
		page, err = a.readPage(ctx, log, core.ReadRequest{
			Stream: stream, From: page.Next, Limit: core.Limit{Events: core.MaxReadEvents},
		})
		if err != nil {
			return n, err
		}
	}
}

// numberIn is what a stream counts its events by.
func numberIn(stream string, e *core.Event) uint64 {
	if stream == core.All {
		return e.Position
	}
	return e.Version
}

// appendExported is the event object without recorded, which is the time at the
// server that wrote it.
func appendExported(dst []byte, e *core.Event) []byte {
	start := len(dst)
	dst = wire.AppendEventJSON(dst, e)
	// No string before it can hold this: quotes in strings are escaped.
	key := []byte(`,"recorded":"`)
	from := start + bytes.Index(dst[start:], key)
	to := from + len(key)
	to += bytes.IndexByte(dst[to:], '"') + 1
	return append(dst[:from], dst[to:]...)
}
