package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const clusterHelp = `Show the ring that a node is in, or take a node out of it.

Each stream and each subscription has one owner among the members of the newest view. Every node
takes every call and hands it to the owner. Members below quorum serve nothing. These commands
work below quorum, too.`

// maxNodeCell is how much of a node's id a row shows: all of it.
const maxNodeCell = 128

func newCluster(a *app) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "cluster",
		Short: "Show the ring of nodes, and who owns what",
		Long:  clusterHelp,
	})
	cmd.AddCommand(
		newClusterStatus(a), newClusterMembers(a), newClusterViews(a), newClusterWhereIs(a), newClusterOwned(a),
		newClusterOrder(a, "drain", "Have a node hand over all that it owns; it still takes calls",
			"is drained: it owns nothing until gyre cluster undrain, or a restart", func(c sdk.Cluster, ctx context.Context, node string) error { return c.Drain(ctx, node, true) }),
		newClusterOrder(a, "undrain", "Have a drained node own its share again",
			"owns its share again", func(c sdk.Cluster, ctx context.Context, node string) error { return c.Drain(ctx, node, false) }),
		newClusterOrder(a, "leave", "Drain a node and then end its process",
			"has handed over all that it owned, and ends", sdk.Cluster.Leave),
	)
	return cmd
}

// askCluster runs f with the ring of the node, within the timeout of one request.
func (a *app) askCluster(ctx context.Context, f func(context.Context, sdk.Cluster) error) error {
	return a.ask(ctx, func(ctx context.Context, client *sdk.Client) error { return unknownNode(f(ctx, client.Cluster())) })
}

// unknownNode says what to do about a node that the ring does not have.
func unknownNode(err error) error {
	if errors.Is(err, core.CodeNotFound) {
		return &advised{err, "Name one of these with --node; gyre cluster members lists them."}
	}
	return err
}

// aboutNode adds --node to a command, and completes it.
func (a *app) aboutNode(cmd *cobra.Command, node *string, usage string) *cobra.Command {
	cmd.Flags().StringVar(node, "node", "", usage)
	err := cmd.RegisterFlagCompletionFunc("node", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return a.completions(cmd, func(ctx context.Context, client *sdk.Client) (nodes []string, err error) {
			list, err := client.Cluster().Members(ctx, "")
			for _, m := range list.Members {
				nodes = append(nodes, m.Node)
			}
			return nodes, err
		})
	})
	if err != nil {
		panic(err) // the flag is there
	}
	return a.talks(cmd)
}

func newClusterStatus(a *app) *cobra.Command {
	var node string
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show whether a node serves, the newest view, and its members",
		Example: "  gyre cluster status\n  gyre cluster status --node node2 -o json",
		Args:    takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.askCluster(cmd.Context(), func(ctx context.Context, c sdk.Cluster) error {
				status, err := c.Status(ctx, node)
				if err != nil {
					return err
				}
				return a.printStatus(status)
			})
		},
	}
	return a.aboutNode(cmd, &node, "id of the node to ask (default the one of --server)")
}

// printStatus prints a node's view of the ring, with its members as a table.
func (a *app) printStatus(s ring.Status) error {
	if err := printOne(a, s, statusWords); err != nil || a.output == asJSON || a.output == asNDJSON {
		return err
	}
	if err := printList(a, s.Members, []string{"node", "address", "state", "slots", "beat", "version"}, func(m ring.Seen) []string {
		return []string{cell(m.Node, maxNodeCell), m.Addr, string(m.State), strconv.Itoa(m.Slots), beatOf(m), visible(m.Version)}
	}); err != nil {
		return err
	}
	for _, w := range s.Warnings {
		fmt.Fprintf(a.stderr, "Warning: %s\n", w)
	}
	return nil
}

