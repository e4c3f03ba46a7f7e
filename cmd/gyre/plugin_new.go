package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/plugins/project"
)

const pluginNewHelp = `Make a directory with a plugin that builds, passes its tests and can be deployed as it is. It counts
events by their type. All that it needs is in it: nothing is downloaded.

A plugin in a language without a template is a directory with a gyre.plugin.json, which has
build, the command that builds the module, and module, the file that the command writes.`

// madePlugin is what new reports.
type madePlugin struct {
	Name      string `json:"name"`
	Directory string `json:"directory"`
	Language  string `json:"language"`
}

func newPluginNew(a *app) *cobra.Command {
	var language string
	cmd := &cobra.Command{
		Use:               "new NAME",
		Short:             "Make a directory with a new plugin",
		Long:              pluginNewHelp,
		Example:           "  gyre plugin new counter --lang go",
		Args:              takes(1, 1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(_ *cobra.Command, args []string) error {
			name := args[0]
			if err := project.Create(name, name, language, version); err != nil {
				return err
			}
			program := a.program
			if filepath.Base(program) != program { // a relative path, one directory further down
				program = filepath.Join("..", program)
			}
			fmt.Fprintf(a.stderr, "Try: cd %[1]s && %[2]s plugin build && %[2]s plugin test\n", name, program)
			return printOne(a, madePlugin{name, name, language}, func(m madePlugin) string {
				return fmt.Sprintf("made the plugin %s in ./%s", m.Name, m.Directory)
			})
		},
	}
	cmd.Flags().StringVar(&language, "lang", project.Go, "the language: go")
	complete := cobra.FixedCompletions([]string{project.Go}, cobra.ShellCompDirectiveNoFileComp)
	if err := cmd.RegisterFlagCompletionFunc("lang", complete); err != nil {
		panic(err) // the flag is there
	}
	return cmd
}
