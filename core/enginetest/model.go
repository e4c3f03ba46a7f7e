package enginetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/gyre-events/gyre/core"
)

// model is what a log has to be: the events in order, and what follows from them.
// It shares nothing with an engine; what an engine finds with an index, the model
// finds by comparing.
type model struct {
	events  []core.Event            // of $all with the system's streams, by position
	written []core.Event            // by position: events, and links as the log keeps them
	head    uint64                  // the last position
	streams map[string][]core.Event // links are read as the events that they name
	known   map[core.ID]core.Event  // links apart
	// versions are those of streams, which may be greater than their last event's.
	versions map[string]uint64
	states   map[string]core.Lifecycle
	removed  []core.Event
	records  map[string]core.Record // by table + "\x00" + key
	// raised are records whose revision may be greater than the model's: a put that
	// expects nothing raises it by 1 or more.
	raised map[string]bool
}

func newModel() *model {
	return &model{
		streams:  make(map[string][]core.Event),
		known:    make(map[core.ID]core.Event),
		versions: make(map[string]uint64),
		states:   make(map[string]core.Lifecycle),
		records:  make(map[string]core.Record),
		raised:   make(map[string]bool),
	}
}

// verdict is the answer a Commit has to get. The zero code is success.
type verdict struct {
	code    core.Code
	element int
	actual  uint64
	known   []int // of duplicate_event
	// incarnation says that it is refused because of the stream's incarnation.
	incarnation bool
	result      core.Result
	// mayConflict says that record_conflict is right, too: an expected revision may or
	// may not be that of a raised record.
	mayConflict bool
}

func recordName(op *core.RecordOp) string { return op.Table + "\x00" + op.Key }

func (m *model) judge(c *core.Commit) verdict {
	if result, ok := m.retry(c); ok {
		return verdict{result: result}
	}
	if v := m.judgeIDs(c); v.code != "" {
		v.known = m.knownOf(c)
		return v
	}
	v := verdict{}
	versions := maps.Clone(m.versions)
	position := m.head
	for i, a := range c.Appends {
		if code := m.closed(a.Stream); code != "" {
			return verdict{code: code, element: i}
		}
		before := versions[a.Stream]
		if m.isOther(a.Stream, a.Incarnation) {
			return verdict{code: core.CodeWrongExpectedVersion, element: i, incarnation: true}
		}
		if !a.Expect.Holds(before) {
			return verdict{code: core.CodeWrongExpectedVersion, element: i, actual: before}
		}
		n := uint64(a.Count())
		versions[a.Stream] += n
		v.result.Appends = append(v.result.Appends, core.Appended{
			FirstVersion: before + 1, LastVersion: before + n, FirstPosition: position + 1, LastPosition: position + n,
			Incarnation: m.later(a.Stream)})
		position += n
		v.result.Position = position
	}
	for i, x := range c.Checks {
		actual, code := m.versions[x.Stream], m.closed(x.Stream)
		switch {
		case code != "" && x.Expect != core.AnyVersion:
			return verdict{code: code, element: len(c.Appends) + i}
		case !x.Expect.Holds(actual):
			return verdict{code: core.CodeWrongExpectedVersion, element: len(c.Appends) + i, actual: actual}
		}
	}
	for i, op := range c.Streams {
		actual := m.versions[op.Stream]
		if code := m.judgeOp(op); code != "" {
			return verdict{code: code, element: len(c.Appends) + len(c.Checks) + i, actual: actual, incarnation: m.isOther(op.Stream, op.Incarnation)}
		}
	}
	for i := range c.Records {
		op := &c.Records[i]
		name := recordName(op)
		revision := m.records[name].Revision
		switch {
		case m.raised[name] && op.Expect >= 0 && uint64(op.Expect) >= revision:
			v.mayConflict = true
		case !op.Expect.Holds(revision):
			return verdict{code: core.CodeRecordConflict, element: len(c.Appends) + len(c.Checks) + len(c.Streams) + i, mayConflict: v.mayConflict}
		}
	}
	return v
}

