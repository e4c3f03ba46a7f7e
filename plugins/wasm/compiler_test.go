package wasm

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins/abi"
)

// newCompiler returns a Compiler whose child is this test.
func newCompiler(t *testing.T, dir, key string) *Compiler {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewCompiler(dir, []byte(key), self, compileArgument)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// cannotCompile is a Compiler of the same directory that has no child.
func cannotCompile(t *testing.T, dir, key string) *Compiler {
	t.Helper()
	c := newCompiler(t, dir, key)
	c.command = []string{filepath.Join(dir, "no such program")}
	return c
}

func parsed(t *testing.T, module []byte) *Module {
	t.Helper()
	m, err := Parse(module)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestCompiledCodeRunsAndIsKept(t *testing.T) {
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), "code")
	m := parsed(t, handler(&built{}, opI32Const, 0))
	if _, err := newCompiler(t, dir, "key").Compile(ctx, m); err != nil {
		t.Fatal(err)
	}
	code, ok := newCompiler(t, dir, "key").Cached(m.ID())
	if !ok {
		t.Fatal("the code was not found again")
	}
	if !bytes.Equal(code.metered, m.Meter()) {
		t.Error("the metered module differs from what was compiled")
	}
	files := countFiles(t, code.dir)
	p, err := NewHost(DefaultMemory).Load(ctx, code, abi.Handle)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	in := start(t, p, (&recorder{}).config())
	if verdict, _, err := in.Call(ctx, batchOf(t, 1)); verdict != abi.Done || err != nil {
		t.Errorf("verdict %d, %v", verdict, err)
	}
	if after := countFiles(t, code.dir); after != files {
		t.Errorf("loading wrote %d files: the node compiled by itself", after-files)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*", temporaryPrefix+"*")); len(left) > 0 {
		t.Errorf("temporary directories are left: %v", left)
	}
	var invalid *InvalidError
	if _, err := NewHost(DefaultMemory).Load(ctx, code, "gyre_filter"); !errors.As(err, &invalid) {
		t.Errorf("an entry that the module does not export: %v", err)
	}
}

func countFiles(t *testing.T, dir string) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestTamperedCodeIsCompiledAgain(t *testing.T) {
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), "code")
	m := parsed(t, handler(&built{}, opI32Const, 0))
	compiler := newCompiler(t, dir, "key")
	code, err := compiler.Compile(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cannotCompile(t, dir, "another key").Compile(ctx, m); err == nil {
		t.Error("code of another key is trusted")
	}
	native, err := filepath.Glob(filepath.Join(code.dir, "wazero-*", "*"))
	if err != nil || len(native) != 1 {
		t.Fatalf("native code: %v, %v", native, err)
	}
	original, err := os.ReadFile(native[0])
	if err != nil {
		t.Fatal(err)
	}
	tamper := map[string]func() error{
		"flipped bit": func() error {
			b := append([]byte{}, original...)
			b[len(b)/2] ^= 1
			return os.WriteFile(native[0], b, 0o600)
		},
		"cut":        func() error { return os.Truncate(native[0], int64(len(original)/2)) },
		"added file": func() error { return os.WriteFile(native[0]+"0", original, 0o600) },
		"no file":    func() error { return os.Remove(native[0]) },
		"metered": func() error {
			return os.WriteFile(filepath.Join(code.dir, meteredFile), append(slices.Clone(code.metered), 0), 0o600)
		},
		"no sum": func() error { return os.Remove(filepath.Join(code.dir, sumFile)) },
	}
	for name, change := range tamper {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if _, err := cannotCompile(t, dir, "key").Compile(ctx, m); err == nil {
			t.Errorf("%s: tampered code is trusted", name)
		}
		if _, err := compiler.Compile(ctx, m); err != nil {
			t.Errorf("%s: not compiled again: %v", name, err)
		}
		if _, err := cannotCompile(t, dir, "key").Compile(ctx, m); err != nil {
			t.Errorf("%s: compiled again, but not trusted: %v", name, err)
		}
	}
}

// heavy is a module that the parser accepts, with functions that are slow to compile: as many
// locals and blocks as are allowed.
func heavy(functions, locals, ifs int) []byte {
	b := &built{}
	for range functions {
		b.define("", none, none, slices.Repeat(i32x1, locals), slices.Repeat(slices.Concat(i32(1), []byte{opIf, blockEmpty, opEnd}), ifs)...)
	}
	return handler(b, opI32Const, 0)
}

// What takes too much time or memory ends the child, and costs the node nothing.
func TestTheChildIsLimited(t *testing.T) {
	for name, c := range map[string]struct {
		module []byte
		limits childLimits
		want   string
	}{
		// Go may also spin without memory, until its time is up.
		"memory": {heavy(1, 60, 16_000), childLimits{Memory: 1 << 20, CPU: 2}, "the compiler ended with"},
		"time":   {heavy(60, 500, 2000), childLimits{Memory: 1 << 30}, "killed"},
	} {
		t.Run(name, func(t *testing.T) {
			compiler := newCompiler(t, filepath.Join(t.TempDir(), "code"), "key")
			compiler.limits = c.limits
			m := parsed(t, c.module)
			var err error
			if n := allocated(func() { _, err = compiler.Compile(context.Background(), m) }); n > 16<<20 {
				t.Errorf("the node allocated %d bytes for a child that failed", n)
			}
			if !errors.Is(err, core.CodeInvalidModule) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want a child that was ended: %s", err, c.want)
			}
			if left, err := os.ReadDir(compiler.dir); len(left) > 0 || err != nil {
				t.Errorf("a failed compilation has left %v, %v", left, err)
			}
			compiler.limits = compileLimits
			if _, err := compiler.Compile(context.Background(), parsed(t, handler(&built{}, opI32Const, 0))); err != nil {
				t.Errorf("the next module: %v", err)
			}
		})
	}
}

func TestLeftoversAreRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "code")
	c := newCompiler(t, dir, "key")
	m := parsed(t, handler(&built{}, opI32Const, 0))
	if _, err := c.Compile(context.Background(), m); err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(dir, strings.Repeat("0", 64))
	cut := filepath.Join(c.dir, temporaryPrefix+"1234")
	foreign := filepath.Join(dir, "of somebody else")
	for _, d := range []string{old, cut, foreign} {
		if err := os.MkdirAll(filepath.Join(d, "wazero"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := newCompiler(t, dir, "key").Cached(m.ID()); !ok {
		t.Error("the code of this program was removed")
	}
	for d, want := range map[string]bool{old: false, cut: false, foreign: true} {
		if _, err := os.Stat(d); (err == nil) != want {
			t.Errorf("%s: %v, want it to be there: %v", d, err, want)
		}
	}
}

func TestCompileGivesUpWithItsCaller(t *testing.T) {
	c := newCompiler(t, filepath.Join(t.TempDir(), "code"), "key")
	m := parsed(t, handler(&built{}, opI32Const, 0))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.Compile(ctx, m); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled before: %v", err)
	}
	c.slot <- struct{}{}
	if _, err := c.Compile(ctx, m); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled while another compiles: %v", err)
	}
}

func TestAnOpenDirectoryIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := NewCompiler(dir, nil, "x"); err == nil || !strings.Contains(err.Error(), "0700") {
		t.Errorf("a directory that others can read: %v", err)
	}
}
