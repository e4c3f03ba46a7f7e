package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// plain is a folder that TestMain makes, for programs without the race detector: gyre, and the
// worker of examples/progress. With the detector gyre takes a minute to compile a module of the
// Go toolchain, and several times as much memory.
var plain string

// buildPlain builds the programs, once for all tests.
var buildPlain = sync.OnceValue(func() error {
	out, err := exec.Command("go", "build", "-o", plain+string(filepath.Separator), ".", "../../examples/progress").CombinedOutput()
	if err != nil {
		return fmt.Errorf("build: %w: %s", err, out)
	}
	return nil
})

// plainProgram is the path of a program without the race detector.
func plainProgram(t *testing.T, name string) string {
	t.Helper()
	if err := buildPlain(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(plain, name)
}

// withPlain makes the folder for the time of the tests.
type withPlain struct{ *testing.M }

func (m withPlain) Run() int {
	var err error
	if plain, err = os.MkdirTemp("", "gyre-plain-"); err != nil {
		panic(err)
	}
	defer os.RemoveAll(plain)
	return m.M.Run()
}
