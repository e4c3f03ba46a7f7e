package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const poisonHelp = `Look at the events that a plugin has parked, find out why, and give them back.

An event is parked when the plugin fails to handle it, as often as its error policy says. Of each are
kept the stack, what the plugin did in the last attempt, and the attempts. docs/poison.md goes
through an example.`

func newPluginPoison(a *app) *cobra.Command {
	cmd := group(&cobra.Command{Use: "poison", Short: "Take the events apart that a plugin has parked", Long: poisonHelp})
	cmd.AddCommand(newPoisonList(a), newPoisonShow(a), newPoisonRun(a), newPoisonRetry(a), newPoisonDrop(a))
	return cmd
}

func newPoisonList(a *app) *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:     "ls NAME",
		Aliases: []string{"list"},
		Short:   "List the events that a plugin has parked",
		Example: `  gyre plugin poison ls shop
  gyre plugin poison ls shop -o ndjson | jq .position`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 0 {
				return usagef("--limit 100").because("--limit %d is less than 0", limit)
			}
			return a.withClient(cmd.Context(), func(client *sdk.Client) error {
				out := list[plugins.Poison]{app: a, header: []string{"position", "stream", "type", "lane", "failed", "attempts", "reason"}, row: poisonRow}
				return out.printAll(cmd.Context(), limit, poisonPages(client.Plugins(), args[0]))
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 0, "how many at most (default all)")
	return a.completeBinding(a.talks(cmd))
}

// poisonPages returns the next page of the parked events of a binding each time.
func poisonPages(all sdk.Plugins, name string) func(ctx context.Context, most int) ([]plugins.Poison, bool, error) {
	after := uint64(0)
	return func(ctx context.Context, most int) ([]plugins.Poison, bool, error) {
		page, err := all.Poisoned(ctx, name, plugins.PoisonRequest{After: after, Limit: most})
		n := len(page.Poison)
		if n > 0 {
			after = page.Poison[n-1].Position
		}
		return page.Poison, page.End || n == 0, err
	}
}

func poisonRow(p plugins.Poison) []string {
	stream := "(not in the log)"
	if p.Stream != "" {
		stream = cell(p.Stream, streamWidth)
	}
	return []string{
		strconv.FormatUint(p.Position, 10), stream, cell(p.Type, typeWidth), strconv.Itoa(p.Lane), timeWords(p.At), strconv.Itoa(p.Attempts), cell(p.Reason, reasonWidth),
	}
}

// timeWords is a time, or nothing if it is not known.
func timeWords(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return wire.FormatTime(t)
}

func newPoisonShow(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show NAME POSITION",
		Short: "Show a parked event: its data, the stack, the last attempt and all attempts",
		Example: `  gyre plugin poison show shop 1042
  gyre plugin poison show shop 1042 -o json | jq .steps`,
		Args: takes(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			position, err := positionArgument(args[1])
			if err != nil {
				return err
			}
			return a.managePlugins(cmd.Context(), func(ctx context.Context, all sdk.Plugins) error {
				p, err := all.Poison(ctx, args[0], position)
				if err != nil {
					return err
				}
				return printOne(a, shownPoisonOf(&p), shownPoison.words)
			})
		},
	}
	return a.completePoison(a.talks(cmd))
}

// shownPoison is the printed form of a parked event.
type shownPoison struct {
	plugins.PoisonEvent
	Event json.RawMessage `json:"event,omitempty"`
}

func shownPoisonOf(p *plugins.PoisonEvent) shownPoison {
	s := shownPoison{PoisonEvent: *p}
	if p.Event != nil {
		s.Event = wire.AppendEventJSON(nil, p.Event)
	}
	return s
}

func (s shownPoison) words() string {
	var r rows
	r.row("position", "%d", s.Position)
	if e := s.PoisonEvent.Event; e != nil {
		r.row("event", "%s@%d  %s  %s", cell(e.Stream, core.MaxStreamNameBytes), e.Version, cell(e.Type, typeWidth), e.ID)
		r.row("data", "%s", dataCell(e))
	} else {
		r.row("event", "not in the log any more")
	}
	r.row("lane", "%d", s.Lane)
	r.row("reason", "%s", cell(s.Reason, maxReasonBytes))
	if s.Carried {
		r.row("", "carried over from the generation before")
	}
	r.row("cost", "%s fuel, %.1f ms in the last attempt", comma(s.Fuel), 1000*s.Seconds)
	for _, h := range s.History {
		r.row("attempt "+strconv.Itoa(h.Attempt), "%s  %s, generation %d  %s", timeWords(h.At), cell(h.Version, maxNameCell), h.Generation, cell(h.Reason, reasonWidth))
	}
	text := r.words()
	if s.Stack != "" {
		text += "\n\nstack\n" + indented(s.Stack)
	}
	if len(s.Steps.List) > 0 {
		text += "\n\nlast attempt\n" + strings.Join(stepLines(&s.Steps), "\n")
	}
	return text
}

// indented is a text of several lines, as a terminal may get it.
func indented(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = "  " + cell(line, maxReasonBytes)
	}
	return strings.Join(lines, "\n")
}

// stepLines are the steps of a handler, one a line.
func stepLines(s *plugins.Steps) (lines []string) {
	if s.Dropped > 0 {
		lines = append(lines, fmt.Sprintf("  … %s steps before", comma(s.Dropped)))
	}
	for i := range s.List {
		lines = append(lines, fmt.Sprintf("  %3d  %s", s.Dropped+i+1, stepWords(&s.List[i])))
	}
	return lines
}

