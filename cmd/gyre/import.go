package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
)

const importHelp = `Append the events of a file, in its order, to the streams they name. FILE has one JSON
object a line: "stream", "type", "data", and optionally "id", "time" and "metadata". It may
be compressed with gzip. gyre export and gyre read -o ndjson print this form; import ignores
version, position and recorded, because the log assigns new ones. A line with "link" is a
link to the event with its id, which is in the log or comes before it in the file.

Events keep their id and time. An import can be interrupted at any moment and run again:
it skips events whose ids are already in the log. An event without an id gets a new id, and
a second run writes it again.`

func newImport(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import FILE|-",
		Short: "Append the events of a file",
		Long:  importHelp,
		Example: `  gyre import events.ndjson.gz
  gyre export --server old:4973 | gyre import -`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.importFile(cmd.Context(), args[0])
		},
	}
	return a.talks(cmd)
}

// imported is how much was written, as it is printed.
type imported struct {
	Written   int64   `json:"written"` // events and links
	Links     int64   `json:"links"`   // of those that were written
	Skipped   int64   `json:"skipped"`
	WithoutID int64   `json:"withoutId"`
	Seconds   float64 `json:"seconds"`
}

func (a *app) importFile(ctx context.Context, name string) error {
	in, err := a.openLines(name)
	if err != nil {
		return err
	}
	defer in.close()
	return a.withClient(ctx, func(client *sdk.Client) error { return a.importLines(ctx, client, in) })
}

func (a *app) importLines(ctx context.Context, log core.Log, in *lineReader) error {
	im := &importer{app: a, log: log, name: in.name}
	meter := a.newMeter("import", in.size)
	err := im.run(ctx, in, func(read int64) { meter.set(read, im.done.Written+im.done.Skipped) })
	meter.finish()
	im.done.Seconds = math.Round(meter.elapsed().Seconds()*1000) / 1000
	a.tellImported(im.done, meter.elapsed(), err)
	if err != nil || a.output == "" || a.output == asTable {
		return err
	}
	return json.NewEncoder(a.stdout).Encode(im.done)
}

// tellImported prints the summary line, also of an import that failed.
func (a *app) tellImported(done imported, took time.Duration, err error) {
	fmt.Fprintf(a.stderr, "%s written, %s skipped, %s, %s\n",
		eventsAndLinks(done.Written, done.Links), comma(done.Skipped), clock(took), rate(done.Written+done.Skipped, took))
	if done.WithoutID > 0 {
		fmt.Fprintf(a.stderr, "%s of them had no id: importing them again writes them again\n", comma(done.WithoutID))
	}
	var at *lineError
	switch {
	case errors.As(err, &at):
		fmt.Fprintln(a.stderr, "Not everything was imported. Correct the line and run the same command again; events that are already in the log are skipped.")
	case err != nil:
		fmt.Fprintln(a.stderr, "Not everything was imported. Run the same command again to go on; events that are already in the log are skipped.")
	}
}

// The bounds of one Commit of an import: large enough that the wait for the disk
// does not count, small enough that an interruption is quick.
const (
	batchEvents = 1000
	batchBytes  = 2 << 20
)

// entry is one line of an import.
type entry struct {
	stream string
	event  core.NewEvent
	isLink bool // to the event
	line   int
}

// batch is a run of lines that are written together.
type batch struct {
	entries []entry
	read    int64 // of the file, after them
	// noIDs of the entries came without an id.
	noIDs int64
}

// importer writes batches one after another. There is never more than one under
// way: the server keeps the order of Commits per stream only, and $all is to have
// the order of the file.
type importer struct {
	app  *app
	log  core.Log
	name string // of the file
	done imported
}

// run imports all of in.
func (im *importer) run(ctx context.Context, in *lineReader, report func(read int64)) error {
	return readAhead(ctx, func(ctx context.Context, batches chan<- batch) error {
		return cut(ctx, in, batches)
	}, func(b batch) error {
		if err := im.write(ctx, b.entries); err != nil {
			return err
		}
		im.done.WithoutID += b.noIDs
		report(b.read)
		return nil
	})
}

