package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// maxNameCell is how much of a subscription's name a row shows: all of it.
const maxNameCell = 256

func newSubscriptions(a *app) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:     "subscriptions",
		Aliases: []string{"subs"},
		Short:   "Manage named subscriptions and their parked events",
	})
	cmd.AddCommand(
		newSubscriptionsList(a), newSubscriptionsInfo(a), newSubscriptionsCreate(a), newSubscriptionsUpdate(a),
		newSubscriptionsControl(a, "pause", "Stop delivery; events in flight can still be acknowledged", sdk.Subscriptions.Pause),
		newSubscriptionsControl(a, "resume", "Continue delivery after a pause or a stop", sdk.Subscriptions.Resume),
		newSubscriptionsReset(a), newSubscriptionsDelete(a),
		newSubscriptionsParked(a), newSubscriptionsReplay(a), newSubscriptionsDrop(a),
	)
	return cmd
}

// manage runs f with the node's subscriptions, within the timeout of one request.
func (a *app) manage(ctx context.Context, f func(context.Context, sdk.Subscriptions) error) error {
	return a.ask(ctx, func(ctx context.Context, client *sdk.Client) error { return f(ctx, client.Subscriptions()) })
}

// completeSubscription has the shell complete the first argument, a subscription's name.
func (a *app) completeSubscription(cmd *cobra.Command) *cobra.Command {
	return completeFirst(cmd, cobra.ShellCompDirectiveDefault, a.subscriptionNames)
}

// subscriptionNames completes a subscription's name.
func (a *app) subscriptionNames(cmd *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
	return a.completions(cmd, func(ctx context.Context, client *sdk.Client) (names []string, err error) {
		page, err := client.Subscriptions().List(ctx, subscriptions.ListRequest{Prefix: prefix, Limit: completeNames})
		for i := range page.Subscriptions {
			names = append(names, page.Subscriptions[i].Name)
		}
		return names, err
	})
}

func newSubscriptionsList(a *app) *cobra.Command {
	var r subscriptions.ListRequest
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List subscriptions by name, with their checkpoint and lag",
		Example: `  gyre subscriptions ls
  gyre subscriptions ls -o ndjson | jq -r 'select(.lag > 1000).name'`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if r.Limit < 0 {
				return usagef("--limit 100").because("--limit %d is less than 0", r.Limit)
			}
			return a.withClient(cmd.Context(), func(client *sdk.Client) error {
				return a.listSubscriptions(cmd.Context(), client.Subscriptions(), r)
			})
		},
	}
	cmd.Flags().StringVar(&r.Prefix, "prefix", "", "only names with this prefix")
	cmd.Flags().IntVar(&r.Limit, "limit", 0, "how many at most (default all)")
	cmd.Flags().BoolVar(&r.Transient, "transient", false, "list this node's transient subscriptions instead of the stored ones")
	return a.talks(cmd)
}

// listSubscriptions prints page by page, up to r.Limit if it is not 0.
func (a *app) listSubscriptions(ctx context.Context, all sdk.Subscriptions, r subscriptions.ListRequest) error {
	out := list[subscriptions.Info]{
		app: a, header: []string{"name", "state", "stream", "checkpoint", "lag", "in flight", "parked", "subscribers"}, row: subscriptionRow,
	}
	return out.printAll(ctx, r.Limit, func(ctx context.Context, most int) ([]subscriptions.Info, bool, error) {
		r.Limit = most
		page, err := all.List(ctx, r)
		n := len(page.Subscriptions)
		if n > 0 {
			r.After = page.Subscriptions[n-1].Name
		}
		return page.Subscriptions, page.End || n == 0, err
	})
}

func subscriptionRow(i subscriptions.Info) []string {
	return []string{
		cell(i.Name, maxNameCell), string(i.State), cell(i.Stream, streamWidth), strconv.FormatUint(i.Checkpoint, 10),
		strconv.FormatUint(i.Lag, 10), strconv.Itoa(i.InFlight), strconv.Itoa(i.Parked), strconv.Itoa(len(i.Subscribers)),
	}
}

func newSubscriptionsInfo(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "info NAME",
		Short:   "Show a subscription's state, progress and subscribers",
		Example: "  gyre subscriptions info billing",
		Args:    takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.manage(cmd.Context(), func(ctx context.Context, all sdk.Subscriptions) error {
				return a.printInfo(ctx, all, args[0])
			})
		},
	}
	return a.completeSubscription(a.talks(cmd))
}

// printInfo prints a subscription's state.
func (a *app) printInfo(ctx context.Context, all sdk.Subscriptions, name string) error {
	info, err := all.Info(ctx, name)
	if err != nil {
		return err
	}
	return printOne(a, info, infoWords)
}

