package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestPluginScripts runs testdata/plugin: scripts that run modules of the Go toolchain. With the
// race detector it takes a minute to compile one, so gyre is built without. EXAMPLES is the folder
// of examples.
func TestPluginScripts(t *testing.T) {
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", filepath.Join(bin, "gyre"), ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cache, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	examples, err := filepath.Abs("../../examples")
	if err != nil {
		t.Fatal(err)
	}
	params := scripts("testdata/plugin")
	setup := params.Setup
	params.Setup = func(env *testscript.Env) error {
		env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
		env.Setenv("EXAMPLES", examples)
		env.Setenv("GOCACHE", strings.TrimSpace(string(cache)))
		env.Setenv("GOMODCACHE", filepath.Join(env.WorkDir, "modules")) // where nothing was downloaded
		return setup(env)
	}
	testscript.Run(t, params)
}
