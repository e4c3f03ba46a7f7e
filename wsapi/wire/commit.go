package wire

import "github.com/gyre-events/gyre/core"

// Commit is what the request asks to be written.
func (m *AppendRequest) Commit() (core.Commit, error) {
	c, err := m.appends()
	c.Progress = m.Progress.CoreProgress()
	return c, err
}

// appends is the Commit without its progress.
func (m *AppendRequest) appends() (core.Commit, error) {
	if m.Tx != nil {
		if m.Stream != nil || m.Expect != nil || m.Events != nil || m.Links != nil {
			return core.Commit{}, core.Errorf(core.CodeInvalidRequest, "an append has tx, or stream, expect and events or links")
		}
		return commitOf(m.Tx, m.Checks, m.Streams)
	}
	switch {
	case m.Streams != nil && m.Stream == nil && m.Expect == nil && m.Events == nil && m.Links == nil:
		return commitOf(nil, m.Checks, m.Streams)
	case m.Streams != nil:
		return core.Commit{}, core.Errorf(core.CodeInvalidRequest, "changes of streams go with tx, or stand alone")
	case m.moves():
		return core.Commit{}, nil
	case m.Stream == nil:
		return core.Commit{}, core.Errorf(core.CodeInvalidRequest, "an append needs a stream")
	case m.Checks != nil:
		return core.Commit{}, core.Errorf(core.CodeInvalidRequest, "checks go with tx")
	}
	e := Element{Stream: *m.Stream, Expect: m.Expect, Events: m.Events, Links: m.Links}
	a, err := e.append()
	if err != nil {
		return core.Commit{}, err
	}
	return core.Commit{Appends: []core.Append{a}}, nil
}

// moves reports whether the request does nothing but move a place.
func (m *AppendRequest) moves() bool {
	return m.Progress != nil && m.Stream == nil && m.Expect == nil && m.Events == nil && m.Links == nil && m.Tx == nil && m.Checks == nil && m.Streams == nil
}

func (e *Element) append() (core.Append, error) {
	events, err := NewEvents(e.Events)
	a := core.Append{Stream: e.Stream, Expect: expectOf(e.Expect), Events: events}
	for _, id := range e.Links {
		a.Links = append(a.Links, core.ID(id))
	}
	return a, err
}

// commitOf is the Commit of several appends, checks and changes of streams.
func commitOf(tx []Element, checks []Check, streams []StreamChange) (core.Commit, error) {
	var c core.Commit
	for i := range tx {
		a, err := tx[i].append()
		if err != nil {
			e := core.AsError(err)
			e.Element = &i
			return core.Commit{}, e
		}
		c.Appends = append(c.Appends, a)
	}
	for i := range checks {
		if checks[i].Expect == nil {
			return core.Commit{}, core.Errorf(core.CodeInvalidRequest, "check %d has no expect", i)
		}
		c.Checks = append(c.Checks, core.Check{Stream: checks[i].Stream, Expect: core.Expect(*checks[i].Expect)})
	}
	for i := range streams {
		op := core.StreamOp{Stream: streams[i].Stream, Expect: expectOf(streams[i].Expect)}
		var known bool
		if op.Action, known = core.ParseStreamAction(streams[i].Action); !known {
			element := len(tx) + len(checks) + i
			e := core.Errorf(core.CodeInvalidRequest, "action %q on a stream is none of delete, undelete, remove and tombstone", core.Clip(streams[i].Action))
			e.Stream, e.Element = op.Stream, &element
			return core.Commit{}, e
		}
		c.Streams = append(c.Streams, op)
	}
	return c, nil
}

// NewAppendRequest is the inverse of Commit. Records do not cross the network.
func NewAppendRequest(id uint64, c *core.Commit) (*AppendRequest, error) {
	m := &AppendRequest{ID: id, Progress: NewProgress(c.Progress), Streams: NewStreamChanges(c)}
	if len(c.Appends) == 0 && len(c.Checks) == 0 && (c.Progress != nil || m.Streams != nil) {
		return m, nil
	}
	var err error
	if m.Tx, m.Checks, err = newElements(c); err != nil {
		return nil, err
	}
	if len(m.Tx) == 1 && len(m.Checks) == 0 && m.Streams == nil {
		e := m.Tx[0]
		m.Stream, m.Expect, m.Events, m.Links, m.Tx = &e.Stream, e.Expect, e.Events, e.Links, nil
	}
	return m, nil
}

// NewStreamChanges has the StreamOps of c.
func NewStreamChanges(c *core.Commit) (changes []StreamChange) {
	for i := range c.Streams {
		op := &c.Streams[i]
		changes = append(changes, StreamChange{Stream: op.Stream, Expect: (*Expect)(&op.Expect), Action: op.Action.String()})
	}
	return changes
}

// newElements is the inverse of commitOf, for appends and checks.
func newElements(c *core.Commit) (tx []Element, checks []Check, err error) {
	tx = []Element{}
	for i := range c.Appends {
		a := &c.Appends[i]
		e := Element{Stream: a.Stream, Expect: (*Expect)(&a.Expect)}
		for j := range a.Events {
			if err := CheckEvent(&a.Events[j]); err != nil {
				return nil, nil, err
			}
			e.Events = append(e.Events, FromNewEvent(&a.Events[j]))
		}
		for _, id := range a.Links {
			e.Links = append(e.Links, ID(id))
		}
		tx = append(tx, e)
	}
	for i := range c.Checks {
		checks = append(checks, Check{Stream: c.Checks[i].Stream, Expect: (*Expect)(&c.Checks[i].Expect)})
	}
	return tx, checks, nil
}

func expectOf(x *Expect) core.Expect {
	if x == nil {
		return core.AnyVersion
	}
	return core.Expect(*x)
}
