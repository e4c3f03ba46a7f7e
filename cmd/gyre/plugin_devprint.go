package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/dev"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// printRound prints a round; on a terminal in place of the one before. watched is how many files
// are watched, 0 if none are.
func (a *app) printRound(ctx context.Context, r *dev.Round, watched int) error {
	if a.output == asJSON || a.output == asNDJSON {
		return printOne(a, struct {
			*dev.Round
			Problem *wire.Error `json:"problem,omitempty"`
		}{r, problemOf(ctx, r.Err)}, nil)
	}
	if watched > 0 && isTerminal(a.stdout) {
		fmt.Fprint(a.stdout, clearScreen)
	}
	fmt.Fprintln(a.stdout, roundWords(r))
	var err error
	if r.Err != nil {
		a.printProblem(ctx, r.Err)
	} else {
		err = a.printRan(r)
	}
	if watched > 0 && err == nil {
		fmt.Fprintf(a.stderr, "\nWatching %s files; Ctrl-C ends it.\n", comma(watched))
	}
	return err
}

// clearScreen clears a terminal and what was scrolled out of it, and goes to its first line.
const clearScreen = "\x1b[H\x1b[2J\x1b[3J"

// problemOf is an error as the API has it.
func problemOf(ctx context.Context, err error) *wire.Error {
	if err == nil {
		return nil
	}
	return failureOf(ctx, err).Error
}

// roundWords is the first line of a round.
func roundWords(r *dev.Round) string {
	words := fmt.Sprintf("round %d, %s", r.Round, time.Now().Format(time.TimeOnly))
	if r.Plugin != "" {
		words += ": " + cell(r.Plugin, maxNameCell) + " " + cell(r.Version, maxNameCell)
	}
	if n := len(r.Files); n > 0 {
		const most = 3
		words += " with " + cell(strings.Join(r.Files[:min(n, most)], ", "), dataWidth)
		if n > most {
			words += fmt.Sprintf(" and %d more", n-most)
		}
	}
	return words
}

// printProblem prints why a round did not get to its end: each line of what a compiler says.
func (a *app) printProblem(ctx context.Context, err error) {
	what := "it failed"
	if errors.Is(err, core.CodePluginBuildFailed) {
		what = "it does not build"
	}
	e := problemOf(ctx, err)
	fmt.Fprintf(a.stdout, "%s: ", what)
	a.printText(e.Detail)
	if e.Fix != "" {
		fmt.Fprintf(a.stdout, "Try: %s\n", visible(e.Fix))
	}
}

// printText prints lines as a terminal may get them.
func (a *app) printText(text string) {
	for line := range strings.Lines(strings.ReplaceAll(text, "\t", "    ")) {
		fmt.Fprintln(a.stdout, visible(strings.TrimRight(line, "\r\n")))
	}
}

// printRan prints what the module of a round did.
func (a *app) printRan(r *dev.Round) error {
	t := r.Tried
	fmt.Fprintf(a.stdout, "built in %.1f s; ", r.BuildSeconds)
	if r.Events == 0 {
		fmt.Fprint(a.stdout, "no events, for the subscription of the manifest delivers none of them")
	} else {
		fmt.Fprintf(a.stdout, "%s, from position %d to %d", howMany(r.Events, "event", "events"), r.From, r.To)
	}
	if r.New > 0 {
		fmt.Fprintf(a.stdout, ", of which %s", howMany(r.New, "is new", "are new"))
	}
	fmt.Fprintf(a.stdout, "; %.1f s in all\n", r.Seconds)
	if r.Ended != "" {
		fmt.Fprintf(a.stdout, "it ended early: %s\n", cell(r.Ended, maxReasonBytes))
	}
	if r.Judged != nil {
		return a.printJudged(r)
	}
	if r.Changes == nil {
		if err := a.printVersionTried(t); err != nil {
			return err
		}
		a.printStack(t)
		return nil
	}
	fmt.Fprintf(a.stdout, "\n%s\n", triedWords(t))
	if err := a.printChanges(r); err != nil {
		return err
	}
	if err := a.printFailed(t); err != nil {
		return err
	}
	a.printStack(t)
	return a.printLogged(t)
}

