package enginetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/gyre-events/gyre/core"
)

// Run tests an engine. open makes one with an empty log; the suite closes it.
func Run(t *testing.T, open func(t testing.TB) core.Engine) {
	tests := slices.Concat(appendTests, retryTests, commitTests, linkTests, systemTests, recordTests, readTests, listTests, streamTests, incarnationTests, scavengeTests, blobTests, inputTests,
		closeTests, concurrentTests, walkTests)
	runTests(t, tests, func(t *testing.T, run func(s *suite)) {
		engine := open(t)
		defer closeEngine(t, engine)
		s := newSuite(t, engine)
		run(s)
		if !s.closed {
			checkLog(s)
		}
	})
}

// Soak walks at full length if GYRE_SOAK=1, and is skipped otherwise. It is apart from
// Run so that `make soak` finds it by the name of its test.
func Soak(t *testing.T, open func(t testing.TB) core.Engine) {
	if !soaking() {
		t.Skip("GYRE_SOAK is not 1")
	}
	engine := open(t)
	defer closeEngine(t, engine)
	s := newSuite(t, engine)
	walk(s)
	checkLog(s)
}

// test is one entry of the suite.
type test struct {
	promise string
	name    string // begins with the number of the ported behaviour, if it has one
	run     func(s *suite)
}

// runTests runs the tests in groups by promise.
func runTests(t *testing.T, tests []test, body func(t *testing.T, run func(s *suite))) {
	var promises []string
	for _, x := range tests {
		if !slices.Contains(promises, x.promise) {
			promises = append(promises, x.promise)
		}
	}
	for _, promise := range promises {
		t.Run(promise, func(t *testing.T) {
			for _, x := range tests {
				if x.promise != promise {
					continue
				}
				t.Run(x.name, func(t *testing.T) {
					t.Parallel()
					body(t, x.run)
				})
			}
		})
	}
}

// everything is a limit that no page of the suite exceeds.
var everything = core.Limit{Events: 1 << 20, Bytes: 1 << 30}

// suite is one test's hold on one engine.
type suite struct {
	*testing.T
	engine core.Engine
	closed bool // the test has closed the engine

	// Of RunDurable: reopen closes the engine and opens its folder again, another
	// opens a folder of its own.
	reopen  func()
	another func() core.Engine

	advance func() // of RunEpochs

	removes bool // events were removed: there are gaps
}

func newSuite(t *testing.T, engine core.Engine) *suite { return &suite{T: t, engine: engine} }

func closeEngine(t testing.TB, engine core.Engine) {
	t.Helper()
	if err := engine.Close(); err != nil && !errors.Is(err, core.CodeStoreClosed) {
		t.Errorf("close: %v", err)
	}
}

// ctx ends with the test; a call that hangs is the test binary's own timeout.
func (s *suite) ctx() context.Context { return s.Context() }

// group commits and checks that the step is one: its outcomes, its events and
// its results agree with what was sent and with each other.
func (s *suite) group(commits ...*core.Commit) core.Step {
	s.Helper()
	for i, c := range commits {
		if err := c.Validate(); err != nil {
			s.Fatalf("the test's commit %d is not valid: %v", i, err)
		}
	}
	for _, c := range commits {
		s.removes = s.removes || slices.ContainsFunc(c.Streams, func(op core.StreamOp) bool { return op.Action.Removes() })
	}
	step := s.engine.Commit(s.ctx(), commits)
	if err := checkStep(commits, step); err != nil {
		s.Fatal(err)
	}
	return step
}

// commit is a group of one.
func (s *suite) commit(c *core.Commit) core.Outcome {
	s.Helper()
	return s.group(c).Outcomes[0]
}

// must commits c, which has to succeed and to be new.
func (s *suite) must(c *core.Commit) core.Result {
	s.Helper()
	o := s.commit(c)
	if o.Err != nil || o.Result.Duplicate {
		s.Fatalf("commit: %+v, want it written", o)
	}
	return o.Result
}

// write appends n events to a stream and answers them as they were sent.
func (s *suite) write(stream string, n int) []core.NewEvent {
	s.Helper()
	events := newEvents(n)
	s.must(appendTo(stream, core.AnyVersion, events...))
	return events
}

// refused checks that an outcome is an error of the code, from the element.
func (s *suite) refused(o core.Outcome, code core.Code, element int) {
	s.Helper()
	_ = s.refusal(o, code, element)
}

// refusal is refused, for those who look at the error further.
func (s *suite) refusal(o core.Outcome, code core.Code, element int) *core.Error {
	s.Helper()
	var err *core.Error
	if !errors.As(o.Err, &err) || err.Code != code {
		s.Fatalf("outcome %+v, want %s", o, code)
	}
	if err.Element == nil || *err.Element != element {
		s.Errorf("%v: element %v, want %d", err, deref(err.Element), element)
	}
	return err
}

// wrongVersion checks that an outcome is wrong_expected_version with the numbers.
func (s *suite) wrongVersion(o core.Outcome, element int, stream string, expected core.Expect, actual uint64) {
	s.Helper()
	err := s.refusal(o, core.CodeWrongExpectedVersion, element)
	if err.Stream != stream || err.Expected == nil || *err.Expected != expected || err.Actual == nil || *err.Actual != actual {
		s.Errorf("%v: stream %q, expected %v, actual %v, want %q, %v, %d",
			err, err.Stream, deref(err.Expected), deref(err.Actual), stream, expected, actual)
	}
}

