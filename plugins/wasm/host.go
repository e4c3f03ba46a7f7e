package wasm

import (
	"context"
	"errors"
	"math"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/gyre-events/gyre/plugins/abi"
)

// features are what both the parser and the compiler take.
const features = api.CoreFeaturesV2 &^ api.CoreFeatureSIMD

// DefaultMemory is the memory of a node's instances if nobody says another.
const DefaultMemory = 2 << 30

// Host runs the guests of a node, a few at a time and in turns, so that processors are left
// for the rest of the node, and no guest holds up another.
type Host struct {
	slots   chan struct{} // as many as guests may run
	waiting atomic.Int64  // guests that have none
	memory  budget
	now     func() time.Time
}

// NewHost returns a Host that runs one guest less at a time than Go has processors, and at
// least one. memory bounds, in bytes, what its instances have together: the memory that each
// has grown to and another MiB each, which also bounds their number. On top of that a guest
// may have 150 MB of native stack while it runs.
func NewHost(memory int64) *Host {
	return &Host{slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1)), memory: budget{limit: memory}, now: time.Now}
}

// enter waits until a guest may run. Guests get slots in the order in which they ask.
func (h *Host) enter(ctx context.Context) error {
	select {
	case h.slots <- struct{}{}:
		return nil
	default:
	}
	h.waiting.Add(1)
	defer h.waiting.Add(-1)
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (h *Host) leave() { <-h.slots }

// Program is a module that is ready to run. It is safe for concurrent use.
type Program struct {
	host     *Host
	entry    string
	runtime  wazero.Runtime
	compiled wazero.CompiledModule
	cache    wazero.CompilationCache // may be nil
	gate     gate                    // users are instances
}

// Load makes a program of code, whose function entry its calls run.
func (h *Host) Load(ctx context.Context, code *Code, entry string) (*Program, error) {
	if err := Supported(); err != nil {
		return nil, err
	}
	p := &Program{host: h, entry: entry, gate: gate{most: math.MaxInt}}
	config := runtimeConfig()
	if code.dir != "" {
		cache, err := wazero.NewCompilationCacheWithDir(code.dir)
		if err != nil {
			return nil, err
		}
		p.cache = cache
		config = config.WithCompilationCache(cache)
	}
	p.runtime = wazero.NewRuntimeWithConfig(ctx, config)
	err := p.link(ctx, code.metered)
	if err == nil {
		err = p.checkEntry()
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// checkEntry refuses a program without the function that its calls run.
func (p *Program) checkEntry() error {
	f, ok := p.compiled.ExportedFunctions()[p.entry]
	if !ok {
		return refuseExport("export %q is missing", p.entry)
	}
	if got := (funcType{valueTypes(f.ParamTypes()), valueTypes(f.ResultTypes())}); !got.equal(entryType(p.entry)) {
		return refuseExport("export %q has the type %s, %s is needed", p.entry, got, entryType(p.entry))
	}
	return nil
}

// minBytes returns the memory that an instance starts with.
func (p *Program) minBytes() uint64 {
	return uint64(p.compiled.ExportedMemories()[abi.Memory].Min()) * pageBytes
}

func runtimeConfig() wazero.RuntimeConfig {
	return wazero.NewRuntimeConfigCompiler().WithCoreFeatures(features).WithMemoryLimitPages(maxMemoryPages).WithDebugInfoEnabled(false)
}

// link gives the runtime its host functions, and compiles the module.
func (p *Program) link(ctx context.Context, metered []byte) error {
	builders := map[string]wazero.HostModuleBuilder{}
	for _, i := range append(importTable(), meterImport()) {
		b, ok := builders[i.module]
		if !ok {
			b = p.runtime.NewHostModuleBuilder(i.module)
			builders[i.module] = b
		}
		function := api.GoModuleFunc(func(ctx context.Context, _ api.Module, stack []uint64) {
			in := ctx.Value(instanceKey{}).(*Instance)
			in.tank.charge(importCost)
			i.call(in, stack)
		})
		b.NewFunctionBuilder().WithGoModuleFunction(function, typeBytes(i.typ.params), typeBytes(i.typ.results)).Export(i.name)
	}
	for _, b := range builders {
		if _, err := b.Instantiate(ctx); err != nil {
			return err
		}
	}
	compiled, err := p.runtime.CompileModule(ctx, metered)
	p.compiled = compiled
	return err
}

// meterImport is the host's side of the meter.
func meterImport() imported {
	return imported{meterModule, meterRefuel, typeFrom("I:I"), func(in *Instance, stack []uint64) {
		stack[0] = uint64(in.tank.refuel(int64(stack[0])))
	}}
}

// Close frees the compiled code, when the last of its instances is closed.
func (p *Program) Close() error {
	if p.gate.close() {
		return p.free()
	}
	return nil
}

func (p *Program) leave() {
	if p.gate.leave() {
		_ = p.free() // which closes files that were read only
	}
}

func (p *Program) free() error {
	ctx := context.Background()
	err := p.runtime.Close(ctx)
	if p.cache != nil {
		err = errors.Join(err, p.cache.Close(ctx))
	}
	return err
}
