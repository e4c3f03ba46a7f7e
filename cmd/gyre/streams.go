package main

import (
	"context"
	"errors"
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
		Short: "List streams, show one, delete and undelete them, and set what expires",
	})
	cmd.AddCommand(newStreamsLs(a), newStreamsInfo(a), newStreamsDelete(a), newStreamsUndelete(a), newStreamsRetention(a))
	return cmd
}

// listedStream is a stream as it is printed.
type listedStream struct {
	Stream  string       `json:"stream"`
	Version uint64       `json:"version"`
	First   uint64       `json:"first"`
	Count   uint64       `json:"count"`
	State   string       `json:"state"`
	Created *streamPlace `json:"created,omitzero"`
	Changed *streamPlace `json:"changed,omitzero"`
	// Retention is what holds for the stream.
	Retention listedBounds `json:"retention,omitzero"`
}

type streamPlace struct {
	Position uint64 `json:"position"`
	Recorded string `json:"recorded"`
}

func newListedStream(i *core.StreamInfo) listedStream {
	place := func(p core.StreamPlace) *streamPlace {
		if p.Position == 0 {
			return nil
		}
		return &streamPlace{p.Position, wire.FormatTime(p.Recorded)}
	}
	return listedStream{i.Name, i.Version, i.First, i.Count(), i.State.String(), place(i.Created), place(i.Changed), newListedBounds(i.Retention)}
}

// recorded is when an event of p was recorded.
func (p *streamPlace) recorded() string {
	if p == nil {
		return ""
	}
	return p.Recorded
}

// streamSorts are the orders of a list of streams.
var streamSorts = []string{"name", "created", "changed"}

// streamStates are the states of streams.
var streamStates = []string{core.StreamLive.String(), core.StreamDeleted.String(), core.StreamTombstoned.String()}

func newStreamsLs(a *app) *cobra.Command {
	r := core.StreamsRequest{Details: true}
	var limit int
	var sort, state string
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List streams, with their versions and when they were created and changed",
		Long: `List streams, with their versions and when they were created and changed.

By created and by changed the newest come first. With --suffix, --match or another order than by
name the node may have to look at many names or events, and does so page by page.`,
		Example: `  gyre streams ls --prefix order-
  gyre streams ls --match '*-eu' --sort changed --limit 10
  gyre streams ls --state tombstoned
  gyre streams ls -o ndjson | jq -r 'select(.version > 100).stream'`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return usagef("--limit 100").because("--limit %d is less than 0", limit)
			}
			by, err := streamSort(sort)
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("state") {
				s, known := core.ParseStreamState(state)
				if !known {
					return usagef("--state %s", likely(state, streamStates)).because("--state %q is none of %s", state, strings.Join(streamStates, ", "))
				}
				r.State = &s
			}
			if r.Sort = by; !cmd.Flags().Changed("desc") {
				r.Descending = by != core.ByName
			}
			return a.withClient(cmd.Context(), func(client *sdk.Client) error {
				return a.listStreams(cmd.Context(), client, r, limit)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&r.Prefix, "prefix", "", "only names with this prefix")
	flags.StringVar(&r.Suffix, "suffix", "", "only names with this suffix")
	flags.StringVar(&r.Pattern, "match", "", "only names that match this pattern; * stands for any run of characters")
	flags.StringVar(&state, "state", "", "only streams of this state: "+strings.Join(streamStates, ", ")+" (default live and deleted ones)")
	flags.StringVar(&sort, "sort", "name", "order: "+strings.Join(streamSorts, ", "))
	flags.BoolVar(&r.Descending, "desc", false, "from the last name to the first; --desc=false begins with what was created or changed first")
	flags.IntVar(&limit, "limit", 0, "how many streams at most (default all)")
	flags.BoolVar(&r.Totals, "total", false, "say on standard error how many there are, whatever the limit")
	flags.BoolVar(&r.System, "system", false, "list the system's streams, too, whose names begin with $")
	for flag, values := range map[string][]string{"sort": streamSorts, "state": streamStates} {
		if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
			panic(err) // there is such a flag
		}
	}
	return a.talks(cmd)
}

