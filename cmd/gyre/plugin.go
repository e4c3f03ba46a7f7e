package main

import "github.com/spf13/cobra"

const pluginHelp = `Write plugins, and put them to work. A plugin is a WebAssembly module that handles events inside
the server: what it appends, its state and its place in the log are written together, so each
event has its effect once.

  gyre plugin new counter && cd counter
  gyre plugin build
  gyre plugin test

new, build and test need no node.`

func newPlugin(a *app) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "plugin",
		Short: "Write plugins, which handle events inside the server",
		Long:  pluginHelp,
	})
	cmd.AddCommand(newPluginNew(a), newPluginBuild(a), newPluginTest(a))
	return cmd
}

// completeDirs completes the directories of plugins.
func completeDirs(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveFilterDirs
}