// stepWords words a step.
func stepWords(s *plugins.Step) string {
	what := ""
	switch s.Do {
	case plugins.DoLog:
		return fmt.Sprintf("%-6s  %-5s  %s", s.Do, cell(s.Level, typeWidth), cell(s.Text, dataWidth))
	case plugins.DoAppend:
		what = cell(s.Stream, maxNameCell) + "  " + cell(s.Type, maxNameCell)
	case plugins.DoPut, plugins.DoDelete:
		what = cell(s.Key, maxNameCell)
	}
	switch {
	case s.Content != nil && s.Do != plugins.DoDelete:
		what += "  " + cell(contentText(s.Content), dataWidth)
	case s.Bytes > 0:
		what += fmt.Sprintf("  (%s bytes)", comma(s.Bytes))
	}
	if s.Refused != "" {
		what += "  refused: " + cell(s.Refused, reasonWidth)
	}
	return fmt.Sprintf("%-6s  %s", s.Do, what)
}

func newPoisonRetry(a *app) *cobra.Command {
	var every bool
	cmd := &cobra.Command{
		Use:   "retry NAME [POSITION]",
		Short: "Give a parked event back, and wait for what comes of it",
		Long: `Give a parked event back, or with --all each of them, and wait for what comes of it. The plugin
handles it again on the state that it has now. An event that fails again stays parked, and the
command ends with exit code 1.`,
		Example: `  gyre plugin poison retry shop 1042
  gyre plugin poison retry shop --all`,
		Args: takes(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if every == (len(args) == 2) {
				return usagef("gyre plugin poison retry %s 1042, or --all", shellQuote(args[0])).because("a position or --all, and not both")
			}
			return a.withClient(cmd.Context(), func(client *sdk.Client) error {
				if every {
					return a.retryAll(cmd.Context(), client.Plugins(), args[0])
				}
				position, err := positionArgument(args[1])
				if err != nil {
					return err
				}
				return a.retryPoison(cmd.Context(), client.Plugins(), args[0], []uint64{position})
			})
		},
	}
	cmd.Flags().BoolVar(&every, "all", false, "all that are parked now, in order")
	return a.completePoison(a.talks(cmd))
}

// retryAll gives back all events that are parked now.
func (a *app) retryAll(ctx context.Context, all sdk.Plugins, name string) error {
	var positions []uint64
	for next, end := poisonPages(all, name), false; !end; {
		asked, cancel := a.request(ctx)
		page, last, err := next(asked, core.MaxReadEvents)
		cancel()
		if err != nil {
			return err
		}
		for i := range page {
			positions = append(positions, page[i].Position)
		}
		end = last
	}
	return a.retryPoison(ctx, all, name, positions)
}

// retryPoison gives events back one after the other. The error is plugin_failed if one is parked again.
func (a *app) retryPoison(ctx context.Context, all sdk.Plugins, name string, positions []uint64) error {
	var failed error
	for _, position := range positions {
		asked, cancel := a.request(ctx)
		r, err := all.RetryPoison(asked, name, position)
		err = a.late(asked, err)
		cancel()
		if err != nil {
			return err
		}
		if err := printOne(a, r, retryWords); err != nil {
			return err
		}
		if r.Outcome == plugins.ParkedAgain && failed == nil {
			failed = core.Errorf(core.CodePluginFailed, "event %d is parked again: %s", position, cell(r.Reason, maxReasonBytes))
			failed = &advised{failed, fmt.Sprintf("look at it with gyre plugin poison show %s %d", shellQuote(name), position)}
		}
	}
	return failed
}

func retryWords(r plugins.PoisonRetry) string {
	switch r.Outcome {
	case plugins.HandledAgain:
		return fmt.Sprintf("event %d is handled", r.Position)
	case plugins.ParkedAgain:
		return fmt.Sprintf("event %d is parked again after %s: %s", r.Position, howMany(r.Attempts, "attempt", "attempts"), cell(r.Reason, reasonWidth))
	}
	return fmt.Sprintf("event %d is to be handled again: %s", r.Position, cell(r.Reason, reasonWidth))
}

func newPoisonDrop(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "drop NAME POSITION",
		Short:   "Forget a parked event; it stays in the log, and the plugin does not handle it",
		Example: "  gyre plugin poison drop shop 1042",
		Args:    takes(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			position, err := positionArgument(args[1])
			if err != nil {
				return err
			}
			return a.managePlugins(cmd.Context(), func(ctx context.Context, all sdk.Plugins) error {
				if err := all.DropPoison(ctx, args[0], position); err != nil {
					return err
				}
				return printOne(a, map[string]any{"binding": args[0], "position": position}, func(map[string]any) string {
					return fmt.Sprintf("dropped event %d of %s", position, cell(args[0], maxNameCell))
				})
			})
		},
	}
	return a.completePoison(a.talks(cmd))
}

func positionArgument(text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 || n > core.MaxNumber {
		return 0, usagef("1042").because("%q is not a position", text)
	}
	return n, nil
}

// completePoison has the shell complete a binding's name, and then the position of an event that it
// has parked.
func (a *app) completePoison(cmd *cobra.Command) *cobra.Command {
	name := a.completeBinding(cmd).ValidArgsFunction
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		if len(args) != 1 {
			return name(cmd, args, prefix)
		}
		return a.completions(cmd, func(ctx context.Context, client *sdk.Client) (positions []string, err error) {
			page, err := client.Plugins().Poisoned(ctx, args[0], plugins.PoisonRequest{Limit: completeNames})
			for i := range page.Poison {
				if text := strconv.FormatUint(page.Poison[i].Position, 10); strings.HasPrefix(text, prefix) {
					positions = append(positions, text)
				}
			}
			return positions, err
		})
	}
	return cmd
}
