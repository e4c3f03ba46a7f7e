package trial

import (
	"context"
	"slices"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/effects"
)

// Config is what a Version needs.
type Config struct {
	// Binding is what the version would be deployed as. It is valid.
	Binding *plugins.Binding
	Program plugins.Program
	// State is what it begins with, and belongs to the Version from then on; nil is empty.
	State *State
	// Elsewhere has the Version be one lane that keeps its state elsewhere; nil: all lanes, over State.
	Elsewhere *Elsewhere
	// Read reads streams for the handler; nil has none.
	Read func(ctx context.Context, r core.ReadRequest) (core.Page, error)
	// Show is how many of each thing are listed.
	Show int
	// From is the position that buckets of outputs begin at.
	From uint64
	// Strict ends the run at the first attempt that fails, unless the handler parks the event.
	Strict bool
	// Watch is shown what became of each event; nil is not.
	Watch func(*Settled)
	// Yield is called before each batch, and may wait; nil does not.
	Yield func(ctx context.Context)
}

// Elsewhere is a lane that keeps its state elsewhere.
type Elsewhere struct {
	Lane   int
	Ground effects.Ground
	// Set changes a key. The value is not the Version's any more.
	Set func(key string, v effects.Value) error
}

// Settled is what became of an event. It is valid until Watch returns.
type Settled struct {
	Event    *core.Event
	Lane     int
	Fate     plugins.Fate
	Attempts int
	Failure  *effects.Failure // of the last attempt; nil if none has failed
	Withheld bool             // the version has asked for a server or a secret, and there is no outside
	effects.Deed
}

// Stopped is the error of a version whose handler, or whose error policy, has stopped it.
type Stopped struct {
	Event  *core.Event
	Reason string
	Stack  string
}

func (s *Stopped) Error() string { return s.Reason }

// Version is a version at work. It belongs to one goroutine.
type Version struct {
	config Config
	terms  *effects.Terms
	state  *State
	began  *State // a copy of what it began with
	lanes  []*lane
	tally  *tally
}

// New returns a Version that has handled nothing. Close it before its program.
func New(config Config) *Version {
	b := config.Binding
	v := &Version{config: config, terms: effects.NewTerms(b), state: config.State, tally: newTally(&config)}
	if a := config.Elsewhere; a != nil {
		v.lanes = []*lane{newLane(v, a.Lane, a.Ground, a.Set)}
		return v
	}
	if v.state == nil {
		v.state = NewState(b.Lanes)
	}
	v.began = v.state.Copy()
	for i := range b.Lanes {
		set := func(key string, value effects.Value) error { return v.state.Set(i, key, value) }
		v.lanes = append(v.lanes, newLane(v, i, ground{v.state, i, config.Read}, set))
	}
	return v
}

// Close frees its handlers.
func (v *Version) Close() {
	for _, l := range v.lanes {
		l.discard()
	}
}

// Restart forgets what was counted so far, but not the state: what is handled next is the trial.
func (v *Version) Restart() {
	v.began = v.state.Copy()
	v.tally = newTally(&v.config)
}

// Handle deals events to lanes, which handle whole batches. The error is a *Stopped, of the end of
// ctx, plugin_failed if the handler does not start, or of what the version reads.
func (v *Version) Handle(ctx context.Context, events []delivery.Item) error {
	for i := range events {
		l := v.lanes[effects.LaneOf(events[i].Key, len(v.lanes))]
		l.queue = append(l.queue, events[i])
	}
	return v.settle(ctx, false)
}

// Flush has all events handled. The errors are those of Handle.
func (v *Version) Flush(ctx context.Context) error { return v.settle(ctx, true) }

func (v *Version) settle(ctx context.Context, all bool) error {
	for _, l := range v.lanes {
		if err := l.settle(ctx, all); err != nil {
			return err
		}
	}
	return nil
}

// State is the state as it is now.
func (v *Version) State() *State { return v.state }

