package main

import (
	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/plugins/wasm"
)

// newPluginCompile is the command that a node runs as its child to compile a plugin. It is
// hidden, because nobody types it.
func newPluginCompile(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    "plugin-compile DIR",
		Short:  "compile a plugin for a node, from standard input into DIR",
		Hidden: true,
		Args:   takes(1, 1),
		RunE:   func(_ *cobra.Command, args []string) error { return wasm.RunCompiler(args[0], a.stdin) },
	}
}
