package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions/expression"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/dev"
	"github.com/gyre-events/gyre/plugins/effects"
	"github.com/gyre-events/gyre/plugins/project"
	"github.com/gyre-events/gyre/plugins/trial"
	"github.com/gyre-events/gyre/sdk"
)

const pluginDevHelp = `Build the plugin in DIR, or in this directory, run its module over real events, and do so again
whenever a file of it changes. What the module does otherwise than before is shown event by event:
outputs, state, failures with their stack, fuel and time, or what does not build. Nothing is
written. Ctrl-C ends it.

The events are the newest of the node that the manifest's subscription delivers, --last of them. They
are fetched once, and new ones in the next round. --events is a file of them, as gyre import takes
it. Without that and without a node they are those of testdata/events.ndjson.

A filter, a map, a partitioner or a validator judges the events, and what it decides otherwise is
shown. Another module is granted what its manifest asks for, in a sandbox of this process, and begins
with empty state. With --state now it has the state, the input, the lanes and the config of what is
deployed under the plugin's name, or under --binding. An event that fails is not tried again, and
a run ends after ten of them.

-o ndjson prints one object for each round. --once makes one round: it fails if the plugin does not
build, or if an event is not handled.`

// devFlags are the flags of gyre plugin dev.
type devFlags struct {
	events, state, binding string
	last, show             int
	once                   bool
	serverGiven            bool
}

func newPluginDev(a *app) *cobra.Command {
	var f devFlags
	cmd := &cobra.Command{
		Use:   "dev [DIR]",
		Short: "Build and run a plugin whenever it changes, and show what it does otherwise",
		Long:  pluginDevHelp,
		Example: `  gyre plugin dev
  gyre plugin dev counter --last 5000 --state now
  gyre plugin dev counter --once -o json | jq .tried.outputs`,
		Args:              takes(0, 1),
		ValidArgsFunction: completeDirs,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.serverGiven = cmd.Flags().Changed("server")
			if err := a.checkDev(&f); err != nil {
				return err
			}
			return a.develop(cmd.Context(), directoryOf(args), &f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.events, "events", "", "file with the events, as gyre import takes them (default those of the node)")
	flags.IntVar(&f.last, "last", dev.DefaultLast, "how many of the node's newest events")
	flags.StringVar(&f.state, "state", string(plugins.EmptyState), "the state to begin with: empty, or now, which is that of the binding")
	flags.StringVar(&f.binding, "binding", "", "the binding of --state now (default that with the plugin's name)")
	flags.IntVar(&f.show, "show", plugins.DefaultShown, "how many outputs, changes, failures and lines of the log to show")
	flags.BoolVar(&f.once, "once", false, "make one round")
	states := cobra.FixedCompletions([]string{string(plugins.EmptyState), string(plugins.StoredState)}, cobra.ShellCompDirectiveNoFileComp)
	bindings := func(cmd *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
		return a.listedNames(cmd, prefix, isBound)
	}
	if err := errors.Join(cmd.RegisterFlagCompletionFunc("state", states), cmd.RegisterFlagCompletionFunc("binding", bindings)); err != nil {
		panic(err) // the flags are there
	}
	return a.talks(cmd)
}

// checkDev checks the flags.
func (a *app) checkDev(f *devFlags) error {
	stored := f.state == string(plugins.StoredState)
	switch {
	case !stored && f.state != string(plugins.EmptyState):
		return usagef("--state empty, or --state now").because("--state %s is neither empty nor now", f.state)
	case f.last < 1 || f.last > dev.MaxLast:
		return usagef("--last %d", dev.DefaultLast).because("--last %d: it may be from 1 to %d", f.last, dev.MaxLast)
	case f.show < 1 || f.show > plugins.MaxShown:
		return usagef("--show %d", plugins.DefaultShown).because("--show %d: it may be from 1 to %d", f.show, plugins.MaxShown)
	case f.binding != "" && !stored:
		return usagef("--binding %s --state now", shellQuote(f.binding)).because("--binding says whose state it is, and --state %s begins with none", f.state)
	case f.events != "" && f.serverGiven && !stored:
		return usagef("leave one of them out").because("--events says where the events are from, and so does --server")
	case a.output == asJSON && !f.once:
		return usagef("-o ndjson, or --once").because("rounds have no end, so they cannot be one JSON value")
	}
	return nil
}

// develop makes the rounds.
func (a *app) develop(ctx context.Context, dir string, f *devFlags) error {
	if _, err := openProject(dir); errors.Is(err, core.CodeNotFound) { // of other errors the rounds say what is wrong
		return err
	}
	watch, err := dev.NewWatch(dir)
	if err != nil {
		return usagef("name a directory with the files of a plugin only").because("%v", err)
	}
	client, err := a.devNode(ctx, f)
	if err != nil {
		return err
	}
	config := dev.Config{Dir: dir, Show: f.show}
	if client != nil {
		defer func() { _ = client.Close() }() // nothing was written
	}
	if config.Source, err = a.devSource(client, dir, f); err != nil {
		return err
	}
	if f.state == string(plugins.StoredState) {
		config.Base = (&devBase{app: a, all: client.Plugins(), name: f.binding}).base
	}
	loop := dev.New(config)
	if f.once {
		return a.devOnce(ctx, loop)
	}
	return loop.Run(ctx, watch, func(r *dev.Round) error { return a.printRound(ctx, r, watch.Files()) })
}

// devNode connects to the node, if one is needed, or if there is one. A nil client is none.
func (a *app) devNode(ctx context.Context, f *devFlags) (*sdk.Client, error) {
	stored := f.state == string(plugins.StoredState)
	if f.events != "" && !stored {
		return nil, nil
	}
	client, err := a.dial(ctx)
	if errors.Is(err, core.CodeUnavailable) && !f.serverGiven && !stored && ctx.Err() == nil {
		fmt.Fprintf(a.stderr, "No node answers at %s.\n", a.serverURL())
		return nil, nil
	}
	return client, err
}

// devSource is where the events are from, and says so.
func (a *app) devSource(client *sdk.Client, dir string, f *devFlags) (dev.Source, error) {
	compile := expression.NewCompiler().Compile
	file := f.events
	switch {
	case file != "":
	case client != nil:
		fmt.Fprintf(a.stderr, "The events are the last %s of %s.\n", comma(f.last), a.serverURL())
		return dev.NewLast(client, f.last, compile), nil
	default:
		file = filepath.Join(dir, filepath.FromSlash(project.EventsFile))
	}
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return nil, usagef("start a node with gyre serve, or say --events FILE").because("there are no events: %s does not exist", file)
	}
	fmt.Fprintf(a.stderr, "The events are those of %s.\n", file)
	return dev.NewSample(func() ([]project.Event, error) { return a.testEvents(dir, file) }, compile), nil
}

