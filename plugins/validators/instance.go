package validators

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/effects"
)

// waitForTurn is how long an instance waits until the sandbox has time for it, beside its own.
const waitForTurn = time.Second

// mostTime is the time that a Commit has in all. It has that of the limits for each batch.
const mostTime = plugins.MaxValidatorMs * time.Millisecond

// maxTextBytes bounds what a refusal has of the validator's text.
const maxTextBytes = 1024

// instance is one of a validator's code, and the code's effects and reads, of which it has next to
// none. It belongs to one goroutine at a time. Package judge, which finds the event that a plugin
// fails on, would use the time of the limits several times.
type instance struct {
	effects.NoEffects
	validator *validator
	handler   plugins.Handler

	writer  abi.BatchWriter
	fields  []byte // scratch
	places  []place
	refused int // the first event of the batch that is refused; -1
	reason  string
	bad     string // an answer that is none
	starved bool   // it was late, and has hardly run
}

// place says where an event of a batch is: in an append of the Commit.
type place struct{ appended, event int }

// judge has c judged. refusal is that of the validator, and err why it could not judge. What was
// late although it has hardly run is tried again, in what is left of mostTime: the machine was
// busy.
func (x *validator) judge(c *core.Commit, own **instance) (refusal, err error) {
	began := time.Now()
	ctx := &until{Context: context.Background(), end: began.Add(mostTime + waitForTurn)}
	defer ctx.release()
	for {
		in := *own
		if in == nil {
			if in, err = x.start(context.Background()); err != nil {
				return nil, err
			}
		}
		*own = nil
		refusal, err = in.run(ctx, c)
		if err == nil {
			*own = in
			return refusal, nil
		}
		in.handler.Close()
		switch {
		case !in.starved:
			return nil, err
		case time.Since(began) > mostTime:
			return nil, core.Errorf(core.CodeValidatorUnavailable, "validator %q did not get to run for %s: the node is too busy", x.stored.Name, mostTime)
		}
	}
}

// starvedBelow is the fuel below which code that was late has hardly run, for each millisecond
// that it has: a tenth of what a slow processor does.
const starvedBelow = 10_000

// run judges the events of c that match, batch by batch.
func (in *instance) run(ctx context.Context, c *core.Commit) (refusal, err error) {
	now := time.Now()
	in.reset(now)
	for i := range c.Appends {
		for k := range c.Appends[i].Events {
			if !in.validator.filter.Match(c.Appends[i].Stream, c.Appends[i].Events[k].Type) {
				continue
			}
			e := in.event(&c.Appends[i], k, now)
			if in.writer.Add(&e) == nil {
				in.places = append(in.places, place{i, k})
				continue
			}
			if refusal, err = in.call(ctx, c); refusal != nil || err != nil {
				return refusal, err
			}
			if time.Since(now) > mostTime {
				return nil, in.failure(c, &plugins.Failure{Reason: "timed out", Detail: fmt.Sprintf("append fewer events at once: all of them are to be judged within %s", mostTime)})
			}
			in.reset(now)
			if err := in.writer.Add(&e); err != nil {
				return nil, in.failure(c, &plugins.Failure{Reason: "was handed an event that fits no batch", Detail: err.Error()})
			}
			in.places = append(in.places, place{i, k})
		}
	}
	return in.call(ctx, c)
}

func (in *instance) reset(now time.Time) {
	in.writer.Reset(now.UnixMicro(), 1, 0)
	in.places, in.refused, in.reason, in.bad = in.places[:0], -1, "", ""
}

// event is what the code sees of an event that is to be appended.
func (in *instance) event(a *core.Append, k int, now time.Time) abi.Event {
	from := &a.Events[k]
	e := core.Event{
		ID: from.ID, Stream: a.Stream, Type: from.Type, Format: from.Format, Data: from.Data, Metadata: from.Metadata,
		ContentType: from.ContentType, Time: from.Time, Recorded: now,
	}
	if e.Time.IsZero() {
		e.Time = now
	}
	if a.Expect >= 0 {
		e.Version = uint64(a.Expect) + uint64(k) + 1
	}
	out := effects.EventOf(&e, in.fields[:0])
	in.fields, out.Attempt = out.Fields, 1
	return out
}

