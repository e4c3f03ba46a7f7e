package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
)

const deleteHelp = `Delete a stream. It can be neither read by its name nor appended to, until
gyre streams undelete brings it back; $all and links have its events as before.

--hard removes its events from the log, and links to them from their streams.
Who appends to the stream afterwards begins it anew, at version 1. --tombstone
does the same, and nothing can be appended to the stream again. The node must
allow both (gyre serve --hard-deletes), and the key that may (streams.remove).
On a terminal they are asked about first.`

// deleteFlags are the flags of gyre streams delete.
type deleteFlags struct {
	expect               string
	hard, tombstone, yes bool
}

func (f *deleteFlags) action() core.StreamAction {
	switch {
	case f.hard:
		return core.RemoveStream
	case f.tombstone:
		return core.TombstoneStream
	}
	return core.DeleteStream
}

func newStreamsDelete(a *app) *cobra.Command {
	var f deleteFlags
	cmd := &cobra.Command{
		Use:        "delete STREAM",
		SuggestFor: []string{"rm", "remove"},
		Short:      "Delete a stream, or remove its events",
		Long:       deleteHelp,
		Example: `  gyre streams delete order-1 --expect 3
  gyre streams delete order-1 --hard --yes`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeStream(cmd.Context(), args[0], f)
		},
	}
	flags := cmd.Flags()
	addExpect(cmd, &f.expect)
	flags.BoolVar(&f.hard, "hard", false, "remove the events; this cannot be undone")
	flags.BoolVar(&f.tombstone, "tombstone", false, "remove the events, and let nothing be appended to the stream again")
	flags.BoolVar(&f.yes, "yes", false, "do not ask")
	return a.completeStream(a.talks(cmd))
}

func addExpect(cmd *cobra.Command, expect *string) {
	cmd.Flags().StringVar(expect, "expect", "any", "version the stream must be at: N, any or stream_exists")
}

func newStreamsUndelete(a *app) *cobra.Command {
	var expect string
	cmd := &cobra.Command{
		Use:     "undelete STREAM",
		Short:   "Bring a deleted stream back, with its events",
		Example: "  gyre streams undelete order-1",
		Args:    takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			x, err := core.ParseExpect(expect)
			if err != nil {
				return err
			}
			err = a.ask(cmd.Context(), func(ctx context.Context, client *sdk.Client) error {
				return client.UndeleteStream(ctx, args[0], x)
			})
			if err != nil {
				return err
			}
			return printChanged(a, args[0], core.UndeleteStream)
		},
	}
	addExpect(cmd, &expect)
	deleted := core.StreamDeleted
	return a.completeStreamOf(a.talks(cmd), &deleted)
}

// changeStream deletes a stream, or removes its events.
func (a *app) changeStream(ctx context.Context, stream string, f deleteFlags) error {
	if f.hard && f.tombstone {
		return usagef("gyre streams delete %s --tombstone", shellQuote(stream)).because("--tombstone removes the events, too; leave --hard out")
	}
	op := core.StreamOp{Stream: stream, Action: f.action()}
	var err error
	if op.Expect, err = core.ParseExpect(f.expect); err != nil {
		return err
	}
	return a.withClient(ctx, func(client *sdk.Client) error {
		if op.Action.Removes() && !f.yes && a.canAsk() {
			if err := a.askRemoval(ctx, client, &op); err != nil {
				return err
			}
		}
		if _, err := a.appendOnce(ctx, client, core.Commit{Streams: []core.StreamOp{op}}); err != nil {
			return err
		}
		return printChanged(a, stream, op.Action)
	})
}

// askRemoval asks whether the events of a stream may go, and expects the version that was shown
// if no other was asked for. The error is canceled if they may not.
func (a *app) askRemoval(ctx context.Context, client *sdk.Client, op *core.StreamOp) error {
	last, err := a.readPage(ctx, client, core.ReadRequest{Stream: op.Stream, Backward: true, Limit: core.Limit{Events: 1}})
	if err != nil && !errors.Is(err, core.CodeStreamNotFound) {
		return err
	}
	if op.Expect == core.AnyVersion && err == nil {
		op.Expect = core.Expect(last.Version)
	}
	name := cell(op.Stream, core.MaxStreamNameBytes)
	fmt.Fprintf(a.stderr, "%s is at version %d. Its events and all links to them go for good.\n", name, last.Version)
	if op.Action == core.TombstoneStream {
		fmt.Fprintf(a.stderr, "Nothing can be appended to %s again.\n", name)
	}
	if a.agreed("Remove them?") {
		return nil
	}
	return &advised{core.Errorf(core.CodeCanceled, "nothing was removed"), "gyre streams delete without --hard and --tombstone can be undone"}
}

// changedStream is the printed result of a change of a stream.
type changedStream struct {
	Stream string `json:"stream"`
	Action string `json:"action"`
}

func printChanged(a *app, stream string, action core.StreamAction) error {
	return printOne(a, changedStream{stream, action.String()}, func(c changedStream) string {
		done := map[core.StreamAction]string{
			core.DeleteStream: "deleted", core.UndeleteStream: "undeleted", core.RemoveStream: "removed the events of", core.TombstoneStream: "tombstoned",
		}[action]
		return done + " " + visible(c.Stream)
	})
}