// judgeIDs finds the first id of c that cannot be written, or linked, where it
// stands.
func (m *model) judgeIDs(c *core.Commit) verdict {
	sent := make(map[core.ID]string) // streams of the events so far
	has := func(stream string, id core.ID) bool {
		return slices.ContainsFunc(m.streams[stream], func(e core.Event) bool { return e.ID == id })
	}
	for i, a := range c.Appends {
		for _, e := range a.Events {
			_, known := m.known[e.ID]
			_, twice := sent[e.ID]
			if !e.ID.IsZero() && (known || twice) {
				return verdict{code: core.CodeDuplicateEvent, element: i}
			}
			sent[e.ID] = a.Stream
		}
		for j, id := range a.Links {
			event, known := m.known[id]
			home, isSent := sent[id]
			linked := slices.Contains(a.Links[:j], id)
			for _, before := range c.Appends[:i] {
				linked = linked || before.Stream == a.Stream && slices.Contains(before.Links, id)
			}
			switch {
			case has(a.Stream, id) || linked || isSent && home == a.Stream:
				return verdict{code: core.CodeDuplicateEvent, element: i}
			case !known && !isSent:
				return verdict{code: core.CodeEventNotFound, element: i}
			case known && c.Changes(event.Stream):
				return verdict{code: core.CodeInvalidRequest, element: i}
			}
		}
	}
	return verdict{}
}

// knownOf has the numbers of the events and links of c that their streams have.
func (m *model) knownOf(c *core.Commit) (known []int) {
	n := 0
	for _, a := range c.Appends {
		isLink := len(a.Links) > 0
		ids := a.Links
		for _, e := range a.Events {
			ids = append(ids, e.ID)
		}
		for _, id := range ids {
			if slices.ContainsFunc(m.streams[a.Stream], func(e core.Event) bool { return e.ID == id && e.Link.IsZero() != isLink }) {
				known = append(known, n)
			}
			n++
		}
	}
	return known
}

// retry finds the runs of the log that c is a repetition of.
func (m *model) retry(c *core.Commit) (core.Result, bool) {
	r := core.Result{Duplicate: true}
	for _, a := range c.Appends {
		ids := a.Links
		for _, e := range a.Events {
			ids = append(ids, e.ID)
		}
		stream := m.streams[a.Stream]
		at := slices.IndexFunc(stream, func(e core.Event) bool { return e.ID == ids[0] })
		if at < 0 || len(stream) < at+len(ids) {
			return core.Result{}, false
		}
		run, first := stream[at:][:len(ids)], stream[at]
		if !slices.EqualFunc(run, ids, func(e core.Event, id core.ID) bool {
			return e.ID == id && e.Link.IsZero() == (len(a.Links) == 0)
		}) || first.Position <= r.Position {
			return core.Result{}, false
		}
		last := run[len(run)-1]
		if last.Version-first.Version != uint64(len(ids)-1) {
			return core.Result{}, false // a link between was removed
		}
		r.Appends = append(r.Appends, core.Appended{
			FirstVersion: first.Version, LastVersion: last.Version, FirstPosition: first.Position, LastPosition: last.Position,
			Incarnation: m.later(a.Stream)})
		r.Position = last.Position
	}
	return r, len(c.Appends) > 0
}

