package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// managePlugins runs f with the node's plugins, within the timeout of one request.
func (a *app) managePlugins(ctx context.Context, f func(context.Context, sdk.Plugins) error) error {
	return a.ask(ctx, func(ctx context.Context, client *sdk.Client) error { return f(ctx, client.Plugins()) })
}

// completeBinding has the shell complete the first argument, a binding's name.
func (a *app) completeBinding(cmd *cobra.Command) *cobra.Command {
	return a.completePlugins(cmd, isBound)
}

// isBound reports whether a name is one of a binding.
func isBound(l *plugins.Listed) bool { return l.Binding != nil }

// completePlugins has the shell complete the first argument, a name that is listed.
func (a *app) completePlugins(cmd *cobra.Command, is func(*plugins.Listed) bool) *cobra.Command {
	return completeFirst(cmd, cobra.ShellCompDirectiveNoFileComp, func(cmd *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
		return a.listedNames(cmd, prefix, is)
	})
}

// listedNames are the names of plugins and bindings that begin with a prefix, for a shell.
func (a *app) listedNames(cmd *cobra.Command, prefix string, is func(*plugins.Listed) bool) ([]string, cobra.ShellCompDirective) {
	return a.completions(cmd, func(ctx context.Context, client *sdk.Client) (names []string, err error) {
		page, err := client.Plugins().List(ctx, plugins.ListRequest{Prefix: prefix, Limit: completeNames})
		for i := range page.Plugins {
			if is(&page.Plugins[i]) {
				names = append(names, page.Plugins[i].Name)
			}
		}
		return names, err
	})
}

func newPluginList(a *app) *cobra.Command {
	var prefix string
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List plugins and what is deployed of them, by name",
		Example: `  gyre plugin ls
  gyre plugin ls -o ndjson | jq -r 'select(.binding.lag > 1000).name'`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(cmd.Context(), func(client *sdk.Client) error {
				out := list[plugins.Listed]{
					app: a, header: []string{"name", "state", "version", "lanes", "checkpoint", "lag", "parked", "state bytes"}, row: listedRow,
				}
				after := ""
				return out.printAll(cmd.Context(), 0, func(ctx context.Context, most int) ([]plugins.Listed, bool, error) {
					page, err := client.Plugins().List(ctx, plugins.ListRequest{Prefix: prefix, After: after, Limit: most})
					n := len(page.Plugins)
					if n > 0 {
						after = page.Plugins[n-1].Name
					}
					return page.Plugins, page.End || n == 0, err
				})
			})
		},
	}
	cmd.Flags().StringVar(&prefix, "prefix", "", "only names with this prefix")
	return a.talks(cmd)
}

func listedRow(l plugins.Listed) []string {
	b := l.Binding
	if b == nil {
		return []string{cell(l.Name, maxNameCell), "not deployed", cell(l.Version, maxNameCell), "", "", "", "", ""}
	}
	if b.Plugin == "" { // it cannot be read
		return []string{cell(b.Name, maxNameCell), string(b.State), "", "", "", "", "", ""}
	}
	version := b.Version
	if b.Plugin != b.Name {
		version = b.Plugin + "@" + version
	}
	if b.Kind == plugins.KindValidate {
		return []string{cell(b.Name, maxNameCell), string(b.State), cell(version, maxNameCell), "", "", "", "", ""}
	}
	return []string{
		cell(b.Name, maxNameCell), string(b.State), cell(version, maxNameCell), strconv.Itoa(b.Lanes), strconv.FormatUint(b.Checkpoint, 10),
		strconv.FormatUint(b.Lag, 10), strconv.Itoa(b.Parked), strconv.FormatInt(b.StateBytes, 10),
	}
}

const infoHelp = `Show what is deployed under a name, and how it is doing.

With NAME@VERSION, show what that version of the plugin NAME says about itself: what it asks for,
its config, and the schema that a config has to fit.`

func newPluginInfo(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "info NAME|NAME@VERSION",
		Short: "Show what is deployed under a name, or a version",
		Long:  infoHelp,
		Example: `  gyre plugin info counter
  gyre plugin info counter@0.1.0`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, version, isVersion := strings.Cut(args[0], "@")
			return a.managePlugins(cmd.Context(), func(ctx context.Context, all sdk.Plugins) error {
				if isVersion {
					v, err := all.Version(ctx, name, version)
					if err != nil {
						return err
					}
					return printOne(a, v, versionWords)
				}
				s, err := all.Status(ctx, args[0])
				if err != nil {
					return err
				}
				return printOne(a, s, bindingWords)
			})
		},
	}
	return a.completeBinding(a.talks(cmd))
}

// rows are named texts, one a line.
type rows struct{ strings.Builder }

func (r *rows) row(name, format string, args ...any) {
	fmt.Fprintf(r, "%-12s %s\n", name, fmt.Sprintf(format, args...))
}

func (r *rows) words() string { return strings.TrimRight(r.String(), "\n") }

