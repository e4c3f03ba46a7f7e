package main

import (
	"context"
	"os"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/wasm"
	"github.com/gyre-events/gyre/sdk"
)

// moduleOf returns the module to be deployed: that of a directory, which is built, or a file.
// manifest is the file of one that has none in it.
func (a *app) moduleOf(ctx context.Context, path, manifest string) (sdk.Upload, error) {
	if path == "" {
		path = "."
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return sdk.Upload{}, usagef("a directory, a file such as counter.wasm, or counter@0.1.0").because("%v", err)
	case info.IsDir() && manifest != "":
		return sdk.Upload{}, usagef("gyre plugin deploy %s", shellQuote(path)).because("the manifest of a directory is in it; --manifest is for a module")
	case info.IsDir():
		built, err := a.buildProject(ctx, path)
		if err != nil {
			return sdk.Upload{}, err
		}
		return sdk.Upload{Plugin: built.Version.Plugin, Version: built.Version.Version, Module: built.Module}, nil
	case info.Size() > plugins.MaxModuleBytes:
		return sdk.Upload{}, core.Errorf(core.CodeBodyTooLarge, "%s has %d bytes; a module has at most %d", path, info.Size(), plugins.MaxModuleBytes)
	}
	u := sdk.Upload{}
	if u.Module, err = os.ReadFile(path); err != nil {
		return u, usagef("check the path").because("%v", err)
	}
	return u, nameModule(&u, path, manifest)
}

// nameModule takes plugin and version from the manifest of a module.
func nameModule(u *sdk.Upload, path, manifest string) error {
	m, err := wasm.Parse(u.Module)
	if err != nil {
		return err
	}
	text := m.Manifest()
	switch {
	case manifest != "":
		if text, err = os.ReadFile(manifest); err != nil {
			return usagef("check the path").because("--manifest: %v", err)
		}
		u.Manifest = text
	case text == nil:
		return usagef("gyre plugin deploy %s --manifest gyre.plugin.json", shellQuote(path)).because("%s has no manifest in it", path)
	}
	described, err := plugins.DecodeManifest(text)
	if err == nil {
		u.Plugin, u.Version = described.Name, described.Version
	}
	return err
}
