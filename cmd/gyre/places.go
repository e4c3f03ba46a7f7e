package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const progressHelp = `A progress is a worker's own place in the log, stored under a name. An append moves it in the
same commit as its events (gyre append --progress), so that a worker that follows and appends
has its effect exactly once. Of two workers of one name one wins, and the other gets
progress_conflict.

  gyre tail --progress billing                     follow from there
  gyre append paid OrderPaid --progress billing --from 10 --to 12`

func newProgress(a *app) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "progress",
		Short: "List, show and delete workers' places in the log",
		Long:  progressHelp,
	})
	cmd.AddCommand(newProgressLs(a), newProgressShow(a), newProgressRm(a))
	return cmd
}

// listedProgress is a place as it is printed.
type listedProgress struct {
	Name     string `json:"name"`
	Position uint64 `json:"position"`
	Log      string `json:"log"`
	Moved    string `json:"moved"`
	ID       string `json:"id,omitempty"`
}

func listedPlace(p *core.ProgressInfo) listedProgress {
	l := listedProgress{Name: p.Name, Position: p.Position, Log: p.Log, Moved: wire.FormatTime(p.Moved)}
	if !p.ID.IsZero() {
		l.ID = p.ID.String()
	}
	return l
}

func (p listedProgress) words() string {
	var b strings.Builder
	fmt.Fprintf(&b, "name      %s\n", cell(p.Name, core.MaxProgressNameBytes))
	fmt.Fprintf(&b, "position  %d\n", p.Position)
	fmt.Fprintf(&b, "log       %s\n", p.Log)
	fmt.Fprintf(&b, "moved     %s", p.Moved)
	return b.String()
}

func newProgressLs(a *app) *cobra.Command {
	var prefix string
	var limit int
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List places by name",
		Example: "  gyre progress ls --prefix billing-",
		Args:    takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return usagef("--limit 100").because("--limit %d is less than 0", limit)
			}
			return a.withClient(cmd.Context(), func(client *sdk.Client) error {
				return a.listProgress(cmd.Context(), client, prefix, limit)
			})
		},
	}
	cmd.Flags().StringVar(&prefix, "prefix", "", "only names with this prefix")
	cmd.Flags().IntVar(&limit, "limit", 0, "how many places at most (default all)")
	return a.talks(cmd)
}

// listProgress prints a page after another, up to limit if it is not 0.
func (a *app) listProgress(ctx context.Context, client *sdk.Client, prefix string, limit int) error {
	places := list[listedProgress]{app: a, header: []string{"name", "position", "moved"}, row: func(p listedProgress) []string {
		return []string{cell(p.Name, core.MaxProgressNameBytes), fmt.Sprint(p.Position), p.Moved}
	}}
	after := ""
	return places.printAll(ctx, limit, func(ctx context.Context, most int) (items []listedProgress, end bool, err error) {
		page, err := client.ListProgress(ctx, core.ProgressRequest{Prefix: prefix, After: after, Limit: most})
		for i := range page.Progress {
			items = append(items, listedPlace(&page.Progress[i]))
			after = page.Progress[i].Name
		}
		return items, page.End || len(items) == 0, err
	})
}

func newProgressShow(a *app) *cobra.Command {
	return a.talks(&cobra.Command{
		Use:     "show NAME",
		Short:   "Show a place",
		Example: "  gyre progress show billing -o json | jq .position",
		Args:    takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var info core.ProgressInfo
			err := a.ask(cmd.Context(), func(ctx context.Context, client *sdk.Client) (err error) {
				info, err = client.Progress(ctx, args[0])
				return err
			})
			if err != nil {
				return err
			}
			return printOne(a, listedPlace(&info), listedProgress.words)
		},
	})
}

func newProgressRm(a *app) *cobra.Command {
	return a.talks(&cobra.Command{
		Use:     "rm NAME",
		Short:   "Delete a place; the next move is one from 0",
		Example: "  gyre progress rm billing",
		Args:    takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			err := a.ask(cmd.Context(), func(ctx context.Context, client *sdk.Client) error {
				return client.DeleteProgress(ctx, args[0])
			})
			if err != nil {
				return err
			}
			return printOne(a, deletedProgress{args[0]}, func(d deletedProgress) string { return "deleted progress " + visible(d.Deleted) })
		},
	})
}

// deletedProgress is the printed result of a deletion.
type deletedProgress struct {
	Deleted string `json:"deleted"`
}

// moveFlags are the flags of an append that moves a place.
type moveFlags struct {
	name     string
	from, to uint64
}

func (f *moveFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.name, "progress", "", "also move the place of this name, all or nothing")
	cmd.Flags().Uint64Var(&f.from, "from", 0, "with --progress: the stored position, 0 if there is none")
	cmd.Flags().Uint64Var(&f.to, "to", 0, "with --progress: the position to store")
}

// progress is the move that the flags ask for; nil for none.
func (f *moveFlags) progress(cmd *cobra.Command) (*core.Progress, error) {
	flags := cmd.Flags()
	switch {
	case flags.Changed("progress") && flags.Changed("to"):
		return &core.Progress{Name: f.name, From: f.from, To: f.to}, nil
	case flags.Changed("progress") || flags.Changed("from") || flags.Changed("to"):
		return nil, usagef("--progress NAME --from 10 --to 12").because("a progress moves from a position, 0 if there is none, to another")
	}
	return nil, nil
}
