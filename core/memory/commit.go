package memory

import (
	"bytes"
	"context"
	"strings"
	"time"

	"github.com/gyre-events/gyre/core"
)

// Commit decides and applies a group, in order. It never waits for anything
// but the lock, so it does not look at the context.
func (e *Engine) Commit(_ context.Context, group []*core.Commit) core.Step {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return core.FailStep(group, errClosed())
	}
	e.recorded = max(e.recorded, time.Now().UnixMicro())
	step := core.Step{Outcomes: make([]core.Outcome, len(group))}
	for i, c := range group {
		o := &step.Outcomes[i]
		if o.Result, o.Err = e.decide(c); o.Err == nil && !o.Result.Duplicate {
			o.Result = e.apply(c, &step.Written)
		}
	}
	return step
}

// decide answers why c cannot be written, or that it has been before. It
// changes nothing.
func (e *Engine) decide(c *core.Commit) (core.Result, error) {
	if first, isDuplicate, err := e.lookUp(c); isDuplicate || err != nil {
		return first, err
	}
	if err := e.verify(c); err != nil {
		return core.Result{}, err
	}
	return core.Result{}, nil
}

// lookUp compares the ids of c with the log's (P5).
func (e *Engine) lookUp(c *core.Commit) (first core.Result, isDuplicate bool, err error) {
	sent := make(map[core.ID]bool)
	isRetry := len(c.Appends) > 0
	var known *core.Error
	for i, a := range c.Appends {
		for _, event := range a.Events {
			if event.ID.IsZero() {
				isRetry = false
				continue
			}
			_, isKnown := e.ids[event.ID]
			if known == nil && (isKnown || sent[event.ID]) {
				known = atElement(core.NewDuplicateEvent(a.Stream, event.ID), i)
			}
			isRetry = isRetry && isKnown
			sent[event.ID] = true
		}
		if isRetry {
			var run core.Appended
			run, isRetry = e.run(a)
			isRetry = isRetry && run.FirstPosition > first.Position
			first.Appends = append(first.Appends, run)
			first.Position = run.LastPosition
		}
	}
	switch {
	case isRetry:
		first.Duplicate = true
		return first, true, nil
	case known != nil:
		return core.Result{}, false, known
	}
	return core.Result{}, false, nil
}

// run tells where the events of a are, all of which are known, and whether
// they are an unbroken run of versions of a's stream, in a's order.
func (e *Engine) run(a core.Append) (core.Appended, bool) {
	first := e.ids[a.Events[0].ID]
	last := first
	for i, event := range a.Events {
		last = e.ids[event.ID]
		if last.stream != a.Stream || last.version != first.version+uint64(i) {
			return core.Appended{}, false
		}
	}
	return core.Appended{
		FirstVersion:  first.version,
		LastVersion:   last.version,
		FirstPosition: first.position,
		LastPosition:  last.position,
	}, true
}

// verify evaluates what c expects.
func (e *Engine) verify(c *core.Commit) error {
	added := make(map[string]uint64) // by the Appends so far
	for i, a := range c.Appends {
		version := e.version(a.Stream) + added[a.Stream]
		if !a.Expect.Holds(version) {
			return atElement(core.NewWrongVersion(a.Stream, a.Expect, version), i)
		}
		added[a.Stream] += uint64(len(a.Events))
	}
	for i, check := range c.Checks {
		if version := e.version(check.Stream); !check.Expect.Holds(version) {
			return atElement(core.NewWrongVersion(check.Stream, check.Expect, version), len(c.Appends)+i)
		}
	}
	for i, op := range c.Records {
		revision := e.records[recordKey{op.Table, op.Key}].Revision
		if !op.Expect.Holds(revision) {
			err := core.Errorf(core.CodeRecordConflict, "record %q of table %q is at revision %d, expected %s",
				op.Key, op.Table, revision, op.Expect)
			err.Expected, err.Actual = &op.Expect, &revision
			return atElement(err, len(c.Appends)+len(c.Checks)+i)
		}
	}
	return nil
}

// apply writes c, which has been decided, and adds its events to written.
func (e *Engine) apply(c *core.Commit, written *core.Batch) core.Result {
	var result core.Result
	for i := range c.Appends {
		a := e.append(&c.Appends[i], written)
		result.Appends = append(result.Appends, a)
		result.Position = a.LastPosition
	}
	for _, op := range c.Records {
		k := recordKey{strings.Clone(op.Table), strings.Clone(op.Key)}
		if op.Delete {
			delete(e.records, k)
			continue
		}
		e.records[k] = core.Record{
			Key:      k.key,
			Revision: e.records[k].Revision + 1,
			Value:    bytes.Clone(op.Value),
		}
	}
	return result
}

func (e *Engine) append(a *core.Append, written *core.Batch) core.Appended {
	stream := strings.Clone(a.Stream) // what was sent may be part of something larger
	result := core.Appended{FirstVersion: e.version(stream) + 1, FirstPosition: uint64(len(e.events)) + 1}
	for i := range a.Events {
		event := &a.Events[i]
		p := core.Placement{
			Stream:      stream,
			Version:     e.version(stream) + 1,
			Position:    uint64(len(e.events)) + 1,
			Recorded:    e.recorded,
			Incarnation: 1,
			ID:          event.ID,
		}
		if p.ID.IsZero() {
			p.ID = core.NewID()
		}
		encoded := core.EncodeEvent(make([]byte, 0, core.MaxEncodedBytes(stream, event)), p, event)
		e.events = append(e.events, encoded)
		e.streams[stream] = append(e.streams[stream], p.Position)
		e.ids[p.ID] = place{stream, p.Version, p.Position}
		e.bytes += int64(len(encoded))
		written.Add(encoded, p.Position)
		result.LastVersion, result.LastPosition = p.Version, p.Position
	}
	return result
}

func atElement(err *core.Error, i int) *core.Error {
	err.Element = &i
	return err
}
