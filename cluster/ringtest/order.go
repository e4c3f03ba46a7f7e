package ringtest

import (
	"errors"

	"github.com/gyre-events/gyre/core"
)

// flow is what a connection sends to a stream.
type flow struct {
	conn   int
	stream string
}

// checkOrder checks, of each connection and stream, that effects are in the order sent, also
// those of appends whose outcome is unknown; and that no append was refused for want of an
// earlier one that was written later and acknowledged.
func (r *run) checkOrder() error {
	var f faults
	last := map[flow]*core.Event{}         // the latest that is in the log
	acknowledged := map[flow]*core.Event{} // the latest that was acknowledged
	for _, a := range r.Appends {
		for i := range a.Commit.Appends {
			key := flow{a.Conn, a.Commit.Appends[i].Stream}
			first, ok := r.first(a, i)
			if !ok || number(first) != a.Number {
				continue // another try wrote it, or none
			}
			if e := last[key]; e != nil && e.Version > first.Version {
				f.add("connection %d sent append %d before %d, and %s has them at %d and %d",
					a.Conn, number(e), a.Number, first.Stream, e.Version, first.Version)
			}
			last[key] = first
			if a.Err == nil {
				acknowledged[key] = first
			}
		}
		checkRefused(&f, a, acknowledged)
	}
	return f.err()
}

func checkRefused(f *faults, a *Append, acknowledged map[flow]*core.Event) {
	var refusal *core.Error
	if !errors.As(a.Err, &refusal) || refusal.Code != core.CodeWrongExpectedVersion {
		return
	}
	if refusal.Expected.Holds(*refusal.Actual) {
		f.add("append %d was refused, and what it expected held: %v", a.Number, a.Err)
	}
	if e := acknowledged[flow{a.Conn, refusal.Stream}]; e != nil && e.Version > *refusal.Actual {
		f.add("append %d was refused with %s at %d, and append %d, sent before it, was written at %d",
			a.Number, refusal.Stream, *refusal.Actual, number(e), e.Version)
	}
}
