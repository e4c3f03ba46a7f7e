package wasm

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
)

// Limits bound an instance.
type Limits struct {
	MemoryBytes uint64
	Fuel        int64         // of a call
	Time        time.Duration // of a call
	InitTime    time.Duration // of starting, for which the fuel is that of a call
}

// The limits of a binding that asks for none, and the most that one may ask for.
func DefaultLimits() Limits {
	return Limits{MemoryBytes: 64 << 20, Fuel: 500_000_000, Time: time.Second, InitTime: 5 * time.Second}
}

// MaxLimits are the most that a binding may ask for.
func MaxLimits() Limits {
	return Limits{MemoryBytes: maxMemoryPages * pageBytes, Fuel: 10_000_000_000, Time: 30 * time.Second, InitTime: 30 * time.Second}
}

// Config is what an instance is connected to. All of it is required, except that the zero
// seed is one, too. The sandbox checks arguments and limits before it calls Effects, Reads and
// Output, from one goroutine at a time. What they get points into the memory of the guest,
// which is valid until they return.
type Config struct {
	Limits  Limits
	Seed    [32]byte // of randomness: of the binding
	Effects plugins.Effects
	Reads   plugins.Reads
	Output  plugins.Output
}

// Instance is a running copy of a program, with a memory of its own. It is used by one
// goroutine at a time. After a call that did not end with Done it is closed: its memory has
// seen a batch whose effects are dropped.
type Instance struct {
	program *Program
	config  Config
	ctx     context.Context // carries the instance to its imports
	module  api.Module
	entry   api.Function
	native  reflect.Value // the stack of entry, as bytes
	memory  api.Memory
	linear  linearMemory // behind memory
	stack   [3]uint64    // arguments and results
	charged bool         // instanceBytes are taken from the budget
	gate    gate         // closed at the end

	tank   tank
	random random
	slept  int64 // the monotonic clock, in ns

	call
}

// call is what concerns the current call.
type call struct {
	batch    []byte
	events   []source
	event    int   // begun last, or -1
	now      int64 // logical time in µs
	logged   int
	printed  []byte // since the last end of line
	line     []byte // scratch
	kept     kept
	standard standard // of a command
}

// source is what the host needs of an event.
type source struct {
	id         abi.ID
	timeMicros int64
	position   uint64
}

// firstTick is where the monotonic clock starts. Go refuses one that is at zero.
const firstTick = 1

type instanceKey struct{}

// New starts an instance: it runs the module's start function, _initialize and gyre_init.
func (p *Program) New(ctx context.Context, config Config) (*Instance, error) {
	if err := p.checkMemory(&config.Limits); err != nil {
		return nil, err
	}
	if !p.gate.enter() {
		return nil, &Trap{Reason: Discarded, Detail: "the program is closed"}
	}
	in := &Instance{program: p, config: config, slept: firstTick, gate: gate{most: 1}}
	in.linear = linearMemory{limit: config.Limits.MemoryBytes, budget: &p.host.memory}
	in.tank.host = p.host
	in.random.seed = config.Seed
	in.ctx = context.WithValue(context.Background(), instanceKey{}, in)
	if err := in.tank.enter(ctx); err != nil {
		in.Close()
		return nil, err
	}
	defer in.tank.leave()
	in.tank.fill(ctx, config.Limits.Fuel, config.Limits.InitTime)
	in.reset(nil)
	err := in.start()
	in.flush()
	if err != nil {
		in.Close()
		return nil, trapOf(err)
	}
	in.settleFuel()
	return in, nil
}

// checkMemory refuses limits that are below the memory which an instance starts with.
func (p *Program) checkMemory(l *Limits) error {
	if least := p.minBytes(); least > l.MemoryBytes {
		return &Trap{Reason: OutOfMemory, Detail: fmt.Sprintf("the module starts with %d bytes of memory, the binding's limit is %d", least, l.MemoryBytes)}
	}
	return nil
}

func (in *Instance) start() error {
	if err := in.instantiate(); err != nil {
		return err
	}
	in.memory = in.module.Memory()
	in.tank.guest = in.module.ExportedGlobal(fuelExport).(api.MutableGlobal)
	in.renewStack()
	if f := in.module.ExportedFunction(abi.Start); f != nil {
		if err := f.CallWithStack(in.ctx, nil); err != nil {
			return err
		}
	}
	f := in.module.ExportedFunction(abi.Init)
	if f == nil {
		return nil
	}
	if err := f.CallWithStack(in.ctx, in.stack[:1]); err != nil {
		return err
	}
	if code := int32(in.stack[0]); code != 0 {
		return &Trap{Reason: Failed, Detail: fmt.Sprintf("%s returned %d", abi.Init, code)}
	}
	return nil
}

