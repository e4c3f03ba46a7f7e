package dev

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/gyre-events/gyre/core"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// directory is a plugin's directory of a test.
type directory struct {
	*testing.T
	dir string
}

func newDirectory(t *testing.T, files map[string]string) *directory {
	d := &directory{t, t.TempDir()}
	for name, text := range files {
		d.write(name, text)
	}
	return d
}

func (d *directory) write(name, text string) {
	d.Helper()
	path := filepath.Join(d.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		d.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		d.Fatal(err)
	}
}

func (d *directory) remove(name string) {
	d.Helper()
	if err := os.Remove(filepath.Join(d.dir, name)); err != nil {
		d.Fatal(err)
	}
}

func (d *directory) watch() *Watch {
	d.Helper()
	w, err := NewWatch(d.dir)
	if err != nil {
		d.Fatal(err)
	}
	return w
}

// next is what Next tells within a second of the bubble's time.
func (d *directory) next(w *Watch) []string {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), time.Second)
	defer cancel()
	changed, err := w.Next(ctx)
	if err != nil && ctx.Err() == nil {
		d.Fatal(err)
	}
	return changed
}

func TestWatchTellsWhatChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDirectory(t, map[string]string{"main.go": "a", "lib/lib.go": "b", "gyre.plugin.json": "{}", "target/x.rs": "", ".git/HEAD": ""})
		w := d.watch()
		if w.Files() != 3 {
			t.Errorf("%d files are watched, want 3", w.Files())
		}
		later := time.Now().Add(time.Hour)
		for _, step := range []struct {
			what string
			do   func()
			want []string
		}{
			{"nothing", func() {}, nil},
			{"a new text", func() { d.write("main.go", "aa") }, []string{"main.go"}},
			{"two files", func() { d.write("main.go", "c"); d.write("lib/lib.go", "bb") }, []string{"lib/lib.go", "main.go"}},
			{"a new time only", func() {
				if err := os.Chtimes(filepath.Join(d.dir, "main.go"), later, later); err != nil {
					t.Fatal(err)
				}
			}, nil},
			{"as many bytes at the same time", func() {
				d.write("main.go", "d")
				if err := os.Chtimes(filepath.Join(d.dir, "main.go"), later.Add(1), later.Add(1)); err != nil {
					t.Fatal(err)
				}
			}, []string{"main.go"}},
			{"a new file", func() { d.write("lib/more/x.go", "") }, []string{"lib/more/x.go"}},
			{"one file less", func() { d.remove("lib/lib.go") }, []string{"lib/lib.go"}},
			{"what is built", func() { d.write("p.wasm", "x"); d.write("target/debug/p", "x"); d.write("build/p.js", "x") }, nil},
			{"what editors write", func() { d.write("main.go~", "x"); d.write(".main.go.swp", "x") }, nil},
			{"a link to nowhere", func() {
				if err := os.Symlink("nowhere", filepath.Join(d.dir, "link")); err != nil {
					t.Fatal(err)
				}
			}, nil},
		} {
			step.do()
			if got := d.next(w); !slices.Equal(got, step.want) {
				t.Errorf("%s: changed %q, want %q", step.what, got, step.want)
			}
		}
	})
}

// An editor, or a generator, writes one file after another: that is one change.
func TestWatchWaitsUntilFilesStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDirectory(t, map[string]string{"main.go": ""})
		w := d.watch()
		go func() {
			for n := range 10 {
				d.write("main.go", strings.Repeat("a", n+1)) // the clock of the disk stands still
				time.Sleep(pollEvery / 2)
			}
		}()
		began := time.Now()
		changed, err := w.Next(t.Context())
		if took := time.Since(began); err != nil || len(changed) != 1 || took < 5*pollEvery {
			t.Errorf("changed %q, %v, after %s", changed, err, took)
		}
		synctest.Wait()
		if changed := d.next(w); changed != nil {
			t.Errorf("then changed %q", changed)
		}
	})
}

// What a Next did not tell, because its context ended, the next one does.
func TestWatchTellsLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDirectory(t, map[string]string{"main.go": ""})
		w := d.watch()
		d.write("main.go", "a")
		ctx, cancel := context.WithTimeout(t.Context(), pollEvery+pollEvery/2)
		defer cancel()
		if changed, err := w.Next(ctx); changed != nil || err == nil {
			t.Fatalf("changed %q, %v", changed, err)
		}
		if changed := d.next(w); !slices.Equal(changed, []string{"main.go"}) {
			t.Errorf("then changed %q", changed)
		}
	})
}

func TestWatchRefuses(t *testing.T) {
	d := newDirectory(t, nil)
	if _, err := NewWatch(filepath.Join(d.dir, "nowhere")); !os.IsNotExist(err) {
		t.Errorf("of no directory: %v", err)
	}
	for range maxSources + 1 {
		f, err := os.CreateTemp(d.dir, "")
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	if _, err := NewWatch(d.dir); core.AsError(err).Code != core.CodeInvalidRequest {
		t.Errorf("of too many files: %v", err)
	}
}