// printJudged prints what a module that judges events has decided, or what it decides otherwise.
func (a *app) printJudged(r *dev.Round) error {
	fmt.Fprintf(a.stdout, "\n%s\n", judgedWords(r))
	var err error
	if r.Changes == nil {
		rows := make([][]string, 0, len(r.Judged))
		for _, e := range r.Judged {
			rows = append(rows, []string{strconv.FormatUint(e.Position, 10), cell(e.Stream, maxNameCell), cell(e.Type, maxNameCell), e.Verdict, cell(e.Value, dataWidth)})
		}
		err = a.printFirst([]string{"event", "stream", "type", "verdict", "value"}, rows, r.Tried.Acked+r.Tried.Skipped)
	} else {
		err = a.printVerdicts(r)
	}
	if err == nil {
		err = a.printFailed(r.Tried)
	}
	if err != nil {
		return err
	}
	return a.printLogged(r.Tried)
}

// judgedWords words what a module that judges events has decided in all.
func judgedWords(r *dev.Round) string {
	t := r.Tried
	done, not := fates(r.Kind)
	return fmt.Sprintf("version %s: %s %s, %s %s, %s parked\nfuel %s, at most %s in a batch; %.2f s in %s",
		cell(t.Version, maxNameCell), comma(t.Acked), done, comma(t.Skipped), not, comma(t.Parked), comma(t.Fuel), comma(t.MaxFuel), t.Seconds, howMany(t.Batches, "batch", "batches"))
}

// printVerdicts prints what a module decides otherwise.
func (a *app) printVerdicts(r *dev.Round) error {
	c := r.Changes
	rows := make([][]string, 0, len(c.Verdicts))
	for _, v := range c.Verdicts {
		rows = append(rows, []string{strconv.FormatUint(v.Position, 10), cell(v.Stream, maxNameCell), cell(v.Type, maxNameCell), cell(v.Before, dataWidth/2), cell(v.Now, dataWidth/2)})
	}
	fmt.Fprintf(a.stdout, "fuel %s of round %d\n\n%s judged otherwise\n", percent(r.Tried.Fuel, c.Fuel), c.Against, howMany(c.Events, "event is", "events are"))
	return a.printFirst([]string{"event", "stream", "type", "round " + strconv.Itoa(c.Against), "round " + strconv.Itoa(r.Round)}, rows, c.Events)
}

// printStack prints the first stack that there is.
func (a *app) printStack(t *plugins.Trial) {
	for _, f := range t.Failed {
		if f.Stack != "" {
			fmt.Fprintf(a.stdout, "\nthe stack at event %d\n", f.Position)
			a.printText(strings.TrimSpace(f.Stack))
			return
		}
	}
}

// printChanges prints what a module does otherwise.
func (a *app) printChanges(r *dev.Round) error {
	c := r.Changes
	fmt.Fprintf(a.stdout, "fuel %s, time %s of round %d\n", percent(r.Tried.Fuel, c.Fuel), percent(r.Tried.Seconds, c.Seconds), c.Against)
	differ := c.Events + c.State.Added + c.State.Changed + c.State.Removed
	switch {
	case differ == 0 && c.Same:
		_, err := fmt.Fprintf(a.stdout, "\nthe module is that of round %d, byte by byte\n", c.Against)
		return err
	case differ == 0:
		_, err := fmt.Fprintf(a.stdout, "\nno output and no state differs from round %d\n", c.Against)
		return err
	}
	fmt.Fprintf(a.stdout, "\noutputs: %s added, %s removed, %s changed; %s: %s in outputs, %s in changes of state, %s in what became of them\n",
		comma(c.Added), comma(c.Removed), comma(c.Changed), howMany(c.Events, "event differs", "events differ"), comma(c.Outputs), comma(c.Writes), comma(c.Fates))
	if err := a.printDifferences(c.First, "round "+strconv.Itoa(r.Round), "round "+strconv.Itoa(c.Against), c.Events); err != nil {
		return err
	}
	return a.printStateDiff("state at the end", &c.State)
}

// percent is a value as a part of another.
func percent[N int64 | float64](now, before N) string {
	if before == 0 {
		return "as much as there is"
	}
	return fmt.Sprintf("%.0f %%", 100*float64(now)/float64(before))
}
