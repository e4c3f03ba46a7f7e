package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
)

const retentionHelp = `Show or set which events of a stream expire. What has expired cannot be read any more from the
moment it is set, and gyre scavenge gives its storage back. The stream's version stays.

--category CATEGORY is about the defaults of all streams whose names begin with CATEGORY- . A
stream's own bounds come first, each for itself. Flags that are not given leave a bound as it is;
0 removes one, and --clear all, but for --truncate-before: that never decreases.`

// retentionFlags are the flags of gyre streams retention.
type retentionFlags struct {
	core.RetentionTarget
	maxAge         string
	maxCount       uint64
	truncateBefore uint64
	clear, list    bool
	age            time.Duration // of maxAge
	given          map[string]bool
}

// listedBounds are what expires, as it is printed.
type listedBounds struct {
	MaxAge         string `json:"maxAge,omitzero"`
	MaxCount       uint64 `json:"maxCount,omitzero"`
	TruncateBefore uint64 `json:"truncateBefore,omitzero"`
}

func newListedBounds(r core.Retention) listedBounds {
	b := listedBounds{MaxCount: r.MaxCount, TruncateBefore: r.TruncateBefore}
	if r.MaxAge > 0 {
		b.MaxAge = formatAge(r.MaxAge)
	}
	return b
}

// listedRetention is a policy as it is printed.
type listedRetention struct {
	Stream   string `json:"stream,omitzero"`
	Category string `json:"category,omitzero"`
	listedBounds
	Revision uint64 `json:"revision"`
	// Default is what the category of a stream says where the stream says nothing.
	Default listedBounds `json:"default,omitzero"`
}

func newListedRetention(i *core.RetentionInfo) listedRetention {
	return listedRetention{Stream: i.Target.Stream, Category: i.Target.Category, listedBounds: newListedBounds(i.Retention), Revision: i.Revision}
}

