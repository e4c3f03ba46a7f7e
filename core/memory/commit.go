package memory

import (
	"bytes"
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/gyre-events/gyre/core"
)

// Commit decides and applies a group, in order. It waits for nothing but the lock,
// so it ignores the context.
func (e *Engine) Commit(_ context.Context, group []*core.Commit) core.Step {
	return e.commit(group, 0)
}

// commit is Commit for an engine that was opened under an epoch.
func (e *Engine) commit(group []*core.Commit, opened uint64) core.Step {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return core.FailStep(group, errClosed())
	}
	e.recorded = max(e.recorded, time.Now().UnixMicro())
	step := core.Step{Outcomes: make([]core.Outcome, len(group))}
	for i, c := range group {
		o := &step.Outcomes[i]
		if o.Result, o.Err = e.decide(c, opened); o.Err == nil && !o.Result.Duplicate {
			o.Result = e.apply(c, &step.Written)
		}
	}
	return step
}

// decide returns why c cannot be written, or the result of an earlier try. It
// changes nothing.
func (e *Engine) decide(c *core.Commit, opened uint64) (core.Result, error) {
	first, isDuplicate, err := e.lookUp(c)
	switch {
	case isDuplicate:
		return first, nil
	case e.epoch != 0 && !e.unfenced && e.epoch != cmp.Or(c.Epoch, opened):
		return core.Result{}, core.NewStaleEpoch(cmp.Or(c.Epoch, opened), e.epoch)
	case err != nil:
		return core.Result{}, err
	}
	return core.Result{}, e.verify(c)
}

