package project

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/wasm"
)

// Built is a module that was built.
type Built struct {
	File    string // that was written, if one was
	Module  []byte
	Parsed  *wasm.Module
	Version plugins.Version // without a time of upload
}

// maxModuleBytes is the largest module that nodes take.
const maxModuleBytes = 64 << 20

// maxOutputBytes is how much of a failed command's output is shown.
const maxOutputBytes = 16 << 10

// Build makes the module, checks it as a node does, and writes NAME.wasm into the directory. The
// errors are toolchain_missing, plugin_build_failed, with what the toolchain printed, and
// invalid_module.
func (p *Project) Build(ctx context.Context) (*Built, error) {
	module, err := p.compile(ctx, nil)
	if err != nil {
		return nil, err
	}
	built, err := p.check(module)
	if err != nil {
		return nil, err
	}
	built.File = filepath.Join(p.Dir, p.Manifest.Name+".wasm")
	return built, replaceFile(built.File, built.Module)
}

// BuildQuickly makes a module that does the same as that of Build, and takes less time: what
// optimises a module as a whole is left out. It writes no NAME.wasm.
func (p *Project) BuildQuickly(ctx context.Context) (*Built, error) {
	var quick []string
	if l := p.templateOf(p.Manifest.Build); l != nil {
		quick = l.quick
	}
	module, err := p.compile(ctx, quick)
	if err != nil {
		return nil, err
	}
	return p.check(module)
}

// check adds the manifest to a module, and checks it as a node does.
func (p *Project) check(module []byte) (*Built, error) {
	module, err := wasm.WithManifest(module, p.section)
	if err != nil {
		return nil, err
	}
	parsed, err := wasm.Parse(module)
	if err != nil {
		return nil, err
	}
	if err := parsed.CheckABI(p.Manifest.Entry()); err != nil {
		return nil, err
	}
	built := &Built{Module: module, Parsed: parsed}
	id := parsed.ID()
	built.Version = plugins.Version{
		Plugin: p.Manifest.Name, Version: p.Manifest.Version, SHA256: hex.EncodeToString(id[:]), Bytes: int64(len(module)), Manifest: *p.Manifest,
		Report: parsed.Report(),
	}
	return built, nil
}

// replaceFile writes a file of its own first, so that nobody sees half of it.
func replaceFile(name string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".gyre-build-")
	if err != nil {
		return fmt.Errorf("write the module: %w", err)
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return fmt.Errorf("write the module: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// compile returns the module that the toolchain makes. env is for the command of the manifest.
func (p *Project) compile(ctx context.Context, env []string) ([]byte, error) {
	if len(p.Manifest.Build) == 0 {
		return p.compileGo(ctx)
	}
	if err := p.checkToolchain(ctx, p.Manifest.Build); err != nil {
		return nil, err
	}
	if err := p.run(ctx, env, p.Manifest.Build...); err != nil {
		return nil, err
	}
	return p.output(filepath.Join(p.Dir, p.Manifest.Module))
}

// Test runs the plugin's own tests: with the Go toolchain, or by the command of the manifest. If
// there is neither, ran is false.
func (p *Project) Test(ctx context.Context) (ran bool, err error) {
	switch {
	case len(p.Manifest.Test) > 0:
		if err := p.checkToolchain(ctx, p.Manifest.Test); err != nil {
			return false, err
		}
		return true, p.run(ctx, nil, p.Manifest.Test...)
	case len(p.Manifest.Build) > 0:
		return false, nil
	}
	if err := checkGo(ctx, p.Dir); err != nil {
		return false, err
	}
	return true, p.run(ctx, goEnv, "go", "test", "./...")
}

// output reads what a toolchain has written.
func (p *Project) output(name string) ([]byte, error) {
	module, err := readFile(name, maxModuleBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, core.Errorf(core.CodePluginBuildFailed, "the command went well, and wrote no %s; module in %s says that it does", name, ManifestFile)
	}
	return module, err
}

// run runs a command in the plugin's directory. What it prints is in the error.
func (p *Project) run(ctx context.Context, env []string, command ...string) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir = p.Dir
	cmd.Env = append(os.Environ(), env...)
	cmd.WaitDelay = 5 * time.Second // for children that keep the output open
	output, err := cmd.CombinedOutput()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	if len(output) > maxOutputBytes {
		output = append([]byte("…"), output[len(output)-maxOutputBytes:]...)
	}
	return core.Errorf(core.CodePluginBuildFailed, "%s: %w\n%s", strings.Join(command, " "), err, strings.TrimSpace(strings.ToValidUTF8(string(output), "�")))
}
