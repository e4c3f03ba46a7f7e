package output

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
)

const (
	// FlushEvery is how long a line waits in memory before it is written.
	FlushEvery = 500 * time.Millisecond
	// flushWithin bounds one try to write the lines of a binding.
	flushWithin = 10 * time.Second
	// closeWithin bounds Close, which has better things to wait for where the store is away.
	closeWithin = 2 * time.Second
)

// Store is what logs are kept in: a core.Store, or in a ring one whose Append makes Commits
// under the epoch of the view.
type Store interface {
	Append(ctx context.Context, c core.Commit) (core.Result, error)
	Records(ctx context.Context, r core.RecordsRequest) ([]core.Record, error)
}

// Outputs keeps the logs and metrics of the bindings of a node.
type Outputs struct {
	store  Store
	logger *slog.Logger
	writer string // in the index: which Outputs has written it

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup
	wake    chan struct{} // holds 1: a log has lines that wait

	mu       sync.Mutex // protects the fields below
	bindings map[string]*binding
}

// binding is what a node knows of the output of a binding.
type binding struct {
	name    string
	first   uint64 // its FirstGeneration: a binding that was deleted has another
	metrics metrics

	mu      sync.Mutex // protects the fields below
	waiting []plugins.LogLine
	bytes   int // of waiting
	budget  budget
	written chan struct{} // closed and replaced when lines have been written

	flushing sync.Mutex // held while the log is written; protects the fields below
	index    *index     // nil: not read yet
	tried    attempt    // the Commit whose outcome is not known
}

// attempt is a Commit of the first lines that wait, by the serial number of its index.
type attempt struct {
	serial uint64
	lines  int // 0: there is none
}

// New returns an Outputs whose goroutine ends in Close. A nil logger discards.
func New(store Store, logger *slog.Logger) *Outputs {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	o := &Outputs{store: store, logger: logger, writer: core.NewID().String(), wake: make(chan struct{}, 1), bindings: map[string]*binding{}}
	o.ctx, o.cancel = context.WithCancel(context.Background())
	o.running.Go(o.run)
	return o
}

// Close writes what waits, for seconds at most, and ends the goroutine. Lanes are not used after it.
func (o *Outputs) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, closeWithin)
	defer cancel()
	o.cancel()
	o.running.Wait()
	return o.flushAll(ctx)
}

// run writes what waits.
func (o *Outputs) run() {
	pause := time.NewTimer(0)
	defer pause.Stop()
	<-pause.C
	for {
		select {
		case <-o.wake:
		case <-o.ctx.Done():
			return
		}
		pause.Reset(FlushEvery)
		select {
		case <-pause.C:
		case <-o.ctx.Done():
			return
		}
		if err := o.flushAll(o.ctx); err != nil && o.ctx.Err() == nil {
			o.logger.LogAttrs(o.ctx, slog.LevelWarn, "the logs of plugins are not written for now", slog.Any("error", err))
			o.wakeUp()
		}
	}
}

func (o *Outputs) wakeUp() {
	select {
	case o.wake <- struct{}{}:
	default: // awake
	}
}

// flushAll writes what waits of all bindings. One that fails does not keep others from it; the
// error is the first.
func (o *Outputs) flushAll(ctx context.Context) (first error) {
	o.mu.Lock()
	all := make([]*binding, 0, len(o.bindings))
	for _, b := range o.bindings {
		all = append(all, b)
	}
	o.mu.Unlock()
	for _, b := range all {
		if err := o.flush(ctx, b); err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (o *Outputs) binding(p *plugins.Binding) *binding {
	o.mu.Lock()
	defer o.mu.Unlock()
	b, ok := o.bindings[p.Name]
	if !ok || b.first < p.FirstGeneration {
		b = &binding{name: p.Name, first: p.FirstGeneration, written: make(chan struct{}), budget: newBudget(time.Now())}
		o.bindings[p.Name] = b
	}
	return b
}

// Ended is for host.Config.Ended: Delete if generations were deleted, else Release.
func (o *Outputs) Ended(ctx context.Context, name string, deleted uint64) error {
	if deleted > 0 {
		return o.Delete(ctx, name, deleted)
	}
	return o.Release(ctx, name)
}

// Release writes what waits of a binding that this node no longer runs, and forgets it and its
// metrics. Its lanes are not used any more.
func (o *Outputs) Release(ctx context.Context, name string) error {
	o.mu.Lock()
	b, ok := o.bindings[name]
	delete(o.bindings, name)
	o.mu.Unlock()
	if !ok {
		return nil
	}
	return o.flush(ctx, b)
}

// Lane is the plugins.Output of a lane.
type Lane struct {
	outputs *Outputs
	binding *binding
	line    plugins.LogLine // what all its lines have in common
}

var _ plugins.Output = (*Lane)(nil)

// Lane returns the output of a lane of a binding, as it is now.
func (o *Outputs) Lane(b *plugins.Binding, lane int) *Lane {
	return &Lane{o, o.binding(b), plugins.LogLine{Lane: lane, Generation: b.Generation, Version: b.Version}}
}

// At says which event the next lines are about, by its position; 0 is none.
func (l *Lane) At(position uint64) { l.line.Position = position }

// Log is plugins.Output.Log.
func (l *Lane) Log(level abi.Level, text []byte) {
	line := l.line
	line.Level, line.Text = level.String(), string(text)
	line.Time = time.Now().UTC()
	if l.binding.add(line) {
		l.outputs.wakeUp()
	}
}

// Metric is plugins.Output.Metric. The errno is quota for one series too many, and invalid for
// a name that has another kind.
func (l *Lane) Metric(kind abi.Kind, name []byte, value float64) abi.Errno {
	return l.binding.metrics.add(kind, name, value)
}

// add has a line wait to be written, or drops it. It reports whether anything waits that
// was not there before.
func (b *binding) add(line plugins.LogLine) (wake bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	size := lineOverhead + len(line.Text)
	wake = len(b.waiting) == 0 && b.budget.lines == 0
	if b.bytes+size > maxWaitingBytes || !b.budget.take(line.Time, size) {
		b.budget.drop(len(line.Text))
		return wake
	}
	b.waiting = append(b.waiting, line)
	b.bytes += size
	return wake
}

// forget drops what waits.
func (b *binding) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting, b.bytes, b.budget.lines = nil, 0, 0
}
