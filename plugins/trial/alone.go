package trial

import (
	"context"
	"errors"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/effects"
)

// Base is the state of a lane that something is tried on, read as it is asked for.
type Base interface {
	Get(ctx context.Context, key string) (effects.Value, error)
	// Page is as that of effects.Ground.
	Page(ctx context.Context, prefix, after string) ([]effects.Entry, error)
}

// Alone is a parked event that a version handles once more, as a replay would, and writes nothing.
type Alone struct {
	// Binding is what the version would be deployed as.
	Binding *plugins.Binding
	Program plugins.Program
	// Read reads streams for the handler.
	Read func(ctx context.Context, r core.ReadRequest) (core.Page, error)
	// Base is the state of the Lane of the event.
	Base Base
	Lane int
	// Item is the event, and Attempt which attempt at it this is, from 1.
	Item    delivery.Item
	Attempt int
	// StateBytes is how large the state of all lanes is.
	StateBytes int64

	tally *tally
	batch effects.Batch
}

// Run has the version handle the event. The errors are plugin_failed if it does not start, that of
// the end of ctx, and those of what it reads.
func (a *Alone) Run(ctx context.Context) (t plugins.PoisonTrial, err error) {
	a.tally = newTally(&Config{Binding: a.Binding, Show: plugins.MaxShown, From: a.Item.Position})
	a.tally.State.First, a.tally.StateBytes = []plugins.StateChange{}, a.StateBytes
	t = plugins.PoisonTrial{Position: a.Item.Position, Steps: plugins.Steps{List: []plugins.Step{}}}
	settled := Settled{Lane: a.Lane, Fate: plugins.Parked, Attempts: a.Attempt}
	if settled.Event, err = eventOf(&a.Item); err != nil {
		return t, err
	}
	stage := effects.NewStage(effects.NewTerms(a.Binding), aloneGround{a}, aloneOutput{a})
	f, err := a.handle(ctx, stage, &t)
	if err == nil && f == nil {
		f, err = a.refusal(ctx, stage)
	}
	if err != nil {
		return t, err
	}
	if f == nil {
		settled.Fate = plugins.Acked
		if stage.Skipped(0) {
			settled.Fate = plugins.Skipped
		}
		for _, deed := range stage.Of(1) {
			settled.Deed = deed
		}
		err = a.diff(ctx, stage)
	} else {
		a.tally.Failures++
		settled.Failure, t.Reason, t.Stack = f, f.Reason, f.Stack
	}
	a.tally.settled(&settled)
	t.Fate = settled.Fate
	t.Tried = a.tally.result(a.Binding)
	return t, err
}

// handle has a new handler handle the event. The failure is that of the event.
func (a *Alone) handle(ctx context.Context, stage *effects.Stage, t *plugins.PoisonTrial) (*effects.Failure, error) {
	if a.Item.Fault != "" {
		return &effects.Failure{Reason: a.Item.Fault}, nil
	}
	if _, f := a.batch.Compose(1, func(int) []byte { return a.Item.Raw }, a.Attempt, abi.Replay); f != nil {
		return f, nil
	}
	handler, f := stage.Start(ctx, a.Program)
	if f == nil {
		began := time.Now()
		_, fuel, failed := stage.Handle(ctx, handler, &a.batch)
		a.tally.batch(time.Since(began), fuel)
		a.tally.MemoryBytes = handler.MemoryBytes()
		handler.Close()
		t.Steps = stage.Steps()
		f = failed
	}
	switch {
	case f == nil:
		return nil, nil
	case f.Storage != nil:
		return nil, f.Storage
	case f.NotBegun:
		return nil, core.Errorf(core.CodePluginFailed, "version %q does not start: %s", a.Binding.Version, f.Reason)
	}
	return f, nil
}

