package validators

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/effects"
)

// maxWorkers is how many Commits a validator judges at once. The sandbox bounds how many
// instances of the node run at a time.
const maxWorkers = 4

// validator is one that is in force, as it is at one revision.
type validator struct {
	of       *Validators
	stored   stored
	filter   core.Filter
	settings *effects.Config
	totals   *totals
	log      complaints

	mu      sync.Mutex // protects the fields below
	program plugins.Program
	why     error     // why it cannot judge, nil: it can
	retry   time.Time // when to load it again, if it cannot
	wait    time.Duration
	work    sync.Cond // is signaled when a worker may find something to do, or is to end
	queue   []*judgement
	workers int
	waiting int         // of them
	idle    []*instance // of no worker
	users   int         // judgements that are to be judged, or are
	retired bool        // nobody chooses it any more
}

// totals count at this node since it has known the validator.
type totals struct {
	judged, events, refused, failed, starts, fuel atomic.Uint64

	nanoseconds atomic.Int64
}

func newValidator(of *Validators, s stored, t *totals) *validator {
	x := &validator{of: of, stored: s, totals: t, settings: effects.NewConfig(s.Config)}
	x.filter = core.Filter{Streams: s.Input.Filter.Streams, Types: s.Input.Filter.Types}
	x.log = complaints{output: of.config.Output(&s.Binding, 0), logger: of.config.Logger.With("validator", s.Name)}
	x.work.L = &x.mu
	x.why = core.Errorf(core.CodeValidatorUnavailable, "validator %q is being loaded at this node", s.Name)
	return x
}

// concerns reports whether x is to judge c.
func (x *validator) concerns(c *core.Commit) bool {
	for i := range c.Appends {
		a := &c.Appends[i]
		for k := range a.Events {
			if x.filter.Match(a.Stream, a.Events[k].Type) {
				return true
			}
			if len(x.filter.Types) == 0 {
				break // the others are of the same stream
			}
		}
	}
	return false
}

// enter keeps x until leave. It is false if x is retired.
func (x *validator) enter() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.retired {
		return false
	}
	x.users++
	x.of.running.Add(1)
	return true
}

func (x *validator) leave() {
	x.mu.Lock()
	x.users--
	free := x.rest()
	x.mu.Unlock()
	free()
	x.of.running.Done()
}

// retire has nobody choose x any more. It ends when those that have chosen it are done.
func (x *validator) retire() {
	x.mu.Lock()
	x.retired = true
	x.work.Broadcast()
	free := x.rest()
	x.mu.Unlock()
	free()
}

// rest takes what can be freed, which the caller does without the lock: all, once x is retired
// and nobody uses it. x.mu is held.
func (x *validator) rest() (free func()) {
	if !x.retired || x.users > 0 || x.workers > 0 {
		return func() {}
	}
	idle, program := x.idle, x.program
	x.idle, x.program = nil, nil
	return func() {
		for _, in := range idle {
			in.handler.Close()
		}
		if program != nil {
			_ = program.Close() // it frees memory only
		}
	}
}

// put has x judge j, which has chosen it. It does not wait.
func (x *validator) put(j *judgement) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.queue = append(x.queue, j)
	switch {
	case x.waiting > 0:
		x.work.Signal()
	case x.workers < maxWorkers:
		x.workers++
		x.of.running.Go(x.run)
	}
}

// run is what a worker does until x is retired. It stays: a new goroutine would have to grow a
// stack for the code each time.
func (x *validator) run() {
	var own *instance // nil: there is none yet
	for {
		j, free := x.take(&own)
		if j == nil {
			free()
			return
		}
		j.judged(x.decide(j, &own))
	}
}

// take waits for the next of the queue, and gives a worker without an instance an idle one. If
// x is retired, and nothing is queued, the worker ends: it gives its instance back, and frees
// what is returned.
func (x *validator) take(own **instance) (j *judgement, free func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for len(x.queue) == 0 {
		if x.retired {
			if *own != nil {
				x.idle = append(x.idle, *own)
			}
			x.workers--
			return nil, x.rest()
		}
		x.waiting++
		x.work.Wait()
		x.waiting--
	}
	j = x.queue[0]
	x.queue[0] = nil
	x.queue = x.queue[1:]
	if n := len(x.idle); *own == nil && n > 0 {
		*own, x.idle = x.idle[n-1], x.idle[:n-1]
	}
	return j, nil
}

// decide is the verdict of x about j: nil, or the error to answer. The instance is replaced as
// needed.
func (x *validator) decide(j *judgement, own **instance) error {
	switch {
	case j.ctx.Err() != nil:
		return core.AsError(context.Cause(j.ctx)) // nobody waits for it
	case x.of.closed.Load():
		return errStops()
	}
	began := time.Now()
	refusal, err := x.judge(j.commit, own)
	x.totals.nanoseconds.Add(int64(time.Since(began)))
	x.totals.judged.Add(1)
	switch {
	case err != nil:
		x.totals.failed.Add(1)
		accepts := x.stored.OnError.Then == plugins.ThenAccept
		x.log.complain(err, accepts)
		if accepts {
			return nil
		}
		return err
	case refusal != nil:
		x.totals.refused.Add(1)
		return refusal
	}
	return nil
}

// start makes an instance.
func (x *validator) start(ctx context.Context) (*instance, error) {
	x.mu.Lock()
	program, why := x.program, x.why
	x.mu.Unlock()
	if why != nil {
		return nil, why
	}
	return x.startOf(ctx, program)
}

func (x *validator) startOf(ctx context.Context, program plugins.Program) (*instance, error) {
	b := &x.stored.Binding
	ctx, cancel := context.WithTimeout(ctx, b.Limits.InitTime()+waitForTurn)
	defer cancel()
	in := &instance{validator: x}
	x.totals.starts.Add(1)
	handler, err := program.New(ctx, plugins.Connection{
		Limits: b.Limits, Effects: in, Reads: in, Output: x.of.config.Output(b, 0),
	})
	if err != nil {
		return nil, x.failure("does not start", err)
	}
	in.handler = handler
	return in, nil
}

// set says whether x can judge: with a program, or why it cannot. first is an instance that has
// been started.
func (x *validator) set(program plugins.Program, first *instance, why error) {
	x.mu.Lock()
	x.program, x.why = program, why
	if first != nil {
		x.idle = append(x.idle, first)
	}
	x.wait = min(max(2*x.wait, leastRetry), mostRetry)
	x.retry = time.Now().Add(x.wait)
	free := x.rest()
	x.mu.Unlock()
	free()
}

// loads reports whether x is to be loaded now.
func (x *validator) loads() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.why != nil && !time.Now().Before(x.retry)
}

// reason is why x cannot judge, nil if it can.
func (x *validator) reason() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.why
}

// silence is an Output that nobody reads.
type silence struct{}

func (silence) Log(abi.Level, []byte)                      {}
func (silence) Metric(abi.Kind, []byte, float64) abi.Errno { return abi.OK }
