package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions/expression"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/effects"
	"github.com/gyre-events/gyre/plugins/trial"
	"github.com/gyre-events/gyre/sdk"
)

const poisonRunHelp = `Run a version of a plugin on a parked event, alone, on the state that it has now, and show what it
would do. Nothing is written. --version is one that was uploaded; without it the deployed one runs.

With --local DIR, the plugin in DIR is built and run in a sandbox of this process. The event, and of
the state what it asks for, come from the server.

With --step, what it does is shown step by step: each line of its log, each value that it stores and
each event that it appends, in their order. On a terminal, Enter goes on to the next.

If the version fails, the command ends with exit code 1.`

// poisonRun is what gyre plugin poison run is asked for.
type poisonRun struct {
	plugins.PoisonRun
	name     string
	position uint64
	local    string
	step     bool
}

func newPoisonRun(a *app) *cobra.Command {
	var r poisonRun
	cmd := &cobra.Command{
		Use:   "run NAME POSITION",
		Short: "Run a version on a parked event, and write nothing",
		Long:  poisonRunHelp,
		Example: `  gyre plugin poison run shop 1042 --version v2
  gyre plugin poison run shop 1042 --local . --step`,
		Args: takes(2, 2),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			r.name = args[0]
			if r.position, err = positionArgument(args[1]); err != nil {
				return err
			}
			if r.local != "" && r.Version != "" {
				return usagef("--local %s", shellQuote(r.local)).because("--version or --local, not both")
			}
			return a.withClient(cmd.Context(), func(client *sdk.Client) error { return a.runPoison(cmd.Context(), client, &r) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.Version, "version", "", "version to run (default the deployed one)")
	f.StringVar(&r.local, "local", "", "build the plugin in this directory, and run it here")
	f.BoolVar(&r.step, "step", false, "show what it does step by step")
	_ = cmd.RegisterFlagCompletionFunc("local", completeDirs) // there is such a flag
	return a.completePoison(a.talks(cmd))
}

func (a *app) runPoison(ctx context.Context, client *sdk.Client, r *poisonRun) (err error) {
	var t plugins.PoisonTrial
	if r.local != "" {
		t, err = a.runLocally(ctx, client, r)
	} else {
		err = a.managePlugins(ctx, func(ctx context.Context, all sdk.Plugins) error {
			t, err = all.RunPoison(ctx, r.name, r.position, r.PoisonRun)
			return err
		})
	}
	if err != nil {
		return err
	}
	if err := a.printPoisonTrial(&t, r.step); err != nil {
		return err
	}
	if t.Fate == plugins.Parked {
		err := core.Errorf(core.CodePluginFailed, "version %q does not handle event %d: %s", cell(t.Tried.Version, maxNameCell), r.position, cell(t.Reason, maxReasonBytes))
		return &advised{err, "Mend the handler, and run it with --local DIR."}
	}
	return nil
}

// runLocally builds the plugin of a directory, and runs it here.
func (a *app) runLocally(ctx context.Context, client *sdk.Client, r *poisonRun) (t plugins.PoisonTrial, err error) {
	all := client.Plugins()
	asked, cancel := a.request(ctx)
	defer cancel()
	p, err := all.Poison(asked, r.name, r.position)
	if err != nil {
		return t, err
	}
	if p.Event == nil {
		return t, core.Errorf(core.CodeEventNotFound, "the log has no event at position %d any more", r.position)
	}
	status, err := all.Status(asked, r.name)
	if err != nil {
		return t, err
	}
	local, err := openProject(r.local)
	if err == nil {
		err = isOf(&status.Binding, local.Manifest.Name, "name of a binding")
	}
	if err != nil {
		return t, err
	}
	built, err := a.buildProject(ctx, r.local)
	if err != nil {
		return t, err
	}
	alone := trial.Alone{Read: client.Read, Base: remoteState{all, r.name, p.Lane}, Lane: p.Lane, Attempt: p.Attempts + 1, StateBytes: status.StateBytes}
	return built.TryAlone(ctx, &status.Binding, p.Event, expression.NewCompiler().Compile, &alone)
}

// remoteState is the state of a lane of a binding, read from the server as it is asked for.
type remoteState struct {
	all  sdk.Plugins
	name string
	lane int
}

// Get is trial.Base.Get.
func (r remoteState) Get(ctx context.Context, key string) (effects.Value, error) {
	entry, err := r.all.Value(ctx, r.name, plugins.KeyRequest{Lane: r.lane, Key: key})
	switch {
	case errors.Is(err, core.CodeStateNotFound):
		return effects.Value{}, nil
	case err != nil:
		return effects.Value{}, err
	}
	return effects.Value{Bytes: entry.Value, OK: true}, nil
}

// Page is trial.Base.Page.
func (r remoteState) Page(ctx context.Context, prefix, after string) (entries []effects.Entry, err error) {
	for end := false; !end && len(entries) < effects.PageEntries; {
		page, err := r.all.State(ctx, r.name, plugins.StateRequest{Lane: r.lane, Prefix: prefix, After: after, Limit: effects.PageEntries - len(entries)})
		if err != nil {
			return nil, err
		}
		for _, e := range page.Entries {
			entries = append(entries, effects.Entry{Key: e.Key, Value: e.Value})
			after = e.Key
		}
		end = page.End || len(page.Entries) == 0
	}
	return entries, nil
}

// printPoisonTrial prints what a version did with a parked event.
func (a *app) printPoisonTrial(t *plugins.PoisonTrial, step bool) error {
	if a.output == asJSON || a.output == asNDJSON {
		return printOne(a, t, nil)
	}
	fmt.Fprintf(a.stdout, "version %s on event %d: %s; nothing was written\n", cell(t.Tried.Version, maxNameCell), t.Position, fateWords(t))
	fmt.Fprintf(a.stdout, "%s fuel, %.1f ms, memory %s bytes\n", comma(t.Tried.Fuel), 1000*t.Tried.Seconds, comma(t.Tried.MemoryBytes))
	if t.Moved {
		fmt.Fprintln(a.stdout, "the binding went on meanwhile: what was read of its state may be of several moments")
	}
	if t.Stack != "" {
		fmt.Fprintf(a.stdout, "\nstack\n%s\n", indented(t.Stack))
	}
	if len(t.Steps.List) > 0 {
		fmt.Fprintln(a.stdout, "\nsteps")
		a.printSteps(&t.Steps, step)
	}
	return a.printStateDiff("state", &t.Tried.State)
}

// printSteps prints steps, and on a terminal waits before each but the first if that is asked for.
func (a *app) printSteps(s *plugins.Steps, wait bool) {
	wait = wait && a.canAsk()
	in := bufio.NewScanner(a.stdin)
	for i, line := range stepLines(s) {
		if wait && i > 0 {
			fmt.Fprint(a.stderr, "Enter for the next ")
			wait = in.Scan()
		}
		fmt.Fprintln(a.stdout, line)
	}
}

func fateWords(t *plugins.PoisonTrial) string {
	switch t.Fate {
	case plugins.Acked:
		return "handled"
	case plugins.Skipped:
		return "skipped"
	}
	return "it fails, " + cell(t.Reason, maxReasonBytes)
}
