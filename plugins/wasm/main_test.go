package wasm

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// compileArgument makes the test binary the child of a Compiler.
const compileArgument = "plugin-compile"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == compileArgument {
		if err := RunCompiler(os.Args[2], os.Stdin); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}