func infoWords(i subscriptions.Info) string {
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-12s %s\n", name, fmt.Sprintf(format, args...))
	}
	row("name", "%s", cell(i.Name, maxNameCell))
	state := string(i.State)
	if i.Reason != "" {
		state += ": " + cell(i.Reason, maxReasonBytes)
	}
	row("state", "%s", state)
	row("stream", "%s", cell(i.Stream, core.MaxStreamNameBytes))
	for _, f := range []struct {
		name string
		list []string
	}{{"types", i.Filter.Types}, {"streams", i.Filter.Streams}} {
		if len(f.list) > 0 {
			row(f.name, "%s", cell(strings.Join(f.list, ", "), dataWidth))
		}
	}
	if i.Filter.Expr != "" {
		row("where", "%s", cell(i.Filter.Expr, dataWidth))
	}
	if i.Filter.Plugin != "" {
		row("filter", "%s", cell(string(i.Filter.Plugin), dataWidth))
	}
	if text := mapWords(&i.Map); text != "" {
		row("map", "%s", cell(text, dataWidth))
	}
	row("partition by", "%s", cell(i.PartitionBy, dataWidth))
	row("checkpoint", "%d, lag %d (%s)", i.Checkpoint, i.Lag, seconds(i.LagSeconds))
	row("events", "%d in flight, %d waiting, %d retrying, %d parked", i.InFlight, i.Waiting, i.Retrying, i.Parked)
	if n := i.Totals.Expired; n > 0 {
		row("", "%d were removed before they were handled", n)
	}
	row("retry", "%s, then %s", attempts(i.Retry.Max), i.Retry.Then)
	row("subscribers", "%d of %d", len(i.Subscribers), i.ConcurrencyLimit)
	for _, s := range i.Subscribers {
		last := "never"
		if s.LastAck != nil {
			last = wire.FormatTime(*s.LastAck)
		}
		row("", "%s  %d in flight, %d acknowledged, last %s", cell(s.Consumer, streamWidth), s.InFlight, s.Acked, last)
	}
	return strings.TrimRight(b.String(), "\n")
}

// attempts words retry.max.
func attempts(most int) string {
	if most == delivery.NoLimit {
		return "unlimited attempts"
	}
	return howMany(most, "attempt", "attempts")
}

// seconds words a number of seconds.
func seconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(time.Millisecond).String()
}

const createHelp = `Create a subscription without subscribing to it. If it exists with the same definition,
nothing changes. If it exists with another definition, the exit code is 4; gyre
subscriptions update changes a definition.

--file reads the definition as JSON, in the form of the HTTP API, instead of the flags.

` + fromHelp + definitionHelp

func newSubscriptionsCreate(a *app) *cobra.Command {
	var define definitionFlags
	var paused bool
	var file string
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a subscription",
		Long:  createHelp,
		Example: `  gyre subscriptions create billing --types 'Order*' --partition-by stream --concurrency 4
  gyre subscriptions create audit --file audit.json`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if file != "" && (define.given() || paused) {
				return usagef("gyre subscriptions create --help").because("--file has the whole definition; give no other flags of it")
			}
			d, err := define.definition()
			if err != nil {
				return err
			}
			d.Paused = paused
			if file != "" {
				if err := a.readDefinition(file, d); err != nil {
					return err
				}
			}
			return a.manage(cmd.Context(), func(ctx context.Context, all sdk.Subscriptions) error {
				info, created, err := all.Put(ctx, args[0], d)
				if err != nil {
					return err
				}
				return printOne(a, info, func(i subscriptions.Info) string {
					if !created {
						return fmt.Sprintf("already there: %s, checkpoint %d", cell(i.Name, maxNameCell), i.Checkpoint)
					}
					return fmt.Sprintf("created %s: it begins after position %d", cell(i.Name, maxNameCell), i.Start)
				})
			})
		},
	}
	define.register(cmd)
	cmd.Flags().BoolVar(&paused, "paused", false, "deliver nothing until gyre subscriptions resume")
	cmd.Flags().StringVar(&file, "file", "", "file with the definition in JSON; - for stdin")
	return a.talks(cmd)
}

const updateHelp = `Change the definition of a subscription. Only what the flags give changes; the checkpoint
and the parked events stay. Where it began cannot be changed: gyre subscriptions reset moves
the checkpoint.

The node stops sending, waits until the events in flight are answered or their time is over,
and then changes the definition; subscribers join again by themselves. If an event is still
in flight then, nothing changes and the exit code is 4. Give --timeout more time than
--ack-timeout.

--file reads what changes as JSON, in the form of the HTTP API, instead of the flags.

` + definitionHelp

