package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/sdk"
)

const stateHelp = `Print the value of a key of a plugin's state, as the plugin stored it; or with --prefix, or
without a key, the keys and values that begin with it. Each lane has keys of its own: those of
all lanes are printed, or with --lane of one.`

func newPluginState(a *app) *cobra.Command {
	var r plugins.StateRequest
	var limit int
	cmd := &cobra.Command{
		Use:   "state NAME [KEY]",
		Short: "Read a plugin's state, by key or by prefix",
		Long:  stateHelp,
		Example: `  gyre plugin state counter OrderPlaced
  gyre plugin state counter --prefix Order -o ndjson`,
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
				if err != nil {
					return err
				}
				if len(args) > 1 {
					return a.printValue(cmd.Context(), client.Plugins(), args[0], args[1], lanes)
				}
				return a.printEntries(cmd.Context(), client.Plugins(), args[0], r.Prefix, lanes, limit)
			})
		},
	}
	cmd.Flags().StringVar(&r.Prefix, "prefix", "", "only keys that begin with it")
	cmd.Flags().IntVar(&r.Lane, "lane", plugins.OnlyLane, "only this lane (default all)")
	cmd.Flags().IntVar(&limit, "limit", 0, "how many keys at most (default all)")
	return a.completeBinding(a.talks(cmd))
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
func (a *app) printValue(ctx context.Context, all sdk.Plugins, name, key string, lanes []int) error {
	err := error(core.Errorf(core.CodeStateNotFound, "binding %q has no lanes", name))
	var found []plugins.Entry
	for _, lane := range lanes {
		var value []byte
		ctx, cancel := a.request(ctx)
		value, err = all.Value(ctx, name, lane, key)
		cancel()
		switch {
		case err == nil:
			found = append(found, plugins.Entry{Lane: lane, Key: key, Value: value})
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

// printEntry prints a value alone, or with -o the entry. Bytes are printed as they are.
func (a *app) printEntry(e plugins.Entry) error {
	if a.output == asJSON || a.output == asNDJSON {
		return printOne(a, e, nil)
	}
	value := e.Value
	if json.Valid(value) {
		value = append(bytes.Clone(value), '\n')
	}
	_, err := a.stdout.Write(value)
	return err
}

// entries prints entries as a list.
func (a *app) entries() *list[plugins.Entry] {
	return &list[plugins.Entry]{app: a, header: []string{"lane", "key", "value"}, row: func(e plugins.Entry) []string {
		return []string{strconv.Itoa(e.Lane), cell(e.Key, maxNameCell), cell(string(e.Value), dataWidth)}
	}}
}

// printEntries prints entries lane by lane, up to limit if it is not 0.
func (a *app) printEntries(ctx context.Context, all sdk.Plugins, name, prefix string, lanes []int, limit int) error {
	after := ""
	return a.entries().printAll(ctx, limit, func(ctx context.Context, most int) ([]plugins.Entry, bool, error) {
		page, err := all.State(ctx, name, plugins.StateRequest{Lane: lanes[0], Prefix: prefix, After: after, Limit: most})
		if n := len(page.Entries); n > 0 && !page.End {
			after = page.Entries[n-1].Key
		} else {
			lanes, after = lanes[1:], ""
		}
		return page.Entries, len(lanes) == 0, err
	})
}
