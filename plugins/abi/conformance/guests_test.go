//go:build !race

package conformance

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
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

// rustTarget is where cargo builds, again only what has changed.
func rustTarget(t *testing.T) string {
	t.Helper()
	target, err := filepath.Abs("../../../build/rust")
	if err != nil {
		t.Fatal(err)
	}
	return target
}

func buildRust(t *testing.T) []byte {
	t.Setenv("PATH", toolchains.Rust(t))
	target := rustTarget(t)
	command(t, "rust/conformance", []string{"CARGO_TARGET_DIR=" + target},
		"cargo", "build", "--offline", "--quiet", "--release", "--target", "wasm32-unknown-unknown")
	return read(t, filepath.Join(target, "wasm32-unknown-unknown/release/conformance.wasm"))
}

func buildAssemblyScript(t *testing.T) []byte {
	toolchains.AssemblyScript(t, "../../..")
	command(t, "assemblyscript", nil, "npm", "run", "--silent", "guest")
	return read(t, sdkDir+"assemblyscript/build/guest.wasm")
}

// What a plugin does on the host for unit tests of its language is what it does in a node. The SDKs' own
// tests say so, with the cases of this kit.
func TestSoakUnitTestHosts(t *testing.T) {
	if os.Getenv("GYRE_SOAK") == "" {
		t.Skip("GYRE_SOAK=1 tests the hosts for unit tests")
	}
	t.Run("c", func(t *testing.T) {
		if _, err := exec.LookPath("cc"); err != nil {
			t.Skip("there is no C compiler")
		}
		for program, c := range map[string]struct{ sources, argument string }{
			"native":  {"conformance/native.c conformance/guest.c gyre.c gyre_json.c gyre_test.c", "../../plugins/abi/conformance/cases.json"},
			"hostile": {"test/hostile.c gyre_json.c gyre_test.c", "../../plugins/abi/testdata/batch.hex"},
		} {
			file := filepath.Join(t.TempDir(), program)
			flags := strings.Fields("-std=c11 -g -Wall -Wextra -Wpedantic -Werror -fsanitize=address,undefined -fno-sanitize-recover -I. -o")
			command(t, "c", nil, slices.Concat([]string{"cc"}, flags, []string{file}, strings.Fields(c.sources))...)
			command(t, "c", nil, file, c.argument)
		}
	})
	t.Run("rust", func(t *testing.T) {
		if _, err := exec.LookPath("cargo"); err != nil {
			t.Skip("there is no cargo")
		}
		command(t, "rust", []string{"CARGO_TARGET_DIR=" + rustTarget(t)}, "cargo", "test", "--offline", "--quiet", "--lib")
	})
	t.Run("assemblyscript", func(t *testing.T) {
		if _, err := os.Stat(sdkDir + "assemblyscript/build/guest.wasm"); err != nil { // TestGuests builds it, too
			buildAssemblyScript(t)
		}
		command(t, "assemblyscript", nil, "node", "--test")
	})
}

// What takes its time: the examples in the documentation of the SDK for Rust, and the kit natively.
func TestSoakRust(t *testing.T) {
	if os.Getenv("GYRE_SOAK") == "" {
		t.Skip("GYRE_SOAK=1 tests the SDK for Rust at length")
	}
	if _, err := exec.LookPath("cargo"); err != nil {
		t.Skip("there is no cargo")
	}
	for _, dir := range []string{"rust", "rust/conformance"} {
		command(t, dir, []string{"CARGO_TARGET_DIR=" + rustTarget(t)}, "cargo", "test", "--offline", "--quiet")
	}
}

// The SDKs are formatted, where the tool for it is there.
func TestFormat(t *testing.T) {
	if _, err := exec.LookPath("rustfmt"); err == nil {
		for _, dir := range []string{"rust", "rust/conformance"} {
			command(t, dir, nil, "cargo", "fmt", "--check")
		}
	}
	if _, err := exec.LookPath("clang-format"); err == nil {
		command(t, "c", nil, "sh", "-c", "clang-format --dry-run --Werror *.h *.c conformance/*.c test/*.c")
	}
}
