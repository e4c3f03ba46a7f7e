// Package wasmtest makes test binaries the child process that a wasm.Compiler starts.
package wasmtest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/gyre-events/gyre/plugins/wasm"
)

// argument makes the binary the child.
const argument = "plugin-compile"

// Command starts the binary as the child.
func Command() []string { return []string{os.Args[0], argument} }

// Main is for TestMain. It runs the child, or the tests, which are to leave no goroutine behind.
func Main(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == argument {
		if err := wasm.RunCompiler(os.Args[2], os.Stdin); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// Compile makes native code of a module, as a node does.
func Compile(t *testing.T, m *wasm.Module) *wasm.Code {
	t.Helper()
	compiler, err := wasm.NewCompiler(filepath.Join(t.TempDir(), "code"), []byte("key"), Command()...)
	if err != nil {
		t.Fatal(err)
	}
	code, err := compiler.Compile(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return code
}
