package registry_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/registry"
)

// nothing is connected to a handler that uses none of it.
type nothing struct{ plugins.Reads }

func (nothing) Begin(int)                                               {}
func (nothing) Result(int, abi.Action, time.Duration, []byte) abi.Errno { return abi.OK }
func (nothing) Append(int, []byte, int64, []byte) abi.Errno             { return abi.OK }
func (nothing) Put(int, []byte, []byte) abi.Errno                       { return abi.OK }
func (nothing) Delete(int, []byte) abi.Errno                            { return abi.OK }
func (nothing) Log(abi.Level, []byte)                                   {}
func (nothing) Metric(abi.Kind, []byte, float64) abi.Errno              { return abi.OK }

func connection() plugins.Connection {
	return plugins.Connection{Limits: plugins.DefaultLimits(), Effects: nothing{}, Reads: nothing{}, Output: nothing{}}
}

func batch() []byte {
	var w abi.BatchWriter
	w.Reset(0, 0, 0)
	return w.Bytes()
}

func load(t *testing.T, r *registry.Registry, v plugins.Version) plugins.Program {
	t.Helper()
	p, err := r.Load(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func start(t *testing.T, p plugins.Program) plugins.Handler {
	t.Helper()
	h, err := p.New(t.Context(), connection())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// runs runs an empty batch.
func runs(t *testing.T, r *registry.Registry, v plugins.Version) {
	t.Helper()
	p := load(t, r, v)
	h := start(t, p)
	if verdict, fuel, err := h.Handle(t.Context(), batch()); verdict != abi.Done || fuel <= 0 || err != nil {
		t.Errorf("the verdict is %v after %d units of fuel, %v", verdict, fuel, err)
	}
	h.Close()
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// Those who load a version at once share it, and each may close it without harm to others.
func TestPrograms(t *testing.T) {
	r := open(t, inMemory(t))
	v, _ := upload(t, r, "p", "1", plain("p", "1"))
	var loading sync.WaitGroup
	all := make([]plugins.Program, 8)
	for i := range all {
		loading.Go(func() { all[i] = load(t, r, v) })
	}
	loading.Wait()
	last := start(t, all[len(all)-1])
	for _, p := range all[:len(all)-1] {
		h := start(t, p)
		h.Close()
		for range 2 {
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	if verdict, _, err := last.Handle(t.Context(), batch()); verdict != abi.Done || err != nil {
		t.Errorf("after the others have closed: %v, %v", verdict, err)
	}
	last.Close()
	if err := all[len(all)-1].Close(); err != nil {
		t.Error(err)
	}
	runs(t, r, v) // and it can be loaded anew
}

// What ends a guest is a Failure, which is permanent if a new guest would end the same way.
func TestFailures(t *testing.T) {
	loop := append([]byte{0x03, 0x40, 0x0c, 0x00, 0x0b}, constant(0)...) // loop br 0 end
	// batch_read(0, a place outside of the memory, 64)
	outside := append(append(append([]byte{}, constant(0)...), 0x41, 0x7f), 0x41, 0xc0, 0x00, 0x10, 0x00)
	for name, c := range map[string]struct {
		module    module
		limits    func(*plugins.Limits)
		canceled  bool
		reason    string
		permanent bool
	}{
		"crash": {module: module{body: []byte{0x00}}, reason: "crashed"},
		"loop":  {module: module{body: loop}, limits: func(l *plugins.Limits) { l.Fuel = 1_000_000 }, reason: "out of fuel", permanent: true},
		"late":  {module: module{body: loop}, limits: func(l *plugins.Limits) { l.Fuel, l.TimeMs = plugins.MaxLimits().Fuel, 1 }, reason: "timed out"},
		"outside": {module: module{body: outside, imports: []imported{{"batch_read", []byte{i32, i32, i32}, []byte{i32}}}},
			reason: "out of bounds", permanent: true},
		"canceled": {module: module{body: loop}, limits: func(l *plugins.Limits) { *l = plugins.MaxLimits() }, canceled: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := open(t, inMemory(t))
			c.module.manifest = manifest("p", "1", "")
			v, _ := upload(t, r, "p", "1", c.module.bytes())
			p := load(t, r, v)
			defer func() { _ = p.Close() }()
			connect := connection()
			if c.limits != nil {
				c.limits(&connect.Limits)
			}
			h, err := p.New(t.Context(), connect)
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if c.canceled {
				timer := time.AfterFunc(time.Millisecond, cancel)
				defer timer.Stop()
			}
			_, _, err = h.Handle(ctx, batch())
			var failure *plugins.Failure
			switch isFailure := errors.As(err, &failure); {
			case c.canceled:
				if isFailure || !errors.Is(err, core.CodeCanceled) {
					t.Errorf("the caller gave up: %v", err)
				}
			case !isFailure || failure.Reason != c.reason || failure.Permanent != c.permanent:
				t.Errorf("%#v, want %q, permanent %t", err, c.reason, c.permanent)
			}
		})
	}
	t.Run("memory", func(t *testing.T) {
		r := open(t, inMemory(t))
		v, _ := upload(t, r, "p", "1", module{manifest: manifest("p", "1", ""), pages: 100}.bytes())
		p := load(t, r, v)
		defer func() { _ = p.Close() }()
		connect := connection()
		connect.Limits.MemoryBytes = 1 << 20
		_, err := p.New(t.Context(), connect)
		var failure *plugins.Failure
		if !errors.As(err, &failure) || !failure.Permanent {
			t.Errorf("it starts with more memory than it may have: %#v", err)
		}
	})
}

// A directory of code whose key is another's, or whose files have changed, is not trusted; one
// that is lost is made again. A module that is lost is an error that says so.
func TestCache(t *testing.T) {
	store := inMemory(t)
	dir := filepath.Join(t.TempDir(), "code")
	shared := func(c *registry.Config) { c.CacheDir = dir }
	v, _ := upload(t, open(t, store, shared), "p", "1", plain("p", "1"))
	// Without a program that compiles, only cached code can be loaded.
	cached := func(c *registry.Config) { c.CacheDir, c.Command = dir, []string{"/nonexistent"} }
	runs(t, open(t, store, cached), v)

	other := inMemory(t)
	upload(t, open(t, other), "p", "1", plain("p", "1"))
	if p, err := open(t, other, cached).Load(t.Context(), v); err == nil {
		t.Errorf("code of another store was loaded: %v", p.Close())
	}
	var files []string
	if err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	}); err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		good, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		bad := bytes.Clone(good)
		bad[len(bad)/2] ^= 1
		if err := os.WriteFile(file, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if p, err := open(t, store, cached).Load(t.Context(), v); err == nil {
			t.Errorf("code was loaded though %s has changed: %v", file, p.Close())
		}
		runs(t, open(t, store, shared), v) // compiles it again
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	runs(t, open(t, store, shared), v)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := store.SweepBlobs(t.Context(), func([32]byte) bool { return false }, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, store, shared).Load(t.Context(), v); !errors.Is(err, core.CodeBlobNotFound) {
		t.Errorf("a module that is lost: %v", err)
	}
	upload(t, open(t, store, shared), "p", "1", plain("p", "1")) // heals it
	runs(t, open(t, store), v)
}

func TestConfigs(t *testing.T) {
	r := open(t, inMemory(t))
	v := plugins.Version{Manifest: plugins.Manifest{ConfigSchema: []byte(
		`{"type":"object","properties":{"threshold":{"type":"integer","minimum":1},"names":{"type":"array","items":{"type":"string"}}},"required":["threshold"],"additionalProperties":false}`)}}
	for config, want := range map[string]string{
		`{"threshold":50,"names":["a"]}`:  "",
		``:                                "the config: ",
		`{}`:                              "threshold",
		`{"threshold":0}`:                 "/threshold: ",
		`{"threshold":1,"names":["a",2]}`: "/names/1: ",
		`{"threshold":1,"other":1}`:       "other",
		`[1]`:                             "not an object",
		`{"threshold":1`:                  "not JSON",
		`{"threshold":1} {}`:              "not JSON",
	} {
		err := r.CheckConfig(&v, []byte(config))
		if want == "" && err == nil {
			continue
		}
		if !errors.Is(err, core.CodeInvalidPluginConfig) || !bytes.Contains([]byte(err.Error()), []byte(want)) {
			t.Errorf("%s: %v, want %q", config, err, want)
		}
	}
	if err := r.CheckConfig(&plugins.Version{}, []byte(`{"anything":"goes"}`)); err != nil {
		t.Error(err)
	}
	if err := r.CheckConfig(&v, bytes.Repeat([]byte(" "), 65<<10)); !errors.Is(err, core.CodeInvalidPluginConfig) {
		t.Error(err)
	}
}

// A schema that applies itself exponentially often ends after a number of steps.
func TestSchemaBomb(t *testing.T) {
	r := open(t, inMemory(t))
	bomb := `{"$ref":"#/$defs/a0","$defs":{`
	for i := range 40 {
		next := `{"not":{}}`
		if i < 39 {
			next = `{"$ref":"#/$defs/a` + string(rune('0'+(i+1)/10)) + string(rune('0'+(i+1)%10)) + `"}`
		}
		name := "a" + string(rune('0'+i/10)) + string(rune('0'+i%10))
		bomb += `"` + name + `":{"anyOf":[` + next + `,` + next + `]},`
	}
	bomb += `"a0":{"$ref":"#/$defs/a00"}}}`
	for _, dialect := range []string{"", "http://json-schema.org/draft-07/schema#", "https://json-schema.org/draft/2020-12/schema"} {
		schema := bomb
		if dialect != "" {
			schema = `{"$schema":"` + dialect + `",` + bomb[1:]
		}
		v := plugins.Version{Manifest: plugins.Manifest{ConfigSchema: []byte(schema)}}
		if err := r.CheckConfig(&v, []byte(`{}`)); !errors.Is(err, core.CodeInvalidPluginConfig) || !bytes.Contains([]byte(err.Error()), []byte("steps")) {
			t.Errorf("%q: %v", dialect, err)
		}
	}
}
