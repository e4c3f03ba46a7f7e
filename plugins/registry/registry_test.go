package registry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/disk"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/registry"
	"github.com/gyre-events/gyre/plugins/wasm/wasmtest"
)

func TestMain(m *testing.M) { wasmtest.Main(m) }

// engines open a store that survives its closing.
func engines(t *testing.T, test func(t *testing.T, open func() *core.Store)) {
	over := func(name string, open func(t *testing.T) func() core.Engine) {
		t.Run(name, func(t *testing.T) {
			again := open(t)
			test(t, func() *core.Store {
				s := core.NewStore(again(), core.StoreConfig{})
				t.Cleanup(func() { _ = s.Close() })
				return s
			})
		})
	}
	over("disk", func(t *testing.T) func() core.Engine {
		dir := t.TempDir()
		return func() core.Engine {
			e, err := disk.Open(t.Context(), disk.Config{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
	})
	over("postgres", func(t *testing.T) func() core.Engine {
		server := pgtest.Shared(t)
		name := server.Store(t)
		return func() core.Engine {
			e, err := postgres.Open(t.Context(), postgres.Config{URL: server.URL, Store: name})
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
	})
}

func inMemory(t *testing.T) *core.Store {
	s := core.NewStore(memory.New(), core.StoreConfig{})
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func open(t *testing.T, store registry.Store, change ...func(*registry.Config)) *registry.Registry {
	t.Helper()
	config := registry.Config{Store: store, CacheDir: filepath.Join(t.TempDir(), "code"), Command: wasmtest.Command()}
	for _, c := range change {
		c(&config)
	}
	r, err := registry.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func manifest(name, version, more string) string {
	return fmt.Sprintf(`{"name":%q,"version":%q,"abi":"gyre_1","kind":"handler"%s}`, name, version, more)
}

// judge is the manifest of a plugin that judges events.
func judge(name, version, kind string) string {
	return strings.Replace(manifest(name, version, ""), `"handler"`, strconv.Quote(kind), 1)
}

// plain is a module whose handler acknowledges everything.
func plain(name, version string) []byte {
	return module{manifest: manifest(name, version, "")}.bytes()
}

func upload(t *testing.T, r *registry.Registry, name, version string, content []byte) (plugins.Version, bool) {
	t.Helper()
	v, created, err := r.Upload(t.Context(), registry.Upload{Plugin: name, Version: version, Module: bytes.NewReader(content)})
	if err != nil {
		t.Fatal(err)
	}
	return v, created
}

// What was uploaded is there for the next process and on other nodes, byte for byte, and runs.
func TestUpload(t *testing.T) {
	engines(t, func(t *testing.T, openStore func() *core.Store) {
		content := module{manifest: manifest("counter", "1.0.0", `,"capabilities":["state"]`), imports: []imported{
			{"state_get", []byte{i32, i32, i32, i32}, []byte{i32}},
			{"log", []byte{i32, i32, i32}, nil},
		}, pages: 2}.bytes()
		store := openStore()
		r := open(t, store)
		var steps []registry.Step
		v, created, err := r.Upload(t.Context(), registry.Upload{
			Plugin: "counter", Version: "1.0.0", Module: iotest.OneByteReader(bytes.NewReader(content)),
			Progress: func(s registry.Step) { steps = append(steps, s) },
		})
		if err != nil || !created {
			t.Fatal(created, err)
		}
		if want := []registry.Step{registry.Receiving, registry.Verifying, registry.Compiling, registry.Storing}; !slices.Equal(steps, want) {
			t.Errorf("the steps are %v", steps)
		}
		want := plugins.Report{Functions: 1, Imports: []string{"gyre_1.log", "gyre_1.state_get"}, MemoryBytes: 2 << 16}
		if fmt.Sprint(v.Report) != fmt.Sprint(want) || v.Bytes != int64(len(content)) {
			t.Errorf("the report is %+v of %d bytes", v.Report, v.Bytes)
		}
		if again, created := upload(t, r, "counter", "1.0.0", content); created || fmt.Sprint(again) != fmt.Sprint(v) {
			t.Errorf("the same again is %+v, created %t; before it was %+v", again, created, v)
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
		// A later process, and one on another machine, which has no code.
		store = openStore()
		for range 2 {
			r := open(t, store)
			got, err := r.Version(t.Context(), "counter", "1.0.0")
			if err != nil || fmt.Sprint(got) != fmt.Sprint(v) {
				t.Fatalf("read %+v, %v", got, err)
			}
			body, err := r.Module(t.Context(), &got)
			if err != nil {
				t.Fatal(err)
			}
			stored, err := io.ReadAll(body)
			if err != nil || !bytes.Equal(stored, content) || body.Close() != nil {
				t.Fatalf("%d bytes are read of %d, %v", len(stored), len(content), err)
			}
			runs(t, r, got)
		}
	})
}

// A version never changes, whoever is first.
func TestVersionsDoNotChange(t *testing.T) {
	store := inMemory(t)
	nodes := []*registry.Registry{open(t, store), open(t, store)}
	const rivals = 6
	var racing sync.WaitGroup
	results := make([]error, rivals)
	created := make([]bool, rivals)
	for i := range rivals {
		racing.Go(func() {
			content := module{manifest: manifest("p", "1", ""), salt: fmt.Sprint("rival ", i%3)}.bytes()
			_, created[i], results[i] = nodes[i%2].Upload(context.Background(), registry.Upload{Plugin: "p", Version: "1", Module: bytes.NewReader(content)})
		})
	}
	racing.Wait()
	won, same := 0, 0
	for i, err := range results {
		switch {
		case created[i]:
			won++
		case err == nil:
			same++
		case !errors.Is(err, core.CodeVersionExists):
			t.Error(err)
		}
	}
	if won != 1 || same != 1 {
		t.Errorf("%d uploads won and %d were the same as the winner's: %v", won, same, results)
	}
	// Other manifests beside the same module are other content, too; spaces in them are not.
	bare := module{salt: "bare"}.bytes()
	send := func(text string) error {
		_, _, err := nodes[0].Upload(t.Context(), registry.Upload{Plugin: "q", Version: "1", Module: bytes.NewReader(bare), Manifest: []byte(text)})
		return err
	}
	if err := send(manifest("q", "1", `,"config":{"a": 1}`)); err != nil {
		t.Fatal(err)
	}
	if err := send(manifest("q", "1", ` , "config": {"a":1}`)); err != nil {
		t.Errorf("the same manifest, with other spaces: %v", err)
	}
	if err := send(manifest("q", "1", `,"config":{"a":2}`)); !errors.Is(err, core.CodeVersionExists) {
		t.Errorf("another manifest: %v", err)
	}
}

// A bad upload is refused with a code of the catalogue that says why, and stores nothing.
func TestBadUploads(t *testing.T) {
	store := inMemory(t)
	r := open(t, store)
	good := plain("p", "1")
	broken := errors.New("the connection broke")
	for name, c := range map[string]struct {
		module   io.Reader
		manifest string
		want     error
		says     string
	}{
		"empty":          {module: strings.NewReader(""), want: core.CodeInvalidModule},
		"not Wasm":       {module: strings.NewReader("#!/bin/sh\nrm -rf /\n"), want: core.CodeInvalidModule},
		"truncated":      {module: bytes.NewReader(good[:len(good)-3]), want: core.CodeInvalidModule},
		"cut off":        {module: io.MultiReader(bytes.NewReader(good), iotest.ErrReader(broken)), want: broken},
		"oversize":       {module: io.LimitReader(zeros{}, plugins.MaxModuleBytes+1), want: core.CodeBodyTooLarge, says: "64 MiB"},
		"no export":      {module: bytes.NewReader(module{noHandle: true, manifest: manifest("p", "1", "")}.bytes()), want: core.CodeInvalidModule, says: "gyre_handle"},
		"foreign import": {module: bytes.NewReader(module{imports: []imported{{"open_file", []byte{i32}, []byte{i32}}}, manifest: manifest("p", "1", "")}.bytes()), want: core.CodeInvalidModule, says: "open_file"},
		"no entry of it": {module: bytes.NewReader(module{manifest: judge("p", "1", "filter")}.bytes()), want: core.CodeInvalidModule, says: `"gyre_filter" is missing`},
		"a filter's effect": {module: bytes.NewReader(module{entry: "gyre_filter", imports: []imported{{"state_del", []byte{i32, i32}, []byte{i32}}}, manifest: judge("p", "1", "filter")}.bytes()),
			want: core.CodeInvalidModule, says: `import "gyre_1"."state_del" is not for a module with gyre_filter`},
		"import's type":    {module: bytes.NewReader(module{imports: []imported{{"state_del", []byte{i32}, []byte{i32}}}, manifest: manifest("p", "1", "")}.bytes()), want: core.CodeInvalidModule, says: "state_del"},
		"wrong ABI":        {module: bytes.NewReader(module{manifest: strings.Replace(manifest("p", "1", ""), "gyre_1", "gyre_9", 1)}.bytes()), want: core.CodeInvalidManifest, says: "gyre_9"},
		"no manifest":      {module: bytes.NewReader(module{}.bytes()), want: core.CodeInvalidManifest, says: "gyre plugin build"},
		"manifest no JSON": {module: bytes.NewReader(module{manifest: "{"}.bytes()), want: core.CodeInvalidManifest},
		"unknown member":   {module: bytes.NewReader(module{manifest: manifest("p", "1", `,"colour":"red"`)}.bytes()), want: core.CodeInvalidManifest, says: "colour"},
		"two manifests":    {module: bytes.NewReader(good), manifest: manifest("p", "1", `,"description":"another"`), want: core.CodeInvalidManifest, says: "differ"},
		"other name":       {module: bytes.NewReader(plain("q", "1")), want: core.CodeInvalidManifest, says: `"q"`},
		"other version":    {module: bytes.NewReader(plain("p", "2")), want: core.CodeInvalidManifest, says: `"2"`},
		"schema":           {module: bytes.NewReader(module{manifest: manifest("p", "1", `,"configSchema":{"type":"colour"}`)}.bytes()), want: core.CodeInvalidManifest, says: "configSchema"},
		"remote schema":    {module: bytes.NewReader(module{manifest: manifest("p", "1", `,"configSchema":{"$ref":"http://127.0.0.1/schema"}`)}.bytes()), want: core.CodeInvalidManifest, says: "itself only"},
		"schema in a file": {module: bytes.NewReader(module{manifest: manifest("p", "1", `,"configSchema":{"$ref":"file:///etc/passwd"}`)}.bytes()), want: core.CodeInvalidManifest, says: "itself only"},
		"default config":   {module: bytes.NewReader(module{manifest: manifest("p", "1", `,"configSchema":{"required":["n"]},"config":{}`)}.bytes()), want: core.CodeInvalidManifest, says: "config: "},
	} {
		u := registry.Upload{Plugin: "p", Version: "1", Module: c.module}
		if c.manifest != "" {
			u.Manifest = []byte(c.manifest)
		}
		_, created, err := r.Upload(t.Context(), u)
		if created || !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: created %t, %v; want %v that says %q", name, created, err, c.want, c.says)
		}
	}
	if _, err := r.Version(t.Context(), "p", "1"); !errors.Is(err, core.CodePluginNotFound) {
		t.Errorf("after bad uploads there is a version: %v", err)
	}
	if ids, err := store.ListBlobs(t.Context(), [32]byte{}, 10); err != nil || len(ids) > 0 {
		t.Errorf("after bad uploads there are blobs: %x, %v", ids, err)
	}
	upload(t, r, "p", "1", good)
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// A plugin of each kind is entered by the function of its kind.
func TestKinds(t *testing.T) {
	r := open(t, inMemory(t))
	for _, kind := range plugins.Kinds() {
		m := module{entry: kind.Entry(), manifest: judge(string(kind), "1", string(kind)), imports: []imported{
			{"batch_read", []byte{i32, i32, i32}, []byte{i32}}, {"event_result", []byte{i32, i32, i32, i32, i32}, []byte{i32}},
			{"config_get", []byte{i32, i32, i32, i32}, []byte{i32}}, {"log", []byte{i32, i32, i32}, nil}, {"fail", []byte{i32, i32, i32}, nil},
		}}
		v, _ := upload(t, r, string(kind), "1", m.bytes())
		runs(t, r, v)
	}
}

// A module that imports more than its manifest asks for is taken with a warning.
func TestWarnings(t *testing.T) {
	r := open(t, inMemory(t))
	v, _ := upload(t, r, "p", "1", module{
		manifest: manifest("p", "1", `,"capabilities":["state"],"limits":{"memoryBytes":65536}`), pages: 4,
		imports: []imported{{"append", []byte{i32, i32, i64, i32, i32}, []byte{i32}}},
	}.bytes())
	said := strings.Join(v.Report.Warnings, "\n")
	for _, want := range []string{`asks for no capability "append"`, `asks for the capability "state"`, "starts with 262144 bytes"} {
		if !strings.Contains(said, want) {
			t.Errorf("no warning says %q: %s", want, said)
		}
	}
}

func TestList(t *testing.T) {
	r := open(t, inMemory(t))
	for _, name := range []string{"a", "a-b", "a0", "b"} {
		versions := []string{"1"}
		if name == "a" {
			versions = []string{"2", "10", "1"}
		}
		for _, version := range versions {
			upload(t, r, name, version, plain(name, version))
		}
	}
	ask := func(prefix string, want string) {
		t.Helper()
		var got []string
		request := plugins.ListRequest{Prefix: prefix, Limit: 2}
		for end := false; !end; {
			page, err := r.List(t.Context(), request)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range page.Versions {
				got = append(got, v.Plugin+"/"+v.Version)
				request.After = v.Plugin
			}
			end = page.End
		}
		if strings.Join(got, " ") != want {
			t.Errorf("plugins with %q are %v, want %s", prefix, got, want)
		}
	}
	ask("", "a/1 a-b/1 a0/1 b/1") // the newest by their upload
	ask("a", "a/1 a-b/1 a0/1")
	ask("c", "")
	page, err := r.Versions(t.Context(), "a", plugins.ListRequest{})
	if err != nil || len(page.Versions) != 3 || page.Versions[0].Version != "1" || page.Versions[1].Version != "10" || !page.End {
		t.Errorf("versions are %+v, %v", page, err)
	}
	if _, err := r.Versions(t.Context(), "c", plugins.ListRequest{}); !errors.Is(err, core.CodePluginNotFound) {
		t.Error(err)
	}
	if _, err := r.Version(t.Context(), "a", "3"); !errors.Is(err, core.CodeVersionNotFound) {
		t.Error(err)
	}
}

// A version in use cannot be deleted, also if a binding comes to use it at that moment.
func TestDelete(t *testing.T) {
	store := inMemory(t)
	var uses []string
	var meanwhile func()
	r := open(t, store, func(c *registry.Config) {
		c.Uses = func(context.Context, string, string) ([]string, error) {
			list := uses
			if meanwhile != nil {
				meanwhile()
			}
			return list, nil
		}
	})
	v, _ := upload(t, r, "p", "1", plain("p", "1"))
	if err := r.Delete(t.Context(), "p", "2"); !errors.Is(err, core.CodeVersionNotFound) {
		t.Error(err)
	}
	uses = []string{"one", "two", "three", "four", "five", "six", "seven"}
	if err := r.Delete(t.Context(), "p", "1"); !errors.Is(err, core.CodePluginInUse) || !strings.HasSuffix(err.Error(), "one, two, three, four, five and 2 more") {
		t.Error(err)
	}
	deploy := func(v plugins.Version) error {
		hold, err := r.Hold(&v)
		if err != nil {
			return err
		}
		_, err = store.Append(t.Context(), core.Commit{Records: []core.RecordOp{hold}})
		return err
	}
	uses = nil
	meanwhile = func() {
		meanwhile, uses = nil, []string{"late"}
		if err := deploy(v); err != nil {
			t.Error(err)
		}
	}
	if err := r.Delete(t.Context(), "p", "1"); !errors.Is(err, core.CodePluginInUse) || !strings.HasSuffix(err.Error(), "late") {
		t.Error(err)
	}
	held, err := r.Version(t.Context(), "p", "1")
	if err != nil || held.Revision == v.Revision {
		t.Fatal(held.Revision, err)
	}
	if held.Revision = v.Revision; fmt.Sprint(held) != fmt.Sprint(v) {
		t.Errorf("Hold changed %+v into %+v", v, held)
	}
	uses = nil
	if err := r.Delete(t.Context(), "p", "1"); err != nil {
		t.Fatal(err)
	}
	if err := deploy(held); !errors.Is(err, core.CodeRecordConflict) {
		t.Errorf("a version that was deleted is deployed: %v", err)
	}
	upload(t, r, "p", "1", plain("p", "1"))
}

// Modules without a version are swept after an hour, and no others.
func TestSweep(t *testing.T) {
	engines(t, func(t *testing.T, openStore func() *core.Store) {
		store := &aged{Store: openStore()}
		r := open(t, store)
		kept, _ := upload(t, r, "p", "kept", plain("p", "kept"))
		gone, _ := upload(t, r, "p", "gone", plain("p", "gone"))
		if err := r.Delete(t.Context(), "p", "gone"); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Module(t.Context(), &gone); err != nil {
			t.Errorf("a module is gone at once, and an upload may be about to name it: %v", err)
		}
		store.shift.Store(int64(time.Hour))
		again := open(t, store) // sweeps when it starts
		for {
			body, err := again.Module(t.Context(), &gone)
			if errors.Is(err, core.CodeBlobNotFound) {
				break
			}
			if err != nil || body.Close() != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond) // it is a goroutine of its own
		}
		runs(t, again, kept)
	})
}

// aged is a store in whose eyes blobs are older.
type aged struct {
	*core.Store
	shift atomic.Int64 // nanoseconds
}

func (a *aged) SweepBlobs(ctx context.Context, keep func([32]byte) bool, olderThan time.Duration) error {
	return a.Store.SweepBlobs(ctx, keep, olderThan-time.Duration(a.shift.Load()))
}
