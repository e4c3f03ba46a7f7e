//go:build !race

package conformance

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/gyre-events/gyre/internal/toolchains"
)

// guest is a module that does what scripts say.
type guest struct {
	language string
	build    func(t *testing.T) []byte
}

func guests() []guest {
	list := []guest{{"go", buildGo}, {"c", buildC}, {"rust", buildRust}, {"assemblyscript", buildAssemblyScript}}
	if file := os.Getenv("GYRE_CONFORMANCE_GUEST"); file != "" {
		list = append(list, guest{filepath.Base(file), func(t *testing.T) []byte { return read(t, file) }})
	}
	return list
}

// sdkDir is the folder of the SDKs.
const sdkDir = "../../../sdk/"

func read(t *testing.T, file string) []byte {
	t.Helper()
	module, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return module
}

// command runs a command in the folder of an SDK.
func command(t *testing.T, dir string, env []string, words ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), words[0], words[1:]...)
	cmd.Dir = sdkDir + dir
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", words, err, out)
	}
}

func buildGo(t *testing.T) []byte {
	file := filepath.Join(t.TempDir(), "guest.wasm")
	command(t, "plugin", []string{"GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0"},
		"go", "build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", file, "./internal/conformance")
	return read(t, file)
}

func buildC(t *testing.T) []byte {
	toolchains.C(t)
	file := filepath.Join(t.TempDir(), "guest.wasm")
	command(t, "c", nil, "clang", "--target=wasm32", "-std=c11", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror",
		"-nostdlib", "-ffreestanding", "-mbulk-memory", "-I.", "-Wl,--no-entry", "-o", file, "conformance/guest.c", "gyre.c", "gyre_json.c")
	return read(t, file)
}

func buildRust(t *testing.T) []byte {
	t.Setenv("PATH", toolchains.Rust(t))
	target, err := filepath.Abs("../../../build/rust")
	if err != nil {
		t.Fatal(err)
	}
	command(t, "rust/conformance", []string{"CARGO_TARGET_DIR=" + target},
		"cargo", "build", "--offline", "--quiet", "--release", "--target", "wasm32-unknown-unknown")
	return read(t, filepath.Join(target, "wasm32-unknown-unknown/release/conformance.wasm"))
}

func buildAssemblyScript(t *testing.T) []byte {
	toolchains.AssemblyScript(t, "../../..")
	file := filepath.Join(t.TempDir(), "guest.wasm")
	command(t, "assemblyscript", nil, "npm", "run", "--silent", "asc", "--", "conformance/guest.ts", "--outFile", file)
	return read(t, file)
}