// call has the code judge the batch.
func (in *instance) call(ctx context.Context, c *core.Commit) (refusal, err error) {
	verdict, fuel, err := effects.Call(ctx, in.handler, in.writer.Bytes())
	t := in.validator.totals
	t.events.Add(uint64(len(in.places)))
	t.fuel.Add(uint64(max(fuel, 0)))
	if why, ok := errors.AsType[*plugins.Failure](err); ok && why.Late {
		in.starved = fuel < starvedBelow*in.validator.stored.Limits.TimeMs
	}
	switch {
	case err != nil:
		return nil, in.failure(c, err)
	case in.bad != "":
		return nil, in.failure(c, &plugins.Failure{Reason: "failed", Detail: in.bad})
	case verdict != abi.Done:
		return nil, in.failure(c, &plugins.Failure{Reason: "failed", Detail: in.said(fmt.Sprintf("it returned %d", verdict))})
	case in.refused >= 0:
		return in.refusal(c), nil
	}
	return nil, nil
}

func (in *instance) said(otherwise string) string {
	if in.reason != "" {
		return in.reason
	}
	return otherwise
}

// refusal is the error of a Commit that the code refuses.
func (in *instance) refusal(c *core.Commit) error {
	at := in.places[in.refused]
	a := &c.Appends[at.appended]
	err := core.Errorf(core.CodeAppendRefused, "validator %q refuses %s: %s", in.validator.stored.Name, at.of(c), in.said("it says no more"))
	err.Stream, err.EventID, err.Element = a.Stream, a.Events[at.event].ID, &at.appended
	return err
}

// of says which event of a Commit it is.
func (p place) of(c *core.Commit) string {
	a := &c.Appends[p.appended]
	return fmt.Sprintf("event %d of stream %q, %s", p.event, core.Clip(a.Stream), core.Clip(a.Events[p.event].Type))
}

// failure is the error of a Commit whose batch the code has failed on.
func (in *instance) failure(c *core.Commit, err error) error {
	did := "failed"
	switch n := len(in.places); {
	case n == 1:
		did = "failed on " + in.places[0].of(c)
	case n > 1:
		did = fmt.Sprintf("failed on one of %d events, the first of which is %s", n, in.places[0].of(c))
	}
	return in.validator.failure(did, err)
}

// failure is the error of a Commit that x could not judge, and what x did.
func (x *validator) failure(did string, err error) error {
	why, ok := errors.AsType[*plugins.Failure](err)
	if ok {
		return core.Errorf(core.CodeValidatorFailed, "validator %q %s: %s", x.stored.Name, did, line(why.Error()))
	}
	return core.Errorf(core.CodeValidatorUnavailable, "validator %q cannot run at this node now: %s", x.stored.Name, line(core.AsError(err).Error()))
}

// Result is plugins.Effects'.
func (in *instance) Result(event int, action abi.Action, _ time.Duration, message []byte) abi.Errno {
	switch {
	case event < 0 || event >= len(in.places):
		return abi.Invalid
	case action != abi.Ack && action != abi.Park:
		in.bad = fmt.Sprintf("it answered %d, which is no answer of a validator", action)
		return abi.Invalid
	case action == abi.Park && (in.refused < 0 || event <= in.refused):
		in.refused, in.reason = event, line(string(message))
	case action == abi.Ack && event == in.refused:
		in.refused, in.reason = -1, ""
	}
	return abi.OK
}

// Config is plugins.Reads'.
func (in *instance) Config(key []byte) ([]byte, abi.Errno) { return in.validator.settings.Get(key) }

// line makes what code says one line that can be shown.
func line(text string) string { return core.ClipTo(string(plugins.Line(text)), maxTextBytes) }

// complaints log the failures of a validator, one in each complainEvery.
type complaints struct {
	output plugins.Output
	logger *slog.Logger

	mu     sync.Mutex // protects the fields below
	last   time.Time
	others int // since the last
}

const complainEvery = time.Second

func (c *complaints) complain(err error, accepted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if now.Sub(c.last) < complainEvery {
		c.others++
		return
	}
	what := "an append was refused"
	if accepted {
		what = "an append was accepted unjudged"
	}
	if c.others > 0 {
		what = fmt.Sprintf("%s, and %d before it", what, c.others)
	}
	c.last, c.others = now, 0
	c.output.Log(abi.Error, plugins.Line(what+": "+core.AsError(err).Detail))
	c.logger.Warn(what+" because its validator failed", "error", err)
}
