//go:build !race

// Compiling the Go runtime takes a minute with the race detector.

package project

import (
	"bytes"
	"errors"
	"fmt"
	"go/format"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions/expression"
	"github.com/gyre-events/gyre/internal/toolchains"
	"github.com/gyre-events/gyre/plugins"
)

// makeNew makes a new plugin with the SDK of this repository in it.
func makeNew(t *testing.T, dir, language string, kind plugins.Kind) *Project {
	t.Helper()
	name := fmt.Sprintf("%s-%s.1", language, kind)
	if err := Create(filepath.Join(dir, name), New{Name: name, Language: language, Kind: kind}); err != nil {
		t.Fatal(err)
	}
	return open(t, filepath.Join(dir, name))
}

// A new plugin builds and passes its tests unchanged, and its module does what the example is to do. One
// kind of each language whose toolchain is quick is tried; the others are for the soak.
func TestTemplates(t *testing.T) {
	tryTemplates(t, func(language string, kind plugins.Kind) bool { return quick[language] == kind })
}

func TestSoakTemplates(t *testing.T) {
	if os.Getenv("GYRE_SOAK") == "" {
		t.Skip("GYRE_SOAK=1 tries the templates of all kinds in all languages")
	}
	tryTemplates(t, func(string, plugins.Kind) bool { return true })
}

// quick are the kinds that TestTemplates tries.
var quick = map[string]plugins.Kind{"go": plugins.KindHandler, "c": plugins.KindValidate}

func tryTemplates(t *testing.T, chosen func(language string, kind plugins.Kind) bool) {
	events, err := os.ReadFile("template/shared/testdata/events.ndjson.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(events, []byte("\n")); n != len(orders) {
		t.Fatalf("the templates have %d events, and this test %d", n, len(orders))
	}
	for _, language := range Languages() {
		kinds := slices.DeleteFunc(plugins.Kinds(), func(kind plugins.Kind) bool { return !chosen(language, kind) })
		if len(kinds) == 0 {
			continue
		}
		t.Run(language, func(t *testing.T) {
			dir := t.TempDir()
			needs(t, dir, language)
			for _, kind := range kinds {
				t.Run(string(kind), func(t *testing.T) { tryTemplate(t, makeNew(t, dir, language, kind)) })
			}
		})
	}
}

// needs skips a test if there is no toolchain of a language.
func needs(t *testing.T, dir, language string) {
	t.Helper()
	switch language {
	case "rust":
		t.Setenv("PATH", toolchains.Rust(t))
		t.Setenv("CARGO_HOME", filepath.Join(dir, "cargo")) // nothing that was downloaded before
	case "c":
		toolchains.C(t)
	case "assemblyscript":
		packages, err := filepath.Abs(toolchains.AssemblyScript(t, "../.."))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(packages, filepath.Join(dir, "node_modules")); err != nil {
			t.Fatal(err)
		}
	}
}

// orders are the events of the templates.
var orders = []Event{
	{"order-1", core.NewEvent{Type: "OrderPlaced", Data: []byte(`{"customer":"ann","total":10}`)}},
	{"order-2", core.NewEvent{Type: "OrderPlaced", Data: []byte(`{"customer":"bob","total":20}`)}},
	{"order-1", core.NewEvent{Type: "OrderPaid", Data: []byte(`{"customer":"ann","amount":10}`)}},
}

func tryTemplate(t *testing.T, p *Project) {
	built := build(t, p)
	if ran, err := p.Test(t.Context()); !ran || err != nil {
		t.Fatalf("its tests ran: %v, %v", ran, err)
	}
	if got := built.Version.Manifest; got.Kind != p.Manifest.Kind || got.Description == "" {
		t.Errorf("the manifest is %+v", got)
	}
	tryBuilt(t, built)
	if p.Manifest.Kind == plugins.KindProjection {
		tryQuickly(t, p, built)
	}
}

// tryQuickly builds a module that is not kept, which does the same.
func tryQuickly(t *testing.T, p *Project, built *Built) {
	if err := os.Remove(built.File); err != nil {
		t.Fatal(err)
	}
	quick, err := p.BuildQuickly(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tryBuilt(t, quick)
	if _, err := os.Stat(built.File); quick.File != "" || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the module that is not kept is in file %q, %v", quick.File, err)
	}
	if same := quick.Version.SHA256 == built.Version.SHA256; same != (built.Version.Manifest.SDK != "rust") {
		t.Errorf("the module that is not kept is the same: %v", same)
	}
}

