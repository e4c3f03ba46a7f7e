package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const subscribeHelp = `Subscribe to a named subscription, and handle its events until interrupted. One that is not
there is created as the flags of its definition say (--stream, --types, --partition-by and
the others below), and begins with the log's first event. One that is there has to have the
same definition; with none of these flags it is joined as it is.

--exec runs a command for each event, by sh -c. It gets the event on stdin, one JSON object
on a line that ends with a newline, with the number of the attempt in "attempt". Its exit
code says what becomes of the event:

  0      it is acknowledged, and not sent again
  100    it is parked: set aside, to be looked at and replayed (gyre subscriptions parked)
  else   it is sent again after a rest; so it is when the command takes longer than
         --handler-timeout and is killed, or ends by a signal

With 126 and 127, by which a shell says that there is no such command, gyre subscribe ends,
too. What the command prints on stdout goes to stdout, what it prints on stderr to stderr
with the event's position before each line; its last line is kept with a parked event. On a
terminal there is a bar below that, until everything is handled that was there at first.
--workers runs as many commands at a time: without --partition-by for any events, with it
for events of different keys.

Without --exec, events are printed, as gyre tail does it, and acknowledged when they are
written.

On Ctrl-C or SIGTERM, commands that run may finish, their events are acknowledged, and those
that wait go to other subscribers: exit code 0. --until-caught-up ends so, too, once
everything is handled, here or by others, that was in the log when it began, and the
checkpoint is stored; what came since may be left. Then an interrupt is exit code 130. A
second signal ends at once.

With --transient the server stores nothing of the subscription: it begins at --from each
time, and is over when its last subscriber has left, or when it stops itself. What would be
parked is passed over. One of the same name without --transient is another.

Other exit codes: 1 the command cannot be run, or the subscription is paused or has stopped
itself while --until-caught-up waits, or is transient and has stopped itself · 3 the
subscription was deleted meanwhile · 4 it has another definition, or as many subscribers as
it may · as in gyre --help for the rest.

` + definitionHelp

// subscribeFlags are the flags of gyre subscribe, but for those of the definition.
type subscribeFlags struct {
	exec           string
	workers        int
	handlerTimeout time.Duration
	untilCaughtUp  bool
	transient      bool
	consumer       string
	define         definitionFlags
}

func newSubscribe(a *app) *cobra.Command {
	var f subscribeFlags
	cmd := &cobra.Command{
		Use:   "subscribe NAME",
		Short: "Handle the events of a subscription, with a command for each",
		Long:  subscribeHelp,
		Example: `  gyre subscribe billing --types 'Order*' --partition-by stream --workers 4 --exec ./bill.sh
  gyre subscribe billing --until-caught-up --exec ./bill.sh
  gyre subscribe audit -o ndjson >>audit.ndjson
  gyre subscribe check --transient --until-caught-up --exec ./check.sh`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(a, cmd); err != nil {
				return err
			}
			o := sdk.SubscribeOptions{Consumer: f.consumer, Workers: f.workers, Transient: f.transient}
			if f.define.given() {
				d, err := f.define.definition()
				if err != nil {
					return err
				}
				o.Definition = d
			}
			return a.withClient(cmd.Context(), func(client *sdk.Client) error {
				return a.subscribe(cmd.Context(), client, args[0], o, &f)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.exec, "exec", "", "command to run for each event (default: print it)")
	flags.IntVar(&f.workers, "workers", 1, "how many commands run at a time")
	flags.DurationVar(&f.handlerTimeout, "handler-timeout", 30*time.Second, "how long a command may take")
	flags.BoolVar(&f.untilCaughtUp, "until-caught-up", false, "end when everything is handled that is there")
	flags.BoolVar(&f.transient, "transient", false, "store nothing of the subscription at the server")
	flags.StringVar(&f.consumer, "consumer", "", "name of this subscriber (default host and process id)")
	f.define.register(cmd)
	return a.completeSubscription(a.talks(cmd))
}

// check refuses flags that make no sense together, and fills in what is left out.
func (f *subscribeFlags) check(a *app, cmd *cobra.Command) error {
	switch {
	case f.exec == "" && (cmd.Flags().Changed("workers") || cmd.Flags().Changed("handler-timeout")):
		return usagef("--exec ./handle.sh").because("--workers and --handler-timeout are about --exec")
	case f.workers < 1:
		return usagef("--workers %d", runtime.NumCPU()).because("--workers %d is less than 1", f.workers)
	case f.handlerTimeout <= 0:
		return usagef("--handler-timeout 30s").because("--handler-timeout %s is not a time", f.handlerTimeout)
	case a.output == asJSON:
		return usagef("-o ndjson").because("a subscription has no end, so it cannot be one JSON value")
	}
	if f.consumer == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "?"
		}
		f.consumer = fmt.Sprintf("%s/%d", host, os.Getpid())
	}
	return nil
}

