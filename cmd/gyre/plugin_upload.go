package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/sdk"
)

const uploadHelp = `Store a version of a plugin at the node, and change no binding. The plugin is a directory, which is
built first, or a module, FILE.wasm. A version that is there with the same content stays.

A version can then be tried with gyre plugin dry-run, or deployed with gyre plugin deploy
NAME@VERSION.`

func newPluginUpload(a *app) *cobra.Command {
	var manifest string
	cmd := &cobra.Command{
		Use:   "upload [DIR|FILE.wasm]",
		Short: "Store a version of a plugin, without putting it to work",
		Long:  uploadHelp,
		Example: `  gyre plugin upload
  gyre plugin upload counter.wasm && gyre plugin dry-run counter --version 0.2.0 --against 0.1.0`,
		Args: takes(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd.Context(), func(client *sdk.Client) error {
				v, err := a.deployedVersion(cmd.Context(), client.Plugins(), strings.Join(args, ""), manifest, nil)
				if err != nil {
					return err
				}
				return printOne(a, v, func(v plugins.Version) string {
					return fmt.Sprintf("%s %s is there, %s of %s bytes", cell(v.Plugin, maxNameCell), cell(v.Version, maxNameCell), v.Manifest.Kind.A(), comma(v.Bytes))
				})
			})
		},
	}
	cmd.Flags().StringVar(&manifest, "manifest", "", "file with the manifest of a module that has none in it")
	return a.talks(cmd)
}
