package logtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
)

// Run tests a Log. open makes an empty one, and closes it with t.Cleanup. node is the Store
// behind it, which can write the system's streams.
func Run(t *testing.T, open func(t testing.TB) (log core.Log, node *core.Store)) {
	run(t, open, []group{
		{"append", appendTests}, {"read", readTests}, {"link", linkTests}, {"follow", followTests}, {"start", startTests}, {"crowd", crowdTests}, {"progress", progressTests}, {"streams", streamTests}, {"snapshot", snapshotTests}, {"system", systemTests}, {"select", selectTests},
	})
}

// RunSelect is Run for reads that select events alone: of an engine that looks for them in
// another way.
func RunSelect(t *testing.T, open func(t testing.TB) (log core.Log, node *core.Store)) {
	run(t, open, []group{{"select", selectTests}})
}

// group are tests of one part of the contract.
type group struct {
	name  string
	tests []test
}

func run(t *testing.T, open func(t testing.TB) (log core.Log, node *core.Store), groups []group) {
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			for _, x := range g.tests {
				t.Run(x.name, func(t *testing.T) {
					t.Parallel()
					ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
					defer cancel()
					log, node := open(t)
					x.run(&suite{T: t, log: log, node: node, ctx: ctx, written: make(map[string][]core.ID)})
				})
			}
		})
	}
}

// testTimeout bounds a test. It turns a hang into a failure and is
// generous, for slow machines.
const testTimeout = 2 * time.Minute

type test struct {
	name string
	run  func(s *suite)
}

// suite is one test's hold on one Log.
type suite struct {
	*testing.T
	log  core.Log
	node *core.Store
	ctx  context.Context // of the whole test

	written map[string][]core.ID // by write, by stream and for All
}

// must appends c, which has to succeed and to be new.
func (s *suite) must(c core.Commit) core.Result {
	s.Helper()
	r, err := s.log.Append(s.ctx, c)
	if err != nil || r.Duplicate {
		s.Fatalf("append: %+v, %v", r, err)
	}
	return r
}

// write appends n events to a stream, in one Commit, and answers their ids.
func (s *suite) write(stream string, n int) []core.ID {
	s.Helper()
	return s.writeEvent(stream, newEvents(n)...)
}

func (s *suite) writeEvent(stream string, events ...core.NewEvent) []core.ID {
	s.Helper()
	c := appendTo(stream, core.AnyVersion, events...)
	s.must(c)
	ids := idsOf(c)
	s.written[stream] = append(s.written[stream], ids...)
	s.written[core.All] = append(s.written[core.All], ids...)
	return ids
}

// refused checks that err has the code.
func (s *suite) refused(err error, code core.Code) {
	s.Helper()
	_ = s.refusal(err, code)
}

// refusal is refused, for those who look at what the error carries.
func (s *suite) refusal(err error, code core.Code) *core.Error {
	s.Helper()
	var e *core.Error
	if !errors.Is(err, code) || !errors.As(err, &e) {
		s.Fatalf("answered %v, want %s", err, code)
	}
	return e
}

// read answers a stream, or $all, in pages of n.
func (s *suite) read(stream string, n int) []core.Event {
	s.Helper()
	return s.readFrom(core.ReadRequest{Stream: stream, Limit: core.Limit{Events: n}})
}

func (s *suite) readFrom(r core.ReadRequest) []core.Event {
	s.Helper()
	var events []core.Event
	for e, err := range core.ReadAll(s.ctx, s.log, r) {
		if err != nil {
			s.Fatalf("read %+v: %v", r, err)
		}
		events = append(events, e)
	}
	return events
}

// isEmpty checks that nothing was written.
func (s *suite) isEmpty() {
	s.Helper()
	if events := s.read(core.All, 0); len(events) != 0 {
		s.Errorf("the log has %d events, want none", len(events))
	}
}

// newEvent is an event with an id, in the compact JSON that every encoding of it
// leaves as it is.
func newEvent() core.NewEvent {
	id := core.NewID()
	return core.NewEvent{ID: id, Type: "tested", Data: fmt.Appendf(nil, `{"id":%q}`, id), Metadata: []byte(`{"by":"logtest"}`)}
}

func newEvents(n int) []core.NewEvent {
	events := make([]core.NewEvent, n)
	for i := range events {
		events[i] = newEvent()
	}
	return events
}

func appendTo(stream string, expect core.Expect, events ...core.NewEvent) core.Commit {
	return core.Commit{Appends: []core.Append{{Stream: stream, Expect: expect, Events: events}}}
}

// linkTo is a Commit that links events into a stream.
func linkTo(stream string, expect core.Expect, ids ...core.ID) core.Commit {
	return core.Commit{Appends: []core.Append{{Stream: stream, Expect: expect, Links: ids}}}
}

func idsOf(c core.Commit) []core.ID {
	var ids []core.ID
	for _, a := range c.Appends {
		for _, e := range a.Events {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

func eventIDs(events []core.Event) []core.ID {
	ids := make([]core.ID, len(events))
	for i, e := range events {
		ids[i] = e.ID
	}
	return ids
}

func reversed(ids []core.ID) []core.ID {
	ids = slices.Clone(ids)
	slices.Reverse(ids)
	return ids
}

func deref[T any](p *T) any {
	if p == nil {
		return "none"
	}
	return *p
}

func limit(events int) core.Limit { return core.Limit{Events: events, Bytes: core.MaxPageBytes} }

func isEnd(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, core.CodeCanceled) || errors.Is(err, core.CodeTimeout)
}