// consumption is one run of gyre subscribe.
type consumption struct {
	app       *app
	client    *sdk.Client
	name      string
	transient bool
	// end ends the run, with a cause.
	end context.CancelCauseFunc
	// above is where commands' output has to go above a bar; nil once there is none.
	above atomic.Pointer[screen]

	succeeded, parked, failed atomic.Int64 // events
}

func (c *consumption) handled() int64 { return c.succeeded.Load() + c.parked.Load() + c.failed.Load() }

func (a *app) subscribe(ctx context.Context, client *sdk.Client, name string, o sdk.SubscribeOptions, f *subscribeFlags) error {
	working, end := context.WithCancelCause(ctx)
	defer end(nil)
	c := &consumption{app: a, client: client, name: name, transient: o.Transient, end: end}
	o.OnStatus = func(s sdk.Status) { c.told(s, f.untilCaughtUp) }
	o.OnRefused = func(err error) { fmt.Fprintf(a.stderr, "Too late: %s\n", core.AsError(err).Detail) }
	if f.exec != "" {
		o.Ahead = f.workers // what a worker is not free for is another's
		if s, ok := a.stderr.(*screen); ok && isTerminal(a.stdout) {
			c.above.Store(s)
		}
	}
	sub, head, err := c.join(ctx, o)
	if err != nil {
		return err
	}
	var watching sync.WaitGroup
	watching.Go(func() { c.watch(working, head, f) })
	if f.exec != "" {
		err = c.run(working, sub, f)
	} else {
		err = c.print(working, sub)
	}
	end(err)
	watching.Wait()
	err = c.finish(ctx, sub, context.Cause(working))
	if ctx.Err() != nil && !f.untilCaughtUp && (err == nil || errors.Is(err, context.Canceled)) {
		return nil // the way it ends
	}
	return err
}

// join subscribes within the time of a request, and says up to where the log went before.
func (c *consumption) join(ctx context.Context, o sdk.SubscribeOptions) (sub *sdk.Subscriber, head uint64, err error) {
	ctx, cancel := c.app.request(ctx)
	defer cancel()
	log, err := c.client.Read(ctx, core.ReadRequest{Stream: core.All, Backward: true, Limit: core.Limit{Events: 1}})
	if err != nil {
		return nil, 0, err
	}
	sub, err = c.client.Subscribe(ctx, c.name, o)
	return sub, log.Head, err
}

// told tells a person that the subscription stands still. Where that is no way to catch
// up, watch does so.
func (c *consumption) told(s sdk.Status, untilCaughtUp bool) {
	if err := c.stands(s.State, s.Reason); err != nil && !untilCaughtUp {
		fmt.Fprintf(c.app.stderr, "Waiting: %v.\n", err)
	}
}

// finish leaves, and says how it went. cause is why the work ended.
func (c *consumption) finish(ctx context.Context, sub *sdk.Subscriber, cause error) error {
	leaving, cancel := c.app.request(context.WithoutCancel(ctx))
	defer cancel()
	if err := sub.Close(leaving); err != nil {
		return err
	}
	if n := c.handled(); n > 0 && c.app.output == "" {
		fmt.Fprintf(c.app.stderr, "Handled %s: %s succeeded, %s parked, %s failed.\n",
			comma(n), comma(c.succeeded.Load()), comma(c.parked.Load()), comma(c.failed.Load()))
	}
	var caught *caughtUp
	switch {
	case !errors.As(cause, &caught):
		return cause
	case c.transient:
		return nil // there is no checkpoint
	}
	return c.poll(leaving, askEvery, func(i *subscriptions.Info) (bool, error) { return i.Checkpoint >= caught.head, nil })
}

// print prints events, and acks them when they are written.
func (c *consumption) print(ctx context.Context, sub *sdk.Subscriber) error {
	out := bufio.NewWriter(c.app.stdout)
	var line []byte
	for {
		batch, err := sub.Next(ctx, core.Limit{Events: core.DefaultReadEvents, Bytes: 256 << 10})
		if err != nil {
			return err
		}
		for d := range batch.Events() {
			if c.app.output == asNDJSON {
				line = deliveryJSON(line[:0], &d)
			} else {
				line = append(tailLine(line[:0], &d.Event), '\n')
			}
			if _, err := out.Write(line); err != nil {
				return err
			}
		}
		if err := out.Flush(); err != nil {
			return err
		}
		if batch.Ack() == nil { // else they come again
			c.succeeded.Add(int64(batch.Count))
		}
	}
}

// deliveryJSON appends the event object of a delivery, on a line.
func deliveryJSON(dst []byte, d *sdk.Delivery) []byte {
	return append(wire.AppendAttempt(wire.AppendEventJSON(dst, &d.Event), d.Attempt, d.Replay), '\n')
}
