package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gyre-events/gyre/internal/toolchains"
)

// TestPluginDocs runs the sessions of a document, one after another, and compares what they print.
// What only looks is run until it prints it: a plugin takes its time.
func TestPluginDocs(t *testing.T) {
	for document, least := range map[string]int{"plugins": 15, "plugin-dev": 7, "process-manager": 12, "dry-runs": 15, "validators": 12, "filters": 12, "poison": 14, "projections": 12} {
		t.Run(document, func(t *testing.T) {
			t.Parallel()
			runDocument(t, t.TempDir(), "../../docs/"+document+".md", least)
		})
	}
}

// TestPluginLanguagesDocs runs those of docs/plugin-languages.md, with the toolchains of all languages.
func TestPluginLanguagesDocs(t *testing.T) {
	toolchains.C(t)
	packages, err := filepath.Abs(toolchains.AssemblyScript(t, "../.."))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(packages, filepath.Join(dir, "node_modules")); err != nil { // what npm ci downloads
		t.Fatal(err)
	}
	t.Setenv("PATH", toolchains.Rust(t))
	runDocument(t, dir, "../../docs/plugin-languages.md", 11)
}

// runDocument runs the commands of a document in a directory.
func runDocument(t *testing.T, dir, document string, least int) {
	gyre := plainProgram(t, "gyre")
	node, err := serveWith(gyre, dir, os.Environ(), filepath.Join(dir, "node.log"), "--engine", "memory")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = node.end(syscall.SIGKILL) })
	examples, err := filepath.Abs("../../examples")
	if err == nil {
		err = os.Symlink(examples, filepath.Join(dir, "examples"))
	}
	if err != nil {
		t.Fatal(err)
	}
	looks := regexp.MustCompile(`^gyre (plugin (diff|state|ls|info|poison ls)|read|subscriptions parked)`)
	ran := 0
	for _, step := range session(t, document) {
		ran++
		if to, ok := strings.CutPrefix(step.command, "cd "); ok {
			dir = filepath.Join(dir, to)
			continue
		}
		for by := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
			cmd := exec.Command("sh", "-c", step.command)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "GYRE_SERVER="+node.url, "PATH="+filepath.Dir(gyre)+string(os.PathListSeparator)+os.Getenv("PATH"))
			out, err := cmd.CombinedOutput()
			if printed := strings.ReplaceAll(string(out), "\n", " "); err == nil && matches(strings.ReplaceAll(step.output, "\n", " "), printed) {
				break
			}
			if !looks.MatchString(step.command) || time.Now().After(by) {
				t.Fatalf("$ %s\nprints\n%s%v\n%s says\n%s", step.command, out, err, document, step.output)
			}
		}
	}
	if ran < least {
		t.Errorf("the sessions have %d commands", ran)
	}
}
