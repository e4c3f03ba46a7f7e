package judge

import (
	"context"
	"errors"
	"fmt"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/effects"
)

// Verdict is what a plugin has decided about an event.
type Verdict struct {
	// Action is abi.Ack; abi.Skip if a filter drops the event; abi.Park if a validator refuses it.
	Action abi.Action
	// Value is the data of a map, the key of a partitioner, or why a validator refuses. It is
	// valid until the next call.
	Value []byte
	// Fault is why there is no verdict, if so.
	Fault string
}

// Judge is a plugin at work. It belongs to one goroutine, which closes it.
type Judge struct {
	program plugins.Program
	name    string // of the plugin and the version
	limits  plugins.Limits
	output  plugins.Output
	answers answers

	handler  plugins.Handler // nil before it is started
	fresh    bool            // it has judged nothing
	most     int             // how many events to hand out next, at least one
	writer   abi.BatchWriter
	verdicts []Verdict

	fuel, mostFuel int64 // of all calls, and of the one that used most
}

// New returns a Judge of a version, which is of a kind that judges. The Judge closes the program.
func New(program plugins.Program, v *plugins.Version, output plugins.Output) *Judge {
	m := &v.Manifest
	limits := m.Limits.OrDefaults()
	return &Judge{
		program: program, name: v.Plugin + "@" + v.Version, limits: limits, output: output,
		answers: answers{kind: m.Kind, config: effects.NewConfig(m.Config)}, most: limits.BatchEvents,
	}
}

// MaxEvents is how many events Judge judges at most.
func (j *Judge) MaxEvents() int { return j.limits.BatchEvents }

// Judge judges the first of one or more events, in one call if all goes well. It returns verdicts
// on at least one, which are valid until the next call. An error is about no event.
func (j *Judge) Judge(ctx context.Context, events []abi.Event) ([]Verdict, error) {
	n := min(len(events), max(j.most, 1))
	for {
		var err error
		if n, err = j.fill(events[:n]); err != nil {
			return j.fault(fmt.Sprintf("the event does not fit into a batch: %v", err)), nil
		}
		failure, err := j.call(ctx, n)
		switch {
		case err != nil:
			return nil, err
		case failure == "":
			j.most = min(max(2*j.most, 1), j.limits.BatchEvents)
			return j.take(), nil
		}
		wasFresh := j.fresh
		j.discard()
		switch before := j.answers.prefix(); {
		case n > 1 && 0 < before && before < n: // likely it is the one behind those
			n, j.most = before, 0
		case n > 1:
			n, j.most = n/2, 0
		case wasFresh:
			return j.fault(failure), nil
		}
	}
}

// fill encodes as many events as a batch has room for, and returns how many. An error is that of
// the first.
func (j *Judge) fill(events []abi.Event) (n int, err error) {
	j.writer.Reset(events[len(events)-1].TimeMicros, 1, 0)
	for n < len(events) && (n == 0 || len(j.writer.Bytes()) < j.limits.BatchBytes) {
		if err := j.writer.Add(&events[n]); err != nil {
			if n == 0 {
				return 0, err
			}
			break
		}
		n++
	}
	return n, nil
}

// call has the plugin judge the batch of n events that was filled. failure is what it does wrong.
func (j *Judge) call(ctx context.Context, n int) (failure string, err error) {
	if j.handler == nil {
		if err := j.start(ctx); err != nil {
			return "", err
		}
	}
	j.answers.reset(n)
	verdict, fuel, err := effects.Call(ctx, j.handler, j.writer.Bytes())
	j.fuel, j.mostFuel = j.fuel+fuel, max(j.mostFuel, fuel)
	if err == nil && verdict == abi.Done {
		if j.answers.full == 0 {
			return "it answered with too much", nil
		}
		j.fresh = false
		return "", nil
	}
	if ctx.Err() != nil {
		j.discard()
		return "", core.AsError(context.Cause(ctx))
	}
	why, isFailure := errors.AsType[*plugins.Failure](err)
	switch {
	case isFailure:
		return core.ClipTo(why.Line(), maxTextBytes), nil
	case err != nil:
		j.discard()
		return "", err
	}
	if reason := j.answers.reason(); reason != "" {
		return reason, nil
	}
	return fmt.Sprintf("%s returned %d, which is no answer", j.answers.kind.Entry(), verdict), nil
}

// maxStarts bounds the tries to start an instance: a busy node may be too slow for one.
const maxStarts = 3

// start starts an instance.
func (j *Judge) start(ctx context.Context) error {
	for try := 1; ; try++ {
		handler, err := j.program.New(ctx, plugins.Connection{Limits: j.limits, Effects: &j.answers, Reads: &j.answers, Output: j.output})
		if err == nil {
			j.handler, j.fresh = handler, true
			return nil
		}
		if ctx.Err() != nil {
			return core.AsError(context.Cause(ctx))
		}
		why, isFailure := errors.AsType[*plugins.Failure](err)
		switch {
		case !isFailure:
			return err
		case try == maxStarts || why.Permanent:
			return core.Errorf(core.CodePluginFailed, "plugin %s does not start: %s; use another version of it", j.name, core.ClipTo(why.Line(), maxTextBytes))
		}
	}
}

// maxTextBytes bounds the text of a failure.
const maxTextBytes = 1 << 10

// take returns the verdicts of a batch that went well.
func (j *Judge) take() []Verdict {
	j.verdicts = j.verdicts[:0]
	for i := range j.answers.full {
		v := j.answers.verdict(i)
		if v.Fault != "" {
			v.Fault = j.name + ": " + v.Fault
		}
		j.verdicts = append(j.verdicts, v)
	}
	return j.verdicts
}

// fault returns the verdict on an event that the plugin fails on.
func (j *Judge) fault(why string) []Verdict {
	j.verdicts = append(j.verdicts[:0], Verdict{Fault: j.name + ": " + why})
	return j.verdicts
}

// discard throws the instance away.
func (j *Judge) discard() {
	if j.handler != nil {
		j.handler.Close()
	}
	j.handler = nil
}

// Fuel is what all calls have used, and the call that has used most.
func (j *Judge) Fuel() (all, most int64) { return j.fuel, j.mostFuel }

// Close frees the instance and the program.
func (j *Judge) Close() error {
	j.discard()
	return j.program.Close()
}
