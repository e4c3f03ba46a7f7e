package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const shadowHelp = `Run a version of a plugin in the shadow of the one that is deployed. It handles the same batches, on
the same state; what it appends and changes is compared and not written. gyre plugin diff shows what
it does otherwise, and gyre plugin switch deploys it. --off ends it.

A version that fails, loops or is slow does no harm: it is dropped from batches that it does not
handle in the time that a batch has. It must be of the same kind, lanes and input.`

func newPluginShadow(a *app) *cobra.Command {
	var version string
	var off bool
	cmd := &cobra.Command{
		Use:   "shadow NAME --version VERSION",
		Short: "Run another version beside the one that is deployed, and compare them",
		Long:  shadowHelp,
		Example: `  gyre plugin shadow counter --version 0.2.0
  gyre plugin diff counter
  gyre plugin shadow counter --off`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if off == (version != "") {
				return usagef("gyre plugin shadow %s --version 0.2.0", shellQuote(args[0])).because("either --version or --off is needed")
			}
			return a.managePlugins(cmd.Context(), func(ctx context.Context, all sdk.Plugins) (err error) {
				var s plugins.Status
				if off {
					s, err = all.EndShadow(ctx, args[0])
				} else {
					s, err = all.Shadow(ctx, args[0], version)
				}
				if err != nil {
					return err
				}
				return printOne(a, s, func(s plugins.Status) string {
					if s.Shadow == nil {
						return fmt.Sprintf("%s %s has no shadow", cell(s.Name, maxNameCell), cell(s.Version, maxNameCell))
					}
					return fmt.Sprintf("%s %s runs in the shadow of %s", cell(s.Name, maxNameCell), cell(s.Shadow.Version, maxNameCell), cell(s.Version, maxNameCell))
				})
			})
		},
	}
	cmd.Flags().StringVar(&version, "version", "", "version to run in the shadow")
	cmd.Flags().BoolVar(&off, "off", false, "end it")
	return a.completeBinding(a.talks(cmd))
}

const diffHelp = `Show what the version that runs in the shadow did otherwise than the one that is deployed: how many
events, and the last of them with what each version did. It counts since the node runs the binding
with it; the position since when is shown. The last 1,000 are kept.`

func newPluginDiff(a *app) *cobra.Command {
	r := plugins.ShadowRequest{}
	cmd := &cobra.Command{
		Use:   "diff NAME",
		Short: "Show what the version in the shadow does otherwise",
		Long:  diffHelp,
		Example: `  gyre plugin diff counter
  gyre plugin diff counter --limit 1000 -o json | jq '.differences[].tried'`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if r.Limit < 1 || r.Limit > plugins.MaxDifferences {
				return usagef("--limit 100").because("--limit %d is not from 1 to %d", r.Limit, plugins.MaxDifferences)
			}
			return a.managePlugins(cmd.Context(), func(ctx context.Context, all sdk.Plugins) error {
				report, err := all.Differences(ctx, args[0], r)
				if err != nil {
					return err
				}
				return a.printShadow(&report)
			})
		},
	}
	cmd.Flags().IntVar(&r.Limit, "limit", plugins.DefaultShown, "how many events to show, the last ones")
	return a.completeBinding(a.talks(cmd))
}

// printShadow prints what a shadow did otherwise.
func (a *app) printShadow(r *plugins.ShadowReport) error {
	if a.output == asJSON || a.output == asNDJSON {
		return printOne(a, r, nil)
	}
	s := &r.Shadow
	fmt.Fprintf(a.stdout, "%s %s in the shadow of %s, since %s\n%s\n",
		cell(r.Binding, maxNameCell), cell(s.Version, maxNameCell), cell(r.Version, maxNameCell), wire.FormatTime(s.Began), shadowWords(s))
	list := make([]plugins.Difference, 0, len(r.Differences))
	for i := range r.Differences {
		list = append(list, r.Differences[i].Difference)
	}
	return a.printDifferences(list, s.Version, r.Version, 0)
}

// shadowWords words how a shadow is doing.
func shadowWords(s *plugins.ShadowStatus) string {
	words := "no event was compared yet: those that are appended from now on are"
	if s.Events > 0 || s.Since > 0 || s.CallsOut > 0 {
		words = fmt.Sprintf("%s compared behind position %d: %s, %s in outputs, %s in changes of state, %s in what became of them",
			howMany(s.Events, "event", "events"), s.Since, howMany(s.Differ, "differs", "differ"), comma(s.Outputs), comma(s.Writes), comma(s.Fates))
	}
	if s.Dropped > 0 {
		words += fmt.Sprintf("\n%s not compared: %s", howMany(s.Dropped, "event was", "events were"), cell(s.Why, maxReasonBytes))
	}
	if s.CallsOut > 0 {
		words += fmt.Sprintf("\n%s out, not compared: a version in the shadow calls no server and gets no secret", howMany(s.CallsOut, "event calls", "events call"))
	}
	if s.Ended != "" {
		words += "\nit has ended: " + cell(s.Ended, maxReasonBytes)
	}
	return words + fmt.Sprintf("\nfuel %s, %s in handlers; %s bytes of its state differ", comma(s.Fuel), time.Duration(s.Seconds*float64(time.Second)).Round(time.Millisecond), comma(s.OverlayBytes))
}