// Discard has it go on with new handlers, after what they have seen is not so.
func (v *Version) Discard() {
	for _, l := range v.lanes {
		l.discard()
		clear(l.queue) // they hold their blocks in memory
		l.queue, l.attempts, l.failed = l.queue[:0], 0, nil
	}
}

// IsFresh reports whether a handler is still to be started.
func (v *Version) IsFresh() bool {
	return slices.ContainsFunc(v.lanes, func(l *lane) bool { return l.handler == nil })
}

// Fuel is what its handlers have used, and Took the time that they had.
func (v *Version) Fuel() int64         { return v.tally.Fuel }
func (v *Version) Took() time.Duration { return v.tally.took }

// Result is what the version did since New or Restart.
func (v *Version) Result(ctx context.Context) (plugins.Trial, error) {
	t := v.tally.result(v.config.Binding)
	t.StateBytes = v.state.bytes
	for _, l := range v.lanes {
		t.MemoryBytes += l.memory
	}
	var err error
	t.State, err = Diff(ctx, len(v.lanes), v.began.Pages, v.state.Pages, v.config.Show)
	return t, err
}

// lane handles its events one batch after another.
type lane struct {
	version  *Version
	number   int
	queue    []delivery.Item
	stage    *effects.Stage
	set      func(key string, v effects.Value) error
	batch    effects.Batch
	handler  plugins.Handler // nil after a failure
	search   effects.Search  // for an event that batches fail by
	attempts int             // failed, of the first event of the queue
	failed   *effects.Failure
	withheld bool   // at the last attempt
	memory   int64  // of the handler
	at       uint64 // the position of the event that it logs about
}

func newLane(v *Version, number int, on effects.Ground, set func(key string, v effects.Value) error) *lane {
	l := &lane{version: v, number: number, set: set}
	l.stage = effects.NewStage(v.terms, on, output{l})
	return l
}

// discard closes the handler, which has seen what is not so.
func (l *lane) discard() {
	if l.handler != nil {
		l.handler.Close()
	}
	l.handler = nil
}

// settle handles the batches that the queue has; with all, also one that has room for more.
func (l *lane) settle(ctx context.Context, all bool) error {
	for len(l.queue) > 0 {
		n, full := l.cut()
		if !full && !all {
			return nil
		}
		for n > 0 {
			done, err := l.step(ctx, l.queue[:n])
			if err != nil {
				return err
			}
			clear(l.queue[:done]) // they hold their blocks in memory
			l.queue = l.queue[done:]
			n -= done
		}
	}
	l.queue = l.queue[:0:0]
	return nil
}

// cut is how many events of the queue are a batch by the limits, and whether that is full.
func (l *lane) cut() (n int, full bool) {
	limits := &l.version.config.Binding.Limits
	bytes := 0
	for n < len(l.queue) && n < limits.BatchEvents {
		if bytes += len(l.queue[n].Raw); bytes > limits.BatchBytes && n > 0 {
			return n, true
		}
		n++
	}
	return n, n == limits.BatchEvents
}

// step handles events, or the first of them, and returns how many are settled.
func (l *lane) step(ctx context.Context, events []delivery.Item) (settled int, err error) {
	if events[0].Fault != "" {
		return 1, l.park(&events[0], &effects.Failure{Reason: events[0].Fault}, 1)
	}
	n, most := 1, 1
	if l.attempts == 0 {
		most = min(len(events), l.search.Most(events[0].Position))
	}
	for n < most && events[n].Fault == "" {
		n++
	}
	if y := l.version.config.Yield; y != nil {
		y(ctx)
	}
	done, f := 0, (*effects.Failure)(nil)
	n, f = l.batch.Compose(n, func(i int) []byte { return events[i].Raw }, l.attempts+1, 0)
	if f == nil {
		done, f = l.handle(ctx)
	}
	switch {
	case f == nil:
		l.search.Passed(events[n-1].Position)
		return n, l.commit(n)
	case f.Storage != nil:
		return 0, f.Storage
	case f.NotBegun:
		return 0, core.Errorf(core.CodePluginFailed, "version %q does not start: %s", l.version.config.Binding.Version, f.Reason)
	case n == 1:
		return l.fail(&events[0], f)
	}
	l.discard()
	if f.Batch {
		l.search.Failed(n, events[n-1].Position)
	} else {
		l.search.FailedAt(events[min(done, n-1)].Position)
	}
	l.stage.Truncate(done)
	return done, l.commit(done)
}

