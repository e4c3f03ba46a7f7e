package effects

import (
	"errors"
	"strings"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
)

// Failure is why an event was not handled.
type Failure struct {
	Reason   string
	Stack    string
	Delay    time.Duration // before the next attempt; by the policy if 0
	Park     bool          // without another attempt
	Stop     bool          // the binding, too
	Batch    bool          // it may be any event of the batch
	Storage  error         // it was not the handler's
	NotBegun bool          // the handler did not start
}

// maxTextBytes bounds each text of a failure, which is stored.
const maxTextBytes = 16 << 10

// newFailure is f with texts that can be stored.
func newFailure(f Failure) *Failure {
	f.Reason, f.Stack = cut(f.Reason), cut(f.Stack)
	return &f
}

func cut(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxTextBytes)], "�")
}

// crashed is the failure of a handler that did not return a verdict. If the node has no room
// for it now, that is not its own.
func crashed(err error) *Failure {
	f := Failure{Reason: err.Error(), Batch: true}
	why, isFailure := errors.AsType[*plugins.Failure](err)
	switch {
	case isFailure:
		f.Stack, f.Park = why.Stack, why.Permanent
	case core.AsError(err).Info().Retryable:
		f.Storage = err
	}
	return newFailure(f)
}

// explain adds to a failure what was refused last: the errno that the handler has got does not
// name the grant or the limit.
func (x *Stage) explain(f *Failure) *Failure {
	if x.refused != "" && f.Storage == nil {
		f.Reason = cut(f.Reason + " (" + x.refused + ")")
	}
	return f
}

// outcome reads a verdict and the results of events.
func (x *Stage) outcome(verdict abi.Verdict) (done int, f *Failure) {
	switch {
	case x.broken != nil && verdict == abi.Done:
		return x.brokenBy, x.broken
	case x.broken != nil:
		return 0, x.broken
	case verdict == abi.RetryBatch:
		return 0, &Failure{Reason: "the handler asked to retry the batch", Batch: true}
	case verdict == abi.ParkBatch:
		return 0, &Failure{Reason: "the handler asked to park the batch", Batch: true, Park: true}
	case verdict == abi.Stop:
		return 0, &Failure{Reason: "the handler asked to stop", Batch: true, Stop: true}
	case verdict != abi.Done:
		return 0, &Failure{Reason: "the handler failed", Batch: true}
	}
	for i := range x.results {
		r := &x.results[i]
		switch r.action {
		case abi.Retry:
			return i, newFailure(Failure{Reason: text(r.message, "the handler asked to retry the event"), Delay: r.delay})
		case abi.Park:
			return i, newFailure(Failure{Reason: text(r.message, "the handler asked to park the event"), Park: true})
		}
	}
	return len(x.results), nil
}

// Skipped reports whether the handler has skipped an event of the batch.
func (x *Stage) Skipped(event int) bool { return x.results[event].action == abi.Skip }

func text(message []byte, otherwise string) string {
	if len(message) == 0 {
		return otherwise
	}
	return string(message)
}