func statusWords(s ring.Status) string {
	var b strings.Builder
	fmt.Fprintf(&b, "ring     %s\n", visible(s.Cluster))
	fmt.Fprintf(&b, "node     %s\n", visible(s.Self.Node))
	serving := "yes"
	switch {
	case !s.Serving:
		serving = "no: " + visible(s.Reason)
	case s.Draining:
		serving = "yes, as an entry node: it is drained"
	case s.Filtered:
		serving = "yes, as an entry node: it is filtered out"
	}
	fmt.Fprintf(&b, "serving  %s\n", serving)
	if s.View.Epoch == 0 {
		b.WriteString("view     none yet\n")
	} else {
		fmt.Fprintf(&b, "view     epoch %d, %s: %s\n", s.View.Epoch, wire.FormatTime(s.View.At), visible(s.View.Reason))
		fmt.Fprintf(&b, "quorum   %d; %d of %d members are alive\n", s.View.Quorum, s.Alive, len(s.View.Members))
	}
	for _, m := range s.Moves {
		fmt.Fprintf(&b, "moving   %d slots from %s to %s\n", m.Slots, visible(m.From), visible(m.To))
	}
	fmt.Fprintf(&b, "waiting  %d calls\n", s.Waiting)
	for i, p := range s.Providers {
		title := "found"
		if i > 0 {
			title = ""
		}
		fmt.Fprintf(&b, "%-7s  %s\n", title, providerWords(p))
	}
	return b.String()
}

// maxFound is how many addresses of a provider a line shows.
const maxFound = 5

// providerWords says what a provider found last.
func providerWords(p ring.Provider) string {
	found := "nobody"
	if len(p.Addresses) > 0 {
		found = visible(strings.Join(p.Addresses[:min(len(p.Addresses), maxFound)], ", "))
	}
	if more := len(p.Addresses) - maxFound; more > 0 {
		found += fmt.Sprintf(" and %d more", more)
	}
	if p.Problem != "" {
		found += ", and fails: " + cell(p.Problem, maxReasonBytes)
	}
	return fmt.Sprintf("by %s: %s", visible(p.Name), found)
}

// beatOf is how long ago a session's beat was seen.
func beatOf(m ring.Seen) string {
	return (time.Duration(m.BeatAgeMs) * time.Millisecond).Round(100*time.Millisecond).String() + " ago"
}

// seenBy is a session as a node sees it, or why that node says nothing.
type seenBy struct {
	SeenBy  string `json:"seenBy"`
	Health  int    `json:"health"`
	Problem string `json:"problem,omitempty"`
	// SyncMissing is what SeenBy waits for.
	SyncMissing ring.Missing `json:"syncMissing,omitzero"`
	*ring.Seen
}

func newClusterMembers(a *app) *cobra.Command {
	var node string
	cmd := &cobra.Command{
		Use:     "members",
		Short:   "Show all nodes as each of them sees them",
		Example: "  gyre cluster members\n  gyre cluster members --node node2",
		Args:    takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.askCluster(cmd.Context(), func(ctx context.Context, c sdk.Cluster) error {
				list, err := c.Members(ctx, node)
				if err != nil {
					return err
				}
				rows := rowsOf(list)
				if node == "" {
					rows = everyView(ctx, c, list)
				}
				return a.printMembers(rows)
			})
		},
	}
	return a.aboutNode(cmd, &node, "show only what this node sees (default all nodes)")
}

// printMembers prints what nodes see, and below it those that could not be asked.
func (a *app) printMembers(rows []seenBy) error {
	table := rows
	if a.output != asJSON && a.output != asNDJSON {
		table = slices.DeleteFunc(slices.Clone(rows), func(s seenBy) bool { return s.Seen == nil })
	}
	if err := printList(a, table, []string{"seen by", "node", "gossip", "beat", "in view", "slots", "released", "session", "quorum", "version"}, memberRow); err != nil {
		return err
	}
	for _, s := range rows {
		if s.Seen == nil {
			fmt.Fprintf(a.stderr, "%s was not asked: %s\n", visible(s.SeenBy), cell(s.Problem, maxProblem))
		}
	}
	return nil
}

// maxProblem is how many characters of a problem a line shows.
const maxProblem = 100

// everyView asks every node that is there for what it sees.
func everyView(ctx context.Context, c sdk.Cluster, first ring.MemberList) []seenBy {
	views := make([][]seenBy, len(first.Members))
	var asking sync.WaitGroup
	for i, m := range first.Members {
		switch {
		case m.Node == first.Node:
			views[i] = rowsOf(first)
		case !m.Beats || m.GossipState == ring.GossipDead:
			views[i] = []seenBy{{SeenBy: m.Node, Problem: "it is " + string(m.State)}}
		default:
			asking.Go(func() {
				list, err := c.Members(ctx, m.Node)
				if views[i] = rowsOf(list); err != nil {
					views[i] = []seenBy{{SeenBy: m.Node, Problem: core.AsError(err).Error()}}
				}
			})
		}
	}
	asking.Wait()
	return slices.Concat(views...)
}

