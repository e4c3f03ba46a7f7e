package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const reasonWidth = 60

// parkedItem is the printed form of a parked event.
type parkedItem struct {
	Position  uint64          `json:"position"`
	Key       string          `json:"key,omitempty"`
	At        string          `json:"at"`
	Cause     delivery.Cause  `json:"cause"`
	Reason    string          `json:"reason,omitempty"`
	Attempts  int             `json:"attempts"`
	Failures  []parkedFailure `json:"failures"`
	Replaying bool            `json:"replaying,omitempty"`
	Event     json.RawMessage `json:"event,omitempty"`

	event *core.Event // nil if the log has it no longer
}

type parkedFailure struct {
	At       string         `json:"at"`
	Attempt  int            `json:"attempt"`
	Consumer string         `json:"consumer,omitempty"`
	Cause    delivery.Cause `json:"cause"`
	Reason   string         `json:"reason,omitempty"`
}

func parkedItemOf(p *subscriptions.ParkedEvent) parkedItem {
	item := parkedItem{
		Position: p.Position, Key: p.Key, At: wire.FormatTime(p.At), Cause: p.Cause, Reason: p.Reason,
		Attempts: p.Attempts, Replaying: p.Replaying, Failures: []parkedFailure{},
	}
	for _, f := range p.Failures {
		item.Failures = append(item.Failures, parkedFailure{wire.FormatTime(f.At), f.Attempt, f.Consumer, f.Cause, f.Reason})
	}
	for e := range p.Event.Events() {
		item.event, item.Event = &e, wire.AppendEventJSON(nil, &e)
	}
	return item
}

func (p parkedItem) row() []string {
	stream, version, typ, id := "(not in the log)", "", "", ""
	if e := p.event; e != nil {
		stream, version, typ, id = cell(e.Stream, streamWidth), strconv.FormatUint(e.Version, 10), cell(e.Type, typeWidth), e.ID.String()
	}
	why := string(p.Cause)
	if p.Reason != "" {
		why += ": " + p.Reason
	}
	if p.Replaying {
		why = "(replaying) " + why
	}
	return []string{strconv.FormatUint(p.Position, 10), stream, version, typ, p.At, strconv.Itoa(p.Attempts), cell(why, reasonWidth), id}
}

func newSubscriptionsParked(a *app) *cobra.Command {
	var limit int
	var position uint64
	cmd := &cobra.Command{
		Use:   "parked NAME",
		Short: "List the parked events of a subscription, or show one",
		Example: `  gyre subscriptions parked billing
  gyre subscriptions parked billing --position 1042
  gyre subscriptions parked billing -o ndjson | jq .failures`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 0 {
				return usagef("--limit 100").because("--limit %d is less than 0", limit)
			}
			return a.withClient(cmd.Context(), func(client *sdk.Client) error {
				if position > 0 {
					return a.showParked(cmd.Context(), client.Subscriptions(), args[0], position)
				}
				return a.listParked(cmd.Context(), client.Subscriptions(), args[0], limit)
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 0, "how many at most (default all)")
	cmd.Flags().Uint64Var(&position, "position", 0, "show the event at this position, with its failures")
	return a.completeSubscription(a.talks(cmd))
}

// listParked prints page by page, up to limit if it is not 0.
func (a *app) listParked(ctx context.Context, all sdk.Subscriptions, name string, limit int) error {
	out := list[parkedItem]{
		app: a, header: []string{"position", "stream", "version", "type", "parked", "attempts", "reason", "id"}, row: parkedItem.row,
	}
	after := uint64(0)
	return out.printAll(ctx, limit, func(ctx context.Context, most int) (items []parkedItem, end bool, err error) {
		page, err := all.Parked(ctx, name, subscriptions.ParkedRequest{After: after, Limit: most})
		for i := range page.Parked {
			items = append(items, parkedItemOf(&page.Parked[i]))
			after = page.Parked[i].Position
		}
		return items, page.End || len(items) == 0, err
	})
}

// showParked prints one parked event with its failures.
func (a *app) showParked(ctx context.Context, all sdk.Subscriptions, name string, position uint64) error {
	ctx, cancel := a.request(ctx)
	defer cancel()
	page, err := all.Parked(ctx, name, subscriptions.ParkedRequest{After: position - 1, Limit: 1})
	if err != nil {
		return err
	}
	if len(page.Parked) == 0 || page.Parked[0].Position != position {
		return core.Errorf(core.CodeEventNotFound, "the event at position %d is not parked", position)
	}
	return printOne(a, parkedItemOf(&page.Parked[0]), parkedItem.words)
}

func (p parkedItem) words() string {
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-9s %s\n", name, fmt.Sprintf(format, args...))
	}
	row("position", "%d", p.Position)
	if e := p.event; e != nil {
		row("event", "%s@%d  %s  %s", cell(e.Stream, core.MaxStreamNameBytes), e.Version, cell(e.Type, typeWidth), e.ID)
		row("data", "%s", dataCell(e))
	} else {
		row("event", "not in the log")
	}
	if p.Key != "" {
		row("key", "%s", cell(p.Key, dataWidth))
	}
	row("parked", "%s  %s", p.At, p.Cause)
	if p.Reason != "" {
		row("reason", "%s", cell(p.Reason, maxReasonBytes))
	}
	if p.Replaying {
		row("", "waits to be delivered again")
	}
	for _, f := range p.Failures {
		row(fmt.Sprintf("attempt %d", f.Attempt), "%s  %s", f.At, cell(strings.TrimSpace(fmt.Sprintf("%s  %s  %s", f.Consumer, f.Cause, f.Reason)), maxReasonBytes))
	}
	return strings.TrimRight(b.String(), "\n")
}

// selectionFlags name parked events.
type selectionFlags struct {
	all            bool
	ids            []string
	positions      []string
	types, streams []string
}

func (f *selectionFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&f.all, "all", false, "all of them")
	flags.StringSliceVar(&f.ids, "id", nil, "the events with these ids")
	flags.StringSliceVar(&f.positions, "position", nil, "the events at these positions")
	flags.StringSliceVar(&f.types, "types", nil, "those of these types")
	flags.StringSliceVar(&f.streams, "streams", nil, "those of these streams")
}