// devBase has what is deployed, as it was at the first round.
type devBase struct {
	app     *app
	all     sdk.Plugins
	name    string // of the binding; that of the plugin if it is empty
	binding *plugins.Binding
	state   *trial.State
}

// base is dev.Config.Base.
func (d *devBase) base(ctx context.Context, v *plugins.Version) (plugins.Binding, *trial.State, error) {
	if d.binding == nil {
		if err := d.fetch(ctx, v); err != nil {
			return plugins.Binding{}, nil, err
		}
	}
	if err := isOf(d.binding, v.Plugin, "--binding"); err != nil {
		return plugins.Binding{}, nil, err
	}
	order := plugins.Deploy{Plugin: v.Plugin, Version: v.Version, Grants: append([]string{}, v.Manifest.Capabilities...)}
	binding, err := order.Resolve(d.binding.Name, d.binding, v)
	return binding, d.state, err
}

// isOf refuses to run a plugin of a directory as a binding of another, whose state means something else
// to it.
func isOf(b *plugins.Binding, plugin, flag string) error {
	if b.Plugin == plugin {
		return nil
	}
	return usagef("another %s, or the directory of %s", flag, cell(b.Plugin, maxNameCell)).because(
		"%s is a binding of the plugin %s, and the directory has %s", cell(b.Name, maxNameCell), cell(b.Plugin, maxNameCell), cell(plugin, maxNameCell))
}

func (d *devBase) fetch(ctx context.Context, v *plugins.Version) error {
	name := d.name
	if name == "" {
		name = v.Plugin
	}
	asking, cancel := d.app.request(ctx)
	defer cancel()
	s, err := d.all.Status(asking, name)
	if err != nil {
		return err
	}
	state, err := trial.CopyState(ctx, s.Lanes, func(ctx context.Context, lane int, after string) ([]effects.Entry, error) {
		ctx, cancel := d.app.request(ctx)
		defer cancel()
		page, err := d.all.State(ctx, name, plugins.StateRequest{Lane: lane, After: after})
		entries := make([]effects.Entry, 0, len(page.Entries))
		for _, e := range page.Entries {
			entries = append(entries, effects.Entry{Key: e.Key, Value: e.Value})
		}
		return entries, err
	})
	if err == nil {
		d.binding, d.state = &s.Binding, state
	}
	return err
}

// devOnce makes one round. Its error is that of the build, or plugin_failed.
func (a *app) devOnce(ctx context.Context, loop *dev.Loop) error {
	r := loop.Once(ctx)
	if r.Err != nil {
		return r.Err
	}
	if err := a.printRound(ctx, r, 0); err != nil {
		return err
	}
	for _, f := range r.Tried.Failed {
		err := core.Errorf(core.CodePluginFailed, "event %d, %s in %q, was not handled: %s", f.Position, cell(f.Type, maxNameCell), cell(f.Stream, maxNameCell), f.Reason)
		return &advised{err, "The output above has the stack, and what the module logged. Mend the handler."}
	}
	return nil
}