// duplicate checks that an outcome is the result of an earlier try.
func (s *suite) duplicate(o core.Outcome, first core.Result) {
	s.Helper()
	if o.Err != nil || !o.Result.Duplicate {
		s.Fatalf("outcome %+v, want the result of the first try", o)
	}
	if !slices.Equal(o.Result.Appends, first.Appends) || o.Result.Position != first.Position {
		s.Errorf("retry answered %+v, the first try %+v", o.Result, first)
	}
}

// duplicateEvent checks that an outcome is duplicate_event for one of the ids.
func (s *suite) duplicateEvent(o core.Outcome, ids ...core.ID) {
	s.Helper()
	var err *core.Error
	if !errors.As(o.Err, &err) || err.Code != core.CodeDuplicateEvent {
		s.Fatalf("outcome %+v, want duplicate_event", o)
	}
	if !slices.Contains(ids, err.EventID) {
		s.Errorf("%v: event id %s, want one of %v", err, err.EventID, ids)
	}
}

// read answers a whole stream, or all of $all, in one direction.
func (s *suite) read(stream string, backward bool) []core.Event {
	s.Helper()
	return s.readAny(core.ReadRequest{Stream: stream, Backward: backward})
}

// readAny answers everything from where r begins.
func (s *suite) readAny(r core.ReadRequest) []core.Event {
	s.Helper()
	r.Limit = everything
	page, err := s.engine.Read(s.ctx(), r)
	if err != nil {
		s.Fatalf("read %+v: %v", r, err)
	}
	events := page.Slice()
	for !page.End {
		r.From = page.Next
		if page, err = s.engine.Read(s.ctx(), r); err != nil {
			s.Fatalf("read %+v: %v", r, err)
		}
		if page.Count == 0 {
			s.Fatalf("read %+v: an empty page that is not the end", r)
		}
		events = append(events, page.Slice()...)
	}
	return events
}

// readLog answers everything that was written.
func (s *suite) readLog() []core.Event {
	s.Helper()
	var events []core.Event
	for from := uint64(1); ; {
		page, err := s.engine.ReadLog(s.ctx(), from, everything)
		if err != nil {
			s.Fatalf("read the log from %d: %v", from, err)
		}
		events = append(events, page.Slice()...)
		if page.End {
			return events
		}
		if page.Count == 0 {
			s.Fatalf("read the log from %d: an empty page that is not the end", from)
		}
		from = page.Next
	}
}

// holds checks which events a stream has.
func (s *suite) holds(stream string, want ...core.NewEvent) {
	s.Helper()
	if len(want) == 0 {
		r := core.ReadRequest{Stream: stream, Limit: everything}
		if _, err := s.engine.Read(s.ctx(), r); !errors.Is(err, core.CodeStreamNotFound) {
			s.Errorf("read %q: %v, want stream_not_found", stream, err)
		}
		return
	}
	got := s.read(stream, false)
	if len(got) != len(want) {
		s.Fatalf("stream %q has %d events, want %d", stream, len(got), len(want))
	}
	for i, e := range got {
		if e.ID != want[i].ID || e.Version != uint64(i+1) || e.Stream != stream {
			s.Errorf("stream %q, event %d: %q version %d id %s, want id %s", stream, i, e.Stream, e.Version, e.ID, want[i].ID)
		}
	}
}

// head checks where the head is.
func (s *suite) head(want uint64) {
	s.Helper()
	if got := s.engine.State().Head; got != want {
		s.Errorf("head %d, want %d", got, want)
	}
}

// newEvent is an event with an id and some data of its own.
func newEvent() core.NewEvent {
	id := core.NewID()
	return core.NewEvent{ID: id, Type: "tested", Data: fmt.Appendf(nil, `{"id":%q}`, id), Metadata: []byte(`{"by":"enginetest"}`)}
}

func newEvents(n int) []core.NewEvent {
	events := make([]core.NewEvent, n)
	for i := range events {
		events[i] = newEvent()
	}
	return events
}

// appendTo is a Commit of one Append.
func appendTo(stream string, expect core.Expect, events ...core.NewEvent) *core.Commit {
	return &core.Commit{Appends: []core.Append{{Stream: stream, Expect: expect, Events: events}}}
}

// appendsTo is a Commit of an Append to each stream, of one event each.
func appendsTo(streams ...string) *core.Commit {
	c := &core.Commit{}
	for _, stream := range streams {
		c.Appends = append(c.Appends, core.Append{Stream: stream, Expect: core.AnyVersion, Events: newEvents(1)})
	}
	return c
}

// idsOf are the ids of the events of c, those that it links to apart.
func idsOf(c *core.Commit) []core.ID {
	var ids []core.ID
	for _, a := range c.Appends {
		for _, e := range a.Events {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

// linkTo is a Commit that links events into a stream.
func linkTo(stream string, expect core.Expect, events ...core.NewEvent) *core.Commit {
	a := core.Append{Stream: stream, Expect: expect}
	for _, e := range events {
		a.Links = append(a.Links, e.ID)
	}
	return &core.Commit{Appends: []core.Append{a}}
}

func deref[T any](p *T) any {
	if p == nil {
		return "none"
	}
	return *p
}

func sameRaw(a, b core.Event) bool { return bytes.Equal(a.Raw, b.Raw) }
