package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/sdk"
)

const stateHelp = `Print the value of a key of a plugin's state, as the plugin stored it; or with --prefix, or
without a key, the keys and values that begin with it. Each lane has keys of its own: those of
all lanes are printed, or with --lane of one.

With --at-least the answer has everything that was handled up to a position, such as the one that
an append has printed: it waits for that, as long as --timeout.`

func newPluginState(a *app) *cobra.Command {
	var r plugins.StateRequest
	var limit int
	cmd := &cobra.Command{
		Use:   "state NAME [KEY]",
		Short: "Read a plugin's state, by key or by prefix",
		Long:  stateHelp,
		Example: `  gyre plugin state counter OrderPlaced
  gyre plugin state counter --prefix Order -o ndjson
  gyre plugin state counter OrderPlaced --at-least 1042`,
		Args: takes(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 && cmd.Flags().Changed("prefix") {
				return usagef("gyre plugin state %s --prefix %s", shellQuote(args[0]), shellQuote(r.Prefix)).because("a key or --prefix, not both")
			}
			if limit < 0 {
				return usagef("--limit 100").because("--limit %d is less than 0", limit)
			}
			return a.withClient(cmd.Context(), func(client *sdk.Client) error {
				lanes, err := a.lanesOf(cmd.Context(), client.Plugins(), args[0], r.Lane)
				switch {
				case err != nil:
					return err
				case len(args) > 1:
					err = a.printValue(cmd.Context(), client.Plugins(), args[0], plugins.KeyRequest{Key: args[1], AtLeast: r.AtLeast}, lanes)
				default:
					err = a.printEntries(cmd.Context(), client.Plugins(), args[0], r, lanes, limit)
				}
				return a.waited(err, args[0], r.AtLeast)
			})
		},
	}
	cmd.Flags().StringVar(&r.Prefix, "prefix", "", "only keys that begin with it")
	cmd.Flags().IntVar(&r.Lane, "lane", plugins.OnlyLane, "only this lane (default all)")
	cmd.Flags().IntVar(&limit, "limit", 0, "how many keys at most (default all)")
	a.atLeast(cmd, &r.AtLeast)
	return a.completeBinding(a.talks(cmd))
}

// atLeast adds the flag --at-least.
func (a *app) atLeast(cmd *cobra.Command, to *uint64) {
	cmd.Flags().Uint64Var(to, "at-least", 0, "wait until everything up to this position is handled")
}

// waited has better advice about a read that has waited for a position in vain.
func (a *app) waited(err error, name string, atLeast uint64) error {
	if atLeast == 0 || !errors.Is(err, core.CodeTimeout) {
		return err
	}
	return &advised{err, fmt.Sprintf("%s plugin info %s says how far it is; --timeout %v waits longer; --at-least takes the position that an append has printed",
		a.program, shellQuote(name), max(2*a.timeout, time.Minute))}
}

// awaiting does a read that waits for a position, if it is not 0, and shows meanwhile how far the
// binding is. Whoever may not read the binding is shown nothing.
func (a *app) awaiting(ctx context.Context, all sdk.Plugins, name string, atLeast uint64, read func() error) error {
	if atLeast == 0 {
		return read()
	}
	done := make(chan error, 1)
	go func() { done <- read() }()
	tick := time.NewTicker(showEvery)
	defer tick.Stop()
	var m *meter
	for {
		select {
		case err := <-done:
			if m != nil {
				m.finish()
			}
			return err
		case <-tick.C:
		}
		if s, err := a.statusOf(ctx, all, name); err == nil {
			if m == nil {
				m = a.newMeter(cell(name, maxNameCell), int64(atLeast))
			}
			m.show(int64(s.Checkpoint), fmt.Sprintf("at %s of %s, %s", comma(s.Checkpoint), comma(atLeast), s.State))
		}
	}
}

// lanesOf returns the lanes to read: one, or all of a binding. A key that may read the state and
// not the binding reads the only lane.
func (a *app) lanesOf(ctx context.Context, all sdk.Plugins, name string, lane int) (lanes []int, err error) {
	if lane != plugins.OnlyLane {
		return []int{lane}, nil
	}
	ctx, cancel := a.request(ctx)
	defer cancel()
	s, err := all.Status(ctx, name)
	if errors.Is(err, core.CodeForbidden) {
		return []int{plugins.OnlyLane}, nil
	}
	for n := range s.Lanes {
		lanes = append(lanes, n)
	}
	return lanes, err
}

// printValue prints the value of a key: alone if there is one lane to look in, else as the
// entries of those that have it.
func (a *app) printValue(ctx context.Context, all sdk.Plugins, name string, r plugins.KeyRequest, lanes []int) error {
	err := error(core.Errorf(core.CodeStateNotFound, "binding %q has no lanes", name))
	var found []plugins.Entry
	for _, lane := range lanes {
		var e plugins.Entry
		ctx, cancel := a.request(ctx)
		r.Lane = lane
		err = a.awaiting(ctx, all, name, r.AtLeast, func() (err error) {
			e, err = all.Value(ctx, name, r)
			return err
		})
		cancel()
		switch {
		case err == nil:
			e.Lane = max(lane, 0)
			found = append(found, e)
		case !errors.Is(err, core.CodeStateNotFound):
			return err
		}
	}
	switch {
	case len(found) == 0:
		return err
	case len(lanes) == 1:
		return a.printEntry(found[0])
	}
	out := a.entries()
	return errors.Join(out.print(found), out.close())
}

// printEntry prints a value alone, or with -o the entry.
func (a *app) printEntry(e plugins.Entry) error {
	if a.output == asJSON || a.output == asNDJSON {
		return printOne(a, e, nil)
	}
	return a.printBytes(e.Value)
}

// entries prints entries as a list.
func (a *app) entries() *list[plugins.Entry] {
	return &list[plugins.Entry]{app: a, header: []string{"lane", "key", "value"}, row: func(e plugins.Entry) []string {
		return []string{strconv.Itoa(e.Lane), cell(e.Key, maxNameCell), cell(string(e.Value), dataWidth)}
	}}
}

// printEntries prints entries lane by lane, up to limit if it is not 0.
func (a *app) printEntries(ctx context.Context, all sdk.Plugins, name string, r plugins.StateRequest, lanes []int, limit int) error {
	return a.entries().printAll(ctx, limit, func(ctx context.Context, most int) ([]plugins.Entry, bool, error) {
		r.Lane, r.Limit = lanes[0], most
		var page plugins.StatePage
		err := a.awaiting(ctx, all, name, r.AtLeast, func() (err error) {
			page, err = all.State(ctx, name, r)
			return err
		})
		if n := len(page.Entries); n > 0 && !page.End {
			r.After = page.Entries[n-1].Key
		} else {
			lanes, r.After = lanes[1:], ""
		}
		return page.Entries, len(lanes) == 0, err
	})
}