func (f *selectionFlags) selection() (subscriptions.Selection, error) {
	which := subscriptions.Selection{All: f.all, Filter: core.Filter{Streams: f.streams, Types: f.types}}
	for _, text := range f.ids {
		id, err := core.ParseID(text)
		if err != nil {
			return which, err
		}
		which.IDs = append(which.IDs, id)
	}
	for _, text := range f.positions {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil || n == 0 || n > core.MaxNumber {
			return which, usagef("--position 1042").because("--position %q is not a position", text)
		}
		which.Positions = append(which.Positions, n)
	}
	ways := 0
	for _, given := range []bool{f.all, len(which.IDs)+len(which.Positions) > 0, !which.Filter.IsZero()} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		return which, usagef("--all, or --id and --position, or --types and --streams").because("say which of the parked events, in one way")
	}
	return which, nil
}

// chosen is the printed result of replay and drop.
type chosen struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}

func newSubscriptionsReplay(a *app) *cobra.Command {
	return a.newSelection(&cobra.Command{
		Use:   "replay NAME",
		Short: "Deliver parked events again",
		Long: `Deliver parked events again, to the subscribers at that time. An acknowledged event leaves the
parked list; an event that fails again is parked again.`,
		Example: `  gyre subscriptions replay billing --all
  gyre subscriptions replay billing --id 0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11
  gyre subscriptions replay billing --types 'Order*'`,
	}, "to be delivered again: %d of %s", sdk.Subscriptions.Replay)
}

func newSubscriptionsDrop(a *app) *cobra.Command {
	return a.newSelection(&cobra.Command{
		Use:     "drop NAME",
		Short:   "Remove events from the parked list; they stay in the log",
		Example: "  gyre subscriptions drop billing --position 1042,1043",
	}, "dropped %d of %s", sdk.Subscriptions.Drop)
}

// newSelection makes a command on the parked events that its flags name.
func (a *app) newSelection(cmd *cobra.Command, words string,
	do func(sdk.Subscriptions, context.Context, string, subscriptions.Selection) (int, error),
) *cobra.Command {
	var f selectionFlags
	cmd.Args = takes(1, 1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		which, err := f.selection()
		if err != nil {
			return err
		}
		return a.manage(cmd.Context(), func(ctx context.Context, all sdk.Subscriptions) error {
			n, err := do(all, ctx, args[0], which)
			if err != nil {
				return err
			}
			return printOne(a, chosen{args[0], n}, func(c chosen) string {
				return fmt.Sprintf(words, c.Count, cell(c.Name, maxNameCell))
			})
		})
	}
	f.register(cmd)
	return a.completeSubscription(a.talks(cmd))
}
