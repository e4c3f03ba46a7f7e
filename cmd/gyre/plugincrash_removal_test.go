//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/wasm/guests"
	"github.com/gyre-events/gyre/sdk"
)

const (
	removedBinding = "lines"
	// Of a round, in a stream each: events that the plugin parks, and one at which it fails, with others
	// behind it.
	parkedInputs  = 3
	blockedInputs = 4
	// inputKillDelay is about what the removals take.
	inputKillDelay = 30 * time.Millisecond
)

// TestCrashOfRemovedInputs kills a node with SIGKILL when the inputs of a plugin (guests.Lines) are
// removed, or while they are: those that it has parked, and those in its lane, of which it tries the
// first again and again. The lane counts them as expired and goes on, and no removed event is handed
// to the plugin in the next process. 40 rounds with GYRE_SOAK=1.
func TestCrashOfRemovedInputs(t *testing.T) {
	t.Parallel()
	for name, nodes := range map[string]func(t *testing.T) []*ringNode{"disk": nodeOnDisk, "postgres": nodeInPostgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rounds := 2
			if os.Getenv("GYRE_SOAK") != "" {
				rounds = 40
			}
			node := nodes(t)
			node[0].args = append(node[0].args, "--hard-deletes")
			r := &removedInputs{pluginRun: startPluginRun(t, "gyre", node)}
			r.deploy()
			for round := range rounds {
				r.round(round)
				if t.Failed() {
					t.Fatalf("in round %d of %d", round+1, rounds)
				}
			}
		})
	}
}

// removedInputs is a node that runs guests.Lines.
type removedInputs struct {
	*pluginRun
	kept []string // the positions of the events that are not removed
	last uint64   // position of an input
}

func (r *removedInputs) deploy() {
	r.t.Helper()
	all := r.client.Plugins()
	_, _, err := all.Upload(r.t.Context(), sdk.Upload{Plugin: removedBinding, Version: "1.0.0", Module: guests.Lines, Manifest: []byte(
		`{"name":"lines","version":"1.0.0","abi":"stdio_1","kind":"handler","capabilities":["append:positions","state"],
			"lanes":1,"subscription":{"filter":{"streams":["in-*"]},"partitionBy":"stream"}}`)})
	if err != nil {
		r.t.Fatal(err)
	}
	_, err = all.Deploy(r.t.Context(), removedBinding, plugins.Deploy{
		Version: "1.0.0", Grants: []string{"append:positions", "state"}, OnError: &plugins.ErrorPolicy{Attempts: 1000, MinMs: 20, MaxMs: 20},
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *removedInputs) round(round int) {
	r.t.Helper()
	parked, blocked := fmt.Sprint("in-parked-", round), fmt.Sprint("in-blocked-", round)
	r.add(fmt.Sprint("in-kept-", round), "Said", "Said")
	r.add(parked, slices.Repeat([]string{"Odd"}, parkedInputs)...)
	r.info(func(i *subscriptions.Info) bool { return i.Parked == parkedInputs })
	r.add(blocked, append([]string{"Broken"}, slices.Repeat([]string{"Said"}, blockedInputs-1)...)...)
	r.info(func(i *subscriptions.Info) bool { return i.InFlight == blockedInputs })

	if round%2 == 0 {
		before := r.info(func(*subscriptions.Info) bool { return true }).Totals.Expired
		r.remove(r.t.Context(), parked, blocked)
		r.info(func(i *subscriptions.Info) bool {
			return i.Parked == 0 && i.Totals.Expired == before+parkedInputs+blockedInputs
		})
		r.killWhile(func(context.Context) {})
	} else {
		r.killWhile(func(ctx context.Context) { r.remove(ctx, parked, blocked) })
		r.remove(r.t.Context(), parked, blocked)
	}
	r.add(fmt.Sprint("in-kept-after-", round), "Said")
	r.info(func(i *subscriptions.Info) bool {
		return i.Checkpoint >= r.last && i.Parked == 0 && i.Waiting+i.InFlight+i.Retrying == 0
	})
	if n, err := r.client.Subscriptions().Replay(r.t.Context(), removedBinding, subscriptions.Selection{All: true}); err != nil || n > 0 {
		r.t.Errorf("%d parked events are replayed, %v", n, err)
	}
	r.check()
}

// add appends events. The plugin is to see those of a stream that is kept.
func (r *removedInputs) add(stream string, types ...string) {
	r.t.Helper()
	a := core.Append{Stream: stream, Expect: core.NoStream}
	for _, name := range types {
		a.Events = append(a.Events, core.NewEvent{ID: core.NewID(), Type: name, Data: []byte("{}")})
	}
	result, err := r.client.Append(r.t.Context(), core.Commit{Appends: []core.Append{a}})
	if err != nil {
		r.t.Fatal(err)
	}
	if r.last = result.Position; strings.HasPrefix(stream, "in-kept-") {
		for i := range types {
			r.kept = append(r.kept, fmt.Sprint(result.Appends[0].FirstPosition+uint64(i)))
		}
	}
}

// info waits until the subscription is as it has to be.
func (r *removedInputs) info(holds func(*subscriptions.Info) bool) (info subscriptions.Info) {
	r.t.Helper()
	err := until(drainedWithin, func() (err error) {
		if info, err = r.client.Subscriptions().Info(r.t.Context(), removedBinding); err == nil && !holds(&info) {
			err = fmt.Errorf("it is %+v", info)
		}
		return err
	})
	if err != nil {
		r.t.Fatalf("%v\n%s", err, lastBytes(r.nodes[0].log(), 4000))
	}
	return info
}

// remove removes streams, if they are there still, or until the node is killed.
func (r *removedInputs) remove(ctx context.Context, streams ...string) {
	var removing sync.WaitGroup
	for _, stream := range streams {
		removing.Go(func() {
			err := r.client.RemoveStream(ctx, stream, core.StreamExists)
			if err != nil && ctx.Err() == nil && !errors.Is(err, core.CodeStreamNotFound) {
				r.t.Errorf("remove %s: %v", stream, err)
			}
		})
	}
	removing.Wait()
}

// killWhile kills the node while something is under way, and starts it again.
func (r *removedInputs) killWhile(do func(ctx context.Context)) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	var doing sync.WaitGroup
	doing.Go(func() { do(ctx) })
	<-time.NewTimer(rand.N(inputKillDelay)).C
	cancel() // what is not answered by now
	n := r.nodes[0]
	if _, err := n.now.end(syscall.SIGKILL); err != nil {
		r.t.Fatal(err)
	}
	doing.Wait()
	n.start()
	n.ready()
}

// check finds what the plugin has seen: each event that was kept, once and in order.
func (r *removedInputs) check() {
	r.t.Helper()
	var seen []string
	for e, err := range core.ReadAll(r.t.Context(), r.client, core.ReadRequest{Stream: "positions"}) {
		if err != nil {
			r.t.Fatal(err)
		}
		seen = append(seen, string(e.Data))
	}
	if !slices.Equal(seen, r.kept) {
		r.t.Errorf("the plugin has seen %s, want %s", seen, r.kept)
	}
}