func newStreamsRetention(a *app) *cobra.Command {
	var f retentionFlags
	cmd := &cobra.Command{
		Use:   "retention [STREAM]",
		Short: "Show or set which events of a stream, or of a category, expire",
		Long:  retentionHelp,
		Example: `  gyre streams retention order-1 --max-count 100
  gyre streams retention --category order --max-age 30d
  gyre streams retention order-1 --truncate-before 5
  gyre streams retention --list`,
		Args: takes(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.read(cmd, args); err != nil {
				return err
			}
			if f.list {
				return a.withClient(cmd.Context(), func(client *sdk.Client) error { return a.listRetentions(cmd.Context(), client) })
			}
			return a.retention(cmd.Context(), &f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.Category, "category", "", "the defaults of the streams of this category")
	flags.StringVar(&f.maxAge, "max-age", "", "events that were recorded longer ago expire: 30d, 12h, 90m")
	flags.Uint64Var(&f.maxCount, "max-count", 0, "all but so many of the last events expire")
	flags.Uint64Var(&f.truncateBefore, "truncate-before", 0, "events before this version expire")
	flags.BoolVar(&f.clear, "clear", false, "nothing expires any more by age and count")
	flags.BoolVar(&f.list, "list", false, "list all policies")
	a.completeCategory(cmd)
	return a.completeStream(a.talks(cmd))
}

// retention shows a policy, or changes what the flags say of it.
func (a *app) retention(ctx context.Context, f *retentionFlags) error {
	var info, byCategory core.RetentionInfo
	err := a.ask(ctx, func(ctx context.Context, client *sdk.Client) (err error) {
		info, err = client.Retention(ctx, f.RetentionTarget)
		if err == nil && !f.changes() {
			byCategory, err = defaultOf(ctx, client, f.RetentionTarget)
		}
		if err != nil || !f.changes() {
			return err
		}
		p := core.RetentionPut{Target: f.RetentionTarget, Retention: info.Retention, Expect: core.Expect(info.Revision)}
		f.apply(&p.Retention)
		info, err = client.SetRetention(ctx, p)
		return err
	})
	if err != nil {
		return err
	}
	listed := newListedRetention(&info)
	listed.Default = newListedBounds(byCategory.Retention).without(listed.listedBounds)
	return printOne(a, listed, listedRetention.words)
}

// defaultOf returns the policy of a stream's category. It is empty for a category, and for a key
// that may not read it.
func defaultOf(ctx context.Context, client *sdk.Client, t core.RetentionTarget) (core.RetentionInfo, error) {
	category := core.CategoryOf(t.Stream)
	if category == "" {
		return core.RetentionInfo{}, nil
	}
	info, err := client.Retention(ctx, core.RetentionTarget{Category: category})
	if err != nil && core.AsError(err).Info().Class == core.ClassDenied {
		return core.RetentionInfo{}, nil
	}
	return info, err
}

// without returns b without the bounds that own has, too.
func (b listedBounds) without(own listedBounds) listedBounds {
	if own.MaxAge != "" {
		b.MaxAge = ""
	}
	if own.MaxCount > 0 {
		b.MaxCount = 0
	}
	return b
}

// read reads the command line, and refuses what contradicts itself.
func (f *retentionFlags) read(cmd *cobra.Command, args []string) (err error) {
	f.given = make(map[string]bool)
	cmd.Flags().Visit(func(flag *pflag.Flag) { f.given[flag.Name] = true })
	if len(args) > 0 {
		f.Stream = args[0]
	}
	of := shellQuote(f.Stream)
	if f.Stream == "" {
		of = "--category " + shellQuote(f.Category)
	}
	switch {
	case f.list && (f.Stream != "" || f.Category != "" || f.changes()):
		return usagef("gyre streams retention --list").because("--list shows all policies, and changes none")
	case !f.list && (f.Stream == "") == (f.Category == ""):
		return usagef("gyre streams retention STREAM").because("retention is of a stream or of a --category, one of them")
	case f.clear && (f.given["max-age"] || f.given["max-count"]):
		return usagef("gyre streams retention %s --clear", of).because("--clear removes the bounds that another flag sets")
	case f.given["max-age"]:
		f.age, err = parseAge(f.maxAge)
	}
	return err
}

// changes reports whether a flag changes the policy.
func (f *retentionFlags) changes() bool {
	return f.clear || f.given["max-age"] || f.given["max-count"] || f.given["truncate-before"]
}

// apply changes r as the flags say that were given.
func (f *retentionFlags) apply(r *core.Retention) {
	if f.clear {
		r.MaxAge, r.MaxCount = 0, 0
	}
	if f.given["max-age"] {
		r.MaxAge = f.age
	}
	if f.given["max-count"] {
		r.MaxCount = f.maxCount
	}
	if f.given["truncate-before"] {
		r.TruncateBefore = f.truncateBefore
	}
}

// parseAge reads a duration, which may be in days.
func parseAge(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if errors.Is(err, strconv.ErrRange) {
			return 0, usagef("--max-age %s", formatAge(core.MaxRetentionAge)).because("--max-age %q is longer than %s", text, formatAge(core.MaxRetentionAge))
		}
		if err == nil {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, usagef("--max-age 30d").because("--max-age %q is not a duration such as 30d, 12h or 90m", text)
	}
	return d, nil
}

// formatAge is the inverse of parseAge.
func formatAge(d time.Duration) string {
	if day := 24 * time.Hour; d%day == 0 {
		return strconv.Itoa(int(d/day)) + "d"
	}
	return d.String()
}

func (r listedRetention) words() string {
	lines := append([]string{r.name()}, r.lines()...)
	if len(lines) == 1 {
		lines[0] = "nothing of " + r.name() + " expires by a policy of its own"
	}
	if of := r.Default.lines(); len(of) > 0 {
		lines = append(append(lines, "by its category:"), of...)
	}
	return strings.Join(lines, "\n")
}

func (r listedRetention) name() string {
	if r.Stream != "" {
		return "stream " + visible(r.Stream)
	}
	return "category " + visible(r.Category)
}

func (b listedBounds) lines() (lines []string) {
	if b.MaxAge != "" {
		lines = append(lines, "max age          "+b.MaxAge)
	}
	if b.MaxCount > 0 {
		lines = append(lines, fmt.Sprintf("max count        %d", b.MaxCount))
	}
	if b.TruncateBefore > 0 {
		lines = append(lines, fmt.Sprintf("truncate before  %d", b.TruncateBefore))
	}
	return lines
}

func (a *app) listRetentions(ctx context.Context, client *sdk.Client) error {
	number := func(n uint64) string {
		if n == 0 {
			return ""
		}
		return strconv.FormatUint(n, 10)
	}
	l := list[listedRetention]{app: a, header: []string{"of", "name", "max age", "max count", "truncate before"}, row: func(r listedRetention) []string {
		of, name := "stream", r.Stream
		if r.Stream == "" {
			of, name = "category", r.Category
		}
		return []string{of, cell(name, core.MaxStreamNameBytes), r.MaxAge, number(r.MaxCount), number(r.TruncateBefore)}
	}}
	after := ""
	return l.printAll(ctx, 0, func(ctx context.Context, most int) (items []listedRetention, end bool, err error) {
		page, err := client.ListRetentions(ctx, core.RetentionsRequest{After: after, Limit: most})
		for i := range page.Policies {
			items = append(items, newListedRetention(&page.Policies[i]))
		}
		after = page.Next
		return items, page.End, err
	})
}
