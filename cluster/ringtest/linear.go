package ringtest

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/gyre-events/gyre/core"
)

// step is an operation on a list that only grows: an append, or a look at its length.
type step struct {
	length    uint64 // of the list after an append, or as it was seen
	look      bool
	call, end time.Duration
	what      string
}

// never is the end of an append that was not acknowledged.
const never = time.Duration(math.MaxInt64)

// checkStreams checks that the history of every stream is linearizable. A list that only
// grows leaves one order of its appends, that of the list; looks at a length lie behind the
// append that made it. So one pass decides: nothing ends before something that lies
// before it in this order has begun.
func (r *run) checkStreams() error {
	var f faults
	for stream, steps := range r.steps() {
		slices.SortFunc(steps, func(a, b step) int {
			return cmp.Or(cmp.Compare(a.length, b.length), compareLooks(a.look, b.look), cmp.Compare(a.call, b.call))
		})
		latest := step{call: -1}
		for _, s := range steps {
			if s.call > latest.call {
				latest = s
			}
			if s.end < latest.call {
				f.add("%s is not linearizable: %s (length %d) ended at %v, and %s (length %d), which does not come after it, began at %v",
					stream, s.what, s.length, s.end, latest.what, latest.length, latest.call)
			}
		}
	}
	return errors.Join(f.err(), r.checkWhole())
}

// compareLooks puts an append before the looks at the length that it made.
func compareLooks(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// steps gathers the operations on each stream: appends that are in the log, reads, and
// refusals, which tell a length too.
func (r *run) steps() map[string][]step {
	steps := map[string][]step{}
	for stream, events := range r.streams {
		for i := 0; i < len(events); {
			n := number(events[i])
			j := i + 1
			for j < len(events) && number(events[j]) == n {
				j++
			}
			if n >= 1 && n <= len(r.Appends) {
				a := r.Appends[n-1]
				s := step{length: uint64(j), call: a.Invoked, end: never, what: "an append"}
				if a.Err == nil {
					s.end = a.Returned
				}
				steps[stream] = append(steps[stream], s)
			}
			i = j
		}
	}
	look := func(stream string, length uint64, call, end time.Duration, what string) {
		steps[stream] = append(steps[stream], step{length, true, call, end, what})
	}
	for _, read := range r.Reads {
		look(read.Stream, read.Version, read.Invoked, read.Returned, "a read")
	}
	for _, a := range r.Appends {
		var refusal *core.Error
		if errors.As(a.Err, &refusal) && refusal.Code == core.CodeWrongExpectedVersion {
			look(refusal.Stream, *refusal.Actual, a.Invoked, a.Returned, "a refusal")
		}
		if a.Err == nil && a.Result.Duplicate {
			r.seen(a, steps)
		}
	}
	return steps
}

// seen bounds the end of an append that a later try has found in the log.
func (r *run) seen(a *Append, steps map[string][]step) {
	for i := range a.Commit.Appends {
		e, ok := r.first(a, i)
		if !ok {
			continue
		}
		of := steps[e.Stream]
		for k := range of {
			if s := &of[k]; !s.look && s.length == a.Result.Appends[i].LastVersion {
				s.end = min(s.end, a.Returned)
			}
		}
	}
}

// checkWhole checks that nobody saw a part of a Commit.
func (r *run) checkWhole() error {
	var f faults
	for _, read := range r.Reads {
		events := r.streams[read.Stream]
		v := read.Version
		if v > 0 && v < uint64(len(events)) && number(events[v-1]) == number(events[v]) {
			f.add("a read at %s has a part of append %d: %s up to %d", read.Node, number(events[v]), read.Stream, v)
		}
	}
	return f.err()
}