// versionWords words a version, for info.
func versionWords(v plugins.Version) string {
	var b rows
	m := &v.Manifest
	b.row("plugin", "%s %s, a %s", cell(v.Plugin, maxNameCell), cell(v.Version, maxNameCell), m.Kind)
	if m.Description != "" {
		b.row("", "%s", cell(m.Description, dataWidth))
	}
	b.row("sha256", "%s", v.SHA256)
	b.row("uploaded", "%s, %s bytes", wire.FormatTime(v.Uploaded), comma(v.Bytes))
	b.row("input", "%s", inputWords(&m.Subscription))
	b.row("asks for", "%s", listWords(m.Capabilities))
	b.row("memory", "%s bytes to start with", comma(int64(v.Report.MemoryBytes)))
	if len(m.Config) > 0 {
		b.row("config", "%s", cell(string(m.Config), dataWidth))
	}
	if len(m.ConfigSchema) > 0 {
		b.row("schema", "%s", visible(string(m.ConfigSchema)))
	}
	return b.words()
}

func listWords(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return cell(strings.Join(list, ", "), dataWidth)
}

// bindingWords words the state of a binding, for info.
func bindingWords(s plugins.Status) string {
	if s.Kind == plugins.KindValidate {
		return validatorWords(s)
	}
	var b rows
	row := b.row
	row("binding", "%s", cell(s.Name, maxNameCell))
	row("plugin", "%s %s, a %s", cell(s.Plugin, maxNameCell), cell(s.Version, maxNameCell), s.Kind)
	row("sha256", "%s", s.SHA256)
	row("state", "%s", stateWords(&s))
	if s.Shadow != nil {
		row("shadow", "version %s: %s", cell(s.Shadow.Version, maxNameCell), strings.ReplaceAll(shadowWords(s.Shadow), "\n", "; "))
	}
	row("input", "%s", inputWords(&s.Input))
	row("checkpoint", "%d, lag %d", s.Checkpoint, s.Lag)
	row("parked", "%d", s.Parked)
	row("state bytes", "%s of %s", comma(s.StateBytes), comma(s.Limits.StateBytes))
	row("generation", "%d", s.Generation)
	if s.EmitAfter > 0 {
		row("", "appends are held back up to position %d", s.EmitAfter)
	}
	if b := s.Beside; b != nil {
		row("rebuild", "generation %d of version %s, %.0f%%: %s", b.Generation, cell(b.Version, maxNameCell), b.Percent, besideWords(b))
		if b.Hold {
			row("", "gyre plugin switch %s switches to it", shellQuote(s.Name))
		}
	}
	if b := s.Before; b != nil {
		row("before", "generation %d of version %s, at checkpoint %d, %s bytes of state", b.Generation, cell(b.Version, maxNameCell), b.Checkpoint, comma(b.StateBytes))
	}
	if s.Rollback != nil {
		row("rollback", "goes back to %s %s%s", s.Rollback.To, rollbackTarget(s.Rollback), otherwiseWords(&s, s.Rollback.To))
	}
	row("grants", "%s", listWords(s.Grants))
	if len(s.FormerGrants) > 0 {
		row("", "its state and log may be made of what it was granted before: %s", listWords(s.FormerGrants))
	}
	if s.AtLeastOnce {
		row("", "calls of other servers are made at least once: %d, %d of them failed", s.Totals.Calls, s.Totals.CallsFailed)
	}
	if len(s.MissingSecrets) > 0 {
		row("", "the node lacks %s", listWords(s.MissingSecrets))
	}
	if len(s.Config) > 0 {
		row("config", "%s", cell(string(s.Config), dataWidth))
	}
	row("on error", "%s, then %s", howMany(s.OnError.Attempts, "attempt", "attempts"), s.OnError.Then)
	row("deployed", "%s", wire.FormatTime(s.Deployed))
	for _, l := range s.LaneStatus {
		if s.Lanes == 1 && l.Attempts == 0 {
			break
		}
		row(fmt.Sprintf("lane %d", l.Lane), "%s", laneWords(l))
	}
	return b.words()
}

// rollbackTarget names what a rollback goes back to.
func rollbackTarget(p *plugins.RollbackPlan) string {
	if p.To == plugins.ToGeneration {
		return strconv.FormatUint(p.Generation, 10)
	}
	return cell(p.Version, maxNameCell)
}

// otherwiseWords says how to go back to the generation before where a rollback goes to a version: after
// a rebuild and then a deploy, rollbacks go to and fro between versions.
func otherwiseWords(s *plugins.Status, to plugins.RollbackTo) string {
	if to != plugins.ToVersion || s.Before == nil {
		return ""
	}
	return fmt.Sprintf("; with --to generation to generation %d of version %s", s.Before.Generation, cell(s.Before.Version, maxNameCell))
}

func laneWords(l plugins.LaneStatus) string {
	text := fmt.Sprintf("checkpoint %d", l.Checkpoint)
	if l.Attempts > 0 {
		text += fmt.Sprintf(", %d failed attempts: %s", l.Attempts, cell(l.Reason, maxReasonBytes))
	}
	return text
}

func stateWords(s *plugins.Status) string {
	if s.Reason != "" {
		return string(s.State) + ": " + cell(s.Reason, maxReasonBytes)
	}
	return string(s.State)
}

