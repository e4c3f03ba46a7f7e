package wasm

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/wasm/guests"
)

// recursive is a module whose handler calls itself as deep as the attempt of the batch, and
// then runs end, which leaves an i32.
func recursive(end ...byte) []byte {
	b := &built{}
	down := b.define("", i32x1, i32x1, nil, slices.Concat(
		[]byte{opLocalGet, 0, opIf, byte(typeI32), opLocalGet, 0}, i32(1), []byte{0x6b, opCall, 0, opElse}, end, []byte{opEnd})...)
	return handler(b, opLocalGet, 2, opCall, byte(down))
}

// deep is a batch without events, whose attempt is a number.
func deep(n uint32) []byte {
	var w abi.BatchWriter
	w.Reset(0, n, 0)
	return w.Bytes()
}

func TestNativeStackIsGivenBack(t *testing.T) {
	in := start(t, load(t, recursive(i32(0)...)), (&recorder{}).config())
	call := func(depth uint32) {
		t.Helper()
		if verdict, _, err := in.Call(context.Background(), deep(depth)); verdict != abi.Done || err != nil {
			t.Fatal(verdict, err)
		}
	}
	call(1000)
	kept := in.entry
	call(1000)
	if n := in.native.Len(); in.entry != kept || n < 1000*16 || n > maxIdleStack {
		t.Errorf("a stack of %d bytes was kept: %v", n, in.entry == kept)
	}
	grown := in.native
	call(200_000)
	if before, after := grown.Len(), in.native.Len(); before <= maxIdleStack || after > maxIdleStack {
		t.Errorf("of a stack of %d bytes, %d are kept after the call", before, after)
	}
	call(1000)
}

func TestInstancesShareTheMemoryOfTheHost(t *testing.T) {
	const room = 3 // instances of one page
	h := NewHost(room * (instanceBytes + pageBytes))
	p := loadOn(t, h, handler(&built{memory: []uint32{1}}, slices.Concat([]byte{opLocalGet, 2, opMemoryGrow, 0, opDrop}, i32(0))...))
	ctx := context.Background()
	config := (&recorder{}).config()
	var running []*Instance
	for range room {
		running = append(running, start(t, p, config))
	}
	_, err := p.New(ctx, config)
	wantTrap(t, err, HostFull)
	if !errors.Is(err, core.CodeOverloaded) {
		t.Errorf("no room for an instance: %v, want overloaded", err)
	}
	_, _, err = running[0].Call(ctx, deep(1))
	wantTrap(t, err, HostFull)
	// The trap has closed the first one, so there is room for another, or for its pages.
	if verdict, _, err := running[1].Call(ctx, deep(16)); verdict != abi.Done || err != nil || running[1].MemoryBytes() != 17*pageBytes {
		t.Errorf("growing in what another has left: verdict %d, %v, %d bytes", verdict, err, running[1].MemoryBytes())
	}
	_, _, err = running[2].Call(ctx, deep(2))
	wantTrap(t, err, HostFull)
	for _, in := range running {
		in.Close()
		in.Close()
	}
	if n := h.memory.used.Load(); n != 0 {
		t.Errorf("%d bytes are counted after all instances were closed", n)
	}
}

// A guest that starts with more than there is left is refused, and nothing panics.
func TestAStartWithoutMemoryIsRefused(t *testing.T) {
	p := loadOn(t, NewHost(instanceBytes+pageBytes), handler(&built{memory: []uint32{2}}, opI32Const, 0))
	_, err := p.New(context.Background(), (&recorder{}).config())
	wantTrap(t, err, HostFull)
	if n := p.host.memory.used.Load(); n != 0 {
		t.Errorf("%d bytes are counted without an instance", n)
	}
}

func TestRefusalsAndTrapsHaveCodes(t *testing.T) {
	for err, want := range map[error]core.Code{
		&InvalidError{}:            core.CodeInvalidModule,
		&Trap{Reason: OutOfFuel}:   core.CodePluginLimit,
		&Trap{Reason: TimedOut}:    core.CodePluginLimit,
		&Trap{Reason: OutOfMemory}: core.CodePluginLimit,
		&Trap{Reason: OutOfBounds}: core.CodePluginFailed,
		&Trap{Reason: Failed}:      core.CodePluginFailed,
		&Trap{Reason: Crashed}:     core.CodePluginFailed,
		&Trap{Reason: Canceled}:    core.CodeCanceled,
		&Trap{Reason: HostFull}:    core.CodeOverloaded,
		&Trap{Reason: HostError}:   core.CodeInternal,
		&Trap{Reason: Discarded}:   core.CodeInternal,
		fmt.Errorf("wrapped: %w", &Trap{Reason: Failed, Detail: "no such order"}): core.CodePluginFailed,
	} {
		if got := core.AsError(err); got.Code != want || !strings.Contains(err.Error(), got.Detail) {
			t.Errorf("%v is %v, want the code %s", err, got, want)
		}
	}
}

