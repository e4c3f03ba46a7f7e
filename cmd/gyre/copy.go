package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
)

const copyHelp = `Copy all events of one log to another, with their ids, versions, positions, times, content
types and metadata, in their order. Each end is

  a directory        the data of a node that does not run; that of --to is made
  postgres://…       a PostgreSQL database, the store gyre unless --from-store or --to-store
                     names another; that of --to is made
  http://host:port   a node that runs

What was there when the copy began is copied. A copy can be interrupted at any moment and run
again: it goes on where the target ends. Before that it compares the first and the last events
of the target with the source's, and refuses a target that has others, code log_mismatch.
Nobody else may write to the target meanwhile.

Every event of the target is compared with the source's, with all that was sent of it: what an
earlier copy has written before it is gone on with, and what this one writes at its end. One that
differs is told with its position, code not_clean, exit code 8. It is about a quarter more work;
--verify=ends leaves it out.

recorded, the time at the server, is that of the copy: an event's time is what it was. Only
events are copied: records, such as checkpoints, are not. A log that has links is copied up to
the first one and refused there, code not_supported: nothing is left out silently.`

func newCopy(a *app) *cobra.Command {
	var from, to endFlags
	var verify string
	cmd := &cobra.Command{
		Use:   "copy --from DIR|URL --to DIR|URL",
		Short: "Copy all events to another log",
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
	flags.StringVar(&verify, "verify", verifyFull, "what to compare: full is every event, ends the first and the last ones that were there")
	flags.DurationVar(&a.timeout, "timeout", defaultTimeout, "how long to wait for one answer")
	addSegmentBytes(flags, &to.segmentBytes)
	return cmd
}

// copyEvents bounds a Commit of a copy, beside batchBytes. It is a third faster into
// PostgreSQL than batchEvents, and an interruption still waits for some 40 ms only.
const copyEvents = 4000

// copied is how much was copied, as it is printed.
type copied struct {
	Copied   int64   `json:"copied"`
	Before   uint64  `json:"before"`   // events that the target had
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
}

// run copies what is missing, and compares.
func (c *copier) run(ctx context.Context) error {
	begun := time.Now()
	head, err := c.compare(ctx)
	if err == nil {
		err = c.verify(ctx, 1, c.done.Before)
	}
	if err == nil {
		err = c.copyMissing(ctx, head)
	}
	if err == nil {
		err = c.verify(ctx, c.done.Before+1, head)
	}
	if err == nil && c.mode == verifyFull {
		fmt.Fprintf(c.app.stderr, "%s events compared with the source: they are the same.\n", comma(c.done.Verified))
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
		err = c.copyFrom(ctx, func() { meter.set(int64(c.done.Head), c.done.Copied) })
	}
	if err == nil && c.next <= head {
		err = c.meetsLink(nil) // nothing but links is left
	}
	meter.finish()
	took := meter.elapsed()
	fmt.Fprintf(c.app.stderr, "%s events copied, %s there before, %s, %s\n",
		comma(c.done.Copied), comma(c.done.Before), clock(took), rate(c.done.Copied, took))
	if err != nil && !errors.Is(err, core.CodeLogMismatch) && !errors.Is(err, core.CodeNotSupported) {
		fmt.Fprintln(c.app.stderr, "Not everything was copied. Run the same command again to go on.")
	}
	return err
}

// copyFrom copies from c.next on.
func (c *copier) copyFrom(ctx context.Context, told func()) error {
	first, err := c.app.readPage(ctx, c.from, core.ReadRequest{
		Stream: core.All, From: c.next, Limit: core.Limit{Events: core.MaxReadEvents},
	})
	if err != nil {
		return c.from.explain(err)
	}
	return readAhead(ctx, func(ctx context.Context, out chan<- []core.Event) error {
		return c.read(ctx, first, out)
	}, func(events []core.Event) error {
		if err := c.write(ctx, events); err != nil {
			return err
		}
		told()
		return nil
	})
}

// read cuts the source into batches.
func (c *copier) read(ctx context.Context, first core.Page, out chan<- []core.Event) error {
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
	_, err := c.app.exportFrom(ctx, c.from, core.All, first, func(e *core.Event, _ int64) error {
		size := len(e.Data) + len(e.Metadata)
		if len(events) == copyEvents || bytes+size > batchBytes {
			if err := send(); err != nil {
				return err
			}
		}
		events = append(events, *e)
		bytes += size
		return nil
	})
	if err != nil {
		return c.from.explain(err)
	}
	return send()
}

// write writes events as one Commit, to the places that they had.
func (c *copier) write(ctx context.Context, events []core.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	last := events[len(events)-1].Position
	if events[0].Position != c.next || last != c.next+uint64(len(events))-1 {
		return c.meetsLink(events)
	}
	// A Commit that was begun is waited for: then the count is right.
	result, err := c.app.appendOnce(context.WithoutCancel(ctx), c.to, commitAgain(events))
	switch {
	case errors.Is(err, core.CodeWrongExpectedVersion), errors.Is(err, core.CodeDuplicateEvent), err == nil && result.Position != last:
		return core.Errorf(core.CodeLogMismatch, "somebody else has written to %s since the copy began, at position %d or later", c.to.name, c.next)
	case err != nil:
		return c.to.explain(err)
	}
	c.next = last + 1
	c.done.Head = last
	c.done.Copied += int64(len(events))
	return nil
}

// meetsLink refuses a source that has links: copied without them, the events behind
// would have other positions, and their streams other versions.
func (c *copier) meetsLink(events []core.Event) error {
	at := c.next
	for i := range events {
		if events[i].Position != at {
			break
		}
		at++
	}
	return core.Errorf(core.CodeNotSupported, "%s has a link at position %d, and a copy carries events only", c.from.name, at)
}

// commitAgain writes recorded events, to the versions that they have.
func commitAgain(events []core.Event) core.Commit {
	entries := make([]entry, len(events))
	for i := range events {
		e := &events[i]
		entries[i] = entry{stream: e.Stream, event: core.NewEvent{
			ID: e.ID, Type: e.Type, Time: e.Time, Format: e.Format, ContentType: e.ContentType, Data: e.Data, Metadata: e.Metadata,
		}}
	}
	c := commitOf(entries)
	for i := range c.Appends {
		c.Appends[i].Expect = core.Expect(events[0].Version - 1)
		events = events[len(c.Appends[i].Events):]
	}
	return c
}

// compare looks whether what the target has is what the source begins with, by its
// first event and its last page, and answers the source's head.
func (c *copier) compare(ctx context.Context) (head uint64, err error) {
	last := core.ReadRequest{Stream: core.All, Backward: true, Limit: core.Limit{Events: 1}}
	there, err := c.app.readPage(ctx, c.from, last)
	if err != nil {
		return 0, c.from.explain(err)
	}
	here, err := c.app.readPage(ctx, c.to, last)
	if err != nil {
		return 0, c.to.explain(err)
	}
	c.done.Before = here.Version
	if here.Version > there.Version {
		return 0, core.Errorf(core.CodeLogMismatch, "%s has %s events, and %s has %s",
			c.to.name, comma(here.Version), c.from.name, comma(there.Version))
	}
	if here.Version == 0 {
		return there.Version, nil
	}
	for _, r := range []core.ReadRequest{
		{Stream: core.All, From: 1, Limit: core.Limit{Events: 1}},
		{Stream: core.All, From: here.Version, Backward: true, Limit: core.Limit{Events: core.MaxReadEvents}},
	} {
		if err := c.comparePage(ctx, r); err != nil {
			return 0, err
		}
	}
	return there.Version, nil
}

// comparePage compares a page of the ends, as far as both go.
func (c *copier) comparePage(ctx context.Context, r core.ReadRequest) error {
	source, err := c.app.readPage(ctx, c.from, r)
	if err != nil {
		return c.from.explain(err)
	}
	target, err := c.app.readPage(ctx, c.to, r)
	if err != nil {
		return c.to.explain(err)
	}
	have := make([]core.Event, 0, target.Count)
	for e := range target.Events() {
		have = append(have, e)
	}
	for e := range source.Events() {
		if len(have) == 0 {
			return nil
		}
		if h := &have[0]; h.ID != e.ID || h.Position != e.Position || h.Stream != e.Stream || h.Version != e.Version {
			return core.Errorf(core.CodeLogMismatch, "%s has event %s at position %d, and %s has event %s at position %d",
				c.to.name, h.ID, h.Position, c.from.name, e.ID, e.Position)
		}
		have = have[1:]
	}
	return nil
}
