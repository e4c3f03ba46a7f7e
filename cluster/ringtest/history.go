// Package ringtest has the checkers of the ring: functions that take what clients, engines
// and arbiters saw of a run, and return what contradicts the promises. They are for tests.
//
// # How a run is recorded
//
// Every append has a number, which Event puts into the data of its events, so the log says
// which try wrote an event. Stamp, called in front of an engine, puts the writer's session
// and the Commit's epoch into the metadata, so the log says who wrote it, also where the
// answer was lost.
//
// Times are those since the beginning of the run. All checkers are pure, and take O(n log n)
// for n calls.
package ringtest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/gyre-events/gyre/core"
)

// History is a run: what is in the log at its end, and what callers saw.
type History struct {
	// Log is all events in the order of their positions. The log has no links.
	Log     []core.Event
	Appends []*Append // in the order of their numbers; those of a connection as they were sent
	Reads   []*Read
}

// Append is a call that writes. A try that sends ids again is an Append of its own.
type Append struct {
	Number            int // the first has 1
	Conn              int // the client's connection
	Node              string
	Commit            core.Commit // names no stream twice, its Checks included
	Invoked, Returned time.Duration
	Result            core.Result
	Err               error // of a call that never returned, unknown_outcome
}

// Read is a call that read a stream from a version to its end, in one page.
type Read struct {
	Conn              int
	Node              string
	Stream            string
	From              uint64    // ≥ 1
	IDs               []core.ID // of the versions From, From+1, …
	Version           uint64    // of the stream
	Invoked, Returned time.Duration
}

// Event makes an event of the append of a number.
func Event(number int, id core.ID, eventType string) core.NewEvent {
	return core.NewEvent{ID: id, Type: eventType, Data: strconv.AppendInt(nil, int64(number), 10)}
}

// number returns that of the append that wrote e, or 0.
func number(e *core.Event) int {
	n, err := strconv.Atoi(string(e.Data))
	if err != nil {
		return 0
	}
	return n
}

// Check returns what contradicts the promises to callers, at most ten of each kind.
func (h *History) Check() error {
	r := index(h)
	return errors.Join(h.checkLog(), r.checkAnswers(), r.checkReads(), r.checkOrder(), r.checkStreams())
}

// run is a History with what the checkers look up.
type run struct {
	*History
	at      map[core.ID]*core.Event
	streams map[string][]*core.Event // streams[s][v-1] is version v
	wrote   map[int][]*core.Event    // by the append's number
}

func index(h *History) *run {
	r := &run{h, map[core.ID]*core.Event{}, map[string][]*core.Event{}, map[int][]*core.Event{}}
	for i := range h.Log {
		e := &h.Log[i]
		r.at[e.ID] = e
		r.streams[e.Stream] = append(r.streams[e.Stream], e)
		r.wrote[number(e)] = append(r.wrote[number(e)], e)
	}
	return r
}

// faults collects what a checker found.
type faults struct{ errs []error }

func (f *faults) add(format string, args ...any) {
	if len(f.errs) < 10 {
		f.errs = append(f.errs, fmt.Errorf(format, args...))
	}
}

func (f *faults) err() error { return errors.Join(f.errs...) }

// checkLog checks that positions rise, versions have no gap, and no id is twice.
func (h *History) checkLog() error {
	var f faults
	versions, ids := map[string]uint64{}, map[core.ID]uint64{}
	position := uint64(0)
	for i := range h.Log {
		e := &h.Log[i]
		versions[e.Stream]++
		if e.Position <= position || e.Version != versions[e.Stream] {
			f.add("the event after position %d is at %d: version %d of %s, want %d", position, e.Position, e.Version, e.Stream, versions[e.Stream])
		}
		if before, twice := ids[e.ID]; twice {
			f.add("event %s is at positions %d and %d", e.ID, before, e.Position)
		}
		position, ids[e.ID] = e.Position, e.Position
		if n := number(e); n < 1 || n > len(h.Appends) {
			f.add("position %d was written by nobody: %q", e.Position, e.Data)
		}
	}
	return f.err()
}

// checkAnswers checks that the log has what was acknowledged, at the places that were
// answered, all or nothing of a Commit, and nothing of one that was refused.
func (r *run) checkAnswers() error {
	var f faults
	for _, a := range r.Appends {
		written := len(r.wrote[a.Number])
		switch {
		case a.Err == nil:
			r.checkAcknowledged(&f, a)
		case written > 0 && !errors.Is(a.Err, core.CodeUnknownOutcome):
			f.add("append %d at %s is in the log, and was answered %v", a.Number, a.Node, a.Err)
		}
		if written > 0 && written != count(&a.Commit) {
			f.add("append %d has %d events in the log, and %d were sent", a.Number, written, count(&a.Commit))
		}
		if first, ok := r.first(a, 0); written > 0 && ok {
			r.checkExpected(&f, a, first)
		}
	}
	return f.err()
}

func count(c *core.Commit) (n int) {
	for _, a := range c.Appends {
		n += a.Count()
	}
	return n
}

// first returns the first event of an Append of a Commit, by whatever try it was written.
func (r *run) first(a *Append, i int) (*core.Event, bool) {
	e, ok := r.at[a.Commit.Appends[i].Events[0].ID]
	return e, ok
}

func (r *run) checkAcknowledged(f *faults, a *Append) {
	for i := range a.Commit.Appends {
		for j, sent := range a.Commit.Appends[i].Events {
			e, ok := r.at[sent.ID]
			switch {
			case !ok:
				f.add("append %d at %s was acknowledged, and event %s is lost", a.Number, a.Node, sent.ID)
			case e.Stream != a.Commit.Appends[i].Stream || e.Version != a.Result.Appends[i].FirstVersion+uint64(j):
				f.add("append %d: event %s is %s/%d, answered %+v", a.Number, sent.ID, e.Stream, e.Version, a.Result)
			case number(e) != a.Number && !a.Result.Duplicate:
				f.add("append %d was acknowledged as written, and %d wrote it", a.Number, number(e))
			}
		}
	}
}

// checkExpected checks the expectations of an append that is in the log.
func (r *run) checkExpected(f *faults, a *Append, first *core.Event) {
	for i, appended := range a.Commit.Appends {
		if e, ok := r.first(a, i); ok && !appended.Expect.Holds(e.Version-1) {
			f.add("append %d is at %s/%d, and expected %s", a.Number, e.Stream, e.Version, appended.Expect)
		}
	}
	for _, c := range a.Commit.Checks {
		// The version of the stream just before the Commit.
		before, _ := slices.BinarySearchFunc(r.streams[c.Stream], first.Position, func(e *core.Event, p uint64) int { return cmp.Compare(e.Position, p) })
		if !c.Expect.Holds(uint64(before)) {
			f.add("append %d was written with %s at %d, and expected %s", a.Number, c.Stream, before, c.Expect)
		}
	}
}

// checkReads checks that every read returned a prefix of what the stream has at the end.
func (r *run) checkReads() error {
	var f faults
	for _, read := range r.Reads {
		events := r.streams[read.Stream]
		if read.Version > uint64(len(events)) || uint64(len(read.IDs)) != read.Version+1-min(read.From, read.Version+1) {
			f.add("a read of %s at %s from %d has %d events and version %d of %d", read.Stream, read.Node, read.From, len(read.IDs), read.Version, len(events))
			continue
		}
		for i, id := range read.IDs {
			if events[read.From-1+uint64(i)].ID != id {
				f.add("a read at %s has another event at %s/%d", read.Node, read.Stream, read.From+uint64(i))
				break
			}
		}
	}
	return f.err()
}
