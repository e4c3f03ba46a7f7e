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
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const subscribeHelp = `Subscribe to a named subscription and handle its events until interrupted. If the
subscription does not exist, it is created as the flags of its definition say (--stream,
--types, --partition-by and the others below). If it exists with another definition, the
command ends with exit code 4. Without any of these flags, it is joined as it is.

--exec runs a command for each event, by sh -c. The command gets the event on stdin: one
JSON object on a line, with the number of the attempt in "attempt", and with "replay": true if
it is a parked event that is delivered again. Its exit code decides what happens to the event:

  0      the event is acknowledged
  100    the event is parked, for a person to look at (gyre subscriptions parked)
  else   the event is sent again after a backoff; so it is if the command is killed by a
         signal, or by gyre after --handler-timeout

Exit codes 126 and 127, with which a shell reports that the command cannot be run, also end
gyre subscribe. The command's stdout goes to stdout. Its stderr goes to stderr, with the
event's position before each line; a parked event keeps the last line. On a terminal, a bar
shows the progress up to the end of the log at the start. --workers runs that many commands
at a time: for events of different keys with --partition-by, for any events without.

Without --exec, events are printed as by gyre tail, and acknowledged once they are written.

On Ctrl-C or SIGTERM, running commands finish and their events are acknowledged; the other
events go to other subscribers; the exit code is 0. A second signal ends at once.
--until-caught-up ends the same way when all events that were in the log at the start are
handled, by any subscriber, and the checkpoint is stored. With it, an interrupt is exit code
130.

With --transient the node stores nothing: the subscription begins at --from each time, and
ends with its last subscriber, or when it stops itself. Events are skipped instead of
parked. A stored subscription of the same name is another subscription.

Other exit codes: 1 the command cannot be run, a transient subscription has stopped itself,
or --until-caught-up meets one that is paused or stopped · 3 the subscription was deleted ·
4 it has another definition, or no room for a subscriber · else as in gyre --help.

` + fromHelp + definitionHelp

// subscribeFlags are the flags of gyre subscribe, but for those of the definition.
type subscribeFlags struct {
	exec           string
	workers        int
	handlerTimeout time.Duration
	untilCaughtUp  bool
	transient      bool
	inFlight       int
	consumer       string
	define         definitionFlags
}

func newSubscribe(a *app) *cobra.Command {
	var f subscribeFlags
	cmd := &cobra.Command{
		Use:   "subscribe NAME",
		Short: "Run a command for each event of a subscription",
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
			o := sdk.SubscribeOptions{Consumer: f.consumer, Workers: f.workers, BufferSize: f.inFlight, Transient: f.transient}
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
	flags.StringVar(&f.exec, "exec", "", "command to run for each event (default: print the event)")
	flags.IntVar(&f.workers, "workers", 1, "how many commands run at a time")
	flags.DurationVar(&f.handlerTimeout, "handler-timeout", 30*time.Second, "how long a command may take")
	flags.BoolVar(&f.untilCaughtUp, "until-caught-up", false, "end when all events up to the end of the log are handled")
	flags.BoolVar(&f.transient, "transient", false, "store nothing of the subscription on the node")
	flags.IntVar(&f.inFlight, "in-flight", 0, "how many events may be in flight to this subscriber, if fewer than --buffer")
	flags.StringVar(&f.consumer, "consumer", "", "name of this subscriber (default host and process id)")
	f.define.register(cmd)
	return a.completeSubscription(a.talks(cmd))
}

// check refuses flags that exclude each other, and sets defaults.
func (f *subscribeFlags) check(a *app, cmd *cobra.Command) error {
	switch {
	case f.exec == "" && (cmd.Flags().Changed("workers") || cmd.Flags().Changed("handler-timeout")):
		return usagef("--exec ./handle.sh").because("--workers and --handler-timeout are about --exec")
	case f.workers < 1:
		return usagef("--workers %d", runtime.NumCPU()).because("--workers %d is less than 1", f.workers)
	case f.inFlight < 0:
		return usagef("--in-flight 10").because("--in-flight %d is less than 0", f.inFlight)
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

	waits                     atomic.Bool  // report has said so
	succeeded, parked, failed atomic.Int64 // events
}

func (c *consumption) handled() int64 { return c.succeeded.Load() + c.parked.Load() + c.failed.Load() }

func (a *app) subscribe(ctx context.Context, client *sdk.Client, name string, o sdk.SubscribeOptions, f *subscribeFlags) error {
	working, end := context.WithCancelCause(ctx)
	defer end(nil)
	c := &consumption{app: a, client: client, name: name, transient: o.Transient, end: end}
	o.OnStatus = func(s sdk.Status) { c.report(s, f.untilCaughtUp) }
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

// join subscribes, and says up to where the log went before.
func (c *consumption) join(ctx context.Context, o sdk.SubscribeOptions) (sub *sdk.Subscriber, head uint64, err error) {
	err = c.app.onceServed(ctx, func(ctx context.Context) error {
		if head, err = c.head(ctx); err == nil {
			sub, err = c.client.Subscribe(ctx, c.name, o)
		}
		return err
	})
	return sub, head, err
}

// head is up to where the log goes. For a key that may not read $all it is what the node knows,
// which in a ring may be a moment behind.
func (c *consumption) head(ctx context.Context) (uint64, error) {
	log, err := c.client.Read(ctx, core.ReadRequest{Stream: core.All, Backward: true, Limit: core.Limit{Events: 1}})
	if errors.Is(err, core.CodeForbidden) {
		server, err := c.client.Server(ctx)
		return server.Head, err
	}
	return log.Head, err
}

// report prints on stderr that the subscription delivers nothing for now, and when it goes
// on. With untilCaughtUp, watch ends the command instead if the subscription stands.
func (c *consumption) report(s sdk.Status, untilCaughtUp bool) {
	why := ""
	switch s.State {
	case delivery.Moving:
		why = "the subscription moves to another node: " + s.Reason
	case delivery.NoQuorum:
		why = noDelivery + s.Reason
	default:
		if err := c.stands(s.State, s.Reason); err != nil && !untilCaughtUp {
			why = err.Error()
		}
	}
	switch waited := c.waits.Swap(why != ""); {
	case why != "":
		c.app.sayWaiting(why)
	case waited && s.State != delivery.Idle:
		fmt.Fprintln(c.app.stderr, goesOn)
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
