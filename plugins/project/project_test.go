package project

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gyre "github.com/gyre-events/gyre"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/wasm"
)

// create makes a new plugin in a directory of the test.
func create(t *testing.T, name string) *Project {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := Create(dir, New{Name: name, Language: "go", SDKVersion: "v1.2.3"}); err != nil {
		t.Fatal(err)
	}
	return open(t, dir)
}

func open(t *testing.T, dir string) *Project {
	t.Helper()
	p, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func build(t *testing.T, p *Project) *Built {
	t.Helper()
	built, err := p.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return built
}

func write(t *testing.T, p *Project, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.Dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A new plugin builds and passes its tests unchanged: without the repository, the network,
// and any module that was downloaded before.
func TestNewPluginBuildsAlone(t *testing.T) {
	t.Setenv("GOMODCACHE", t.TempDir())
	t.Setenv("GOFLAGS", "-mod=mod") // somebody's own, which is not to matter
	p := create(t, "counter")
	built := build(t, p)
	if built.File != filepath.Join(p.Dir, "counter.wasm") || built.Version.Plugin != "counter" || built.Version.Manifest.Kind != plugins.KindProjection {
		t.Errorf("built %s: %+v", built.File, built.Version)
	}
	want := []string{"gyre_1.batch_read", "gyre_1.event_begin", "gyre_1.event_result", "gyre_1.log", "gyre_1.state_get", "gyre_1.state_put", "gyre_1.state_scan"}
	imports := slices.DeleteFunc(built.Version.Report.Imports, func(i string) bool { return strings.HasPrefix(i, "wasi_") })
	if !slices.Equal(imports, want) {
		t.Errorf("the module imports %v, want %v", imports, want)
	}
	file, err := os.ReadFile(built.File)
	if err != nil || !bytes.Equal(file, built.Module) {
		t.Errorf("the file has %d bytes of %d, %v", len(file), len(built.Module), err)
	}
	if m, err := plugins.DecodeManifest(built.Parsed.Manifest()); err != nil || m.Name != "counter" {
		t.Errorf("the manifest in the module is %+v, %v", m, err)
	}
	if ran, err := p.Test(t.Context()); !ran || err != nil {
		t.Errorf("tests ran: %v, %v", ran, err)
	}
	if again := build(t, create(t, "counter")); again.Version.SHA256 != built.Version.SHA256 {
		t.Error("built in another directory it has other bytes")
	}
	vet := exec.Command("go", "vet", "./...")
	vet.Dir = p.Dir
	vet.Env = append(os.Environ(), "GOFLAGS=-mod=vendor", "GOPROXY=off")
	if out, err := vet.CombinedOutput(); err != nil {
		t.Errorf("go vet: %v\n%s", err, out)
	}
}

// What plugins are built with is what is in the tree: each file of each package that they need.
func TestSourceIsThatOfTheTree(t *testing.T) {
	list := exec.Command("go", "list", "-deps", "-f", `{{$d := .Dir}}{{range .GoFiles}}{{$d}}/{{.}}{{"\n"}}{{end}}{{range .IgnoredGoFiles}}{{$d}}/{{.}}{{"\n"}}{{end}}`,
		"../../sdk/plugin", "../../sdk/plugin/json", "../../sdk/plugin/plugintest", "../../sdk/plugin/query")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]bool{}
	for file := range strings.Lines(string(out)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(file), root+"/"); ok && !strings.HasSuffix(name, "_test.go") {
			files[name] = true
		}
	}
	carried := map[string]bool{}
	made, err := vendored("v0.0.0")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range made {
		name, ok := strings.CutPrefix(name, "vendor/"+modulePath+"/")
		if !ok || filepath.Ext(name) != ".go" {
			continue
		}
		carried[name] = true
		if tree, err := os.ReadFile(filepath.Join(root, name)); err != nil || !bytes.Equal(tree, text) {
			t.Errorf("%s is not as in the tree: %v", name, err)
		}
	}
	if !maps.Equal(carried, files) {
		t.Errorf("carried are %v, needed are %v", slices.Sorted(maps.Keys(carried)), slices.Sorted(maps.Keys(files)))
	}
	if _, err := fs.Stat(gyre.GuestSource, "LICENSE"); err != nil {
		t.Error(err)
	}
}