func streamSort(name string) (core.StreamsSort, error) {
	for i, known := range streamSorts {
		if name == known {
			return core.StreamsSort(i), nil
		}
	}
	return 0, usagef("--sort %s", likely(name, streamSorts)).because("--sort %q is none of %s", name, strings.Join(streamSorts, ", "))
}

// likely returns the one of words that has most of the beginning of word, or else the last one.
func likely(word string, words []string) string {
	for n := len(word); n > 0; n-- {
		for _, w := range words {
			if strings.HasPrefix(w, word[:n]) {
				return w
			}
		}
	}
	return words[len(words)-1]
}

// listStreams prints a page after another, up to limit if it is not 0.
func (a *app) listStreams(ctx context.Context, client *sdk.Client, r core.StreamsRequest, limit int) error {
	streams := list[listedStream]{app: a, header: []string{"stream", "version", "state", "created", "changed"}, row: func(s listedStream) []string {
		return []string{cell(s.Stream, core.MaxStreamNameBytes), fmt.Sprint(s.Version), s.State, s.Created.recorded(), s.Changed.recorded()}
	}}
	var total *core.StreamsTotal
	err := streams.printAll(ctx, limit, func(ctx context.Context, most int) (items []listedStream, end bool, err error) {
		r.Limit = most
		page, err := client.Streams(ctx, r)
		for i := range page.Streams {
			items = append(items, newListedStream(&page.Streams[i]))
		}
		if r.After = page.Next; r.Totals {
			total, r.Totals = page.Total, false
		}
		return items, page.End, err
	})
	if err == nil && total != nil {
		atLeast := ""
		if total.AtLeast {
			atLeast = "at least "
		}
		fmt.Fprintf(a.stderr, "Total: %s%d.\n", atLeast, total.Streams)
	}
	return err
}

func newStreamsInfo(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "info STREAM",
		Short:   "Show a stream's version and state, and when it was created and changed",
		Example: "  gyre streams info order-1",
		Args:    takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var info core.StreamInfo
			err := a.withClient(cmd.Context(), func(client *sdk.Client) (err error) {
				ctx, cancel := a.request(cmd.Context())
				defer cancel()
				info, err = streamInfo(ctx, client, args[0])
				return err
			})
			if err != nil {
				return err
			}
			return printOne(a, newListedStream(&info), listedStream.words)
		},
	}
	return a.completeStream(a.talks(cmd))
}

// streamInfo describes a stream of any state. One that is deleted or tombstoned is described by
// the list of streams alone.
func streamInfo(ctx context.Context, client *sdk.Client, name string) (core.StreamInfo, error) {
	info, err := client.Stream(ctx, name)
	state := core.StreamDeleted
	switch {
	case errors.Is(err, core.CodeStreamTombstoned):
		state = core.StreamTombstoned
	case !errors.Is(err, core.CodeStreamDeleted):
		return info, err
	}
	r := core.StreamsRequest{Prefix: name, State: &state, Limit: 1, Details: true, System: core.IsSystem(name)}
	page, listErr := client.Streams(ctx, r)
	if listErr != nil || len(page.Streams) == 0 || page.Streams[0].Name != name {
		return info, err
	}
	return page.Streams[0], nil
}

func (s listedStream) words() string {
	var b strings.Builder
	fmt.Fprintf(&b, "stream   %s\n", cell(s.Stream, core.MaxStreamNameBytes))
	fmt.Fprintf(&b, "version  %d\n", s.Version)
	if s.Count > 0 {
		fmt.Fprintf(&b, "events   %d, from version %d on\n", s.Count, s.First)
	} else {
		fmt.Fprintln(&b, "events   0")
	}
	fmt.Fprintf(&b, "state    %s\n", s.State)
	for _, x := range []struct {
		name string
		at   *streamPlace
	}{{"created", s.Created}, {"changed", s.Changed}} {
		if x.at != nil {
			fmt.Fprintf(&b, "%s  %s  position %d\n", x.name, x.at.Recorded, x.at.Position)
		}
	}
	for _, line := range s.Retention.lines() {
		fmt.Fprintln(&b, line)
	}
	return strings.TrimSuffix(b.String(), "\n")
}
