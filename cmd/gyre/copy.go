package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
)

const copyHelp = `Copy one log to another: all events, with their ids, versions, positions, times, content
types and metadata, and all links, in their order. Each end is

  a directory        the data of a stopped node; --to creates it
  postgres://…       a PostgreSQL database: the store gyre, or the one of --from-store or
                     --to-store; --to creates the store
  http://host:port   a running node

The copy ends at the end of the log as it was at the start. It can be interrupted at any moment
and run again: it goes on where the target ends. First it compares the first and the last events
of the target with the source, and refuses a target that has other events (log_mismatch).
Nothing else may write to the target meanwhile.

The command compares every event and link of the target with the source: those of an earlier
copy before it goes on, and those that it writes at its end. A difference is reported with its
position, code not_clean, exit code 8. Comparing adds about a quarter to the work;
--verify=ends leaves it out.

The system's streams, whose names begin with $, are copied, too, but not to a running node: it
takes none (not_supported).

An event keeps its time; recorded, the time at the server, is that of the copy. Keys, and blobs,
such as the modules of plugins, are copied unless an end is a running node. Then the command says
so, if the copy would be open to everybody. Other records, such as checkpoints, are not copied.`

func newCopy(a *app) *cobra.Command {
	var from, to endFlags
	var verify string
	cmd := &cobra.Command{
		Use:   "copy --from DIR|URL --to DIR|URL",
		Short: "Copy all events and links to another log",
		Long:  copyHelp,
		Example: `  gyre copy --from ./data --to "$GYRE_POSTGRES"
  gyre copy --from http://localhost:4973 --to ./backup
  gyre copy --from "$GYRE_POSTGRES" --from-store orders --to ./orders`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from.where == "" || to.where == "" {
				return usagef("gyre copy --from ./data --to postgres://…").because("a copy needs both --from and --to")
			}
			if verify != verifyFull && verify != verifyEnds {
				return usagef("--verify=full or --verify=ends").because("--verify=%s is neither", verify)
			}
			if err := a.fromEnvironment(cmd); err != nil {
				return err
			}
			from.segmentBytes = to.segmentBytes
			return a.copy(cmd.Context(), from, to, verify)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&from.where, "from", "", "directory or URL to copy from")
	flags.StringVar(&from.store, "from-store", "", "store to copy from, where --from is a PostgreSQL database (default gyre)")
	flags.StringVar(&to.where, "to", "", "directory or URL to copy to")
	flags.StringVar(&to.store, "to-store", "", "store to copy to, where --to is a PostgreSQL database (default gyre)")
	flags.StringVar(&from.tokenFile, "from-token-file", "", tokenFileHelp+", where --from is a node")
	flags.StringVar(&to.tokenFile, "to-token-file", "", tokenFileHelp+", where --to is a node")
	flags.StringVar(&verify, "verify", verifyFull, "what to compare: full (every event) or ends (the first and the last events of the target)")
	flags.DurationVar(&a.timeout, "timeout", defaultTimeout, "how long to wait for one answer")
	addSegmentBytes(flags, &to.segmentBytes)
	a.addTLS(cmd)
	return cmd
}

// copyEvents bounds a Commit of a copy, beside batchBytes. It is a third faster into
// PostgreSQL than batchEvents, and an interruption still waits for some 40 ms only.
const copyEvents = 4000

// copied is how much was copied, as it is printed.
type copied struct {
	Copied   int64   `json:"copied"`   // events and links
	Links    int64   `json:"links"`    // of those that were copied
	Blobs    int64   `json:"blobs"`    // of the source that the target has now
	Keys     int     `json:"keys"`     // of the source that the target has now
	Before   uint64  `json:"before"`   // events and links that the target had
	Verified int64   `json:"verified"` // compared with the source, in full
	Head     uint64  `json:"head"`     // of the target now
	Seconds  float64 `json:"seconds"`
}

func (a *app) copy(ctx context.Context, from, to endFlags, verify string) (err error) {
	source, err := a.openEnd(ctx, from, "--from")
	if err != nil {
		return err
	}
	defer func() { _ = source.close() }() // it was only read
	target, err := a.openEnd(ctx, to, "--to")
	if err != nil {
		return err
	}
	c := &copier{app: a, from: source, to: target, mode: verify}
	err = c.run(ctx)
	if closeErr := target.close(); err == nil {
		err = closeErr
	}
	if err != nil || a.output == "" || a.output == asTable {
		return err
	}
	return printOne(a, c.done, nil)
}

