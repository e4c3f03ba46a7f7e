package memory

import (
	"context"
	"sync"
	"time"

	"github.com/gyre-events/gyre/core"
)

// CallTimeout is how long a call to a Handle that is cut off waits for Reconnect.
const CallTimeout = 30 * time.Second

// Log is a log in memory that several engines share, as nodes share a database.
type Log struct {
	engine *Engine // has the log; never closed. Its lock protects ring, too
	ring   sessions

	mu      sync.Mutex // protects the field below
	changed chan struct{}
}

// NewLog makes an empty Log at epoch 1.
func NewLog() *Log {
	l := &Log{engine: New(), changed: make(chan struct{})}
	l.engine.epoch = 1
	return l
}

// Open returns an engine of the log, opened under its present epoch.
func (l *Log) Open() *Handle {
	connected := make(chan struct{})
	close(connected)
	return &Handle{log: l, opened: l.engine.State().Epoch, closing: make(chan struct{}), connected: connected}
}

// AdvanceEpoch moves the log from an epoch to the next, and reports stale_epoch if it
// is not at that epoch.
func (l *Log) AdvanceEpoch(from uint64) error {
	defer l.wake()
	l.engine.mu.Lock()
	defer l.engine.mu.Unlock()
	if l.engine.epoch != from {
		return core.NewStaleEpoch(from, l.engine.epoch)
	}
	l.engine.epoch++
	return nil
}

// Replace gives the log another identity, as a fail-over does that may have lost
// events. The epoch stays.
func (l *Log) Replace() {
	defer l.wake()
	l.engine.mu.Lock()
	defer l.engine.mu.Unlock()
	l.engine.id = newID()
}

// wake ends the waits for a change.
func (l *Log) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
}

// next is closed when the log changes.
func (l *Log) next() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// Fault is what happens to one call of a Handle.
type Fault uint8

// The faults. A call whose request or answer is lost is answered store_unavailable, a
// Commit unknown_outcome.
const (
	NoFault     Fault = iota
	LoseRequest       // the call does not reach the log
	LoseAnswer        // the call takes place
)

// Handle is one engine of a Log. Its connection to the log can be made slow, lose
// calls, and be cut off.
type Handle struct {
	log     *Log
	opened  uint64 // the epoch
	closing chan struct{}
	close   sync.Once

	mu           sync.Mutex    // protects the fields below
	data         line          // of Commits and reads
	arbiter      line          // of the calls of a cluster.Arbiter
	connected    chan struct{} // closed while connected
	disconnected core.State    // when it was cut off
}

var (
	_ core.Engine      = (*Handle)(nil)
	_ core.HeadWatcher = (*Handle)(nil)
)

// line is one of a Handle's two connections to the log.
type line struct {
	there, back time.Duration // how long a call takes on its ways
	fault       Fault         // of the next call
}

// Slow delays every Commit and read: by there before it reaches the log, and by back
// before its answer returns.
func (h *Handle) Slow(there, back time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.data.there, h.data.back = there, back
}

// FailNext makes the next call fail, be it a Commit or a read.
func (h *Handle) FailNext(f Fault) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.data.fault = f
}

// SlowArbiter is Slow for the calls of a cluster.Arbiter, which have a connection of their
// own.
func (h *Handle) SlowArbiter(there, back time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.arbiter.there, h.arbiter.back = there, back
}

// FailNextArbiter makes the next call of a cluster.Arbiter fail.
func (h *Handle) FailNextArbiter(f Fault) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.arbiter.fault = f
}

// CutOff blocks all calls, on their way to the log and back, until Reconnect. A call that
// is blocked for longer than CallTimeout fails.
func (h *Handle) CutOff() {
	state := h.State()
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-h.connected:
		h.connected, h.disconnected = make(chan struct{}), state
	default:
	}
}

// Reconnect ends CutOff.
func (h *Handle) Reconnect() {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-h.connected:
	default:
		close(h.connected)
	}
}

// Commit is core.Engine's.
func (h *Handle) Commit(ctx context.Context, group []*core.Commit) core.Step {
	var step core.Step
	sent, err := h.call(ctx, context.WithoutCancel(ctx), &h.data, func() {
		step = h.log.engine.commit(group, h.opened)
		h.log.wake()
	})
	switch {
	case err == nil:
		return step
	case sent:
		return core.FailStep(group, core.Errorf(core.CodeUnknownOutcome, "no answer came back: %w", err))
	}
	return core.FailStep(group, err)
}

