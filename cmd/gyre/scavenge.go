package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/scavenge"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const scavengeHelp = `Give back the storage of events that nobody can read any more: those of removed
streams, and those that retention hides. What stays keeps its version and position.

The scavenge runs in the background of the node, while everything else goes on. The command
shows how far it is; Ctrl-C leaves it running. One that was stopped, or whose node ended, goes
on where it was with the next gyre scavenge. One runs at a time, in a ring, too.

Parts of the log that would get hardly smaller stay as they are, and on disk the newest part,
too; --all includes them. Do that after you have removed something that nobody may find on the
disk.`

// watchEvery is how often a command asks how far a scavenge is.
const watchEvery = 250 * time.Millisecond

func newScavenge(a *app) *cobra.Command {
	var r scavenge.Request
	var detach bool
	cmd := &cobra.Command{
		Use:   "scavenge",
		Short: "Give back the storage of events that nobody can read any more",
		Long:  scavengeHelp,
		Example: `  gyre scavenge --dry-run
  gyre scavenge --rate 50MiB
  gyre scavenge --all --detach`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.scavenge(cmd.Context(), r, detach)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&r.DryRun, "dry-run", false, "only count what would go")
	flags.BoolVar(&r.All, "all", false, "remove everything that goes, whatever that costs")
	flags.Var((*sizeFlag)(&r.BytesPerSecond), "rate", "most bytes of the log to read and write in a second, such as 50MiB (default no bound)")
	flags.BoolVar(&detach, "detach", false, "do not wait for its end")
	cmd.AddCommand(newScavengeStatus(a), newScavengeStop(a))
	return a.talks(cmd)
}

func newScavengeStatus(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show how far the latest scavenge is, or what it did",
		Example: "  gyre scavenge status\n  gyre scavenge status -o json | jq .won",
		Args:    takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.printScavenge(cmd.Context(), (*sdk.Client).Scavenge)
		},
	}
	return a.talks(cmd)
}

func newScavengeStop(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "stop",
		Short:   "Have the scavenge that runs end; the next one goes on where it was",
		Example: "  gyre scavenge stop",
		Args:    takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.printScavenge(cmd.Context(), (*sdk.Client).StopScavenge)
		},
	}
	return a.talks(cmd)
}

// printScavenge prints what a client says of the latest scavenge.
func (a *app) printScavenge(ctx context.Context, ask func(*sdk.Client, context.Context) (scavenge.Status, error)) error {
	var s scavenge.Status
	err := a.ask(ctx, func(ctx context.Context, client *sdk.Client) (err error) {
		s, err = ask(client, ctx)
		return err
	})
	if err != nil {
		return err
	}
	return printOne(a, s, scavengeWords)
}

// scavenge starts a scavenge and waits for its end.
func (a *app) scavenge(ctx context.Context, r scavenge.Request, detach bool) error {
	var s scavenge.Status
	err := a.withClient(ctx, func(client *sdk.Client) (err error) {
		asked, cancel := a.request(ctx)
		defer cancel()
		if s, err = client.StartScavenge(asked, r); err != nil {
			return a.late(asked, err)
		}
		if s.Resumed > 0 {
			fmt.Fprintf(a.stderr, "It goes on where an earlier one was ended, at %.0f%%.\n", s.Progress*100)
		}
		if !detach {
			s, err = a.watchScavenge(ctx, client, s)
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := printOne(a, s, scavengeWords); err != nil || detach {
		return err
	}
	return scavengeError(&s)
}

// watchScavenge shows how far a scavenge is, and returns what became of it.
func (a *app) watchScavenge(ctx context.Context, client *sdk.Client, s scavenge.Status) (scavenge.Status, error) {
	const parts = 1000
	meter := a.newMeter("scavenge", parts)
	defer meter.finish()
	ticks := time.NewTicker(watchEvery)
	defer ticks.Stop()
	for started := s.Started; !s.State.Ended() && s.Started.Equal(started); {
		meter.show(int64(s.Progress*parts), fmt.Sprintf("%s, %s", howMany(s.Events, "event", "events"), byteCount(s.Won)))
		select {
		case <-ticks.C:
		case <-ctx.Done():
			meter.finish()
			fmt.Fprintln(a.stderr, "The scavenge runs on at the node: gyre scavenge status shows it, gyre scavenge stop ends it.")
			return s, ctx.Err()
		}
		asked, cancel := a.request(ctx)
		next, err := client.Scavenge(asked)
		cancel()
		if err == nil {
			s = next
		} else if ctx.Err() == nil {
			return s, err
		}
	}
	return s, nil
}

// scavengeError is why a scavenge ended before its end; nil if it did not.
func scavengeError(s *scavenge.Status) error {
	switch {
	case s.State == scavenge.Done || !s.State.Ended():
		return nil
	case s.Problem != nil:
		return core.Errorf(s.Problem.Code, "%s", s.Problem.Detail)
	}
	return &advised{core.Errorf(core.CodeCanceled, "the scavenge was %s before its end", s.State), "gyre scavenge goes on where it was"}
}

func scavengeWords(s scavenge.Status) string {
	if s.State == scavenge.None {
		return "There was no scavenge yet."
	}
	var b strings.Builder
	line := func(title, format string, args ...any) {
		fmt.Fprintf(&b, "%-8s  %s\n", title, fmt.Sprintf(format, args...))
	}
	kind := string(s.State)
	if s.DryRun {
		kind += ", dry run: nothing was changed"
	}
	line("scavenge", "%s", kind)
	line("node", "%s, since %s", visible(s.Node), wire.FormatTime(s.Started))
	line("looked at", "%s, %.0f%%", byteCount(s.Bytes), s.Progress*100)
	won := "won"
	if s.DryRun {
		won = "to win"
	}
	line(won, "%s, %s, %s of records", byteCount(s.Won), howMany(s.Events, "event", "events"), howMany(s.Records, "change", "changes"))
	if s.State == scavenge.Done && s.LeftOut > 0 {
		line("left out", "%s, the newest part of the log: --all includes it", byteCount(s.LeftOut))
	}
	if s.Deferred > 0 {
		line("deferred", "%s, to the next scavenge: policies were loosened again and again meanwhile", byteCount(s.Deferred))
	}
	if s.Problem != nil {
		line("problem", "%s: %s", s.Problem.Code, visible(s.Problem.Detail))
	}
	return strings.TrimSuffix(b.String(), "\n")
}
