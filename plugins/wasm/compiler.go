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
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"golang.org/x/sys/cpu"

	"github.com/gyre-events/gyre/plugins"
)

// compileTimeout bounds a compilation by the clock, on a busy machine.
const compileTimeout = 5 * time.Minute

// childLimits bound a child process that compiles. It gets them before the module.
type childLimits struct {
	Memory uint64 // bytes
	CPU    uint64 // seconds
}

// compileLimits are more than what passes the parser needs.
var compileLimits = childLimits{Memory: 1 << 30, CPU: 20}

// Code is a module that is ready to be loaded.
type Code struct {
	metered []byte
	dir     string // where its native code is, or empty
}

// InProcess is code that Host.Load compiles in this process, without the limits of a
// Compiler. It is for people who test a module of their own. It refuses what Compile does.
func InProcess(m *Module) (*Code, error) {
	if err := m.checkKnown(importTable()); err != nil {
		return nil, err
	}
	return &Code{metered: m.Meter()}, nil
}

// Compiler makes native code of modules in a child process, one at a time, and keeps it in a
// directory. Native code is trusted when it is loaded, so each file is authenticated, and
// compiled again if it is not as it was written.
type Compiler struct {
	command []string
	dir     string // of this program
	key     []byte
	limits  childLimits
	slot    chan struct{}
}

// NewCompiler returns a Compiler that runs a command, which gets a directory as its last
// argument and calls RunCompiler. dir belongs to the Compiler; it is made if it does not
// exist, and refused if others than its owner have access. What another version of this
// program, or a compilation that was cut off, has left there is removed. The key
// authenticates what is in dir and must not be stored there.
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
	program := thisProgram()
	c := &Compiler{command: command, dir: filepath.Join(dir, program), key: key, limits: compileLimits, slot: make(chan struct{}, 1)}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return nil, err
	}
	return c, errors.Join(
		sweep(dir, func(name string) bool { return len(name) == len(program) && name != program }),
		sweep(c.dir, func(name string) bool { return strings.HasPrefix(name, temporaryPrefix) }),
	)
}

// thisProgram names the version of this program on this processor. Code of another is not
// loaded: its meter, or wazero, may differ.
func thisProgram() string {
	h := sha256.New()
	if info, ok := debug.ReadBuildInfo(); ok {
		fmt.Fprintln(h, info)
	}
	if path, err := os.Executable(); err == nil {
		if info, err := os.Stat(path); err == nil { // builds of a changed work tree have one version
			fmt.Fprintln(h, info.Size(), info.ModTime().UnixNano())
		}
	}
	fmt.Fprintln(h, runtime.Version(), runtime.GOOS, runtime.GOARCH, cpu.X86, cpu.ARM64)
	return hex.EncodeToString(h.Sum(nil))
}

func sweep(dir string, remove func(name string) bool) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() && remove(e.Name()) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// Cached returns the code of the module with an id, if it has been compiled. It reads and
// authenticates the code, and does not need the module.
func (c *Compiler) Cached(id [sha256.Size]byte) (*Code, bool) {
	dir := c.entry(id)
	if !c.authentic(dir) {
		return nil, false
	}
	metered, err := os.ReadFile(filepath.Join(dir, meteredFile))
	return &Code{metered, dir}, err == nil
}

func (c *Compiler) entry(id [sha256.Size]byte) string {
	return filepath.Join(c.dir, hex.EncodeToString(id[:]))
}

// Compile returns the code of a module, from the directory if it is there. A module whose
// imports the host does not give, or that the child cannot compile within its limits, is an
// *InvalidError.
func (c *Compiler) Compile(ctx context.Context, m *Module) (*Code, error) {
	if err := m.checkKnown(importTable()); err != nil {
		return nil, err
	}
	id := m.ID()
	if code, ok := c.Cached(id); ok {
		return code, nil
	}
	select {
	case c.slot <- struct{}{}:
		defer func() { <-c.slot }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if code, ok := c.Cached(id); ok { // compiled while this call waited
		return code, nil
	}
	code := &Code{m.Meter(), c.entry(id)}
	if err := c.fill(ctx, code); err != nil {
		return nil, err
	}
	return code, nil
}

// The names in the directory of a program, beside the entries.
const (
	temporaryPrefix = "compiling-"
	meteredFile     = "metered.wasm" // in an entry
	sumFile         = "hmac"         // in an entry: the sum of its other files
)

// fill compiles into a directory of its own, and renames that to code.dir.
func (c *Compiler) fill(ctx context.Context, code *Code) error {
	temporary, err := os.MkdirTemp(c.dir, temporaryPrefix)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(temporary) }() // gone already if all went well
	if err := c.run(ctx, temporary, code.metered); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(temporary, meteredFile), code.metered, 0o600); err != nil {
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
	limits, err := binary.Append(nil, binary.LittleEndian, c.limits)
	if err != nil {
		return err
	}
	command := exec.CommandContext(ctx, c.command[0], append(c.command[1:len(c.command):len(c.command)], dir)...)
	command.Env = []string{"GOMAXPROCS=1"}
	command.Stdin = io.MultiReader(bytes.NewReader(limits), bytes.NewReader(metered))
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
		Reason:  strings.TrimSuffix(fmt.Sprintf("the compiler ended with %v: %s", exit, plugins.AppendLine(nil, reason[:min(len(reason), 200)])), ": "),
		Fix:     fmt.Sprintf("make the module smaller: compiling may take %d MiB and %d s of processor time", c.limits.Memory>>20, c.limits.CPU),
	}
}

// RunCompiler is the child's side of a Compiler: it compiles the module that comes from in,
// after its limits, into dir. It sets the limits on its process first.
func RunCompiler(dir string, in io.Reader) error {
	var limits childLimits
	if err := binary.Read(in, binary.LittleEndian, &limits); err != nil {
		return err
	}
	if err := limitProcess(limits); err != nil {
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
