package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"iter"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/sdk"
)

const watchHelp = `Watch a plugin's state: what there is, and what changes, until it is interrupted. On a terminal it is
a table that changes, in which what has changed last is bold; else a line for each change: the
position, the lane, the key and the value. With -o ndjson the messages are printed as the API sends
them: whoever applies their entries in order has the state.

While the node is away, it waits for it, and then goes on where it was. If the node does not know
any more what came since, the state begins anew.`

func newPluginWatch(a *app) *cobra.Command {
	r := plugins.WatchRequest{Lane: plugins.OnlyLane}
	cmd := &cobra.Command{
		Use:   "watch NAME",
		Short: "Watch a plugin's state as it changes",
		Long:  watchHelp,
		Example: `  gyre plugin watch changes --prefix service/
  gyre plugin watch changes -o ndjson | jq -c 'select(.kind == "change")'`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if a.output == asJSON {
				return usagef("-o ndjson").because("a watch has no end, so it cannot be one JSON value")
			}
			return a.withClient(cmd.Context(), func(client *sdk.Client) error {
				return a.watchState(cmd.Context(), client.Plugins(), args[0], r)
			})
		},
	}
	cmd.Flags().StringVar(&r.Prefix, "prefix", "", "only keys that begin with it")
	cmd.Flags().IntVar(&r.Lane, "lane", plugins.OnlyLane, "only this lane (default all)")
	return a.completeBinding(a.talks(cmd))
}

