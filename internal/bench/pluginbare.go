package main

import (
	"context"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/wasm"
)

// bareGuest is a guest under wazero alone, whose imports do nothing but hand out the batch.
// It is there to compare a module with and without the meter.
type bareGuest struct {
	runtime wazero.Runtime
	entry   api.Function
	stack   [3]uint64
	size    uint64
}

func newBareGuest(ctx context.Context, module, batch []byte) (*bareGuest, error) {
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithDebugInfoEnabled(false))
	g := &bareGuest{runtime: r, size: uint64(len(batch))}
	compiled, err := r.CompileModule(ctx, module)
	if err != nil {
		return nil, err
	}
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, r); err != nil {
		return nil, err
	}
	builders := map[string]wazero.HostModuleBuilder{}
	for _, f := range compiled.ImportedFunctions() {
		host, name, _ := f.Import()
		if host == wasi_snapshot_preview1.ModuleName {
			continue
		}
		if builders[host] == nil {
			builders[host] = r.NewHostModuleBuilder(host)
		}
		builders[host].NewFunctionBuilder().WithGoModuleFunction(bareImport(name, batch), f.ParamTypes(), f.ResultTypes()).Export(name)
	}
	for _, builder := range builders {
		if _, err := builder.Instantiate(ctx); err != nil {
			return nil, err
		}
	}
	instance, err := r.InstantiateModule(ctx, compiled, wazero.NewModuleConfig().WithName("").WithStartFunctions(abi.Start))
	if err != nil {
		return nil, err
	}
	g.entry = instance.ExportedFunction(abi.Handle)
	return g, nil
}

func bareImport(name string, batch []byte) api.GoModuleFunc {
	switch name {
	case abi.BatchRead:
		return func(_ context.Context, m api.Module, stack []uint64) {
			part := batch[min(uint64(uint32(stack[0])), uint64(len(batch))):]
			part = part[:min(uint64(len(part)), uint64(uint32(stack[2])))]
			m.Memory().Write(uint32(stack[1]), part)
			stack[0] = uint64(len(part))
		}
	case abi.StateGet:
		return func(_ context.Context, _ api.Module, stack []uint64) { stack[0] = api.EncodeI32(int32(abi.NotFound)) }
	case "refuel": // of the meter
		return func(_ context.Context, _ api.Module, stack []uint64) { stack[0] = 250_000 }
	}
	return func(_ context.Context, _ api.Module, stack []uint64) {
		if len(stack) > 0 {
			stack[0] = 0
		}
	}
}

func (g *bareGuest) call() error {
	g.stack = [3]uint64{g.size, 64, 0}
	err := g.entry.CallWithStack(context.Background(), g.stack[:])
	return done(abi.Verdict(int32(g.stack[0])), err)
}

func (g *bareGuest) close() { _ = g.runtime.Close(context.Background()) }

// sinkConfig connects an instance to what keeps nothing.
func sinkConfig(limits wasm.Limits) wasm.Config {
	return wasm.Config{Limits: limits, Effects: pluginSink{}, Reads: pluginSink{}, Output: pluginSink{}}
}

type pluginSink struct{}

func (pluginSink) Begin(int)                                               {}
func (pluginSink) Result(int, abi.Action, time.Duration, []byte) abi.Errno { return abi.OK }
func (pluginSink) Append(int, []byte, int64, []byte) abi.Errno             { return abi.OK }
func (pluginSink) Put(int, []byte, []byte) abi.Errno                       { return abi.OK }
func (pluginSink) Delete(int, []byte) abi.Errno                            { return abi.OK }
func (pluginSink) Get([]byte) ([]byte, abi.Errno)                          { return nil, abi.NotFound }
func (pluginSink) Scan([]byte, []byte, int, int) ([]byte, abi.Errno)       { return nil, abi.OK }
func (pluginSink) ReadStream([]byte, int64, int) ([]byte, abi.Errno)       { return nil, abi.Denied }
func (pluginSink) Config([]byte) ([]byte, abi.Errno)                       { return nil, abi.NotFound }
func (pluginSink) Secret([]byte) ([]byte, abi.Errno)                       { return nil, abi.Unsupported }
func (pluginSink) HTTP(int, []byte, time.Duration) ([]byte, abi.Errno)     { return nil, abi.Unsupported }
func (pluginSink) Log(abi.Level, []byte)                                   {}
func (pluginSink) Metric(abi.Kind, []byte, float64) abi.Errno              { return abi.OK }
