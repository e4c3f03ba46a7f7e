package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/census"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
)

const selectionHelp = `--category, --types, --streams, --since, --until and --correlation select events; one that is
printed matches all of them. --types and --streams take patterns, in which * stands for any
characters. A stream's category is what its name has before the first '-'. --since and --until are
about the event's own time: a time such as 2026-11-23T10:00:00Z, or a day of UTC.`

// selecting are the names of the flags of a readSelection.
var selecting = []string{"category", "types", "streams", "since", "until", "correlation"}

// refuseNoValue refuses flags that are given without a value, as by a variable of the shell that is not
// set: they would select everything.
func refuseNoValue(cmd *cobra.Command, names ...string) error {
	for _, name := range names {
		if value := cmd.Flag(name).Value.String(); cmd.Flags().Changed(name) && (value == "" || value == "[]") {
			return usagef("leave --%s out", name).because("--%s is empty", name)
		}
	}
	return nil
}

// readSelection are the flags that select events of a read.
type readSelection struct {
	category       string
	types, streams []string
	since, until   string
	correlation    string
}

func (f *readSelection) add(a *app, cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.category, "category", "", "only events of streams of this category")
	flags.StringSliceVar(&f.types, "types", nil, "only events of these types")
	flags.StringSliceVar(&f.streams, "streams", nil, "only events of these streams")
	flags.StringVar(&f.since, "since", "", "only events at or after this time")
	flags.StringVar(&f.until, "until", "", "only events before this time")
	flags.StringVar(&f.correlation, "correlation", "", "only events with this correlation_id in their metadata")
	types := a.completeCounts(func(ctx context.Context, client *sdk.Client, r census.ListRequest) (names []string, err error) {
		page, err := client.Types(ctx, r)
		for _, t := range page.Types {
			names = append(names, t.Type)
		}
		return names, err
	})
	a.completeCategory(cmd)
	if err := cmd.RegisterFlagCompletionFunc("types", types); err != nil {
		panic(err) // the flag is there
	}
}

// completeCategory has the shell complete the flag --category.
func (a *app) completeCategory(cmd *cobra.Command) {
	categories := a.completeCounts(func(ctx context.Context, client *sdk.Client, r census.ListRequest) (names []string, err error) {
		page, err := client.Categories(ctx, r)
		for _, c := range page.Categories {
			names = append(names, c.Category)
		}
		return names, err
	})
	if err := cmd.RegisterFlagCompletionFunc("category", categories); err != nil {
		panic(err) // the flag is there
	}
}

// completeCounts has the shell complete a flag with names that the census counts.
func (a *app) completeCounts(list func(context.Context, *sdk.Client, census.ListRequest) ([]string, error)) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
		return a.completions(cmd, func(ctx context.Context, client *sdk.Client) ([]string, error) {
			return list(ctx, client, census.ListRequest{Prefix: prefix, Limit: completeNames})
		})
	}
}

// selection is what the flags select.
func (f *readSelection) selection() (s core.Selection, err error) {
	s = core.Selection{Filter: core.Filter{Types: f.types, Streams: f.streams}, Category: f.category, Correlation: f.correlation}
	if s.Since, err = parseDay("since", f.since); err != nil {
		return s, err
	}
	if s.Until, err = parseDay("until", f.until); err != nil {
		return s, err
	}
	if err := s.Validate(); err != nil {
		return s, usagef("gyre read --help").because("%s", core.AsError(err).Detail)
	}
	return s, nil
}

// parseDay parses a time, or a day, of a flag; "" is the zero time.
func parseDay(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		t, _ = core.ParseTime(text)
	}
	if t.IsZero() {
		return t, usagef("--%s 2026-11-23, or --%s 2026-11-23T10:00:00Z", flag, flag).because("%q is neither a day nor a time of an event", text)
	}
	return t, nil
}

// words are the flags as they are typed, each with a space before it.
func (f *readSelection) words() string {
	var b strings.Builder
	for _, x := range []struct {
		flag   string
		values []string
	}{
		{"category", []string{f.category}}, {"types", f.types}, {"streams", f.streams},
		{"since", []string{f.since}}, {"until", []string{f.until}}, {"correlation", []string{f.correlation}},
	} {
		if value := strings.Join(x.values, ","); value != "" {
			b.WriteString(" --" + x.flag + " " + shellQuote(value))
		}
	}
	return b.String()
}