func rowsOf(list ring.MemberList) (rows []seenBy) {
	for i := range list.Members {
		rows = append(rows, seenBy{SeenBy: list.Node, Health: list.Health, SyncMissing: list.SyncMissing, Seen: &list.Members[i]})
	}
	return rows
}

func memberRow(s seenBy) []string {
	by := cell(s.SeenBy, maxNodeCell)
	if s.Health > 0 {
		by += fmt.Sprintf(" (health %d)", s.Health)
	}
	if s.SyncMissing.Len() > 0 {
		by += " (waits for " + cell(strings.Join(slices.Concat(s.SyncMissing.Mandatory, s.SyncMissing.Optional), ", "), maxNodeCell) + ")"
	}
	in := "no"
	if s.InView {
		in = "yes"
	}
	return []string{
		by, cell(s.Node, maxNodeCell), string(s.GossipState), beatOf(*s.Seen), in, strconv.Itoa(s.Slots),
		strconv.FormatUint(s.Released, 10), strconv.FormatUint(s.Session, 10), strconv.Itoa(s.Quorum), visible(s.Version),
	}
}

func newClusterViews(a *app) *cobra.Command {
	var before uint64
	limit := 20
	cmd := &cobra.Command{
		Use:     "views",
		Short:   "Show the history of views, the newest first, with their reasons",
		Example: "  gyre cluster views\n  gyre cluster views --before 120 --limit 50 -o ndjson",
		Args:    takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 || limit > core.MaxReadEvents {
				return usagef("--limit 100").because("--limit %d is not from 1 to %d", limit, core.MaxReadEvents)
			}
			return a.askCluster(cmd.Context(), func(ctx context.Context, c sdk.Cluster) error {
				views, err := c.Views(ctx, before, limit)
				if err != nil {
					return err
				}
				return printList(a, views, []string{"epoch", "time", "members", "quorum", "moved", "reason"}, viewRow)
			})
		},
	}
	cmd.Flags().Uint64Var(&before, "before", 0, "only views before this epoch (default the newest)")
	cmd.Flags().IntVar(&limit, "limit", limit, "how many epochs to show")
	return a.talks(cmd)
}

func viewRow(v ring.View) []string {
	var nodes []string
	for _, m := range v.Members {
		nodes = append(nodes, visible(m.Node))
	}
	return []string{strconv.FormatUint(v.Epoch, 10), wire.FormatTime(v.At), strings.Join(nodes, ", "), strconv.Itoa(v.Quorum), strconv.Itoa(v.Moved), visible(v.Reason)}
}

func newClusterWhereIs(a *app) *cobra.Command {
	var subscription string
	cmd := &cobra.Command{
		Use:     "whereis STREAM",
		Short:   "Show the owner of a stream or a subscription",
		Example: "  gyre cluster whereis order-1\n  gyre cluster whereis --subscription billing",
		Args:    takes(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (subscription == "") == (len(args) == 0) {
				return usagef("gyre cluster whereis order-1, or --subscription billing").because("one stream, or one subscription, is asked for")
			}
			kind, name := ring.KindSubscription, subscription
			if len(args) > 0 {
				kind, name = ring.KindStream, args[0]
			}
			return a.askCluster(cmd.Context(), func(ctx context.Context, c sdk.Cluster) error {
				w, err := c.WhereIs(ctx, kind, name)
				if err != nil {
					return err
				}
				return printOne(a, w, whereWords)
			})
		},
	}
	cmd.Flags().StringVar(&subscription, "subscription", "", "name of a subscription, in place of a stream")
	if err := cmd.RegisterFlagCompletionFunc("subscription", a.subscriptionNames); err != nil {
		panic(err) // the flag is there
	}
	return a.completeStream(a.talks(cmd))
}