// recovered is deferred where the runtime recovers no panic of stop. It sets err.
func recovered(err *error) {
	switch reason := recover().(type) {
	case nil:
	case *Trap:
		*err = reason
	default:
		*err = &Trap{Reason: HostError, Detail: fmt.Sprint(reason)}
	}
}

// instantiate makes the module, and runs its start function. The memory that a module starts
// with is allocated outside of a call, where the runtime lets a panic of stop through.
func (in *Instance) instantiate() (err error) {
	defer recovered(&err)
	in.linear.budget.take(instanceBytes)
	in.charged = true
	ctx := experimental.WithMemoryAllocator(in.ctx, &in.linear)
	module, err := in.program.runtime.InstantiateModule(ctx, in.program.compiled, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		return err
	}
	in.module = module
	return nil
}

// reset begins a call.
func (in *Instance) reset(batch []byte) {
	c := &in.call
	*c = call{batch: batch, event: -1, events: c.events[:0], printed: c.printed[:0], line: c.line[:0]}
	in.random.begin(abi.ID{})
}

// begin makes an event the current one.
func (in *Instance) begin(index int) {
	in.event, in.now = index, in.events[index].timeMicros
	in.random.begin(in.events[index].id)
}

func (in *Instance) nowMicros() int64 { return in.now }

// Call hands a batch, which abi.OpenBatch reads, or the text of a query, to the guest, and returns
// its verdict and the fuel that it used. A guest that is stopped, or that traps, is a *Trap. After
// a verdict other than Done the instance is closed. The batch must not change during the call.
func (in *Instance) Call(ctx context.Context, batch []byte) (abi.Verdict, int64, error) {
	if !in.gate.enter() {
		return 0, 0, &Trap{Reason: Discarded}
	}
	defer in.leave()
	if err := in.tank.enter(ctx); err != nil {
		return 0, 0, err
	}
	defer in.tank.leave()
	in.reset(batch)
	if err := in.readBatch(); err != nil {
		return 0, 0, err
	}
	in.tank.fill(ctx, in.config.Limits.Fuel, in.config.Limits.Time)
	err := in.run()
	in.flush()
	used := in.config.Limits.Fuel - in.settleFuel()
	if err != nil {
		in.Close()
		return 0, used, trapOf(err)
	}
	verdict := abi.Verdict(int32(in.stack[0]))
	if verdict != abi.Done {
		in.Close()
	} else if in.native.Len() > maxIdleStack {
		in.renewStack()
	}
	return verdict, used, nil
}

// run runs the entry. The end of a command is that of its output.
func (in *Instance) run() error {
	err := in.entry.CallWithStack(in.ctx, in.stack[:])
	if !in.program.isCommand() || err != nil && !errors.Is(err, exited) {
		return err
	}
	in.stack[0] = uint64(abi.Done)
	return in.closeOutput()
}

// settleFuel returns what is left of a call's fuel, and takes it from the guest.
func (in *Instance) settleFuel() int64 {
	in.tank.takeBack()
	return in.tank.left
}

// readBatch notes the events of the batch, and sets the arguments. A query is answered as the
// result of the one event that it stands for, which is begun: its effects are for Effects to
// refuse.
func (in *Instance) readBatch() error {
	if in.program.entry == abi.Query {
		in.events, in.event = append(in.events, source{}), 0
		in.stack = [3]uint64{uint64(len(in.batch))}
		return nil
	}
	b, err := abi.OpenBatch(in.batch)
	if err != nil {
		return err
	}
	var e abi.Event
	for {
		ok, err := b.Next(&e)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		in.events = append(in.events, source{e.ID, e.TimeMicros, e.Position})
	}
	in.now = b.NowMicros
	if in.program.isCommand() {
		if len(in.events) > 0 {
			in.random.begin(in.events[0].id)
		}
		return in.openStandard()
	}
	in.stack = [3]uint64{uint64(len(in.batch)), uint64(b.Count), uint64(b.Attempt)}
	return nil
}

// MemoryBytes returns the size of the guest's memory.
func (in *Instance) MemoryBytes() int {
	if in.gate.isClosed() {
		return 0
	}
	return int(in.memory.Size())
}

// Close frees the instance, when the call that runs has ended if one does. It may be called
// more than once, and by any goroutine.
func (in *Instance) Close() {
	if in.gate.close() {
		in.free()
	}
}

func (in *Instance) leave() {
	if in.gate.leave() {
		in.free()
	}
}

func (in *Instance) free() {
	if in.module != nil {
		_ = in.module.Close(in.ctx) // frees memory only
	}
	in.linear.Free()
	if in.charged {
		in.linear.budget.give(instanceBytes)
	}
	in.entry, in.module = nil, nil
	in.program.leave()
}