// lookUp compares the ids of c with those in the log (P5).
func (e *Engine) lookUp(c *core.Commit) (first core.Result, isDuplicate bool, err error) {
	sent := make(map[core.ID]string) // events of c, and their streams
	linked := make(map[linkKey]bool) // links of c
	isRetry := len(c.Appends) > 0
	var wrong *core.Error
	fail := func(err *core.Error, i int) {
		if wrong == nil {
			wrong = atElement(err, i)
		}
	}
	for i, a := range c.Appends {
		for _, event := range a.Events {
			if event.ID.IsZero() {
				isRetry = false
				continue
			}
			_, isKnown := e.ids[event.ID]
			if _, isSent := sent[event.ID]; isKnown || isSent {
				fail(core.NewDuplicateEvent(a.Stream, event.ID), i)
			}
			isRetry = isRetry && isKnown
			sent[event.ID] = a.Stream
		}
		for _, id := range a.Links {
			key := linkKey{a.Stream, id}
			_, isLinked := e.links[key]
			isRetry = isRetry && isLinked
			home, isKnown := e.ids[id]
			if !isKnown {
				home.stream, isKnown = sent[id]
			}
			switch {
			case isLinked, linked[key], isKnown && home.stream == a.Stream:
				fail(core.NewDuplicateLink(a.Stream, id), i)
			case !isKnown:
				fail(core.NewLinkNotFound(a.Stream, id), i)
			case c.Changes(home.stream):
				fail(core.NewLinkToChanged(a.Stream, home.stream, id), i)
			}
			linked[key] = true
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
	case wrong != nil:
		return core.Result{}, false, core.NoteKnown(wrong, c, e.has)
	}
	return core.Result{}, false, nil
}

// has reports whether the stream of a has the event, or the link of a that is to it.
func (e *Engine) has(_ int, a *core.Append, id core.ID) (bool, error) {
	if len(a.Links) > 0 {
		_, isLinked := e.links[linkKey{a.Stream, id}]
		return isLinked, nil
	}
	home, isKnown := e.ids[id]
	return isKnown && home.stream == a.Stream, nil
}

// run returns where the events or links of a are, all of which are known, and
// whether they are an unbroken run of versions of a's stream, in a's order.
func (e *Engine) run(a core.Append) (core.Appended, bool) {
	var places []place
	for _, event := range a.Events {
		places = append(places, e.ids[event.ID])
	}
	for _, id := range a.Links {
		places = append(places, e.links[linkKey{a.Stream, id}])
	}
	first, last := places[0], places[len(places)-1]
	for i, p := range places {
		if p.stream != a.Stream || p.version != first.version+uint64(i) {
			return core.Appended{}, false
		}
	}
	return core.Appended{
		FirstVersion:  first.version,
		LastVersion:   last.version,
		FirstPosition: first.position,
		LastPosition:  last.position,
		Incarnation:   e.states[a.Stream].LaterIncarnation(),
	}, true
}

// verify evaluates what c expects.
func (e *Engine) verify(c *core.Commit) error {
	added := make(map[string]uint64) // by the Appends so far
	for i, a := range c.Appends {
		state := e.states[a.Stream]
		if err := state.Refusal(a.Stream); err != nil {
			return atElement(err, i)
		}
		if err := a.Mismatch(state.Incarnation(), e.version(a.Stream)+added[a.Stream]); err != nil {
			return atElement(err, i)
		}
		added[a.Stream] += uint64(a.Count())
	}
	for i, check := range c.Checks {
		if err := e.states[check.Stream].Refusal(check.Stream); err != nil && check.Expect != core.AnyVersion {
			return atElement(err, len(c.Appends)+i)
		}
		if version := e.version(check.Stream); !check.Expect.Holds(version) {
			return atElement(core.NewWrongVersion(check.Stream, check.Expect, version), len(c.Appends)+i)
		}
	}
	for i := range c.Streams {
		op := &c.Streams[i]
		if _, err := e.states[op.Stream].After(op, e.version(op.Stream), uint64(len(e.events))); err != nil {
			return atElement(err, len(c.Appends)+len(c.Checks)+i)
		}
	}
	for i, op := range c.Records {
		revision := e.records[recordKey{op.Table, op.Key}].Revision
		if !op.Expect.Holds(revision) {
			err := core.Errorf(core.CodeRecordConflict, "record %q of table %q is at revision %d, expected %s",
				op.Key, op.Table, revision, op.Expect)
			err.Expected, err.Actual = &op.Expect, &revision
			return atElement(err, len(c.Appends)+len(c.Checks)+len(c.Streams)+i)
		}
	}
	return nil
}

// apply writes c, which has been decided, and adds its events and links to written.
func (e *Engine) apply(c *core.Commit, written *core.Batch) core.Result {
	var result core.Result
	if c.PutsRetention() {
		e.policies++
	}
	for i := range c.Streams {
		e.change(&c.Streams[i])
	}
	for i := range c.Appends {
		a := e.append(&c.Appends[i], written)
		result.Appends = append(result.Appends, a)
		result.Position = a.LastPosition
	}
	for _, op := range c.Records {
		k := recordKey{strings.Clone(op.Table), strings.Clone(op.Key)}
		switch op.Action {
		case core.DeleteRecord:
			delete(e.records, k)
		case core.PutRecord:
			raise := uint64(1)
			if op.Expect == core.AnyVersion {
				raise = 10 // 1 would do, but nobody is to rely on it
			}
			e.records[k] = core.Record{
				Key:      k.key,
				Revision: e.records[k].Revision + raise,
				Value:    bytes.Clone(op.Value),
			}
		}
	}
	return result
}

func (e *Engine) append(a *core.Append, written *core.Batch) core.Appended {
	stream := strings.Clone(a.Stream) // what was sent may be part of something larger
	result := core.Appended{FirstVersion: e.version(stream) + 1, FirstPosition: uint64(len(e.events)) + 1, Incarnation: e.states[stream].LaterIncarnation()}
	for i := range a.Events {
		event := &a.Events[i]
		p := e.next(stream, event.ID)
		if p.ID.IsZero() {
			p.ID = core.NewID()
		}
		e.ids[p.ID] = place{stream, p.Version, p.Position}
		e.add(p, core.EncodeEvent(make([]byte, 0, core.MaxEncodedBytes(stream, event)), p, event), written)
	}
	for _, id := range a.Links {
		p := e.next(stream, id)
		home := e.ids[id]
		origin := core.Origin{Stream: home.stream, Version: home.version, Position: home.position}
		e.links[linkKey{stream, id}] = place{stream, p.Version, p.Position}
		e.add(p, core.EncodeLink(nil, p, origin, e.event(home.position).Type), written)
	}
	written.Hidden = written.Hidden || len(a.Links) > 0 || core.IsSystem(stream)
	result.LastVersion, result.LastPosition = e.version(stream), uint64(len(e.events))
	return result
}

// next is the place of the next record in a stream.
func (e *Engine) next(stream string, id core.ID) core.Placement {
	return core.Placement{
		Stream:      stream,
		Version:     e.version(stream) + 1,
		Position:    uint64(len(e.events)) + 1,
		Recorded:    e.recorded,
		Incarnation: e.states[stream].Incarnation(),
		ID:          id,
	}
}

// add writes an encoded event or link at p.
func (e *Engine) add(p core.Placement, encoded []byte, written *core.Batch) {
	e.events = append(e.events, encoded)
	e.streams[p.Stream] = append(e.streams[p.Stream], p.Position)
	e.bytes += int64(len(encoded))
	written.Add(encoded, p.Position)
}

func atElement(err *core.Error, i int) *core.Error {
	err.Element = &i
	return err
}
