package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/sdk"
)

const rebuildHelp = `Run a plugin again over past events, with fresh state, in a new generation beside the one that is
live. That goes on, and its state can be read, until the new one has caught up; then they change
places at once. With --hold that waits for gyre plugin switch. gyre plugin rollback goes back.

--version builds it with another version, which touches nothing if it breaks. gyre plugin
cancel-rebuild ends a rebuild. An interrupt ends the command, and not the rebuild.

Events that the new generation appends have new ids. What the live one has handled is not appended
again; with --emit-again it is, from the begin of the rebuild on.

--from takes start, end, a number (the first version, or position of $all, to handle), a time,
or a cursor.`

// rebuilding is what a rebuild is asked for.
type rebuilding struct {
	plugins.Rebuild
	from   string
	detach bool
}

func newPluginRebuild(a *app) *cobra.Command {
	var r rebuilding
	cmd := &cobra.Command{
		Use:   "rebuild NAME",
		Short: "Run a plugin again over past events, with fresh state",
		Long:  rebuildHelp,
		Example: `  gyre plugin rebuild counter
  gyre plugin rebuild counter --version 0.2.0 --hold
  gyre plugin rebuild hotspots --from 2026-11-23T10:00:00Z --emit-again --detach`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd.Context(), func(client *sdk.Client) error {
				return a.rebuild(cmd.Context(), client.Plugins(), args[0], &r)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.from, "from", "start", "start, end, N, a time or a cursor")
	f.StringVar(&r.Version, "version", "", "the version to build it with (default the one that is live)")
	f.BoolVar(&r.EmitAgain, "emit-again", false, "append for events that were handled before, too")
	f.BoolVar(&r.Hold, "hold", false, "do not switch to it when it has caught up")
	f.BoolVar(&r.detach, "detach", false, "return when it has begun")
	return a.completeBinding(a.talks(cmd))
}

// rebuild begins a rebuild, and shows how far it is until it is done.
func (a *app) rebuild(ctx context.Context, all sdk.Plugins, name string, r *rebuilding) error {
	s, err := a.beginRebuild(ctx, all, name, r)
	if err != nil {
		return err
	}
	if s.Beside != nil && !r.detach { // else it is done already
		if s, err = a.awaitRebuilt(ctx, all, name, s.Beside); err != nil {
			return err
		}
	}
	return printOne(a, s, rebuiltWords)
}

func (a *app) beginRebuild(ctx context.Context, all sdk.Plugins, name string, r *rebuilding) (s plugins.Status, err error) {
	ctx, cancel := context.WithTimeout(ctx, max(a.timeout, deployTimeout))
	defer cancel()
	if s, err = all.Status(ctx, name); err != nil {
		return s, err
	}
	if r.From, err = parsePlace(r.from, streamOf(&s.Input)); err != nil {
		return s, err
	}
	s, err = all.Rebuild(ctx, name, r.Rebuild)
	return s, a.late(ctx, err)
}

// awaitRebuilt shows how far a rebuild is, until it was switched to, or waits for that.
func (a *app) awaitRebuilt(ctx context.Context, all sdk.Plugins, name string, began *plugins.Beside) (plugins.Status, error) {
	tick := time.NewTicker(showEvery)
	defer tick.Stop()
	m := a.newMeter(fmt.Sprintf("Rebuilding %s", cell(name, maxNameCell)), 1000)
	defer m.finish()
	for {
		s, err := a.statusOf(ctx, all, name)
		switch {
		case ctx.Err() != nil:
			return s, ctx.Err()
		case err != nil && !core.AsError(err).Info().Retryable:
			return s, err
		case err != nil: // the node is away
		case s.Generation == began.Generation:
			return s, nil
		case s.Beside == nil || s.Beside.Generation != began.Generation:
			return s, core.Errorf(core.CodeNoRebuild, "generation %d of %s was dropped", began.Generation, cell(name, maxNameCell))
		case s.Beside.State == plugins.Stopped:
			err := core.Errorf(core.CodeRebuildBehind, "generation %d has stopped: %s", began.Generation, cell(s.Beside.Reason, maxReasonBytes))
			return s, &advised{err, "gyre plugin cancel-rebuild " + shellQuote(name) + " drops it"}
		case s.Beside.Hold && s.Beside.Percent == 100:
			return s, nil
		default:
			m.show(int64(10*s.Beside.Percent), besideWords(s.Beside))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func (a *app) statusOf(ctx context.Context, all sdk.Plugins, name string) (plugins.Status, error) {
	ctx, cancel := a.request(ctx)
	defer cancel()
	return all.Status(ctx, name)
}

// besideWords words how far a generation beside is.
func besideWords(b *plugins.Beside) string {
	text := fmt.Sprintf("%d of %d, %s events/s, %s bytes of state", b.Checkpoint, b.Target, comma(int64(b.Rate)), comma(b.StateBytes))
	if b.Parked > 0 {
		text += fmt.Sprintf(", %d parked", b.Parked)
	}
	if b.State != plugins.Running {
		text += ", " + string(b.State)
	}
	if b.Reason != "" {
		text += ": " + cell(b.Reason, maxReasonBytes)
	}
	return text
}

func rebuiltWords(s plugins.Status) string {
	name := cell(s.Name, maxNameCell)
	if b := s.Beside; b != nil {
		return fmt.Sprintf("%s builds generation %d of version %s, which is at checkpoint %d of %d", name, b.Generation, cell(b.Version, maxNameCell), b.Checkpoint, b.Target)
	}
	return fmt.Sprintf("%s is generation %d of version %s now, at checkpoint %d, lag %d", name, s.Generation, cell(s.Version, maxNameCell), s.Checkpoint, s.Lag)
}

const switchHelp = `Switch to the version in the shadow, or to the generation that gyre plugin rebuild --hold has built.
gyre plugin rollback goes back.

The version in the shadow is deployed after the batch that is being handled. It goes on with the
state that is stored.

The generation and the one that is live change places at once, when both have handled the same
events. The other is kept until the next rebuild begins; gyre plugin drop-before drops it. While a
rebuild is under way, switch is about the rebuild.`

func newPluginSwitch(a *app) *cobra.Command {
	cmd := newPluginControl(a, "switch", "Switch to the version in the shadow, or to what a rebuild has built", sdk.Plugins.Switch)
	cmd.Long = switchHelp
	return cmd
}

const rollbackHelp = `Undo the last change. After a deploy of another version that goes back to the version before, with
the state that there is. After a rebuild it goes back to the generation before: that goes on with
its own state from where it was, and appends nothing that was appended since. A second rollback
goes forward again: so after a rebuild and then a deploy, rollbacks go to and fro between the two
versions, and --to generation goes back to the generation before.

Any older version of the generation that is live comes back with gyre plugin deploy NAME@VERSION.

On a terminal the command says which it is and asks; with --yes, and off a terminal, it does not
ask. --to version or --to generation has it go there or nowhere.`

func newPluginRollback(a *app) *cobra.Command {
	var to string
	var yes bool
	cmd := &cobra.Command{
		Use:   "rollback NAME",
		Short: "Undo the last deploy or rebuild",
		Long:  rollbackHelp,
		Example: `  gyre plugin rollback counter
  gyre plugin rollback counter --to generation --yes`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd.Context(), func(client *sdk.Client) error {
				return a.rollback(cmd.Context(), client.Plugins(), args[0], plugins.RollbackTo(to), yes)
			})
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "version or generation (default what the last change was about)")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return a.completeBinding(a.talks(cmd))
}

// rollback says what it is about to do, asks, and does that or nothing.
func (a *app) rollback(ctx context.Context, all sdk.Plugins, name string, to plugins.RollbackTo, yes bool) error {
	s, err := a.statusOf(ctx, all, name)
	if err != nil {
		return err
	}
	if p := planOf(&s, to); p != nil { // else the node says why not
		fmt.Fprintln(a.stderr, planWords(p))
		if to == "" && p.To == plugins.ToVersion && s.Before != nil {
			fmt.Fprintf(a.stderr, "With --to generation it would go back to generation %d of version %s.\n", s.Before.Generation, cell(s.Before.Version, maxNameCell))
		}
		to = p.To
	}
	if !yes && a.canAsk() && !a.agreed("Roll back?") {
		return &advised{errors.New("nothing was rolled back"), "answer y, or add --yes"}
	}
	ctx, cancel := context.WithTimeout(ctx, max(a.timeout, deployTimeout))
	defer cancel()
	if s, err = all.Rollback(ctx, name, plugins.Rollback{To: to}); err != nil {
		return a.late(ctx, err)
	}
	return a.printBinding(s)
}

// planOf is what a rollback to a version or a generation would do, as far as is known. "" stands for
// the last change.
func planOf(s *plugins.Status, to plugins.RollbackTo) *plugins.RollbackPlan {
	switch p := s.Rollback; {
	case p == nil || to == "" || to == p.To:
		return p
	case to == plugins.ToVersion && s.Previous != "":
		return &plugins.RollbackPlan{To: to, Generation: s.Generation, Version: s.Previous}
	case to == plugins.ToGeneration && s.Before != nil:
		return &plugins.RollbackPlan{
			To: to, Generation: s.Before.Generation, Version: s.Before.Version, Checkpoint: s.Before.Checkpoint, HeldBackTo: max(s.Checkpoint, s.EmitAfter),
		}
	}
	return nil
}

// planWords words what a rollback would do.
func planWords(p *plugins.RollbackPlan) string {
	version := cell(p.Version, maxNameCell)
	if p.To == plugins.ToVersion {
		return fmt.Sprintf("This goes back to version %s in generation %d: the state stays.", version, p.Generation)
	}
	return fmt.Sprintf("This goes back to generation %d of version %s, with its own state. It goes on from checkpoint %d and appends nothing up to position %d.",
		p.Generation, version, p.Checkpoint, p.HeldBackTo)
}

// agreed asks a person.
func (a *app) agreed(question string) bool {
	fmt.Fprint(a.stderr, question+" [y/N] ")
	answer, err := bufio.NewReader(a.stdin).ReadString('\n')
	answer = strings.ToLower(strings.TrimSpace(answer))
	if err != nil && answer == "" {
		fmt.Fprintln(a.stderr)
	}
	return answer == "y" || answer == "yes"
}
