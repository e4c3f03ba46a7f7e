// Package toolchains finds the compilers of plugins for tests, which skip what they have none for.
// scripts/test-deps.sh installs them.
package toolchains

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// target is that of modules in Rust.
const target = "wasm32-unknown-unknown"

// distribution is where the packages of a distribution have their programs.
const distribution = "/usr/bin"

// C skips a test without clang and the linker for modules.
func C(t testing.TB) {
	t.Helper()
	for _, program := range []string{"clang", "wasm-ld"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("there is no %s: apt-get install clang lld", program)
		}
	}
}

// Rust returns a PATH with which cargo builds modules, or skips a test without one. The rustc on
// the present PATH may lack the library for modules that another has.
func Rust(t testing.TB) (path string) {
	t.Helper()
	for _, path := range []string{os.Getenv("PATH"), distribution + string(os.PathListSeparator) + os.Getenv("PATH")} {
		if hasRust(path) {
			return path
		}
	}
	t.Skip("there is no Rust for " + target + ": rustup target add " + target + ", or apt-get install cargo libstd-rust-dev-wasm32")
	return ""
}

func hasRust(path string) bool {
	rustc := inPath(path, "rustc")
	if rustc == "" || inPath(path, "cargo") == "" {
		return false
	}
	libraries, err := exec.Command(rustc, "--print", "target-libdir", "--target", target).Output()
	if err != nil {
		return false
	}
	_, err = os.Stat(strings.TrimSpace(string(libraries)))
	return err == nil
}

// inPath returns the first program of a name in the directories of a PATH, or nothing.
func inPath(path, name string) string {
	for _, dir := range filepath.SplitList(path) {
		if file, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return file
		}
	}
	return ""
}

// AssemblyScript returns the folder of packages with the compiler, or skips a test without. root is
// that of the repository.
func AssemblyScript(t testing.TB, root string) (packages string) {
	t.Helper()
	packages = filepath.Join(root, "sdk/assemblyscript/node_modules")
	if _, err := os.Stat(filepath.Join(packages, "assemblyscript")); err != nil {
		t.Skip("there is no AssemblyScript: cd sdk/assemblyscript && npm ci")
	}
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("there is no npm: https://nodejs.org")
	}
	return packages
}
