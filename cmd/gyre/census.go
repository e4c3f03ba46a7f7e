package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/census"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const censusHelp = `

Events are counted in the background, about a second after they are appended. A store that is older
than the counts is counted from its start; the last line says how far that is. Of the first 10,000
names each has a count of its own; the rest are the others. A key has to be granted every stream.`

// countsPage is a page of counts.
type countsPage[T any] struct {
	items  []T
	next   string
	others census.Sums
	census.Progress
}

// counts makes a command that lists counts.
func counts[T any](a *app, cmd *cobra.Command, orders []string, l list[T], ask func(context.Context, *sdk.Client, census.ListRequest) (countsPage[T], error)) *cobra.Command {
	var r census.ListRequest
	var order string
	var limit int
	cmd.Args = takes(0, 0)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if limit < 0 {
			return usagef("--limit 100").because("--limit %d is less than 0", limit)
		}
		r.Order = census.Order(order)
		return a.withClient(cmd.Context(), func(client *sdk.Client) error {
			var last countsPage[T]
			err := l.printAll(cmd.Context(), limit, func(ctx context.Context, most int) (items []T, end bool, err error) {
				r.Limit = most
				last, err = ask(ctx, client, r)
				r.After = last.next
				return last.items, r.After == "", err
			})
			if err == nil && last.others.Events+last.others.Links > 0 {
				fmt.Fprintf(a.stderr, "Others have %s and %s.\n", howMany(last.others.Events, "event", "events"), howMany(last.others.Links, "link", "links"))
			}
			if err == nil && last.UpTo < last.Head {
				fmt.Fprintf(a.stderr, "Counted up to position %d of %d.\n", last.UpTo, last.Head)
			}
			return err
		})
	}
	cmd.Flags().StringVar(&r.Prefix, "prefix", "", "only names with this prefix")
	cmd.Flags().StringVar(&order, "sort", orders[0], "what to sort by: "+strings.Join(orders, ", "))
	cmd.Flags().IntVar(&limit, "limit", 0, "how many at most (default all)")
	if err := cmd.RegisterFlagCompletionFunc("sort", cobra.FixedCompletions(orders, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag is there
	}
	return a.talks(cmd)
}

func newTypes(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "types",
		Short: "List the types of events, with how many there are of each",
		Long:  "List the types of events, with how many there are of each, and the position of the last." + censusHelp,
		Example: `  gyre types
  gyre types --prefix Order --sort name -o json`,
	}
	l := list[census.Type]{app: a, header: []string{"type", "events", "last", "recorded"}, row: func(n census.Type) []string {
		return []string{cell(n.Type, core.MaxEventTypeBytes), strconv.FormatUint(n.Events, 10), strconv.FormatUint(n.Position, 10), wire.FormatTime(n.Time)}
	}}
	return counts(a, cmd, []string{"events", "name"}, l, func(ctx context.Context, client *sdk.Client, r census.ListRequest) (countsPage[census.Type], error) {
		page, err := client.Types(ctx, r)
		return countsPage[census.Type]{page.Types, page.Next, page.Others, page.Progress}, err
	})
}

func newCategories(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "categories",
		Short: "List the categories of streams, with their streams and events",
		Long: `List the categories of streams, with how many streams, events and links each has. A stream's
category is what its name has before the first '-': order of order-10482.` + censusHelp,
		Example: `  gyre categories
  gyre categories --sort events --limit 10`,
	}
	l := list[census.Category]{app: a, header: []string{"category", "streams", "events", "links", "last", "recorded"}, row: func(n census.Category) []string {
		return []string{
			cell(n.Category, core.MaxStreamNameBytes), strconv.FormatUint(n.Streams, 10), strconv.FormatUint(n.Events, 10), strconv.FormatUint(n.Links, 10),
			strconv.FormatUint(n.Position, 10), wire.FormatTime(n.Time),
		}
	}}
	return counts(a, cmd, []string{"streams", "events", "name"}, l, func(ctx context.Context, client *sdk.Client, r census.ListRequest) (countsPage[census.Category], error) {
		page, err := client.Categories(ctx, r)
		return countsPage[census.Category]{page.Categories, page.Next, page.Others, page.Progress}, err
	})
}
