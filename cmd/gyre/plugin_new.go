package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/project"
)

const pluginNewHelp = `Make a directory with a plugin that builds, passes its tests and can be deployed as it is. It is in
Go, Rust, C or AssemblyScript, and of any kind: a projection counts events by their type, a handler
asks for the shipping of orders that are paid, a filter, a map and a partitioner shape a
subscription, a validator refuses orders without a total. The SDK is in the directory. Nothing is
downloaded, but for the compiler of AssemblyScript by npm ci.

A plugin in a language without a template is a directory with a gyre.plugin.json, which has
build, the command that builds the module, module, the file that the command writes, and perhaps
test, the command that runs its own tests.`

// madePlugin is what new reports.
type madePlugin struct {
	Name      string       `json:"name"`
	Directory string       `json:"directory"`
	Language  string       `json:"language"`
	Kind      plugins.Kind `json:"kind"`
}

func newPluginNew(a *app) *cobra.Command {
	var language, kind string
	cmd := &cobra.Command{
		Use:   "new NAME",
		Short: "Make a directory with a new plugin",
		Long:  pluginNewHelp,
		Example: `  gyre plugin new counter --lang go
  gyre plugin new totals --lang rust --kind validate`,
		Args:              takes(1, 1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(_ *cobra.Command, args []string) error {
			name := args[0]
			made := project.New{Name: name, Language: language, Kind: plugins.Kind(kind), SDKVersion: version}
			err := project.Create(name, made)
			if errors.Is(err, core.CodeInvalidRequest) {
				return usagef("gyre plugin new counter --lang go --kind projection").because("%s", core.AsError(err).Detail)
			}
			if err != nil {
				return err
			}
			program := a.program
			if filepath.Base(program) != program { // a relative path, one directory further down
				program = filepath.Join("..", program)
			}
			err = printOne(a, madePlugin{name, name, language, made.Kind}, func(m madePlugin) string {
				return fmt.Sprintf("made the plugin %s in ./%s", m.Name, m.Directory)
			})
			fmt.Fprintf(a.stderr, "Try: cd %s && %s\n", name, made.Commands(program))
			return err
		},
	}
	kinds := make([]string, 0, len(plugins.Kinds()))
	for _, k := range plugins.Kinds() {
		kinds = append(kinds, string(k))
	}
	cmd.Flags().StringVar(&language, "lang", "go", "the language: "+strings.Join(project.Languages(), ", "))
	cmd.Flags().StringVar(&kind, "kind", string(plugins.KindProjection), "what the plugin is: "+strings.Join(kinds, ", "))
	for flag, choices := range map[string][]string{"lang": project.Languages(), "kind": kinds} {
		if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(choices, cobra.ShellCompDirectiveNoFileComp)); err != nil {
			panic(err) // the flag is there
		}
	}
	return cmd
}
