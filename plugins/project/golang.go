package project

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins/abi"
)

// leastGo is the first version of Go whose modules export functions.
const leastGo = 24 // of 1.24

// goEnv is for programs of the Go toolchain: nothing is downloaded, and nothing but the
// directory decides what is built.
var goEnv = []string{"GOPROXY=off", "GOTOOLCHAIN=local", "GOWORK=off", "GOFLAGS="}

// wasmEnv is for the module.
var wasmEnv = []string{"GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0"}

func (p *Project) compileGo(ctx context.Context) ([]byte, error) {
	if err := checkGo(ctx, p.Dir); err != nil {
		return nil, err
	}
	temporary, err := os.MkdirTemp("", "gyre-build-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(temporary) }() // the system's own sweep gets the rest
	module := filepath.Join(temporary, "module.wasm")
	mode := "c-shared" // which exports functions
	if p.Manifest.ABI == abi.Stdio {
		mode = "exe"
	}
	err = p.run(ctx, append(goEnv[:len(goEnv):len(goEnv)], wasmEnv...),
		"go", "build", "-buildmode="+mode, "-trimpath", "-buildvcs=false", "-ldflags=-w", "-o", module, ".")
	if err != nil {
		return nil, err
	}
	return p.output(module)
}

// checkGo finds out whether there is a Go toolchain that can build modules.
func checkGo(ctx context.Context, dir string) error {
	const need = "plugins in Go need the Go toolchain, version 1.24 or newer"
	if _, err := exec.LookPath("go"); err != nil {
		return core.Errorf(core.CodeToolchainMissing, "%s, and no go is on the PATH", need)
	}
	cmd := exec.CommandContext(ctx, "go", "env", "GOVERSION")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), goEnv...)
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	version := strings.TrimSpace(string(out))
	if err != nil || !isNewEnough(version) {
		return core.Errorf(core.CodeToolchainMissing, "%s; the go on the PATH says that it is %q", need, version)
	}
	return nil
}

// isNewEnough reports whether a version such as go1.26.8 can build modules. One that is not a
// release is taken at its word.
func isNewEnough(version string) bool {
	minor, ok := strings.CutPrefix(version, "go1.")
	if !ok {
		return version != ""
	}
	digits := strings.IndexFunc(minor, func(r rune) bool { return r < '0' || r > '9' })
	if digits >= 0 {
		minor = minor[:digits]
	}
	n, err := strconv.Atoi(minor)
	return err == nil && n >= leastGo
}
