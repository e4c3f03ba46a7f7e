package host

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
)

// driver drives one binding at this node: it makes a runner for the binding as it is
// stored, and another when that has ended. Whatever a plugin does, only its driver waits for it.
type driver struct {
	host *Host
	name string
	last *binding // as it was run last; owned by run

	mu      sync.Mutex // protects the fields below
	state   plugins.State
	reason  string
	changed context.CancelCauseFunc // ends the present runner, or the wait for the next
	runner  *runner                 // nil while there is none
	totals  totals
}

// The backoff of a driver whose program does not load, or whose storage is away, doubles
// between these.
const (
	leastBackoff = 100 * time.Millisecond
	mostBackoff  = time.Minute
)

// errChanged ends a runner whose binding has changed.
var errChanged = errors.New("the binding has changed")

// drive starts the driver of a binding, unless it has one.
func (h *Host) drive(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || h.drivers[name] != nil {
		return
	}
	k := &driver{host: h, name: name, state: plugins.Starting, changed: func(error) {}}
	h.drivers[name] = k
	h.running.Go(k.run)
}

// driver is that of a binding, or nil.
func (h *Host) driver(name string) *driver {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.drivers[name]
}

// poke has the driver of a binding look at what is stored, and starts one if there is none.
func (h *Host) poke(name string) {
	if k := h.driver(name); k != nil {
		k.mu.Lock()
		k.changed(errChanged)
		k.mu.Unlock()
	}
	h.Look()
}

// run runs the binding until it is not to run here any more.
func (k *driver) run() {
	backoff := leastBackoff
	for k.host.ctx.Err() == nil {
		ctx, cancel := context.WithCancelCause(k.host.ctx)
		k.mu.Lock()
		k.changed = cancel
		k.mu.Unlock()
		began := time.Now()
		again, err := k.runOnce(ctx)
		if !again {
			cancel(nil)
			break
		}
		if time.Since(began) > mostBackoff || errors.Is(err, errChanged) {
			backoff = leastBackoff
		}
		if !errors.Is(err, errChanged) && context.Cause(ctx) == nil {
			level := slog.LevelWarn
			if isOver(err) { // as when another node owns it now
				level = slog.LevelDebug
			}
			k.host.config.Logger.Log(ctx, level, "running a plugin binding", "binding", k.name, "error", err)
			sleep(ctx, backoff)
			backoff = min(2*backoff, mostBackoff)
		}
		cancel(nil)
	}
	if k.host.ctx.Err() == nil {
		k.ended()
	}
	k.host.mu.Lock()
	delete(k.host.drivers, k.name)
	k.host.mu.Unlock()
	k.host.Look() // it may be to run again by now
}

// ended says that the binding does not run here any more.
func (k *driver) ended() {
	deleted := uint64(0)
	if k.last != nil {
		if gone, err := k.host.deleted(k.host.ctx, k.name, k.last.Generation); gone && err == nil {
			deleted = k.last.Generation
		}
	}
	if err := k.host.config.Ended(k.host.ctx, k.name, deleted); err != nil {
		k.host.config.Logger.Warn("the output of a plugin binding", "binding", k.name, "error", err)
	}
}

// runOnce runs the binding as it is stored now. again is false if it is not to run here.
func (k *driver) runOnce(ctx context.Context) (again bool, err error) {
	b, err := k.host.binding(ctx, k.name)
	switch {
	case errors.Is(err, core.CodeBindingNotFound):
		return false, nil
	case err != nil:
		return true, err
	case !b.runs() || k.host.config.Subscriptions.Owned(b.Subscription) != nil:
		return false, nil
	case k.last != nil && k.last.FirstGeneration != b.FirstGeneration:
		return false, nil // it was deleted and deployed again: the other gets a driver of its own
	}
	k.last = b
	program, err := k.load(ctx, b)
	if err != nil {
		k.set(plugins.Broken, core.AsError(err).Error())
		return true, err
	}
	r := newRunner(k, b, program)
	k.setRunner(r)
	err = r.run(ctx)
	k.setRunner(nil)
	return true, errors.Join(err, program.Close())
}

// load makes the program of a binding.
func (k *driver) load(ctx context.Context, b *binding) (plugins.Program, error) {
	k.set(plugins.Starting, "")
	v, err := k.host.config.Versions.Version(ctx, b.Plugin, b.Version)
	if err != nil {
		return nil, err
	}
	if v.SHA256 != b.SHA256 {
		return nil, core.Errorf(core.CodeInternal, "version %q of plugin %q is module %s, the binding was made for %s", b.Version, b.Plugin, v.SHA256, b.SHA256)
	}
	return k.host.config.Programs.Load(ctx, v)
}

func (k *driver) set(s plugins.State, reason string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.state, k.reason = s, reason
}

func (k *driver) setRunner(r *runner) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.runner = r
	if r != nil {
		k.state, k.reason = plugins.Running, ""
	}
}

// sleep waits, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