// tryBuilt has a module do what the example of its kind is to do.
func tryBuilt(t *testing.T, built *Built) {
	tried, err := built.Try(t.Context(), orders, expression.NewCompiler().Compile)
	if err != nil || tried.Failed != nil {
		t.Fatalf("%+v, %v", tried, err)
	}
	switch built.Version.Manifest.Kind {
	case plugins.KindFilter, plugins.KindMap, plugins.KindPartition, plugins.KindValidate:
		if len(tried.Judged) != len(orders) || len(tried.Parked) > 0 {
			t.Errorf("it judged %+v, and parked %+v", tried.Judged, tried.Parked)
		}
	case plugins.KindProjection:
		if len(tried.State) != 2 || tried.State["OrderPlaced"] != "2" || tried.State["OrderPaid"] != "1" {
			t.Errorf("the state is %v", tried.State)
		}
	case plugins.KindHandler:
		if len(tried.Appended) != 1 || tried.Appended[0].Stream != "shipping" || tried.Appended[0].Data != `{"order":"order-1"}` {
			t.Errorf("it appended %+v", tried.Appended)
		}
	}
}

// The text of templates is formatted as the tools of their languages do it.
func TestTemplatesAreFormatted(t *testing.T) {
	dir := t.TempDir()
	for _, kind := range plugins.Kinds() {
		p := makeNew(t, dir, "go", kind)
		for _, name := range []string{"main.go", "main_test.go"} {
			text, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if formatted, err := format.Source(text); err != nil || !bytes.Equal(formatted, text) {
				t.Errorf("%s of a %s is not formatted: %v", name, kind, err)
			}
		}
		if _, err := exec.LookPath("rustfmt"); err == nil {
			file := filepath.Join(makeNew(t, dir, "rust", kind).Dir, "src/lib.rs")
			if out, err := exec.Command("rustfmt", "--check", "--edition", "2021", "--config-path", "../../sdk/rust", file).CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", file, err, out)
			}
		}
		if _, err := exec.LookPath("clang-format"); err == nil {
			p := makeNew(t, dir, "c", kind)
			for _, name := range []string{"main.c", "main_test.c"} {
				style := "--style=file:../../sdk/c/.clang-format"
				if out, err := exec.Command("clang-format", style, "--dry-run", "--Werror", filepath.Join(p.Dir, name)).CombinedOutput(); err != nil {
					t.Errorf("%s: %v\n%s", name, err, out)
				}
			}
		}
	}
}

// Who lacks a toolchain reads which, and how to get it.
func TestMissingToolchains(t *testing.T) {
	empty := t.TempDir()
	programs := func(texts map[string]string) string {
		dir := t.TempDir()
		for name, text := range texts {
			if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	for _, c := range []struct{ language, path, want string }{
		{"rust", empty, "no cargo is on the PATH; install Rust from https://rustup.rs"},
		{"rust", programs(map[string]string{"cargo": "exit 0"}), "no rustc is on the PATH"},
		{"rust", programs(map[string]string{"cargo": "exit 0", "rustc": "echo /none"}), "run rustup target add wasm32-unknown-unknown"},
		{"rust", programs(map[string]string{"cargo": "exit 0", "rustc": "exit 1"}), "run rustup target add wasm32-unknown-unknown"},
		{"assemblyscript", empty, "no node is on the PATH"},
		{"assemblyscript", programs(map[string]string{"node": "exit 0", "npm": "exit 0"}), "run npm ci in "},
		{"c", empty, "no make is on the PATH; on Debian apt-get install make clang lld"},
		{"c", programs(map[string]string{"make": "exit 0"}), "no clang is on the PATH"},
		{"c", programs(map[string]string{"make": "exit 0", "clang": "echo wasm-ld"}), "clang finds no wasm-ld"},
	} {
		p := makeNew(t, t.TempDir(), c.language, plugins.KindProjection)
		t.Setenv("PATH", c.path)
		for what, run := range map[string]func() error{
			"build": func() error { _, err := p.Build(t.Context()); return err },
			"test":  func() error { _, err := p.Test(t.Context()); return err },
		} {
			if err := run(); !errors.Is(err, core.CodeToolchainMissing) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s of %s: %v, want %q", what, c.language, err, c.want)
			}
		}
	}
}

// A new plugin has the SDK as it is in this repository.
func TestSDKsAreThoseOfTheTree(t *testing.T) {
	for _, l := range languages {
		if l.sdk == "" {
			continue
		}
		files, err := l.vendoredSDK()
		if err != nil {
			t.Fatal(err)
		}
		for name, text := range files {
			source := filepath.Join("../..", l.sdk, strings.TrimPrefix(name, l.vendor+"/"))
			if name == l.vendor+"/LICENSE" {
				source = "../../LICENSE"
			}
			if tree, err := os.ReadFile(source); err != nil || !bytes.Equal(tree, text) {
				t.Errorf("%s is not as in the tree: %v", name, err)
			}
		}
	}
}
