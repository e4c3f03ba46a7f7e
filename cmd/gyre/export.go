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

const exportHelp = `Print every event and link of the log, or of one stream, in order, one JSON object a line:
stream, version, position, id, type, time, data, metadata. An export ends at the end of the
log as it was at the start. gyre import reads it; in an empty log, every event and link gets
its old place.

In an export of the log, a link is a line of its own: its place, the event's id and type, and
"link", the event's place. In an export of a stream, a link is the event that it names, with
"link". gyre import makes links of both.

An export of the log has expired events, too, until a scavenge removes them; one of a stream
does not. An export of the log leaves out the system's streams, whose names begin with $, and
links to their events: no node would import them.`

func newExport(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export [STREAM]",
		Short: "Print all events and links, one JSON object a line",
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

func (a *app) export(ctx context.Context, log wholeLog, stream string) error {
	x := &exporter{app: a, log: log, stream: stream}
	first, err := x.page(ctx, 0)
	if err != nil {
		return err
	}
	x.meter = a.newMeter("export", int64(first.Version))
	defer x.meter.finish()
	x.out = &eventLines{out: bufio.NewWriterSize(a.stdout, 256<<10), encode: appendExported}
	if err = x.run(ctx, first); err == nil {
		err = x.out.close()
	}
	x.meter.finish()
	if err == nil {
		took := x.meter.elapsed()
		fmt.Fprintf(a.stderr, "%s exported, %s, %s\n", eventsAndLinks(x.n, x.links), clock(took), rate(x.n, took))
		if x.system > 0 {
			fmt.Fprintf(a.stderr, "%s events of the system's streams, and links to such, left out\n", comma(x.system))
		}
		if missing := int64(first.Version) - x.n - x.system; missing > 0 {
			fmt.Fprintf(a.stderr, "%s positions have neither an event nor a link\n", comma(missing))
		}
	}
	return err
}

// exporter prints a stream, or everything as it was written.
type exporter struct {
	app      *app
	log      wholeLog
	stream   string
	out      *eventLines
	meter    *meter
	n, links int64 // printed, and how many of them are links
	system   int64 // left out
}

// page reads one from a version, or position, on.
func (x *exporter) page(ctx context.Context, from uint64) (core.Page, error) {
	if x.stream == core.All {
		return x.app.readLog(ctx, x.log, from, core.MaxReadEvents)
	}
	return x.app.readPage(ctx, x.log, core.ReadRequest{Stream: x.stream, From: from, Limit: core.Limit{Events: core.MaxReadEvents}})
}

// run goes through the pages from the first one on, up to where the stream ended when
// that was read.
func (x *exporter) run(ctx context.Context, page core.Page) (err error) {
	end := page.Version
	for {
		for e := range page.Events() {
			number := e.Version
			if x.stream == core.All {
				number = e.Position
			}
			if number > end {
				return nil
			}
			if x.stream == core.All && (core.IsSystem(e.Stream) || core.IsSystem(e.Link.Stream)) {
				x.system++
				continue
			}
			if x.n%core.MaxReadEvents == 0 {
				x.meter.set(int64(number), x.n)
			}
			if err := x.out.print(&e); err != nil {
				return err
			}
			x.n++
			if isLink(e) {
				x.links++
			}
		}
		if page.End || page.Next > end {
			return nil
		}
		if page, err = x.page(ctx, page.Next); err != nil {
			return err
		}
	}
}

// appendExported is the event object without recorded, which is the time at the server
// that wrote it. Of a link that says nothing of its event the time is that, too.
func appendExported(dst []byte, e *core.Event) []byte {
	start := len(dst)
	dst = wire.AppendEventJSON(dst, e)
	if isLink(*e) && len(e.Data) == 0 && e.Format == core.JSON {
		return without(dst, start, `,"time":"`, `,"link":{`)
	}
	return without(dst, start, `,"recorded":"`, `,"data`)
}

// without takes out what is between two members of the object at the end of dst. No
// string before them can hold them: quotes in strings are escaped.
func without(dst []byte, start int, from, to string) []byte {
	i := start + bytes.Index(dst[start:], []byte(from))
	j := i + bytes.Index(dst[i:], []byte(to))
	return append(dst[:i], dst[j:]...)
}