// handle has the handler handle the batch that was composed.
func (l *lane) handle(ctx context.Context) (done int, f *effects.Failure) {
	if l.handler == nil {
		if l.handler, f = l.stage.Start(ctx, l.version.config.Program); f != nil {
			return 0, f
		}
	}
	began := time.Now()
	done, fuel, f := l.stage.Handle(ctx, l.handler, &l.batch)
	l.version.tally.batch(time.Since(began), fuel)
	l.memory = max(l.memory, l.handler.MemoryBytes())
	return done, f
}

// commit keeps what the first events of the batch have staged.
func (l *lane) commit(events int) error {
	v := l.version
	for event, deed := range l.stage.Of(events) {
		s := Settled{Event: &l.batch.Events[event], Lane: l.number, Fate: plugins.Acked, Attempts: 1, Deed: deed, Withheld: l.stage.Withheld(event)}
		if l.stage.Skipped(event) {
			s.Fate = plugins.Skipped
		}
		if event == 0 {
			s.Attempts, s.Failure = l.attempts+1, l.failed
		}
		v.settled(&s)
	}
	for key, value := range l.stage.Changes() {
		if value.OK {
			value.Bytes = append(make([]byte, 0, len(value.Bytes)), value.Bytes...)
		}
		if err := l.set(key, value); err != nil {
			return err
		}
	}
	l.stage.Reset()
	if events > 0 {
		l.attempts, l.failed, l.withheld = 0, nil, false
	}
	return nil
}

func (v *Version) settled(s *Settled) {
	v.tally.settled(s)
	if v.config.Watch != nil {
		v.config.Watch(s)
	}
}

// fail does with an event, which was handled alone, what the error policy says.
func (l *lane) fail(event *delivery.Item, f *effects.Failure) (settled int, err error) {
	policy := &l.version.config.Binding.OnError
	l.discard()
	l.version.tally.Failures++
	l.attempts++
	l.failed, l.withheld = f, l.stage.Withheld(0)
	switch {
	case f.Stop || l.version.config.Strict && (f.Batch || !f.Park) || !f.Park && l.attempts >= policy.Attempts && policy.Then == plugins.ThenStop:
		return 0, l.stop(event, f)
	case !f.Park && l.attempts < policy.Attempts:
		return 0, nil
	}
	return 1, l.park(event, f, l.attempts)
}

// stop is the error of a version that is stopped at an event.
func (l *lane) stop(event *delivery.Item, f *effects.Failure) error {
	e, err := eventOf(event)
	if err != nil {
		return err
	}
	l.version.tally.failed(e, l.number, l.attempts, f.Reason, f.Stack, false)
	return &Stopped{Event: e, Reason: f.Reason, Stack: f.Stack}
}

// park passes an event without effect.
func (l *lane) park(event *delivery.Item, f *effects.Failure, attempts int) error {
	e, err := eventOf(event)
	if err != nil {
		return err
	}
	l.discard()
	l.search.Found()
	l.version.settled(&Settled{Event: e, Lane: l.number, Fate: plugins.Parked, Attempts: attempts, Failure: f, Withheld: l.withheld})
	l.attempts, l.failed, l.withheld = 0, nil, false
	return nil
}

func eventOf(item *delivery.Item) (*core.Event, error) {
	e := &core.Event{}
	_, err := core.DecodeEvent(item.Raw, e)
	return e, err
}