// copier copies batches one after another. There is never more than one under way,
// since two would be in any order.
type copier struct {
	app      *app
	from, to *logEnd
	mode     string // what to compare
	next     uint64 // the position to copy next
	done     copied
	verified int64 // links that were compared
}

// run copies the missing events, and compares.
func (c *copier) run(ctx context.Context) error {
	begun := time.Now()
	head, err := c.compare(ctx)
	if err == nil {
		err = c.verify(ctx, 1, c.done.Before)
	}
	if err == nil {
		err = c.copyKeys(ctx)
	}
	if err == nil {
		err = c.copyBlobs(ctx)
	}
	if err == nil {
		err = c.copyMissing(ctx, head)
	}
	if err == nil {
		err = c.verify(ctx, c.done.Before+1, head)
	}
	if err == nil && c.mode == verifyFull {
		fmt.Fprintf(c.app.stderr, "%s compared with the source: they are the same.\n", eventsAndLinks(c.done.Verified, c.verified))
	}
	if err == nil {
		err = c.warnOpen(ctx)
	}
	c.done.Seconds = math.Round(time.Since(begun).Seconds()*1000) / 1000
	return err
}

// copyMissing copies up to the head that the source had.
func (c *copier) copyMissing(ctx context.Context, head uint64) (err error) {
	c.done.Head, c.next = c.done.Before, c.done.Before+1
	meter := c.app.newMeter("copy", int64(head))
	defer meter.finish()
	if c.next <= head {
		err = c.copyTo(ctx, head, func() { meter.set(int64(c.done.Head), c.done.Copied) })
	}
	meter.finish()
	took := meter.elapsed()
	fmt.Fprintf(c.app.stderr, "%s copied, %s there before, %s, %s\n",
		eventsAndLinks(c.done.Copied, c.done.Links), comma(c.done.Before), clock(took), rate(c.done.Copied, took))
	if err != nil && !errors.Is(err, core.CodeLogMismatch) && !errors.Is(err, core.CodeNotSupported) {
		fmt.Fprintln(c.app.stderr, "Not everything was copied. Run the same command again to go on.")
	}
	return err
}

// eventsAndLinks says how many there are of both together.
func eventsAndLinks(n, links int64) string {
	if links == 0 {
		return howMany(n, "event", "events")
	}
	return howMany(n-links, "event", "events") + " and " + howMany(links, "link", "links")
}

// copyTo copies from c.next up to the head that the source had.
func (c *copier) copyTo(ctx context.Context, head uint64, report func()) error {
	err := readAhead(ctx, func(ctx context.Context, out chan<- []core.Event) error {
		return c.read(ctx, c.done.Before+1, head, out)
	}, func(events []core.Event) error {
		if err := c.write(ctx, events); err != nil {
			return err
		}
		report()
		return nil
	})
	if err == nil && c.next <= head {
		err = c.gap(c.next)
	}
	return err
}

