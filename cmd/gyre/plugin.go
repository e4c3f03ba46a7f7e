package main

import (
	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/sdk"
)

const pluginHelp = `Write plugins, and put them to work. A plugin is a WebAssembly module that handles events inside
the server: what it appends, its state and its place in the log are written together, so each
event has its effect once.

  gyre plugin new counter && cd counter
  gyre plugin build
  gyre plugin test
  gyre plugin dev
  gyre plugin deploy
  gyre plugin state counter
  gyre plugin logs counter -f

new, build, test and dev need no node. What is deployed has the name of its plugin, unless it is
told otherwise; each version of a plugin can be deployed under several names.`

func newPlugin(a *app) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "plugin",
		Short: "Write plugins, which handle events inside the server",
		Long:  pluginHelp,
	})
	cmd.AddCommand(
		newPluginNew(a), newPluginBuild(a), newPluginTest(a), newPluginDev(a), newPluginUpload(a), newPluginDeploy(a), newPluginList(a), newPluginInfo(a),
		newPluginLogs(a), newPluginState(a), newPluginQuery(a), newPluginWatch(a), newPluginDryRun(a), newPluginShadow(a), newPluginDiff(a), newPluginPoison(a),
		newPluginControl(a, "pause", "Stop a plugin after the batch that it is handling", sdk.Plugins.Pause),
		newPluginControl(a, "resume", "Go on after a pause or a stop", sdk.Plugins.Resume),
		newPluginRollback(a), newPluginRebuild(a), newPluginSwitch(a),
		newPluginControl(a, "cancel-rebuild", "Drop the generation that a rebuild builds", sdk.Plugins.CancelRebuild),
		newPluginControl(a, "drop-before", "Drop the generation before, which a rollback goes back to", sdk.Plugins.DropBefore),
		newPluginRemove(a), newPluginVersions(a),
	)
	return cmd
}

// completeDirs completes the directories of plugins.
func completeDirs(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveFilterDirs
}
