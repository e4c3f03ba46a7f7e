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
	section(cmd, "develop", "Write a plugin:", newPluginNew(a), newPluginBuild(a), newPluginTest(a), newPluginDev(a))
	section(cmd, "deploy", "Put it to work:",
		newPluginUpload(a), newPluginVersions(a), newPluginDeploy(a), newPluginRemove(a),
		newPluginControl(a, "pause", "Stop a plugin after the batch that it is handling", sdk.Plugins.Pause),
		newPluginControl(a, "resume", "Go on after a pause or a stop", sdk.Plugins.Resume),
	)
	section(cmd, "look", "See what it does:",
		newPluginList(a), newPluginInfo(a), newPluginLogs(a), newPluginState(a), newPluginQuery(a), newPluginWatch(a), newPluginPoison(a))
	section(cmd, "change", "Try another version, change to it, and go back:",
		newPluginDryRun(a), newPluginShadow(a), newPluginDiff(a), newPluginSwitch(a), newPluginRollback(a), newPluginRebuild(a),
		newPluginControl(a, "cancel-rebuild", "Drop the generation that a rebuild builds", sdk.Plugins.CancelRebuild),
		newPluginControl(a, "drop-before", "Drop the generation before, which a rollback goes back to", sdk.Plugins.DropBefore),
	)
	return cmd
}

// section adds commands that the help of cmd lists under a title.
func section(cmd *cobra.Command, id, title string, commands ...*cobra.Command) {
	cmd.AddGroup(&cobra.Group{ID: id, Title: title})
	for _, c := range commands {
		c.GroupID = id
	}
	cmd.AddCommand(commands...)
}

// completeDirs completes the directories of plugins.
func completeDirs(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveFilterDirs
}