// write writes entries as one Commit. If some of them are in the log, the refusal says which,
// and write skips those. For another reason it tries each half: to find the line of a link to
// an unknown event or of an id that another stream has, and to write once what the batch has
// twice.
func (im *importer) write(ctx context.Context, entries []entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	// A Commit that was begun is waited for: then the count is right.
	c := commitOf(entries)
	result, err := im.app.appendOnce(context.WithoutCancel(ctx), im.log, c)
	n := len(entries)
	switch {
	case err == nil && result.Duplicate:
		im.done.Skipped += int64(n)
		return nil
	case err == nil:
		im.done.Written += int64(n)
		im.done.Links += linksOf(&c)
		return nil
	}
	rest := withoutKnown(entries, core.AsError(err).Known)
	switch {
	case len(rest) == 0:
		im.done.Skipped += int64(n)
		return nil
	case len(rest) < n:
		im.done.Skipped += int64(n - len(rest))
		return im.write(ctx, rest)
	case n == 1:
		return &lineError{im.name, entries[0].line, err}
	case errors.Is(err, core.CodeDuplicateEvent), errors.Is(err, core.CodeEventNotFound):
		if err := im.write(ctx, entries[:n/2]); err != nil {
			return err
		}
		return im.write(ctx, entries[n/2:])
	}
	return err
}

// withoutKnown returns the entries but for those with the numbers in known.
func withoutKnown(entries []entry, known []int) []entry {
	if len(known) == 0 {
		return entries
	}
	isKnown := make(map[int]bool, len(known))
	for _, k := range known {
		isKnown[k] = true
	}
	rest := make([]entry, 0, len(entries))
	for i := range entries {
		if !isKnown[i] {
			rest = append(rest, entries[i])
		}
	}
	return rest
}

// commitOf appends the entries in their order, neighbours of one kind and stream
// together.
func commitOf(entries []entry) core.Commit {
	var c core.Commit
	for i := range entries {
		e := &entries[i]
		last := len(c.Appends) - 1
		if last < 0 || c.Appends[last].Stream != e.stream || len(c.Appends[last].Links) > 0 != e.isLink {
			c.Appends = append(c.Appends, core.Append{Stream: e.stream, Expect: core.AnyVersion})
			last++
		}
		a := &c.Appends[last]
		if e.isLink {
			a.Links = append(a.Links, e.event.ID)
		} else {
			a.Events = append(a.Events, e.event)
		}
	}
	return c
}

func linksOf(c *core.Commit) (n int64) {
	for i := range c.Appends {
		n += int64(len(c.Appends[i].Links))
	}
	return n
}

// cut makes batches of the lines until the end, a bad line or the end of ctx. A
// batch with a bad line is not sent.
func cut(ctx context.Context, in *lineReader, out chan<- batch) error {
	var b batch
	bytes := 0
	send := func() bool {
		if len(b.entries) == 0 {
			return true
		}
		b.read = in.read
		select {
		case out <- b:
			b, bytes = batch{}, 0
			return true
		case <-ctx.Done():
			return false
		}
	}
	for in.next() {
		e, err := newEntry(in)
		if err != nil {
			return in.at(err)
		}
		size := len(e.event.Data) + len(e.event.Metadata)
		if len(b.entries) == batchEvents || bytes+size > batchBytes {
			if !send() {
				return ctx.Err()
			}
		}
		if e.event.ID.IsZero() {
			e.event.ID = core.NewID()
			b.noIDs++
		}
		b.entries = append(b.entries, e)
		bytes += size
	}
	if in.err != nil {
		return in.err
	}
	if !send() {
		return ctx.Err()
	}
	return nil
}

// newEntry decodes and checks the current line.
func newEntry(in *lineReader) (entry, error) {
	e, err := decodeImport(in.line)
	if err != nil {
		return entry{}, err
	}
	e.line = in.number
	c := commitOf([]entry{e})
	return e, c.Validate()
}