// refusal is the failure of an append that the log would refuse now, because its stream is deleted,
// tombstoned, or at another version than it expects. Of a stream that may not be read that is not
// known.
func (a *Alone) refusal(ctx context.Context, stage *effects.Stage) (*effects.Failure, error) {
	versions := map[string]uint64{} // with what the event has appended so far
	for _, deed := range stage.Of(1) {
		for e := range deed.Appends() {
			version, known := versions[e.Stream]
			if !known {
				var err error
				version, err = a.version(ctx, e.Stream)
				switch {
				case errors.Is(err, core.CodeForbidden):
					continue
				case core.IsAbsent(err):
					return &effects.Failure{Reason: core.AsError(err).Error()}, nil
				case err != nil:
					return nil, err
				}
			}
			if !e.Expect.Holds(version) {
				return &effects.Failure{Reason: core.NewWrongVersion(e.Stream, e.Expect, version).Error()}, nil
			}
			versions[e.Stream] = version + uint64(len(e.Events))
		}
	}
	return nil, nil
}

// version is that of a stream now.
func (a *Alone) version(ctx context.Context, stream string) (uint64, error) {
	page, err := a.Read(ctx, core.ReadRequest{Stream: stream, Backward: true, Limit: core.Limit{Events: 1, Bytes: 1}})
	if errors.Is(err, core.CodeStreamNotFound) {
		return 0, nil
	}
	return page.Version, err
}

// diff lists how the state would change.
func (a *Alone) diff(ctx context.Context, stage *effects.Stage) error {
	d := differ{StateDiff: a.tally.State, room: newRoom(plugins.MaxShown)}
	for key, v := range stage.Changes() {
		before, err := a.Base.Get(ctx, key)
		if err != nil {
			return err
		}
		a.tally.StateBytes += v.Size(key) - before.Size(key)
		was, is := entryOf(key, before), entryOf(key, v)
		switch {
		case was == nil && is == nil || was != nil && is != nil && string(was.Value) == string(is.Value):
			continue
		case was == nil:
			d.Added++
		case is == nil:
			d.Removed++
		default:
			d.Changed++
		}
		d.list(a.Lane, key, was, is)
	}
	a.tally.State = d.StateDiff
	return nil
}

func entryOf(key string, v effects.Value) *effects.Entry {
	if !v.OK {
		return nil
	}
	return &effects.Entry{Key: key, Value: append([]byte{}, v.Bytes...)}
}

// aloneGround is the effects.Ground of an Alone.
type aloneGround struct{ alone *Alone }

func (aloneGround) Peek(string) (effects.Value, bool) { return effects.Value{}, false }

func (g aloneGround) Get(ctx context.Context, key string) (effects.Value, error) {
	return g.alone.Base.Get(ctx, key)
}

func (g aloneGround) Sizes(ctx context.Context, keys []string) (n int64, err error) {
	for _, key := range keys {
		v, err := g.alone.Base.Get(ctx, key)
		if err != nil {
			return n, err
		}
		n += v.Size(key)
	}
	return n, nil
}

func (g aloneGround) Page(ctx context.Context, prefix, after string) ([]effects.Entry, error) {
	return g.alone.Base.Page(ctx, prefix, after)
}

func (g aloneGround) StateBytes() int64 { return g.alone.StateBytes }

func (g aloneGround) Read(ctx context.Context, r core.ReadRequest) (core.Page, error) {
	return g.alone.Read(ctx, r)
}

func (aloneGround) HoldsBack(uint64) bool { return false }

// aloneOutput takes what the handler of an Alone reports.
type aloneOutput struct{ alone *Alone }

func (aloneOutput) At(uint64) {} // it has one event

func (o aloneOutput) Log(level abi.Level, line []byte) {
	o.alone.tally.log(o.alone.Lane, o.alone.Item.Position, level, line)
}

func (o aloneOutput) Metric(kind abi.Kind, name []byte, value float64) abi.Errno {
	return o.alone.tally.metric(kind, name, value)
}