func newSubscriptionsUpdate(a *app) *cobra.Command {
	var define definitionFlags
	var file string
	cmd := &cobra.Command{
		Use:   "update NAME",
		Short: "Change the definition of a subscription",
		Long:  updateHelp,
		Example: `  gyre subscriptions update billing --concurrency 8 --max-attempts unlimited
  gyre subscriptions update audit --file audit.json`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (file != "") == define.given() {
				return usagef("gyre subscriptions update %s --concurrency 8", shellQuote(args[0])).because("say what to change, with flags or with --file")
			}
			return a.manage(cmd.Context(), func(ctx context.Context, all sdk.Subscriptions) error {
				info, err := all.Info(ctx, args[0])
				if err != nil {
					return err
				}
				d := info.Definition
				define.change(&d)
				if err := checkPluginFlags(func(string) bool { return false }, "", define.mapTo); err != nil { // an empty filter-plugin removes it
					return err
				}
				if file != "" {
					if err := a.readDefinition(file, &d); err != nil {
						return err
					}
				}
				if err := all.Redefine(ctx, args[0], &d); err != nil {
					return err
				}
				return a.printState(ctx, all, args[0])
			})
		},
	}
	define.registerOptions(cmd)
	cmd.Flags().StringVar(&file, "file", "", "file with the changes in JSON; - for stdin")
	return a.completeSubscription(a.talks(cmd))
}

// newSubscriptionsControl makes pause or resume.
func newSubscriptionsControl(a *app, verb, short string, do func(sdk.Subscriptions, context.Context, string) error) *cobra.Command {
	cmd := &cobra.Command{
		Use:     verb + " NAME",
		Short:   short,
		Example: "  gyre subscriptions " + verb + " billing",
		Args:    takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.manage(cmd.Context(), func(ctx context.Context, all sdk.Subscriptions) error {
				if err := do(all, ctx, args[0]); err != nil {
					return err
				}
				return a.printState(ctx, all, args[0])
			})
		},
	}
	return a.completeSubscription(a.talks(cmd))
}

// printState prints the state of a subscription after a change.
func (a *app) printState(ctx context.Context, all sdk.Subscriptions, name string) error {
	info, err := all.Info(ctx, name)
	if err != nil {
		return err
	}
	return printOne(a, info, func(i subscriptions.Info) string {
		state := string(i.State)
		if i.State == delivery.Stopped && i.Reason != "" {
			state += ": " + cell(i.Reason, maxReasonBytes)
		}
		return fmt.Sprintf("%s is %s at checkpoint %d, lag %d", cell(i.Name, maxNameCell), state, i.Checkpoint, i.Lag)
	})
}

const resetHelp = `Move the checkpoint of a subscription. Events from there on are delivered, again or for the
first time; events before it are not. Subscribers join again by themselves. Parked events
stay parked.

--to takes start, end, a number (the first version, or position of $all, to deliver), a
time, or a cursor. --after N goes on with the event after a version or position.`

func newSubscriptionsReset(a *app) *cobra.Command {
	var to string
	var after uint64
	cmd := &cobra.Command{
		Use:   "reset NAME --to PLACE|--after N",
		Short: "Move the checkpoint of a subscription",
		Long:  resetHelp,
		Example: `  gyre subscriptions reset billing --to start
  gyre subscriptions reset billing --to 2026-11-23T10:00:00Z`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			isAfter := cmd.Flags().Changed("after")
			if isAfter == (to != "") {
				return usagef("--to start").because("say where the subscription goes on, with --to or with --after")
			}
			return a.manage(cmd.Context(), func(ctx context.Context, all sdk.Subscriptions) error {
				info, err := all.Info(ctx, args[0])
				if err != nil {
					return err
				}
				from := core.FromAfter(after, info.Stream)
				if !isAfter {
					if from, err = parsePlace(to, info.Stream); err != nil {
						return err
					}
				}
				if err := all.Reset(ctx, args[0], from); err != nil {
					return err
				}
				return a.printState(ctx, all, args[0])
			})
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "start, end, N, a time or a cursor")
	cmd.Flags().Uint64Var(&after, "after", 0, "go on after this version, or position of $all")
	return a.completeSubscription(a.talks(cmd))
}

// deleted is the printed result of delete.
type deleted struct {
	Name   string `json:"name"`
	Parked int    `json:"parked"`
}

func newSubscriptionsDelete(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "delete NAME",
		Short:   "Delete a subscription with its checkpoint and parked list; events stay in the log",
		Example: "  gyre subscriptions delete billing",
		Args:    takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.manage(cmd.Context(), func(ctx context.Context, all sdk.Subscriptions) error {
				info, err := all.Info(ctx, args[0])
				if err != nil {
					return err
				}
				if err := all.Delete(ctx, args[0]); err != nil {
					return err
				}
				return printOne(a, deleted{info.Name, info.Parked}, func(d deleted) string {
					return fmt.Sprintf("deleted %s, with %d parked events", cell(d.Name, maxNameCell), d.Parked)
				})
			})
		},
	}
	return a.completeSubscription(a.talks(cmd))
}
