package wire

import "github.com/gyre-events/gyre/core"

// Commit is what the request asks to be written.
func (m *AppendRequest) Commit() (core.Commit, error) {
	if m.Tx != nil {
		if m.Stream != nil || m.Expect != nil || m.Events != nil {
			return core.Commit{}, core.Errorf(core.CodeInvalidRequest, "an append has tx, or stream, expect and events")
		}
		return Transaction(m.Tx, m.Checks)
	}
	switch {
	case m.Stream == nil:
		return core.Commit{}, core.Errorf(core.CodeInvalidRequest, "an append needs a stream")
	case m.Checks != nil:
		return core.Commit{}, core.Errorf(core.CodeInvalidRequest, "checks go with tx")
	}
	events, err := NewEvents(m.Events)
	if err != nil {
		return core.Commit{}, err
	}
	a := core.Append{Stream: *m.Stream, Expect: expectOf(m.Expect), Events: events}
	return core.Commit{Appends: []core.Append{a}}, nil
}

// Transaction is the Commit of several appends and checks.
func Transaction(tx []Element, checks []Check) (core.Commit, error) {
	var c core.Commit
	for i := range tx {
		events, err := NewEvents(tx[i].Events)
		if err != nil {
			e := core.AsError(err)
			e.Element = &i
			return core.Commit{}, e
		}
		c.Appends = append(c.Appends, core.Append{Stream: tx[i].Stream, Expect: expectOf(tx[i].Expect), Events: events})
	}
	for i := range checks {
		if checks[i].Expect == nil {
			return core.Commit{}, core.Errorf(core.CodeInvalidRequest, "check %d has no expect", i)
		}
		c.Checks = append(c.Checks, core.Check{Stream: checks[i].Stream, Expect: core.Expect(*checks[i].Expect)})
	}
	return c, nil
}

// NewAppendRequest is the inverse of Commit. Records cannot be written over the
// network.
func NewAppendRequest(id uint64, c *core.Commit) (*AppendRequest, error) {
	if len(c.Records) > 0 {
		return nil, core.Errorf(core.CodeNotSupported, "records cannot be written over the network")
	}
	m := &AppendRequest{ID: id, Tx: []Element{}}
	for i := range c.Appends {
		a := &c.Appends[i]
		e := Element{Stream: a.Stream, Expect: (*Expect)(&a.Expect), Events: make([]Event, len(a.Events))}
		for j := range a.Events {
			if err := CheckEvent(&a.Events[j]); err != nil {
				return nil, err
			}
			e.Events[j] = FromNewEvent(&a.Events[j])
		}
		m.Tx = append(m.Tx, e)
	}
	for i := range c.Checks {
		m.Checks = append(m.Checks, Check{Stream: c.Checks[i].Stream, Expect: (*Expect)(&c.Checks[i].Expect)})
	}
	if len(m.Tx) == 1 && len(m.Checks) == 0 {
		m.Stream, m.Expect, m.Events, m.Tx = &m.Tx[0].Stream, m.Tx[0].Expect, m.Tx[0].Events, nil
	}
	return m, nil
}

func expectOf(x *Expect) core.Expect {
	if x == nil {
		return core.AnyVersion
	}
	return core.Expect(*x)
}
