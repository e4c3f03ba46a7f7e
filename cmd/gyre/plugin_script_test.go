package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestPluginScripts runs testdata/plugin with the plain gyre: scripts that run modules of the Go
// toolchain. EXAMPLES is the folder of examples.
func TestPluginScripts(t *testing.T) {
	t.Parallel()
	gyre := plainProgram(t, "gyre")
	cache, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	examples, err := filepath.Abs("../../examples")
	if err != nil {
		t.Fatal(err)
	}
	params := scripts("testdata/plugin", gyre)
	setup := params.Setup
	params.Setup = func(env *testscript.Env) error {
		env.Setenv("PATH", filepath.Dir(gyre)+string(os.PathListSeparator)+env.Getenv("PATH"))
		env.Setenv("EXAMPLES", examples)
		env.Setenv("GOCACHE", strings.TrimSpace(string(cache)))
		env.Setenv("GOMODCACHE", filepath.Join(env.WorkDir, "modules")) // where nothing was downloaded
		return setup(env)
	}
	testscript.Run(t, params)
}
