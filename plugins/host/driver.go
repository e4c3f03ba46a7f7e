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

// driven is what a driver drives: the generation of a binding that has a role.
type driven struct {
	name string
	role role
}

// driver drives one generation of a binding at this node: it makes a runner for the binding as it
// is stored, and another when that has ended. Whatever a plugin does, only its driver waits for it.
type driver struct {
	host *Host
	driven
	last *binding // as it was run last; owned by run, which changes it under mu
	// suspecting holds one token: that of the suspect lane whose turn it is (L12). The drivers of a
	// binding share it.
	suspecting chan struct{}
	caughtUp   chan struct{} // holds 1: a lane of a generation beside has nothing to handle

	leaving bool // the last of its binding ends, and no other begins; Host.mu protects it

	mu      sync.Mutex // protects the fields below
	state   plugins.State
	reason  string
	changed context.CancelCauseFunc // ends the present runner, or the wait for the next
	runner  *runner                 // nil while there is none
	waits   string                  // why a generation beside was not switched to
	began   time.Time
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

// drive starts the driver of a generation that is to run, unless it has one.
func (h *Host) drive(b *binding) {
	h.mu.Lock()
	defer h.mu.Unlock()
	is := driven{b.Name, b.role}
	if h.closed || !b.runs() || h.drivers[is] != nil {
		return
	}
	k := &driver{
		host: h, driven: is, state: plugins.Starting, changed: func(error) {}, began: time.Now(),
		suspecting: make(chan struct{}, 1), caughtUp: make(chan struct{}, 1),
	}
	if other := h.drivers[is.other()]; other != nil {
		if other.leaving {
			return // who leaves has the supervisor look again
		}
		k.suspecting = other.suspecting
	}
	h.drivers[is] = k
	h.running.Go(k.run)
}

// other is the other generation of the binding that can run.
func (d driven) other() driven {
	if d.role == roleLive {
		return driven{d.name, roleBeside}
	}
	return driven{d.name, roleLive}
}

// driver is that of a generation, or nil.
func (h *Host) driver(name string, is role) *driver {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.drivers[driven{name, is}]
}

// poke has the drivers of a binding look at what is stored, and starts those that there are not.
func (h *Host) poke(name string) {
	for _, is := range []role{roleLive, roleBeside} {
		if k := h.driver(name, is); k != nil {
			k.mu.Lock()
			k.changed(errChanged)
			k.mu.Unlock()
		}
	}
	h.Look()
}

// run runs the binding until it is not to run here any more.
func (k *driver) run() {
	if k.role == roleBeside {
		ctx, cancel := context.WithCancel(k.host.ctx)
		defer cancel()
		k.host.running.Go(func() { k.switchInTime(ctx) })
	}
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
	if k.leave() {
		if k.host.ctx.Err() == nil {
			k.ended()
		}
		k.host.forget(k)
	}
	k.host.Look() // it may be to run again by now
}

// leave forgets the driver, unless it is the last of its binding: then it reports that.
func (k *driver) leave() (last bool) {
	h := k.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if k.leaving = h.drivers[k.other()] == nil; !k.leaving {
		delete(h.drivers, k.driven)
	}
	return k.leaving
}

func (h *Host) forget(k *driver) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.drivers, k.driven)
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
	b, err := k.host.generation(ctx, k.name, k.role)
	switch {
	case errors.Is(err, core.CodeBindingNotFound):
		return false, nil
	case err != nil:
		return true, err
	case !b.runs() || k.host.config.Subscriptions.Owned(b.Subscription) != nil:
		return false, nil
	case k.last != nil && k.last.FirstGeneration != b.FirstGeneration:
		return false, nil // it was deleted and deployed again: the other gets a driver of its own
	case k.last != nil && k.role == roleBeside && k.last.Generation != b.Generation:
		return false, nil
	}
	k.begin(b)
	program, err := k.host.load(ctx, b)
	if err != nil {
		k.set(plugins.Broken, core.AsError(err).Error())
		return true, err
	}
	r := newRunner(k, b, program)
	if err = r.take(ctx); err == nil {
		k.setRunner(r)
		err = r.run(ctx)
		k.setRunner(nil)
	}
	return true, errors.Join(err, program.Close())
}

// load makes the program of a binding.
func (h *Host) load(ctx context.Context, b *binding) (plugins.Program, error) {
	v, err := h.config.Versions.Version(ctx, b.Plugin, b.Version)
	if err != nil {
		return nil, err
	}
	if v.SHA256 != b.SHA256 {
		return nil, core.Errorf(core.CodeInternal, "version %q of plugin %q is module %s, the binding was made for %s", b.Version, b.Plugin, v.SHA256, b.SHA256)
	}
	return h.config.Programs.Load(ctx, v)
}

// begin says that a binding is about to run.
func (k *driver) begin(b *binding) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last, k.state, k.reason = b, plugins.Starting, ""
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