// read cuts the source from one position to another into batches.
func (c *copier) read(ctx context.Context, from, to uint64, out chan<- []core.Event) error {
	var events []core.Event
	bytes := 0
	send := func() error {
		if len(events) == 0 {
			return nil
		}
		select {
		case out <- events:
			events, bytes = make([]core.Event, 0, copyEvents), 0
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for e, err := range c.events(ctx, c.from, from, to) {
		if err != nil {
			return err
		}
		size := len(e.Data) + len(e.Metadata)
		if len(events) == copyEvents || bytes+size > batchBytes {
			if err := send(); err != nil {
				return err
			}
		}
		events = append(events, e)
		bytes += size
	}
	return send()
}

// write writes events and links as one Commit, to the places that they had.
func (c *copier) write(ctx context.Context, events []core.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for i := range events {
		if at := c.next + uint64(i); events[i].Position != at {
			return c.gap(at)
		}
	}
	commit := commitAgain(events)
	last := events[len(events)-1].Position
	// A Commit that was begun is waited for: then the count is right.
	result, err := c.app.appendOnce(context.WithoutCancel(ctx), c.to, commit)
	switch {
	case errors.Is(err, core.CodeWrongExpectedVersion), errors.Is(err, core.CodeDuplicateEvent), err == nil && result.Position != last:
		return core.Errorf(core.CodeLogMismatch, "somebody else has written to %s since the copy began, at position %d or later", c.to.name, c.next)
	case errors.Is(err, core.CodeReservedStreamName):
		return core.Errorf(core.CodeNotSupported, "%s is a running node, and only nodes write the system's streams: copy to a directory or to PostgreSQL", c.to.name)
	case errors.Is(err, core.CodeEventNotFound):
		return core.Errorf(core.CodeLogMismatch, "%s lacks an event that %s links at position %d or later", c.to.name, c.from.name, c.next)
	case err != nil:
		return c.to.explain(err)
	}
	c.next = last + 1
	c.done.Head = last
	c.done.Copied += int64(len(events))
	c.done.Links += linksOf(&commit)
	return nil
}

// gap is the error where the source has nothing at a position.
func (c *copier) gap(position uint64) error {
	return core.Errorf(core.CodeNotSupported, "%s has nothing at position %d, and a copy has all positions of its source", c.from.name, position)
}

// commitAgain writes recorded events and links, to the versions that they have.
func commitAgain(events []core.Event) core.Commit {
	entries := make([]entry, len(events))
	for i := range events {
		e := &events[i]
		entries[i] = entry{stream: e.Stream, isLink: isLink(*e), event: core.NewEvent{
			ID: e.ID, Type: e.Type, Time: e.Time, Format: e.Format, ContentType: e.ContentType, Data: e.Data, Metadata: e.Metadata,
		}}
	}
	c := commitOf(entries)
	c.System = true
	for i := range c.Appends {
		a := &c.Appends[i]
		a.Expect = core.Expect(events[0].Version - 1)
		events = events[a.Count():]
	}
	return c
}

func isLink(e core.Event) bool { return !e.Link.IsZero() }

// compare looks whether what the target has is what the source begins with, by its
// first event and what it ends with, and answers the source's head.
func (c *copier) compare(ctx context.Context) (head uint64, err error) {
	there, err := c.app.readLog(ctx, c.from, 1, 1)
	if err != nil {
		return 0, c.from.explain(err)
	}
	here, err := c.app.readLog(ctx, c.to, 1, 1)
	if err != nil {
		return 0, c.to.explain(err)
	}
	head, c.done.Before = there.Head, here.Head
	switch {
	case here.Head > head:
		return 0, core.Errorf(core.CodeLogMismatch, "%s has %s events, and %s has %s", c.to.name, comma(here.Head), c.from.name, comma(head))
	case here.Head == 0:
		return head, nil
	}
	if err := c.comparePlaces(ctx, 1, 1); err != nil {
		return 0, err
	}
	return head, c.comparePlaces(ctx, max(here.Head, core.MaxReadEvents)-core.MaxReadEvents+1, here.Head)
}

// comparePlaces compares which events and links both ends have from one position to
// another.
func (c *copier) comparePlaces(ctx context.Context, from, to uint64) error {
	there, stop := iter.Pull2(c.events(ctx, c.from, from, to))
	defer stop()
	for here, err := range c.events(ctx, c.to, from, to) {
		if err != nil {
			return err
		}
		want, err, ok := there()
		switch {
		case err != nil:
			return err
		case !ok:
			return core.Errorf(core.CodeLogMismatch, "%s has %s, and %s has nothing there", c.to.name, placeOf(&here), c.from.name)
		case here.Position != want.Position || here.ID != want.ID || here.Stream != want.Stream || here.Version != want.Version || here.Link != want.Link:
			return core.Errorf(core.CodeLogMismatch, "%s has %s, and %s has %s", c.to.name, placeOf(&here), c.from.name, placeOf(&want))
		}
	}
	return nil
}

// placeOf describes what is at a position.
func placeOf(e *core.Event) string {
	what := "event"
	if isLink(*e) {
		what = "a link to event"
	}
	return fmt.Sprintf("%s %s (%s@%d) at position %d", what, e.ID, cell(e.Stream, streamWidth), e.Version, e.Position)
}
