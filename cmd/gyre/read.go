package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
)

const readHelp = `Print events of a stream, or of $all, in order. --from is the first version to print (or
position of $all), --after the version before it. With --backward, the command prints from there
down to the first event. --from also takes the time at which the first event to print was
recorded, or with --backward the last.

--snapshot prints the stream's snapshot of a kind, if there is one, and the events after it: what a
state is loaded from. gyre snapshot --help has more.

` + selectionHelp + `

$all passes over the events of the system's streams, whose names begin with $; --system prints
them, too. Such a stream is read by its name like any other.`

// readFlags are the flags of gyre read.
type readFlags struct {
	from     string
	after    uint64
	limit    int
	backward bool
	system   bool
	snapshot string
	selects  readSelection
}

// request is what the flags ask of a stream.
func (f *readFlags) request(stream string, isAfter bool) (core.ReadRequest, error) {
	r := core.ReadRequest{Stream: stream, Backward: f.backward, System: f.system}
	var err error
	if r.Select, err = f.selects.selection(); err != nil {
		return r, err
	}
	if f.snapshot != "" && (stream == core.All || isAfter || f.from != "" || f.backward || f.system || !r.Select.IsZero()) {
		return r, usagef("gyre read STREAM --snapshot %s", shellQuote(f.snapshot)).because("all events of a stream after its snapshot are printed, in order")
	}
	beyond := usagef("leave --from out to begin at the other end").because("nothing lies beyond that end of the stream")
	switch {
	case f.limit < 1:
		return r, usagef("--limit 100").because("--limit is at least 1")
	case isAfter && f.backward && f.after <= 1:
		return r, beyond
	case isAfter && f.backward:
		r.From = f.after - 1
		return r, nil
	case isAfter:
		r.From = f.after + 1
		return r, nil
	}
	switch f.from {
	case "":
	case "start", "origin":
		if f.backward {
			return r, beyond
		}
	case "end", "current":
		if !f.backward {
			return r, beyond
		}
	default:
		if t, ok := core.ParseTime(f.from); ok && !t.IsZero() {
			r.FromTime = t
			return r, nil
		}
		n, err := strconv.ParseUint(f.from, 10, 64)
		if err != nil || n > core.MaxNumber {
			return r, usagef("--from start, --from end, --from 5 or --from 2026-11-23T10:00:00Z").because("%q is not where a page can begin", f.from)
		}
		if n == 0 && f.backward {
			return r, beyond
		}
		r.From = n
	}
	return r, nil
}

func newRead(a *app) *cobra.Command {
	var f readFlags
	cmd := &cobra.Command{
		Use:   "read [STREAM|'$all']",
		Short: "Print the events of a stream",
		Long:  readHelp,
		Example: `  gyre read order-1
  gyre read order-1 --backward --limit 1
  gyre read order-1 --snapshot default
  gyre read --from 1000 -o ndjson
  gyre read --category order --types 'Order*' --since 2026-11-01
  gyre read '$all' --system`,
		Args: takes(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := refuseNoValue(cmd, append([]string{"from", "snapshot"}, selecting...)...); err != nil {
				return err
			}
			isAfter, err := beginsAfter(cmd)
			if err != nil {
				return err
			}
			stream := core.All
			if len(args) == 1 {
				stream = args[0]
			}
			r, err := f.request(stream, isAfter)
			if err != nil {
				return err
			}
			return a.withClient(cmd.Context(), func(client *sdk.Client) error {
				next, more, err := f.print(cmd.Context(), a, client, r)
				if err == nil && more {
					f.tellMore(a, stream, next)
				}
				return err
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.from, "from", "", "start, end, the first version (or position of $all) to print, or a time")
	flags.Uint64Var(&f.after, "after", 0, "begin after this version, or position of $all")
	flags.IntVar(&f.limit, "limit", core.DefaultReadEvents, "how many events at most")
	flags.BoolVar(&f.backward, "backward", false, "newest first")
	flags.BoolVar(&f.system, "system", false, "of $all: print the events of the system's streams, too")
	flags.StringVar(&f.snapshot, "snapshot", "", "kind of a snapshot to print, and the events after it")
	f.selects.add(a, cmd)
	return a.completeStream(a.talks(cmd))
}

// print prints what was asked for, up to the limit.
func (f *readFlags) print(ctx context.Context, a *app, client *sdk.Client, r core.ReadRequest) (next uint64, more bool, err error) {
	if f.snapshot != "" {
		return a.load(ctx, client, r.Stream, f.snapshot, f.limit)
	}
	return a.read(ctx, client, r, f.limit)
}

// read prints up to limit events, a page at a time. next is where those begin that were left
// out, if there may be more.
func (a *app) read(ctx context.Context, log core.Log, r core.ReadRequest, limit int) (next uint64, more bool, err error) {
	p := a.newEventPrinter(r.Stream)
	said := time.Now()
	for left := limit; ; {
		r.Limit.Events = min(left, core.MaxReadEvents)
		page, err := a.readPage(ctx, log, r)
		if err != nil {
			return 0, false, err
		}
		for e := range page.Events() {
			if err := p.print(&e); err != nil {
				return 0, false, err
			}
		}
		left -= page.Count
		r.From, r.FromTime = page.Next, time.Time{}
		if page.End || left <= 0 {
			return page.Next, !page.End, p.close()
		}
		if now := time.Now(); page.Count > 0 {
			said = now
		} else if now.Sub(said) >= quietTime {
			said = now
			fmt.Fprintf(a.stderr, "Nothing found for a while: at %d of %d.\n", page.Next, page.Version)
		}
	}
}

// quietTime is for how long a read finds nothing before it says how far it is.
const quietTime = 2 * time.Second

func (a *app) readPage(ctx context.Context, log core.Log, r core.ReadRequest) (core.Page, error) {
	ctx, cancel := a.request(ctx)
	defer cancel()
	return log.Read(ctx, r)
}

// readLog reads a page of what was written.
func (a *app) readLog(ctx context.Context, log core.LogReader, from uint64, events int) (core.Page, error) {
	ctx, cancel := a.request(ctx)
	defer cancel()
	return log.ReadLog(ctx, from, core.Limit{Events: events})
}

// tellMore says how to get what the limit left out.
func (f *readFlags) tellMore(a *app, stream string, next uint64) {
	flags := ""
	if f.backward {
		flags = " --backward"
	}
	if f.system {
		flags += " --system"
	}
	fmt.Fprintf(a.stderr, "There are more: gyre read %s --from %d%s%s\n", shellQuote(stream), next, flags, f.selects.words())
}

// shellQuote makes s one word of a shell.
func shellQuote(s string) string {
	plain := strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_./:@", r)
	}) < 0
	if plain && s != "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