// watchState prints what a watch says, until ctx ends.
func (a *app) watchState(ctx context.Context, all sdk.Plugins, name string, r plugins.WatchRequest) error {
	if f, ok := a.stdout.(*os.File); ok && a.output != asNDJSON && isTerminal(f) {
		return a.watchTable(ctx, all.Watch, name, r, f)
	}
	for m, err := range all.Watch(ctx, name, r) {
		switch {
		case err != nil:
			return err
		case a.output == asNDJSON:
			err = printOne(a, *m, nil)
		default:
			err = a.printWatched(m)
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// printWatched prints a message as lines.
func (a *app) printWatched(m *plugins.WatchMessage) error {
	var lines strings.Builder
	if m.Reset {
		fmt.Fprintf(&lines, "the state of generation %d:\n", m.Generation)
	}
	at := "-"
	if m.Kind == plugins.WatchChange {
		at = strconv.FormatUint(m.Position, 10)
	}
	for i := range m.Entries {
		e := &m.Entries[i]
		value := cell(string(e.Value), dataWidth)
		if e.Deleted {
			value = "(deleted)"
		}
		fmt.Fprintf(&lines, "%s  %d  %s  %s\n", at, e.Lane, cell(e.Key, maxNameCell), value)
	}
	if m.Kind == plugins.WatchLive {
		fmt.Fprintf(&lines, "that is generation %d at position %s; what changes:\n", m.Generation, positionsOf(m.Positions))
	}
	_, err := a.stdout.Write([]byte(lines.String()))
	return err
}

// positionsOf words how far lanes are.
func positionsOf(positions []uint64) string {
	words := make([]string, len(positions))
	for i, n := range positions {
		words[i] = strconv.FormatUint(n, 10)
	}
	return strings.Join(words, ", ")
}

const (
	// drawEvery is how often a table that changes is drawn at most.
	drawEvery = 100 * time.Millisecond
	// maxWatched bounds the keys of a table.
	maxWatched = 100_000
)

// watchTable draws what a watch says as a table that changes.
func (a *app) watchTable(ctx context.Context, watch watchFunc, name string, r plugins.WatchRequest, to *os.File) error {
	t := &watchedTable{name: name, to: to}
	ctx, cancel := context.WithCancel(ctx)
	messages := make(chan *plugins.WatchMessage)
	var failed error
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	watching.Go(func() {
		defer close(messages)
		for m, err := range watch(ctx, name, r) {
			if failed = err; err != nil {
				return
			}
			select {
			case messages <- m:
			case <-ctx.Done():
				return
			}
		}
	})
	tick := time.NewTicker(drawEvery)
	defer tick.Stop()
	for {
		select {
		case m, ok := <-messages:
			if !ok {
				return cmp.Or(failed, ctx.Err())
			}
			if err := t.take(m); err != nil {
				return err
			}
		case <-tick.C:
			if err := t.draw(); err != nil {
				return err
			}
		}
	}
}

// watchFunc is sdk.Plugins.Watch.
type watchFunc = func(context.Context, string, plugins.WatchRequest) iter.Seq2[*plugins.WatchMessage, error]

// watchedTable is a state as a table on a terminal.
type watchedTable struct {
	name       string
	to         *os.File
	state      map[watchedKey]watchedValue
	staged     []plugins.Entry // of a difference
	generation uint64
	position   uint64
	live       bool
	changed    bool // since it was drawn
	drawn      int  // lines
}

type watchedKey struct {
	key  string
	lane int
}

type watchedValue struct {
	value string
	at    uint64 // the position of its last change
}

// take takes a message.
func (t *watchedTable) take(m *plugins.WatchMessage) error {
	if m.Reset {
		t.state, t.staged, t.live = map[watchedKey]watchedValue{}, nil, false
	}
	t.changed = true
	t.generation = m.Generation
	switch m.Kind {
	case plugins.WatchDifference:
		t.staged = append(t.staged, m.Entries...)
		return nil
	case plugins.WatchLive:
		t.position = slices.Max(append(m.Positions, 0))
		t.apply(t.staged)
		t.staged, t.live = nil, true
	case plugins.WatchChange:
		t.position = max(t.position, m.Position)
	}
	t.apply(m.Entries)
	if len(t.state) > maxWatched {
		return core.Errorf(core.CodeInvalidRequest, "the state has more than %d keys, too many for a table: give a longer --prefix, or -o ndjson", maxWatched)
	}
	return nil
}

func (t *watchedTable) apply(entries []plugins.Entry) {
	for i := range entries {
		e := &entries[i]
		key := watchedKey{e.Key, e.Lane}
		if e.Deleted {
			delete(t.state, key)
			continue
		}
		v := watchedValue{value: cell(string(e.Value), dataWidth)}
		if t.live {
			v.at = t.position
		}
		t.state[key] = v
	}
}

// draw draws the table over the one before, as much of it as there is room for.
func (t *watchedTable) draw() error {
	if !t.changed || !t.live {
		return nil
	}
	t.changed = false
	width, height, err := term.GetSize(int(t.to.Fd()))
	if err != nil || height < 5 {
		width, height = 80, 24
	}
	var out bytes.Buffer
	if t.drawn > 0 {
		out.WriteString(text.CursorUp.Sprintn(t.drawn))
		out.WriteString(text.EraseLine.Sprint())
	}
	lines := t.lines(height - 2)
	for _, line := range lines {
		out.WriteString(text.EraseLine.Sprint() + text.Snip(line, width, "…") + "\n")
	}
	for n := len(lines); n < t.drawn; n++ {
		out.WriteString(text.EraseLine.Sprint() + "\n")
	}
	t.drawn = max(t.drawn, len(lines))
	_, err = t.to.Write(out.Bytes())
	return err
}

// lines are the lines of the table, at most so many.
func (t *watchedTable) lines(most int) []string {
	keys := make([]watchedKey, 0, len(t.state))
	newest := uint64(0)
	for key, v := range t.state {
		keys = append(keys, key)
		newest = max(newest, v.at)
	}
	slices.SortFunc(keys, func(a, b watchedKey) int { return cmp.Or(strings.Compare(a.key, b.key), cmp.Compare(a.lane, b.lane)) })
	head := fmt.Sprintf("%s  generation %d  position %d  %s", t.name, t.generation, t.position, howMany(len(keys), "key", "keys"))
	shown := keys[:min(len(keys), max(most-3, 1))]
	rows := make([][]string, len(shown))
	for i, key := range shown {
		v := t.state[key]
		at := ""
		if v.at > 0 {
			at = strconv.FormatUint(v.at, 10)
		}
		rows[i] = []string{cell(key.key, maxNameCell), v.value, strconv.Itoa(key.lane), at}
	}
	header := []string{"key", "value", "lane", "changed at"}
	var table bytes.Buffer
	_ = printTable(&table, header, rows, columnWidths(nil, header, rows)) // a buffer takes all
	lines := append([]string{head}, strings.Split(strings.TrimSuffix(table.String(), "\n"), "\n")...)
	for i, key := range shown {
		if at := t.state[key].at; at > 0 && at == newest {
			lines[i+2] = text.Bold.Sprint(lines[i+2])
		}
	}
	if more := len(keys) - len(shown); more > 0 {
		lines = append(lines, fmt.Sprintf("… and %s more keys; --prefix chooses", comma(more)))
	}
	return lines
}
