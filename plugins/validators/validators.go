package validators

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
)

// Store is what validators are kept in: a core.Store, or in a ring one whose Append makes Commits
// under the epoch of the view.
type Store interface {
	Append(ctx context.Context, c core.Commit) (core.Result, error)
	Records(ctx context.Context, r core.RecordsRequest) ([]core.Record, error)
}

// Code finds and loads uploaded versions: plugins/registry.
type Code interface {
	// Version returns a version. The errors are plugin_not_found and version_not_found.
	Version(ctx context.Context, plugin, version string) (plugins.Version, error)
	// CheckConfig checks a config against the version's schema. The error is
	// invalid_plugin_config.
	CheckConfig(v *plugins.Version, config []byte) error
	// Hold returns an operation for the Commit of a validator that uses a version. It has the
	// Commit refused with record_conflict if the version was deleted meanwhile.
	Hold(v *plugins.Version) (core.RecordOp, error)
	// Load returns the Program of a version, which may take seconds.
	Load(ctx context.Context, v plugins.Version) (plugins.Program, error)
}

// Config is what Open needs. Store is required.
type Config struct {
	Store Store
	// Code is nil at a node that runs no plugins: there, no validator can judge.
	Code Code
	// Output returns the output of an instance; nil discards it all.
	Output func(b *plugins.Binding, lane int) plugins.Output
	// Ended is called when a validator is not in force here any more. deleted is the generation
	// that was deleted, or 0. nil does nothing.
	Ended func(ctx context.Context, binding string, deleted uint64) error
	// Logger gets what is about the node; nil discards it.
	Logger *slog.Logger
}

// Validators are those that are in force at this node.
type Validators struct {
	config Config // of Open

	inForce atomic.Pointer[[]*validator] // in the order of names
	closed  atomic.Bool
	closing sync.Once

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup // the watch, judgements and workers

	refreshing chan struct{} // holds 1: whoever has it compares what is stored with what is in force

	mu     sync.Mutex // protects the fields below
	totals map[string]*totals
	coming map[string]*validator // by name: what is to take the place of one in force, once it is loaded
}

// lookEvery is how often a node looks for changes that others made.
const lookEvery = time.Second

// New returns Validators of which none is in force. Admit is for the Store, which has to be there
// before Open is called.
func New() *Validators {
	v := &Validators{refreshing: make(chan struct{}, 1), totals: map[string]*totals{}}
	v.inForce.Store(new([]*validator))
	v.ctx, v.cancel = context.WithCancel(context.Background())
	return v
}

// Open loads the validators that are stored, and from then on looks for changes. A node takes no
// appends before it has returned. A validator whose code cannot be loaded, or whose record
// cannot be read, is no error: it judges nothing, and its appends are refused. Close ends it.
func (v *Validators) Open(ctx context.Context, config Config) error {
	if config.Store == nil {
		return errors.New("validators: store is required")
	}
	if config.Output == nil {
		config.Output = func(*plugins.Binding, int) plugins.Output { return silence{} }
	}
	if config.Ended == nil {
		config.Ended = func(context.Context, string, uint64) error { return nil }
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	v.config = config
	if err := v.refresh(ctx); err != nil {
		return err
	}
	v.running.Go(v.watch)
	return nil
}

// watch looks for changes.
func (v *Validators) watch() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-v.ctx.Done():
			return
		}
		if err := v.refresh(v.ctx); err != nil && v.ctx.Err() == nil {
			v.config.Logger.Warn("looking for validators; those that are in force stay so", "error", err)
		}
	}
}

// Close ends judgements: what is appended from now on and would be judged is refused, and so is what
// waits for a worker. It waits for those under way, which have seconds at most, or until ctx ends.
func (v *Validators) Close(ctx context.Context) error {
	v.closing.Do(v.close)
	return plugins.Wait(ctx, &v.running)
}

func (v *Validators) close() {
	v.cancel()
	v.running.Go(func() {
		v.refreshing <- struct{}{} // for good: nothing comes in force any more
		v.closed.Store(true)
		for _, x := range *v.inForce.Load() {
			x.retire()
		}
	})
}

// Admit is for core.StoreConfig: it returns what judges a Commit, or nil if no validator is for
// any of its events.
func (v *Validators) Admit(c *core.Commit) core.Judge {
	for _, x := range *v.inForce.Load() {
		if x.concerns(c) {
			return func(ctx context.Context, done func(error)) { v.judge(ctx, c, done) }
		}
	}
	return nil
}

// judge begins to judge a Commit.
func (v *Validators) judge(ctx context.Context, c *core.Commit, done func(error)) {
	j := &judgement{ctx: ctx, commit: c, done: done}
	for !v.choose(j) {
		if v.closed.Load() {
			done(errStops())
			return
		}
	}
	j.next(nil)
}

func errStops() error {
	return core.Errorf(core.CodeShuttingDown, "the node stops, and its validators with it")
}

// choose sets who judges, each of which is kept until it has. It is false if one of them was
// replaced meanwhile: then there are others now.
func (v *Validators) choose(j *judgement) bool {
	for _, x := range *v.inForce.Load() {
		if !x.concerns(j.commit) {
			continue
		}
		if !x.enter() {
			j.release()
			return false
		}
		j.by = append(j.by, x)
	}
	return true
}

// judgement is a Commit that is judged.
type judgement struct {
	ctx    context.Context
	commit *core.Commit
	done   func(error)
	by     []*validator // that are still to judge it
}

// next takes j to its next validator, or ends it.
func (j *judgement) next(refusal error) {
	if refusal != nil || len(j.by) == 0 {
		j.done(refusal)
		j.release()
		return
	}
	j.by[0].put(j)
}

// judged is called by the first of j.by when that has judged j.
func (j *judgement) judged(refusal error) {
	x := j.by[0]
	j.by = j.by[1:]
	j.next(refusal)
	x.leave()
}

// release lets go of who will not judge j.
func (j *judgement) release() {
	for _, x := range j.by {
		x.leave()
	}
	j.by = nil
}