// take compares an outcome with the verdict, and adds what was written.
func (m *model) take(c *core.Commit, o core.Outcome, written []core.Event) (rest []core.Event, err error) {
	v := m.judge(c)
	if v.mayConflict && errors.Is(o.Err, core.CodeRecordConflict) {
		return written, nil
	}
	if v.code != "" {
		return written, v.compareError(o.Err)
	}
	if o.Err != nil {
		return nil, fmt.Errorf("answered %w, want %+v", o.Err, v.result)
	}
	if o.Result.Duplicate != v.result.Duplicate || o.Result.Position != v.result.Position ||
		!slices.Equal(o.Result.Appends, v.result.Appends) {
		return nil, fmt.Errorf("answered %+v, want %+v", o.Result, v.result)
	}
	if v.result.Duplicate {
		return written, nil
	}
	for _, op := range c.Streams {
		m.changeStream(op)
	}
	n := 0
	for i := range c.Appends {
		n += c.Appends[i].Count()
	}
	for _, e := range written[:n] {
		if want := m.states[e.Stream].Removals + 1; e.Incarnation != want {
			return nil, fmt.Errorf("%+v is not of incarnation %d", e, want)
		}
		m.written = append(m.written, e)
		m.head = e.Position
		m.versions[e.Stream] = e.Version
		if e.Link.IsZero() {
			m.events = append(m.events, e)
			m.known[e.ID] = e
		} else if e, err = m.resolve(e); err != nil {
			return nil, err
		}
		m.streams[e.Stream] = append(m.streams[e.Stream], e)
	}
	m.change(c.Records)
	return written[n:], nil
}

// change applies operations on records that were written.
func (m *model) change(ops []core.RecordOp) {
	for i := range ops {
		if name := recordName(&ops[i]); m.raised[name] && ops[i].Expect >= 0 {
			m.raise(name, uint64(ops[i].Expect))
		}
	}
	for i := range ops {
		op, name := &ops[i], recordName(&ops[i])
		switch op.Action {
		case core.DeleteRecord:
			delete(m.records, name)
			delete(m.raised, name)
		case core.PutRecord:
			m.records[name] = core.Record{Key: op.Key, Revision: m.records[name].Revision + 1, Value: op.Value}
			if op.Expect == core.AnyVersion {
				m.raised[name] = true
			}
		}
	}
}

// raise sets the revision of a raised record, which is known now.
func (m *model) raise(name string, revision uint64) {
	r := m.records[name]
	r.Revision = revision
	m.records[name] = r
	delete(m.raised, name)
}

// resolve is a link as it has to be read.
func (m *model) resolve(link core.Event) (core.Event, error) {
	event, ok := m.known[link.ID]
	if !ok || link.Link != event.Home() || link.Type != event.Type || len(link.Data)+len(link.Metadata) > 0 {
		return link, fmt.Errorf("%+v is not a link to %+v", link, event)
	}
	_, err := core.DecodeEvent(core.EncodeLinked(nil, placementOf(link), link.Link, &core.NewEvent{
		Type: event.Type, Time: event.Time, Format: event.Format, ContentType: event.ContentType,
		Data: event.Data, Metadata: event.Metadata,
	}), &link)
	return link, err
}

func placementOf(e core.Event) core.Placement {
	return core.Placement{Stream: e.Stream, Version: e.Version, Position: e.Position,
		Recorded: e.Recorded.UnixMicro(), Incarnation: e.Incarnation, ID: e.ID}
}

func (v verdict) compareError(got error) error {
	var err *core.Error
	if !errors.As(got, &err) || err.Code != v.code {
		return fmt.Errorf("answered %v, want %s", got, v.code)
	}
	if v.code == core.CodeDuplicateEvent {
		if !slices.Equal(err.Known, v.known) {
			return fmt.Errorf("answered %w: known are %v, want %v", err, err.Known, v.known)
		}
		return nil
	}
	if err.Element == nil || *err.Element != v.element {
		return fmt.Errorf("answered %w: element %v, want %d", err, deref(err.Element), v.element)
	}
	if v.code != core.CodeWrongExpectedVersion || v.incarnation && err.Actual == nil {
		return nil
	}
	if v.incarnation || err.Actual == nil || *err.Actual != v.actual {
		return fmt.Errorf("answered %w: actual %v, want %d", err, deref(err.Actual), v.actual)
	}
	return nil
}