func whereWords(w ring.Whereabouts) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-12s  %s\n", w.Kind, cell(w.Name, core.MaxStreamNameBytes))
	fmt.Fprintf(&b, "slot          %d, in the view of epoch %d\n", w.Slot, w.Epoch)
	if w.Owner != nil {
		fmt.Fprintf(&b, "owner         %s at %s\n", visible(w.Owner.Node), w.Owner.Addr)
	}
	switch {
	case w.Problem != "":
		fmt.Fprintf(&b, "open          unknown: %s", visible(w.Problem))
	case w.Open == nil:
		b.WriteString("open          no: the owner has not used it lately")
	default:
		fmt.Fprintf(&b, "open          yes, since %s, used %s", wire.FormatTime(w.Open.Since), wire.FormatTime(w.Open.Used))
	}
	return b.String()
}

func newClusterOwned(a *app) *cobra.Command {
	var node, kind string
	var r ring.OwnedRequest
	cmd := &cobra.Command{
		Use:   "owned",
		Short: "List streams that a node wrote lately, and subscriptions that it hosts",
		Example: `  gyre cluster owned --node node2
  gyre cluster owned --kind subscription -o ndjson | jq -r .name`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if r.Limit < 0 {
				return usagef("--limit 100").because("--limit %d is less than 0", r.Limit)
			}
			r.Kind = ring.Kind(kind)
			return a.withClient(cmd.Context(), func(client *sdk.Client) error {
				return a.listOwned(cmd.Context(), client.Cluster(), node, r)
			})
		},
	}
	cmd.Flags().StringVar(&r.Prefix, "prefix", "", "only names with this prefix")
	cmd.Flags().StringVar(&kind, "kind", "", "only names of this kind: stream or subscription")
	cmd.Flags().IntVar(&r.Limit, "limit", 0, "how many at most (default all)")
	if err := cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions([]string{string(ring.KindStream), string(ring.KindSubscription)}, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag is there
	}
	return a.aboutNode(cmd, &node, "id of the node to ask (default the one of --server)")
}

// listOwned prints a page after another, up to r.Limit if it is not 0.
func (a *app) listOwned(ctx context.Context, c sdk.Cluster, node string, r ring.OwnedRequest) error {
	out := list[ring.Owned]{app: a, header: []string{"kind", "name", "slot", "epoch", "version", "checkpoint", "since", "used"}, row: ownedRow}
	return out.printAll(ctx, r.Limit, func(ctx context.Context, most int) ([]ring.Owned, bool, error) {
		r.Limit = most
		page, err := c.Owned(ctx, node, r)
		r.After = page.Next
		return page.Owned, page.Next == "", err
	})
}

func ownedRow(o ring.Owned) []string {
	number := func(n uint64) string {
		if n == 0 {
			return "-"
		}
		return strconv.FormatUint(n, 10)
	}
	return []string{
		string(o.Kind), cell(o.Name, core.MaxStreamNameBytes), strconv.Itoa(o.Slot), strconv.FormatUint(o.Epoch, 10),
		number(o.Version), number(o.Checkpoint), wire.FormatTime(o.Since), wire.FormatTime(o.Used),
	}
}

// obeyed is an order that a node has carried out, as JSON.
type obeyed struct {
	Node  string `json:"node"`
	Order string `json:"order"` // the command: drain, undrain or leave
}

// newClusterOrder makes the command of an order to a node.
func newClusterOrder(a *app, use, short, done string, give func(sdk.Cluster, context.Context, string) error) *cobra.Command {
	var node string
	cmd := &cobra.Command{
		Use:     use,
		Short:   short,
		Example: fmt.Sprintf("  gyre cluster %s --node node2", use),
		Args:    takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.askCluster(cmd.Context(), func(ctx context.Context, c sdk.Cluster) error {
				status, err := c.Status(ctx, node)
				if err == nil {
					err = give(c, ctx, status.Self.Node)
				}
				switch {
				case errors.Is(err, core.CodeNoNodeAvailable):
					return &advised{err, "Start another node first. gyre cluster members lists those that are alive."}
				case err != nil:
					return err
				case a.output == asJSON || a.output == asNDJSON:
					return printOne(a, obeyed{status.Self.Node, use}, nil)
				}
				fmt.Fprintf(a.stderr, "%s %s.\n", visible(status.Self.Node), done)
				return nil
			})
		},
	}
	return a.aboutNode(cmd, &node, "id of the node (default the one of --server)")
}
