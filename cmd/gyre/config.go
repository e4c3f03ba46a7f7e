package main

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const configHelp = `Show the settings of a running node that are in effect, and where each comes from: a flag, the
environment, the file of --config, or the default. ••• stands for what is secret.`

// maxSettingCell is how much of a setting a row shows.
const maxSettingCell = 80

func newConfig(a *app) *cobra.Command {
	var changed bool
	var node string
	cmd := &cobra.Command{
		Use:     "config",
		Short:   "Show the settings of a running node",
		Long:    configHelp,
		Example: "  gyre config\n  gyre config --changed -o json",
		Args:    takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var s wire.Settings
			err := a.ask(cmd.Context(), func(ctx context.Context, client *sdk.Client) (err error) {
				s, err = client.Settings(ctx, node)
				return unknownNode(err)
			})
			if err != nil {
				return err
			}
			if changed {
				s.Settings = slices.DeleteFunc(s.Settings, func(s wire.Setting) bool { return s.Source == wire.FromDefault })
			}
			return printList(a, s.Settings, []string{"setting", "value", "from"}, func(s wire.Setting) []string {
				from := s.From
				if from == "" {
					from = s.Source
				}
				return []string{s.Name, cell(s.Value, maxSettingCell), cell(from, maxSettingCell)}
			})
		},
	}
	cmd.Flags().BoolVar(&changed, "changed", false, "only those that are not the default's")
	return a.aboutNode(cmd, &node, "id of the node to ask (default the one of --server)")
}
