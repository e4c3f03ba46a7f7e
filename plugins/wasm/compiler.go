package wasm

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/tetratelabs/wazero"
	"golang.org/x/sys/cpu"
)

// The limits of a child process that compiles. What passes the parser needs less.
const (
	compileMemory  = 1 << 30
	compileCPU     = 20 * time.Second
	compileTimeout = 5 * time.Minute // by the clock, on a busy machine
)

// Code is a module that is ready to be loaded.
type Code struct {
	module  *Module
	metered []byte
	dir     string // where its native code is, or empty
}

// InProcess is code that Host.Load compiles in this process, without the limits of a
// Compiler. It is for people who test a module of their own.
func InProcess(m *Module) *Code { return &Code{module: m, metered: m.Meter()} }

// Compiler makes native code of modules in a child process, one at a time, and keeps it in a
// directory. Native code is trusted when it is loaded, so each file is authenticated, and
// compiled again if it is not as it was written.
type Compiler struct {
	command []string
	dir     string
	key     []byte
	memory  int64
	slot    chan struct{}
}

// NewCompiler returns a Compiler that runs a command, which gets a directory as its last
// argument and calls RunCompiler. dir belongs to the Compiler; it is made if it does not
// exist, and refused if others than its owner have access. The key authenticates what is in
// dir and must not be stored there.
func NewCompiler(dir string, key []byte, command ...string) (*Compiler, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode&0o077 != 0 {
		return nil, fmt.Errorf("the directory of compiled plugins %s has mode %#o: others could put native code there; set it to 0700", dir, mode)
	}
	return &Compiler{command: command, dir: dir, key: key, memory: compileMemory, slot: make(chan struct{}, 1)}, nil
}

// Compile returns the code of a module, from the directory if it is there. A module that the
// child cannot compile within its limits is an *InvalidError.
func (c *Compiler) Compile(ctx context.Context, m *Module) (*Code, error) {
	metered := m.Meter()
	code := &Code{module: m, metered: metered, dir: filepath.Join(c.dir, c.entry(metered))}
	if c.authentic(code.dir) {
		return code, nil
	}
	select {
	case c.slot <- struct{}{}:
		defer func() { <-c.slot }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if c.authentic(code.dir) { // compiled while this call waited
		return code, nil
	}
	if err := c.fill(ctx, code); err != nil {
		return nil, err
	}
	return code, nil
}

// entry names the code of a module for this program and this processor.
func (c *Compiler) entry(metered []byte) string {
	h := sha256.New()
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.String()
	}
	fmt.Fprintln(h, version, runtime.Version(), runtime.GOOS, runtime.GOARCH, cpu.X86, cpu.ARM64)
	h.Write(metered)
	return hex.EncodeToString(h.Sum(nil))
}

// fill compiles into a directory of its own, and renames that to code.dir.
func (c *Compiler) fill(ctx context.Context, code *Code) (err error) {
	temporary, err := os.MkdirTemp(c.dir, "compiling-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(temporary) }() // gone already if all went well
	if err := c.run(ctx, temporary, code.metered); err != nil {
		return err
	}
	sum, err := c.sum(temporary, filepath.Base(code.dir))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(temporary, sumFile), sum, 0o600); err != nil {
		return err
	}
	if err := os.RemoveAll(code.dir); err != nil {
		return err
	}
	return os.Rename(temporary, code.dir)
}

// run compiles in a child.
func (c *Compiler) run(ctx context.Context, dir string, metered []byte) error {
	ctx, cancel := context.WithTimeout(ctx, compileTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, c.command[0], append(c.command[1:len(c.command):len(c.command)], dir)...)
	command.Env = []string{"GOMAXPROCS=1"}
	command.Stdin = io.MultiReader(bytes.NewReader(binary.LittleEndian.AppendUint64(nil, uint64(c.memory))), bytes.NewReader(metered))
	command.WaitDelay = time.Second
	output, err := command.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !errors.As(err, &exit):
		return fmt.Errorf("start the compiler of plugins: %w", err)
	}
	reason, _, _ := bytes.Cut(output, []byte("\n"))
	return &InvalidError{
		Section: sectionNames[sectionCode],
		Reason:  fmt.Sprintf("the compiler ended with %v: %s", exit, printable(nil, reason[:min(len(reason), 200)])),
		Fix:     fmt.Sprintf("make the module smaller: compiling may take %d MiB and %v of CPU time", c.memory>>20, compileCPU),
	}
}

// RunCompiler is the child's side of a Compiler: it compiles the module that comes from in,
// after the limit of its memory, into dir. It sets limits on its process first.
func RunCompiler(dir string, in io.Reader) error {
	var memory [8]byte
	if _, err := io.ReadFull(in, memory[:]); err != nil {
		return err
	}
	if err := limitProcess(binary.LittleEndian.Uint64(memory[:]), compileCPU); err != nil {
		return fmt.Errorf("limit the process: %w", err)
	}
	metered, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	cache, err := wazero.NewCompilationCacheWithDir(dir)
	if err != nil {
		return err
	}
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, runtimeConfig().WithCompilationCache(cache))
	_, err = r.CompileModule(ctx, metered)
	return errors.Join(err, r.Close(ctx), cache.Close(ctx))
}

// sumFile holds the sum of the other files in an entry's directory.
const sumFile = "hmac"

func (c *Compiler) authentic(dir string) bool {
	want, err := os.ReadFile(filepath.Join(dir, sumFile))
	if err != nil {
		return false
	}
	got, err := c.sum(dir, filepath.Base(dir))
	return err == nil && hmac.Equal(got, want)
}

// sum authenticates the files in dir, with their names, as the code of an entry.
func (c *Compiler) sum(dir, entry string) ([]byte, error) {
	h := hmac.New(sha256.New, c.key)
	fmt.Fprintf(h, "%s\n", entry)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(dir, path) // both are absolute, or both are not
		switch {
		case err != nil:
			return err
		case d.IsDir() || name == sumFile:
			return nil
		case !d.Type().IsRegular():
			return fmt.Errorf("%s is not a file", path)
		}
		return sumOf(h, path, name)
	})
	return h.Sum(nil), err
}

func sumOf(h hash.Hash, path, name string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was read only
	info, err := f.Stat()
	if err != nil {
		return err
	}
	fmt.Fprintf(h, "%q %d\n", name, info.Size())
	_, err = io.Copy(h, f)
	return err
}
