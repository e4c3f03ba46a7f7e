package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions/expression"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/project"
)

const pluginTestHelp = `Build the plugin in DIR, or in this directory, run its unit tests, and run the module in a sandbox
over events: those of testdata/events.ndjson, or of --events, a file as gyre import takes it. It is
shown what the module appended, its state, and what it parked; of a plugin that judges events, its
verdict on each.

The module is granted what its manifest asks for, and handles the events that the manifest's
subscription delivers, in one lane. The test fails, with exit code 1, at an event that is retried,
or that stops or breaks the module. An event that is parked fails nothing.`

// maxTestEvents bounds the events of a test, which are all in memory.
const maxTestEvents = 200_000

func newPluginTest(a *app) *cobra.Command {
	var events string
	cmd := &cobra.Command{
		Use:   "test [DIR]",
		Short: "Run a plugin's tests, and its module over events of a file",
		Long:  pluginTestHelp,
		Example: `  gyre plugin test
  gyre export 'order-*' > orders.ndjson && gyre plugin test --events orders.ndjson`,
		Args:              takes(0, 1),
		ValidArgsFunction: completeDirs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.testPlugin(cmd.Context(), directoryOf(args), events)
		},
	}
	cmd.Flags().StringVar(&events, "events", "", "file with the events, as gyre import takes them (default DIR/"+project.EventsFile+")")
	return cmd
}

// testPlugin builds and tests.
func (a *app) testPlugin(ctx context.Context, dir, file string) error {
	events, err := a.testEvents(dir, file)
	if err != nil {
		return err
	}
	built, err := a.buildProject(ctx, dir)
	if err != nil {
		return err
	}
	p, err := openProject(dir)
	if err != nil {
		return err
	}
	switch ran, err := p.Test(ctx); {
	case err != nil:
		return err
	case ran:
		fmt.Fprintln(a.stderr, "ok   unit tests")
	}
	trial, err := built.Try(ctx, events, expression.NewCompiler().Compile)
	if err != nil {
		return err
	}
	if err := a.printTrial(trial); err != nil {
		return err
	}
	if f := trial.Failed; f != nil {
		err := core.Errorf(core.CodePluginFailed, "event %d, %s in %q, was not handled: %s", f.Position, cell(f.Type, maxNameCell), cell(f.Stream, maxNameCell), f.Reason)
		return &advised{err, "The output above has what the module logged. Mend the handler, or take the event out of the test."}
	}
	fmt.Fprintln(a.stderr, "ok   the module in a sandbox")
	return nil
}

// testEvents reads the events of a test. Without a file there are none, unless it was asked for.
func (a *app) testEvents(dir, file string) (events []project.Event, err error) {
	if file == "" {
		file = filepath.Join(dir, filepath.FromSlash(project.EventsFile))
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintf(a.stderr, "there is no %s: the module is run over no events\n", file)
			return nil, nil
		}
	}
	in, err := a.openLines(file)
	if err != nil {
		return nil, err
	}
	defer in.close()
	for in.next() {
		e, err := decodeImport(slices.Clone(in.line))
		switch {
		case err != nil:
			return nil, in.at(err)
		case e.isLink:
			return nil, in.at(core.Errorf(core.CodeInvalidRequest, "a link is no event to test with"))
		case len(events) == maxTestEvents:
			return nil, in.at(core.Errorf(core.CodeInvalidRequest, "a test takes at most %d events", maxTestEvents))
		}
		events = append(events, project.Event{Stream: e.stream, NewEvent: e.event})
	}
	return events, in.err
}

// fates are the words for events that a plugin of a kind has done with, and that it has passed over.
func fates(kind plugins.Kind) (done, not string) {
	switch kind {
	case plugins.KindFilter:
		return "kept", "dropped"
	case plugins.KindValidate:
		return "accepted", "refused"
	case plugins.KindMap, plugins.KindPartition:
		return "judged", "skipped"
	}
	return "acked", "skipped"
}

// printTrial prints what a module did.
func (a *app) printTrial(t *project.Trial) error {
	if a.output == asJSON || a.output == asNDJSON {
		return printOne(a, t, nil)
	}
	done, not := fates(t.Kind)
	fmt.Fprintf(a.stdout, "%s: %s %s, %s %s, %s parked, %s filtered out; %s fuel, at most %s in a batch\n",
		howMany(t.Events, "event", "events"), comma(t.Acked), done, comma(t.Skipped), not, comma(len(t.Parked)), comma(t.Filtered), comma(t.Fuel), comma(t.MostFuel))
	var state, appended, judged, parked, logs [][]string
	for _, key := range slices.Sorted(maps.Keys(t.State)) {
		state = append(state, []string{cell(key, maxNameCell), cell(t.State[key], dataWidth)})
	}
	for _, e := range t.Appended {
		appended = append(appended, []string{strconv.FormatUint(e.Source, 10), cell(e.Stream, maxNameCell), cell(e.Type, maxNameCell), cell(e.Data, dataWidth)})
	}
	for _, e := range t.Judged {
		judged = append(judged, []string{strconv.FormatUint(e.Position, 10), cell(e.Stream, maxNameCell), cell(e.Type, maxNameCell), e.Verdict, cell(e.Value, dataWidth)})
	}
	for _, e := range t.Parked {
		parked = append(parked, []string{strconv.FormatUint(e.Position, 10), cell(e.Stream, maxNameCell), cell(e.Type, maxNameCell), cell(e.Reason, dataWidth)})
	}
	for _, l := range t.Logs {
		logs = append(logs, []string{l.Level, cell(l.Text, dataWidth)})
	}
	for _, part := range []struct {
		header []string
		rows   [][]string
	}{
		{[]string{"state", "value"}, state},
		{[]string{"of event", "appended to", "type", "data"}, appended},
		{[]string{"event", "stream", "type", "verdict", "value"}, judged},
		{[]string{"parked", "stream", "type", "reason"}, parked},
		{[]string{"log", "text"}, logs},
	} {
		if err := a.printPart(part.header, part.rows); err != nil {
			return err
		}
	}
	if f := t.Failed; f != nil && f.Stack != "" {
		fmt.Fprintln(a.stderr, strings.TrimSpace(f.Stack))
	}
	return nil
}

// maxTrialRows is how many rows of a kind are shown; -o json has all.
const maxTrialRows = 100

func (a *app) printPart(header []string, rows [][]string) error {
	if len(rows) == 0 {
		return nil
	}
	more := len(rows) - maxTrialRows
	rows = rows[:min(len(rows), maxTrialRows)]
	fmt.Fprintln(a.stdout)
	if err := printTable(a.stdout, header, rows, columnWidths(nil, header, rows)); err != nil {
		return err
	}
	if more > 0 {
		fmt.Fprintf(a.stdout, "… and %s more; -o json has all\n", comma(more))
	}
	return nil
}