// Whatever is closed while a guest runs is freed after its call: freeing its memory or code
// under it would end the process.
func TestClosingUnderAGuestIsSafe(t *testing.T) {
	p := loadOn(t, NewHost(DefaultMemory), guests.Hostile)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r := &recorder{}
	config := r.config()
	config.Limits = Limits{MemoryBytes: 64 << 20, Fuel: 1 << 62, Time: 24 * time.Hour, InitTime: time.Hour}
	running := make(chan struct{})
	config.Output = firstLog{running}
	in := start(t, p, config)
	ended := make(chan error, 1)
	go func() {
		_, _, err := in.Call(ctx, deep(guests.Log))
		ended <- err
	}()
	<-running
	in.Close()
	if _, _, err := in.Call(ctx, deep(0)); core.AsError(err).Code != core.CodeInternal {
		t.Errorf("a call of a closed instance: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if _, err := p.New(ctx, config); core.AsError(err).Code != core.CodeInternal {
		t.Errorf("an instance of a closed program: %v", err)
	}
	cancel()
	wantTrap(t, <-ended, Canceled)
	if n := p.host.memory.used.Load(); n != 0 {
		t.Errorf("%d bytes are in use after the end", n)
	}
}

// firstLog closes a channel when a guest logs for the first time.
type firstLog struct{ logged chan struct{} }

func (f firstLog) Log(abi.Level, []byte) {
	select {
	case <-f.logged:
	default:
		close(f.logged)
	}
}

func (firstLog) Metric(abi.Kind, []byte, float64) abi.Errno { return abi.OK }

// Guests take turns, slice by slice: one that goes on without end does not hold up others.
func TestGuestsTakeTurns(t *testing.T) {
	h := NewHost(DefaultMemory)
	h.slots = make(chan struct{}, 1)
	p := loadOn(t, h, guests.Hostile)
	config := (&recorder{}).config()
	config.Output = quiet{}
	config.Limits = Limits{MemoryBytes: 64 << 20, Fuel: 1 << 62, Time: 24 * time.Hour, InitTime: time.Hour}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 3)
	for range cap(ended) {
		in := start(t, p, config)
		go func() {
			_, _, err := in.Call(ctx, deep(guests.Loop))
			ended <- err
		}()
	}
	in := start(t, p, config)
	for range 20 {
		if verdict, _, err := in.Call(context.Background(), deep(0)); verdict != abi.Done || err != nil {
			t.Fatal(verdict, err)
		}
	}
	select {
	case err := <-ended:
		t.Errorf("a guest ended by itself: %v", err)
	default:
	}
	cancel()
	for range cap(ended) {
		if err := <-ended; !errors.Is(err, context.Canceled) { // it had not begun
			wantTrap(t, err, Canceled)
		}
	}
	if n := len(h.slots); n != 0 {
		t.Errorf("%d slots are held after all calls", n)
	}
}

// The time for which a guest waits for its turn is not its own.
func TestWaitingTakesNoTime(t *testing.T) {
	now := time.Unix(0, 0)
	h := NewHost(DefaultMemory)
	h.slots = make(chan struct{}, 1)
	h.now = func() time.Time { now = now.Add(time.Second); return now }
	tank := tank{host: h}
	ctx := context.Background()
	if err := tank.enter(ctx); err != nil {
		t.Fatal(err)
	}
	tank.fill(ctx, 1<<62, time.Minute)
	before := tank.deadline
	tank.yield()
	if tank.deadline != before {
		t.Error("the deadline moved, and nobody waits")
	}
	done := make(chan error)
	go func() {
		err := h.enter(ctx)
		if err == nil {
			h.leave()
		}
		done <- err
	}()
	for h.waiting.Load() == 0 {
		runtime.Gosched()
	}
	tank.yield()
	if got := tank.deadline.Sub(before); got != time.Second {
		t.Errorf("the deadline moved by %v, the clock by a second", got)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	tank.leave()
}
