package enginetest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/gyre-events/gyre/core"
)

// model is what a log has to be: the events in order, and what follows from them.
// It shares nothing with an engine; what an engine finds with an index, the model
// finds by comparing.
type model struct {
	events  []core.Event // by position
	streams map[string][]core.Event
	known   map[core.ID]core.Event
	records map[string]core.Record // by table + "\x00" + key
}

func newModel() *model {
	return &model{
		streams: make(map[string][]core.Event),
		known:   make(map[core.ID]core.Event),
		records: make(map[string]core.Record),
	}
}

// verdict is the answer a Commit has to get. The zero code is success.
type verdict struct {
	code    core.Code
	element int
	actual  uint64
	result  core.Result
}

func (m *model) judge(c *core.Commit) verdict {
	if result, ok := m.retry(c); ok {
		return verdict{result: result}
	}
	var sent []core.ID
	for _, id := range idsOf(c) {
		_, known := m.known[id]
		if !id.IsZero() && (known || slices.Contains(sent, id)) {
			return verdict{code: core.CodeDuplicateEvent}
		}
		sent = append(sent, id)
	}
	v := verdict{}
	versions := make(map[string]uint64)
	for name, events := range m.streams {
		versions[name] = uint64(len(events))
	}
	position := uint64(len(m.events))
	for i, a := range c.Appends {
		before := versions[a.Stream]
		if !a.Expect.Holds(before) {
			return verdict{code: core.CodeWrongExpectedVersion, element: i, actual: before}
		}
		n := uint64(len(a.Events))
		versions[a.Stream] += n
		v.result.Appends = append(v.result.Appends, core.Appended{
			FirstVersion: before + 1, LastVersion: before + n, FirstPosition: position + 1, LastPosition: position + n})
		position += n
		v.result.Position = position
	}
	for i, x := range c.Checks {
		if actual := uint64(len(m.streams[x.Stream])); !x.Expect.Holds(actual) {
			return verdict{code: core.CodeWrongExpectedVersion, element: len(c.Appends) + i, actual: actual}
		}
	}
	for i, op := range c.Records {
		if !op.Expect.Holds(m.records[op.Table+"\x00"+op.Key].Revision) {
			return verdict{code: core.CodeRecordConflict, element: len(c.Appends) + len(c.Checks) + i}
		}
	}
	return v
}

// retry finds the runs of the log that c is a repetition of.
func (m *model) retry(c *core.Commit) (core.Result, bool) {
	r := core.Result{Duplicate: true}
	for _, a := range c.Appends {
		first, ok := m.known[a.Events[0].ID]
		stream := m.streams[a.Stream]
		if !ok || first.Stream != a.Stream || len(stream) < int(first.Version)-1+len(a.Events) {
			return core.Result{}, false
		}
		run := stream[first.Version-1:][:len(a.Events)]
		if !slices.EqualFunc(run, a.Events, func(e core.Event, sent core.NewEvent) bool { return e.ID == sent.ID }) {
			return core.Result{}, false
		}
		if first.Position <= r.Position {
			return core.Result{}, false
		}
		last := run[len(run)-1]
		r.Appends = append(r.Appends, core.Appended{
			FirstVersion: first.Version, LastVersion: last.Version, FirstPosition: first.Position, LastPosition: last.Position})
		r.Position = last.Position
	}
	return r, len(c.Appends) > 0
}

// take compares an outcome with the verdict, and adds what was written.
func (m *model) take(c *core.Commit, o core.Outcome, written []core.Event) (rest []core.Event, err error) {
	v := m.judge(c)
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
	n := len(idsOf(c))
	for _, e := range written[:n] {
		m.events = append(m.events, e)
		m.streams[e.Stream] = append(m.streams[e.Stream], e)
		m.known[e.ID] = e
	}
	for _, op := range c.Records {
		k := op.Table + "\x00" + op.Key
		if op.Delete {
			delete(m.records, k)
			continue
		}
		m.records[k] = core.Record{Key: op.Key, Revision: m.records[k].Revision + 1, Value: op.Value}
	}
	return written[n:], nil
}

func (v verdict) compareError(got error) error {
	var err *core.Error
	if !errors.As(got, &err) || err.Code != v.code {
		return fmt.Errorf("answered %v, want %s", got, v.code)
	}
	if v.code == core.CodeDuplicateEvent {
		return nil
	}
	if err.Element == nil || *err.Element != v.element {
		return fmt.Errorf("answered %w: element %v, want %d", err, deref(err.Element), v.element)
	}
	if v.code == core.CodeWrongExpectedVersion && (err.Actual == nil || *err.Actual != v.actual) {
		return fmt.Errorf("answered %w: actual %v, want %d", err, deref(err.Actual), v.actual)
	}
	return nil
}