// inputWords words where the events of a binding are from.
func inputWords(i *plugins.Input) string {
	text := core.All
	if i.Stream != "" {
		text = cell(i.Stream, core.MaxStreamNameBytes)
	}
	for _, f := range []struct {
		name string
		list []string
	}{{"types", i.Filter.Types}, {"streams", i.Filter.Streams}} {
		if len(f.list) > 0 {
			text += ", " + f.name + " " + cell(strings.Join(f.list, " "), dataWidth)
		}
	}
	if i.Filter.Expr != "" {
		text += ", where " + cell(i.Filter.Expr, dataWidth)
	}
	if i.Filter.Plugin != "" {
		text += ", filtered by " + cell(string(i.Filter.Plugin), dataWidth)
	}
	if to := mapWords(&i.Map); to != "" {
		text += ", as " + cell(to, dataWidth)
	}
	if i.PartitionBy != "" {
		text += ", by " + cell(i.PartitionBy, dataWidth)
	}
	return text
}

// printBinding prints a binding after a change, in one line.
func (a *app) printBinding(s plugins.Status) error {
	return printOne(a, s, func(s plugins.Status) string {
		if s.Kind == plugins.KindValidate {
			return validatorChanged("", &s)
		}
		return fmt.Sprintf("%s %s is %s at checkpoint %d, lag %d",
			cell(s.Name, maxNameCell), cell(s.Version, maxNameCell), stateWords(&s), s.Checkpoint, s.Lag)
	})
}

// newPluginControl makes a command that takes nothing but a name.
func newPluginControl(a *app, verb, short string, do func(sdk.Plugins, context.Context, string) (plugins.Status, error)) *cobra.Command {
	cmd := &cobra.Command{
		Use:     verb + " NAME",
		Short:   short,
		Example: "  gyre plugin " + verb + " counter",
		Args:    takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.managePlugins(cmd.Context(), func(ctx context.Context, all sdk.Plugins) error {
				s, err := do(all, ctx, args[0])
				if err != nil {
					return err
				}
				return a.printBinding(s)
			})
		},
	}
	return a.completeBinding(a.talks(cmd))
}

func streamOf(i *plugins.Input) string {
	if i.Stream == "" {
		return core.All
	}
	return i.Stream
}

// removed is the printed result of rm.
type removed struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"` // if it was one
}

const removeHelp = `Delete what is deployed under a name: its state, its log and its place in the events go, too.
Versions and the events that it has appended stay.

With NAME@VERSION, delete that version of the plugin NAME. A version that a binding runs, or can
be rolled back to, is refused.`

func newPluginRemove(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "rm NAME|NAME@VERSION",
		Aliases: []string{"delete"},
		Short:   "Delete what is deployed under a name, or a version",
		Long:    removeHelp,
		Example: `  gyre plugin rm counter
  gyre plugin rm counter@0.1.0`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, version, isVersion := strings.Cut(args[0], "@")
			return a.managePlugins(cmd.Context(), func(ctx context.Context, all sdk.Plugins) error {
				err := error(nil)
				if isVersion {
					err = all.DeleteVersion(ctx, name, version)
				} else {
					err = all.Delete(ctx, name)
				}
				if err != nil {
					return err
				}
				return printOne(a, removed{name, version}, func(r removed) string {
					if r.Version != "" {
						return fmt.Sprintf("deleted version %s of %s", cell(r.Version, maxNameCell), cell(r.Name, maxNameCell))
					}
					return fmt.Sprintf("deleted %s with its state and log", cell(r.Name, maxNameCell))
				})
			})
		},
	}
	return a.completeBinding(a.talks(cmd))
}

func newPluginVersions(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "versions PLUGIN",
		Short:   "List the versions of a plugin that were uploaded",
		Example: "  gyre plugin versions counter",
		Args:    takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd.Context(), func(client *sdk.Client) error {
				var all []plugins.Version
				ask := func(ctx context.Context, most int) ([]plugins.Version, bool, error) {
					r := plugins.ListRequest{Limit: most}
					if n := len(all); n > 0 {
						r.After = all[n-1].Version
					}
					page, err := client.Plugins().Versions(ctx, args[0], r)
					return page.Versions, page.End || len(page.Versions) == 0, err
				}
				_, err := eachPage(cmd.Context(), a, 0, ask, func(page []plugins.Version) error {
					all = append(all, page...)
					return nil
				})
				if err != nil {
					return err
				}
				slices.SortStableFunc(all, func(v, w plugins.Version) int { return w.Uploaded.Compare(v.Uploaded) })
				return printList(a, all, []string{"version", "kind", "uploaded", "bytes", "asks for", "description"}, versionRow)
			})
		},
	}
	return a.completePlugins(a.talks(cmd), func(l *plugins.Listed) bool { return l.Version != "" })
}

func versionRow(v plugins.Version) []string {
	return []string{
		cell(v.Version, maxNameCell), string(v.Manifest.Kind), wire.FormatTime(v.Uploaded), strconv.FormatInt(v.Bytes, 10),
		cell(strings.Join(v.Manifest.Capabilities, " "), dataWidth), cell(v.Manifest.Description, dataWidth),
	}
}