func TestCreateRefuses(t *testing.T) {
	parent := t.TempDir()
	taken := filepath.Join(parent, "taken")
	if err := os.Mkdir(taken, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ dir, name, language, kind, want string }{
		{"Counter", "Counter", "go", "", "is not a name of a plugin"},
		{"x", "../x", "go", "", "is not a name of a plugin"},
		{"x", "", "go", "", "is not a name of a plugin"},
		{"x", strings.Repeat("x", 64), "go", "", "is not a name of a plugin"},
		{"taken", "taken", "go", "", "is there already"},
		{"x", "x", "cobol", "", `no template for "cobol", only for go, rust, c, assemblyscript`},
		{"x", "x", "rust/1.0", "", `no template for "rust/1.0"`},
		{"x", "x", "go", "reducer", `"reducer" is no kind of plugin; the kinds are handler, projection, filter, map, partition, validate`},
		{"none/x", "x", "go", "", "no directory can be made there"},
	} {
		err := Create(filepath.Join(parent, c.dir), New{Name: c.name, Language: c.language, Kind: plugins.Kind(c.kind), SDKVersion: "devel"})
		if !errors.Is(err, core.CodeInvalidRequest) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	entries, err := os.ReadDir(parent)
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	if _, err := Open(t.TempDir()); !errors.Is(err, core.CodeNotFound) || !strings.Contains(err.Error(), "it has no gyre.plugin.json") {
		t.Errorf("a directory without a manifest: %v", err)
	}
	p := create(t, "counter")
	for text, want := range map[string]string{
		`{"name":"counter","colour":"red"}`: "gyre.plugin.json: /colour: there is no such member",
		strings.Repeat(" ", 70_000):         "at most 65536 are allowed",
	} {
		write(t, p, ManifestFile, text)
		if _, err := Open(p.Dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.50s: %v, want %q", text, err, want)
		}
	}
}

// Whatever goes wrong, the module that was built before stays.
func TestFailedBuildLeavesTheLastModule(t *testing.T) {
	p := create(t, "counter")
	write(t, p, "counter.wasm", "the last one")
	for name, c := range map[string]struct {
		files map[string]string
		path  string
		code  core.Code
		want  string
	}{
		"syntax":        {map[string]string{"main.go": "package main\n\nfunc main() { x }\n"}, os.Getenv("PATH"), core.CodePluginBuildFailed, "undefined: x"},
		"no SDK":        {map[string]string{"main.go": "package main\n\nfunc main() {}\n"}, os.Getenv("PATH"), core.CodeInvalidModule, `"gyre_handle" is missing`},
		"download":      {map[string]string{"main.go": "package main\n\nimport _ \"example.org/x\"\n\nfunc main() {}\n"}, os.Getenv("PATH"), core.CodePluginBuildFailed, "example.org/x"},
		"no go":         {nil, t.TempDir(), core.CodeToolchainMissing, "1.24 or newer, and no go is on the PATH"},
		"old go":        {nil, oldGo(t), core.CodeToolchainMissing, `says that it is "go1.23.4"`},
		"no command":    {map[string]string{ManifestFile: manifestWith(`"build":["cargo-that-is-not-there","build"],"module":"x.wasm"`)}, os.Getenv("PATH"), core.CodeToolchainMissing, "cargo-that-is-not-there"},
		"wrote nothing": {map[string]string{ManifestFile: manifestWith(`"build":["true"],"module":"none.wasm"`)}, os.Getenv("PATH"), core.CodePluginBuildFailed, "wrote no"},
		"fails":         {map[string]string{ManifestFile: manifestWith(`"build":["sh","-c","echo no luck; exit 3"],"module":"x.wasm"`)}, os.Getenv("PATH"), core.CodePluginBuildFailed, "exit status 3\nno luck"},
		"text":          {map[string]string{ManifestFile: manifestWith(`"build":["cp","main.go","x.wasm"],"module":"x.wasm"`)}, os.Getenv("PATH"), core.CodeInvalidModule, "not a WebAssembly"},
	} {
		t.Run(name, func(t *testing.T) {
			saved := map[string]string{}
			for file, text := range c.files {
				old, err := os.ReadFile(filepath.Join(p.Dir, file))
				if err != nil {
					t.Fatal(err)
				}
				saved[file] = string(old)
				write(t, p, file, text)
			}
			defer func() {
				for file, text := range saved {
					write(t, p, file, text)
				}
			}()
			t.Setenv("PATH", c.path)
			_, err := open(t, p.Dir).Build(t.Context())
			if !errors.Is(err, c.code) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %s with %q", err, c.code, c.want)
			}
		})
	}
	last, err := os.ReadFile(filepath.Join(p.Dir, "counter.wasm"))
	if err != nil || string(last) != "the last one" {
		t.Errorf("the last module is %.20q, %v", last, err)
	}
	if left, err := filepath.Glob(filepath.Join(p.Dir, ".gyre-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func manifestWith(members string) string {
	return `{"name":"counter","version":"0.1.0","abi":"gyre_1","kind":"projection",` + members + `}`
}

// oldGo is a directory with a go that says an old version.
func oldGo(t *testing.T) string {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "go"), []byte("#!/bin/sh\necho go1.23.4\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A plugin in another language is built by the command of its manifest.
func TestBuildCommand(t *testing.T) {
	p := create(t, "counter")
	built := build(t, p)
	if err := os.Rename(built.File, filepath.Join(p.Dir, "made.wasm")); err != nil {
		t.Fatal(err)
	}
	write(t, p, ManifestFile, manifestWith(`"version":"0.2.0","build":["cp","made.wasm","out.wasm"],"module":"out.wasm"`))
	if _, err := Open(p.Dir); err == nil {
		t.Error("a manifest with two versions is taken")
	}
	write(t, p, ManifestFile, strings.Replace(manifestWith(`"build":["cp","made.wasm","out.wasm"],"module":"out.wasm"`), "0.1.0", "0.2.0", 1))
	again := build(t, open(t, p.Dir))
	m, err := plugins.DecodeManifest(again.Parsed.Manifest())
	if err != nil || m.Version != "0.2.0" || again.Version.Report.Functions != built.Version.Report.Functions {
		t.Errorf("built %+v, %v", m, err)
	}
	if ran, err := open(t, p.Dir).Test(t.Context()); ran || err != nil {
		t.Errorf("Go tests of another language ran: %v, %v", ran, err)
	}
}

func TestGoVersions(t *testing.T) {
	for version, want := range map[string]bool{
		"go1.24": true, "go1.26.8": true, "go1.24rc1": true, "devel go1.27-abc": true, "go2.0": true,
		"go1.23.4": false, "go1.9": false, "go1.x": false, "": false,
	} {
		if isNewEnough(version) != want {
			t.Errorf("%q is new enough: %v", version, !want)
		}
	}
}

func TestManifestReplacesAnother(t *testing.T) {
	module := []byte("\x00asm\x01\x00\x00\x00")
	for _, manifest := range []string{"{}", `{"a":1}`} {
		var err error
		if module, err = wasm.WithManifest(module, []byte(manifest)); err != nil {
			t.Fatal(err)
		}
		if m, err := wasm.Parse(module); err != nil || string(m.Manifest()) != manifest {
			t.Errorf("the manifest is %v, %v", m, err)
		}
	}
	for _, bad := range []string{"", "text", "\x00asm\x01\x00\x00\x00\x00", "\x00asm\x01\x00\x00\x00\x00\x05ab", "\x00asm\x01\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"} {
		if _, err := wasm.WithManifest([]byte(bad), nil); !errors.Is(err, core.CodeInvalidModule) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