// Read is core.Engine's.
func (h *Handle) Read(ctx context.Context, r core.ReadRequest) (core.Page, error) {
	return ask(ctx, h, func() (core.Page, error) { return h.log.engine.Read(ctx, r) })
}

// ReadLog is core.Engine's.
func (h *Handle) ReadLog(ctx context.Context, from uint64, limit core.Limit) (core.Page, error) {
	return ask(ctx, h, func() (core.Page, error) { return h.log.engine.ReadLog(ctx, from, limit) })
}

// Event is core.Engine's.
func (h *Handle) Event(ctx context.Context, id core.ID) (core.Event, error) {
	return ask(ctx, h, func() (core.Event, error) { return h.log.engine.Event(ctx, id) })
}

// Streams is core.Engine's.
func (h *Handle) Streams(ctx context.Context, r core.StreamsRequest) (core.StreamsPage, error) {
	return ask(ctx, h, func() (core.StreamsPage, error) { return h.log.engine.Streams(ctx, r) })
}

// Records is core.Engine's.
func (h *Handle) Records(ctx context.Context, r core.RecordsRequest) ([]core.Record, error) {
	return ask(ctx, h, func() ([]core.Record, error) { return h.log.engine.Records(ctx, r) })
}

// WaitHead is core.HeadWatcher's.
func (h *Handle) WaitHead(ctx context.Context, log string, after uint64) (uint64, error) {
	for {
		if err := h.travel(ctx, 0, 0); err != nil {
			return 0, err
		}
		changed := h.log.next()
		if state := h.log.engine.State(); state.Head > after || state.Log != log {
			return state.Head, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, core.AsError(ctx.Err())
		case <-h.closing:
			return 0, errClosed()
		}
	}
}

// State returns what the log is, or was when the Handle was cut off.
func (h *Handle) State() core.State {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-h.connected:
		return h.log.engine.State()
	default:
		state := h.disconnected
		state.ReadOnly = errCutOff()
		return state
	}
}

// Close ends the Handle and its blocked calls. The log stays.
func (h *Handle) Close() error {
	h.close.Do(func() { close(h.closing) })
	return nil
}

// ask is call for a read.
func ask[T any](ctx context.Context, h *Handle, do func() (T, error)) (answer T, err error) {
	if _, failed := h.call(ctx, ctx, &h.data, func() { answer, err = do() }); failed != nil {
		var none T
		return none, failed
	}
	return answer, err
}

// call runs do between the delays and faults of a line's way there and back, each with a
// context of its own. sent is false if it failed before it was sent.
func (h *Handle) call(onTheWay, onTheWayBack context.Context, l *line, do func()) (sent bool, err error) {
	h.mu.Lock()
	there, back, fault := l.there, l.back, l.fault
	l.fault = NoFault
	h.mu.Unlock()
	if err := h.travel(onTheWay, there, CallTimeout); err != nil {
		return false, err
	}
	if fault == LoseRequest {
		return true, core.Errorf(core.CodeStoreUnavailable, "the request was lost")
	}
	do()
	if err := h.travel(onTheWayBack, back, CallTimeout); err != nil {
		return true, err
	}
	if fault == LoseAnswer {
		return true, core.Errorf(core.CodeStoreUnavailable, "the answer was lost")
	}
	return true, nil
}

// travel waits for takes, and then while the Handle is cut off, for timeout at most
// unless that is 0.
func (h *Handle) travel(ctx context.Context, takes, timeout time.Duration) error {
	if takes > 0 {
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			return core.AsError(ctx.Err())
		case <-h.closing:
			return errClosed()
		}
	}
	select {
	case <-h.closing:
		return errClosed()
	default:
	}
	h.mu.Lock()
	connected := h.connected
	h.mu.Unlock()
	select {
	case <-connected:
		return nil
	default:
	}
	var late <-chan time.Time
	if timeout > 0 {
		late = time.After(timeout)
	}
	select {
	case <-connected:
		return nil
	case <-late:
		return errCutOff()
	case <-ctx.Done():
		return core.AsError(ctx.Err())
	case <-h.closing:
		return errClosed()
	}
}

func errCutOff() *core.Error {
	return core.Errorf(core.CodeStoreUnavailable, "the log cannot be reached")
}
