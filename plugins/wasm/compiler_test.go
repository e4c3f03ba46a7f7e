package wasm

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
	code, err := cannotCompile(t, dir, "key").Compile(ctx, m)
	if err != nil {
		t.Fatalf("the code was not found again: %v", err)
	}
	files := countFiles(t, code.dir)
	p, err := NewHost().Load(ctx, code, abi.Handle)
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
	if left, _ := filepath.Glob(filepath.Join(dir, "compiling-*")); len(left) > 0 {
		t.Errorf("temporary directories are left: %v", left)
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
		"no sum":     func() error { return os.Remove(filepath.Join(code.dir, sumFile)) },
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

func TestTheChildIsLimited(t *testing.T) {
	c := newCompiler(t, filepath.Join(t.TempDir(), "code"), "key")
	c.memory = 1 << 20
	_, err := c.Compile(context.Background(), parsed(t, oneFunction(manyJoins(500, 2000))))
	var invalid *InvalidError
	if !errors.As(err, &invalid) || !strings.Contains(err.Error(), "the compiler ended with exit status") {
		t.Errorf("a child without memory: %v", err)
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
