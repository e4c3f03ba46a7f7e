package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/sdk"
)

const dryRunHelp = `Run a version of a plugin over stored events, and show what it would do. Nothing is written.

The version gets the grants, the config and the limits of the binding NAME. If nothing is deployed
under NAME, it is run as its manifest asks. --version is a version that was uploaded; without it
the deployed one runs.

The run begins with empty state, or with --state now with a copy of what the binding has stored, or
with --state before with what the version makes of all events before the first one. It handles at
most 1,000,000 events. What is appended is shown with the position of its event, and how the state
differs from what the run began with, and from what is stored.

With --against, another version handles the same events, and what --version does otherwise is shown
event by event.`

func newPluginDryRun(a *app) *cobra.Command {
	var d plugins.DryRun
	cmd := &cobra.Command{
		Use:   "dry-run NAME",
		Short: "Run a version over stored events, and show what it would do",
		Long:  dryRunHelp,
		Example: `  gyre plugin dry-run counter --from 1 --count 100000
  gyre plugin dry-run counter --version 0.2.0 --against 0.1.0
  gyre plugin dry-run counter --from 5000 --state before -o json | jq .tried.outputs`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := d.Validate(); err != nil {
				return err
			}
			return a.withClient(cmd.Context(), func(client *sdk.Client) error {
				r, err := a.dryRun(cmd.Context(), client.Plugins(), args[0], d)
				if err != nil {
					return err
				}
				return a.printDryRun(&r)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&d.Version, "version", "", "version to run (default the deployed one)")
	f.StringVar(&d.Against, "against", "", "version to compare it with")
	f.Uint64Var(&d.From, "from", 0, "position of the first event (default where the binding began)")
	f.Uint64Var(&d.To, "to", 0, "position of the last event (default the end of the log)")
	f.IntVar(&d.Count, "count", 0, "how many events at most (default all)")
	f.StringVar((*string)(&d.State), "state", string(plugins.EmptyState), "empty, now or before")
	f.IntVar(&d.Show, "show", plugins.DefaultShown, "how many outputs, changes, failures and differences to show")
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions([]string{"empty", "now", "before"}, cobra.ShellCompDirectiveNoFileComp))
	return a.completePlugins(a.talks(cmd), func(*plugins.Listed) bool { return true })
}

// dryRun runs a version, with a bar.
func (a *app) dryRun(ctx context.Context, all sdk.Plugins, name string, d plugins.DryRun) (plugins.DryRunResult, error) {
	var m *meter
	defer func() {
		if m != nil {
			m.finish()
		}
	}()
	from := d.From
	return all.DryRun(ctx, name, d, func(p plugins.DryRunProgress) {
		if p.To == 0 {
			return
		}
		if m == nil {
			m = a.newMeter("dry run", int64(p.To-min(from, p.To)))
		}
		words := fmt.Sprintf("%s, %s, %s", howMany(p.Events, "event", "events"), howMany(p.Outputs, "output", "outputs"), rate(int64(p.Events), m.elapsed()))
		if p.Before {
			words = "before the range: " + words
		}
		m.show(int64(p.Position-min(from, p.Position)), words)
	})
}

// printDryRun prints what came of a dry run.
func (a *app) printDryRun(r *plugins.DryRunResult) error {
	if a.output == asJSON || a.output == asNDJSON {
		return printOne(a, r, nil)
	}
	fmt.Fprintf(a.stdout, "%s from position %d to %d in %.1f s; nothing was written\n", howMany(r.Events, "event", "events"), r.From, r.To, r.Seconds)
	if r.Ended != "" {
		fmt.Fprintf(a.stdout, "it ended early: %s\n", cell(r.Ended, dataWidth))
	}
	if err := a.printVersionTried(&r.Tried); err != nil || r.Differences == nil {
		return err
	}
	fmt.Fprintf(a.stdout, "\nversion %s, beside it:\n%s\n", cell(r.Against.Version, maxNameCell), triedWords(r.Against))
	d := r.Differences
	fmt.Fprintf(a.stdout, "\n%s: %s in outputs, %s in changes of state, %s in what became of them\n", howMany(d.Events, "event differs", "events differ"), comma(d.Outputs), comma(d.Writes), comma(d.Fates))
	if err := a.printDifferences(d.First, r.Tried.Version, r.Against.Version, d.Events); err != nil {
		return err
	}
	return a.printStateDiff("state of "+cell(r.Against.Version, maxNameCell)+" → "+cell(r.Tried.Version, maxNameCell), &d.State)
}

// printVersionTried prints what a version did.
func (a *app) printVersionTried(t *plugins.Trial) error {
	fmt.Fprintf(a.stdout, "\n%s\n", triedWords(t))
	o := &t.Outputs
	if o.Count > 0 {
		fmt.Fprintf(a.stdout, "outputs   %s  %s\n", sparkline(o.Buckets), tallyWords(&o.Types))
		fmt.Fprintf(a.stdout, "streams   %s\n", tallyWords(&o.Streams))
	}
	outputs := make([][]string, 0, len(o.First))
	for i := range o.First {
		e := &o.First[i]
		outputs = append(outputs, []string{strconv.FormatUint(e.Source, 10), cell(e.Stream, maxNameCell), cell(e.Type, maxNameCell), cell(contentText(&e.Content), dataWidth)})
	}
	if err := a.printFirst([]string{"of event", "appends to", "type", "data"}, outputs, o.Count); err != nil {
		return err
	}
	if err := a.printStateDiff("state", &t.State); err != nil {
		return err
	}
	if t.Stored != nil {
		if err := a.printStateDiff("state, beside what is stored", t.Stored); err != nil {
			return err
		}
	}
	if err := a.printFailed(t); err != nil {
		return err
	}
	return a.printLogged(t)
}

// printFailed prints the first events that were not handled at once.
func (a *app) printFailed(t *plugins.Trial) error {
	failed := make([][]string, 0, len(t.Failed))
	for _, f := range t.Failed {
		became := "handled then"
		if f.Parked {
			became = "parked"
		}
		failed = append(failed, []string{strconv.FormatUint(f.Position, 10), cell(f.Stream, maxNameCell), cell(f.Type, maxNameCell), strconv.Itoa(f.Attempts), became, cell(f.Reason, dataWidth)})
	}
	return a.printFirst([]string{"failed", "stream", "type", "attempts", "became", "reason"}, failed, 0)
}

// printLogged prints the first lines that a version has logged.
func (a *app) printLogged(t *plugins.Trial) error {
	logs := make([][]string, 0, len(t.Logs.First))
	for _, l := range t.Logs.First {
		logs = append(logs, []string{l.Level, strconv.FormatUint(l.Position, 10), cell(l.Text, dataWidth)})
	}
	return a.printFirst([]string{"log", "at", "text"}, logs, t.Logs.Count)
}

// triedWords words what a version did in all.
func triedWords(t *plugins.Trial) string {
	return fmt.Sprintf("version %s: %s acked, %s skipped, %s parked, %s; %s\nfuel %s, at most %s in a batch; %.2f s in %s; memory %s bytes, state %s",
		cell(t.Version, maxNameCell), comma(t.Acked), comma(t.Skipped), comma(t.Parked), howMany(t.Failures, "failed attempt", "failed attempts"),
		howMany(t.Outputs.Count, "output", "outputs"), comma(t.Fuel), comma(t.MaxFuel), t.Seconds, howMany(t.Batches, "batch", "batches"),
		comma(t.MemoryBytes), howMany(t.StateBytes, "byte", "bytes"))
}

// tallyWords words counts by name.
func tallyWords(t *plugins.Tally) string {
	const most = 5
	var words []string
	others := t.Others
	for i, n := range t.Names {
		if i < most {
			words = append(words, cell(n.Name, maxNameCell)+" "+comma(n.Count))
		} else {
			others += n.Count
		}
	}
	if others > 0 {
		words = append(words, "others "+comma(others))
	}
	return strings.Join(words, ", ")
}

// sparkline draws counts as bars, the highest of eight eighths.
func sparkline(counts []int) string {
	const bars = " ▁▂▃▄▅▆▇█"
	levels := []rune(bars)
	most := max(slices.Max(counts), 1)
	var line strings.Builder
	for _, n := range counts {
		line.WriteRune(levels[(n*(len(levels)-1)+most-1)/most])
	}
	return line.String()
}

// contentText is content as text.
func contentText(c *plugins.Content) string {
	if c == nil {
		return ""
	}
	if c.Value != nil {
		return string(c.Value)
	}
	return string(c.Base64)
}

// printStateDiff prints how a state differs from another.
func (a *app) printStateDiff(what string, d *plugins.StateDiff) error {
	total := d.Added + d.Changed + d.Removed
	fmt.Fprintf(a.stdout, "\n%s: %s added, %s changed, %s removed\n", what, comma(d.Added), comma(d.Changed), comma(d.Removed))
	changes := make([][]string, 0, len(d.First))
	for i := range d.First {
		c := &d.First[i]
		changes = append(changes, []string{strconv.Itoa(c.Lane), cell(c.Key, maxNameCell), cell(contentText(c.Before), dataWidth/2), cell(contentText(c.After), dataWidth/2)})
	}
	return a.printFirst([]string{"lane", "key", "before", "after"}, changes, total)
}

// printDifferences prints events that two versions did something different for.
func (a *app) printDifferences(list []plugins.Difference, tried, against string, total int) error {
	rows := make([][]string, 0, len(list))
	for i := range list {
		d := &list[i]
		rows = append(rows, []string{
			strconv.FormatUint(d.Position, 10), cell(d.Stream, maxNameCell), cell(d.Type, maxNameCell),
			cell(deedWords(&d.Against), dataWidth/2), cell(deedWords(&d.Tried), dataWidth/2),
		})
	}
	return a.printFirst([]string{"event", "stream", "type", cell(against, maxNameCell), cell(tried, maxNameCell)}, rows, total)
}

// deedWords words what a version did with an event.
func deedWords(d *plugins.Deed) string {
	words := []string{string(d.Fate)}
	if d.Reason != "" {
		words[0] += ": " + d.Reason
	}
	for i := range d.Outputs {
		o := &d.Outputs[i]
		words = append(words, fmt.Sprintf("append %s %s %s", o.Stream, o.Type, contentText(&o.Content)))
	}
	for _, w := range d.Writes {
		if w.Content == nil {
			words = append(words, "delete "+w.Key)
		} else {
			words = append(words, w.Key+"="+contentText(w.Content))
		}
	}
	return strings.Join(words, "; ")
}

// printFirst prints the first of so many rows.
func (a *app) printFirst(header []string, rows [][]string, total int) error {
	if len(rows) == 0 {
		return nil
	}
	fmt.Fprintln(a.stdout)
	if err := printTable(a.stdout, header, rows, columnWidths(nil, header, rows)); err != nil {
		return err
	}
	if total > len(rows) {
		fmt.Fprintf(a.stdout, "… and %s more; --show %d shows the most that can be\n", comma(total-len(rows)), plugins.MaxShown)
	}
	return nil
}
