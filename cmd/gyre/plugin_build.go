package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/project"
	"github.com/gyre-events/gyre/plugins/registry"
)

const pluginBuildHelp = `Build the plugin in DIR, or in this directory, and check the module as a node does. It becomes
NAME.wasm, with the manifest gyre.plugin.json in it.

A plugin in Go needs the Go toolchain, version 1.24 or newer. With abi stdio_1 in the manifest, it
is a program whose main reads and writes lines. Another language is built by the command that the
manifest has as build. Those of gyre plugin new need cargo with the target
wasm32-unknown-unknown; make, clang and wasm-ld; or Node with the npm package assemblyscript.
Nothing is downloaded, and the same source gives the same bytes. Raise version in the manifest
before you deploy a change.`

func newPluginBuild(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "build [DIR]",
		Short:             "Build a plugin's module and check it",
		Long:              pluginBuildHelp,
		Args:              takes(0, 1),
		ValidArgsFunction: completeDirs,
		RunE: func(cmd *cobra.Command, args []string) error {
			built, err := a.buildProject(cmd.Context(), directoryOf(args))
			if err != nil {
				return err
			}
			report, err := builtOf(built)
			if err != nil {
				return err
			}
			return printOne(a, report, (*builtModule).String)
		},
	}
}

// directoryOf is the argument of a command that is about a plugin's directory.
func directoryOf(args []string) string {
	if len(args) == 0 {
		return "."
	}
	return args[0]
}

// builtModule is what build reports.
type builtModule struct {
	Name         string       `json:"name"`
	Version      string       `json:"version"`
	Kind         plugins.Kind `json:"kind"`
	ABI          string       `json:"abi"`
	File         string       `json:"file"`
	Bytes        int64        `json:"bytes"`
	SHA256       string       `json:"sha256"`
	Functions    int          `json:"functions"`
	MemoryBytes  uint64       `json:"memoryBytes"`
	Imports      []string     `json:"imports"`
	Capabilities []string     `json:"capabilities"`
	Warnings     []string     `json:"warnings"` // those of an upload
}

func builtOf(b *project.Built) (*builtModule, error) {
	v := &b.Version
	warnings, err := registry.Warnings(&v.Manifest, v.Report.Imports, v.Report.MemoryBytes)
	return &builtModule{
		v.Plugin, v.Version, v.Manifest.Kind, v.Manifest.ABI, b.File, v.Bytes, v.SHA256, v.Report.Functions, v.Report.MemoryBytes, v.Report.Imports,
		append([]string{}, v.Manifest.Capabilities...), append([]string{}, warnings...),
	}, err
}

// String is the report for a person. Of the imports it has those of the ABI, by which a plugin
// does things; those of WASI are the toolchain's.
func (b *builtModule) String() string {
	var does []string
	for _, name := range b.Imports {
		if name, ok := strings.CutPrefix(name, abi.Module+"."); ok {
			does = append(does, name)
		}
	}
	asks := "nothing"
	if len(b.Capabilities) > 0 {
		asks = strings.Join(b.Capabilities, ", ")
	}
	imports := "imports  " + strings.Join(does, ", ")
	if b.ABI == abi.Stdio {
		imports = "abi      " + b.ABI + ": it reads and writes lines"
	}
	text := fmt.Sprintf("%s  %s %s, a %s of %s bytes\nsha256   %s\n%s\nasks for %s",
		b.File, b.Name, b.Version, b.Kind, comma(b.Bytes), b.SHA256, imports, asks)
	for _, w := range b.Warnings {
		text += "\nwarning  " + w
	}
	return text
}

// openProject opens a plugin's directory.
func openProject(dir string) (*project.Project, error) {
	p, err := project.Open(dir)
	if errors.Is(err, core.CodeNotFound) {
		err = &advised{err, "name the directory that has " + project.ManifestFile + "; gyre plugin new NAME makes one"}
	}
	return p, err
}

// buildProject builds the plugin in a directory, and says how long it takes.
func (a *app) buildProject(ctx context.Context, dir string) (*project.Built, error) {
	p, err := openProject(dir)
	if err != nil {
		return nil, err
	}
	with := "the Go toolchain"
	if len(p.Manifest.Build) > 0 {
		with = filepath.Base(p.Manifest.Build[0])
	}
	begun := time.Now()
	fmt.Fprintf(a.stderr, "building %s %s with %s …\n", p.Manifest.Name, p.Manifest.Version, visible(with))
	built, err := p.Build(ctx)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(a.stderr, "built in %.1f s\n", time.Since(begun).Seconds())
	return built, nil
}
