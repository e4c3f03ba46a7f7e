package disk

import (
	"bytes"
	"strings"
	"time"

	"github.com/gyre-events/gyre/core"
)

// decider decides what goes of one segment.
type decider struct {
	scavenge *scavenge
	removal  removal
	event    core.Event
	of       lifecycles
	// last has, of each stream that goes on, its newest event in the segment if that goes.
	last map[streamIncarnation]lastRemoved
}

// streamIncarnation is an incarnation of a stream.
type streamIncarnation struct {
	name        string
	incarnation uint32
}

// lastRemoved is an item that may be needed for its version.
type lastRemoved struct {
	item   int
	stub   stub
	isStub bool // already
}

// decide scans a segment and decides what goes of it; nil if nothing does.
func (r *scavenge) decide(source *segmentFile, s *sealedSegment) (*removal, error) {
	d := decider{scavenge: r, of: r.engine.remember(r.engine.lifecycle), last: make(map[streamIncarnation]lastRemoved)}
	if _, err := scanSealed(source, s.end, s.header, d.visitor(s.header.number)); err != nil {
		return nil, err
	}
	if err := d.remember(s.header.salt); err != nil || d.removal.going == 0 {
		return nil, err
	}
	d.removal.asOf = *r.engine.appender.durable.Load()
	return &d.removal, nil
}

func (d *decider) visitor(segment uint32) visitor {
	return visitor{
		record: func(_ int64, c recordChange) error {
			needed, err := d.scavenge.engine.records.needs(&c)
			if err != nil {
				return err
			}
			if d.removal.add(!needed); !needed {
				d.removal.count(&c, d.scavenge.Table)
			}
			return d.scavenge.pay(c.size())
		},
		event: func(o int64, encoded []byte) error {
			if !decode(encoded, &d.event) {
				return corrupt(at(segment, o), "an event is malformed")
			}
			if err := d.decide(false); err != nil {
				return err
			}
			return d.scavenge.pay(len(encoded))
		},
		removed: func(_ int64, position uint64, s *stub) error {
			if s != nil {
				d.event = core.Event{Stream: s.stream, Version: s.version, Position: position, Incarnation: s.incarnation, Recorded: time.UnixMicro(s.recorded)}
				return d.decide(true)
			}
			return nil
		},
	}
}

// decide decides about the event, or the stub that is left of one.
func (d *decider) decide(isStub bool) error {
	of := streamIncarnation{d.event.Stream, d.event.Incarnation}
	fate, err := d.fate()
	if err != nil {
		return err
	}
	before, ok := d.last[of]
	if before.isStub {
		d.removal.set(before.item)
	}
	if fate == core.Goes || isStub && fate == core.Stays {
		if of.name = before.stub.stream; !ok {
			of.name = strings.Clone(d.event.Stream) // the event is valid for now only
		}
		s := stub{of.name, d.event.Version, of.incarnation, d.event.Recorded.UnixMicro()}
		d.last[of] = lastRemoved{d.removal.items, s, isStub}
	} else if ok {
		delete(d.last, of)
	}
	goes := fate != core.Stays && !isStub || fate == core.GoesForGood
	if d.removal.add(goes); goes && !isStub {
		d.removal.events++
	}
	return nil
}

// fate is that of the event. With a stream that was removed go the links to its events.
func (d *decider) fate() (core.Fate, error) {
	l, err := d.of(d.event.Stream)
	if err != nil || d.event.Position <= l.Removed {
		return core.GoesForGood, err
	}
	if isRemoved, err := d.of.isRemoved(&d.event); err != nil || isRemoved {
		return core.Goes, err
	}
	return d.scavenge.Fate(d.scavenge.ctx, &d.event)
}

// remember has a stub left of each event that was the last of its stream. Other versions are
// known from those behind them.
func (d *decider) remember(salt uint32) error {
	d.removal.stubs = make(map[int][]byte)
	for of, l := range d.last {
		version, err := d.scavenge.engine.lastVersion(of)
		switch {
		case err != nil:
			return err
		case version != l.stub.version && l.isStub:
			d.removal.set(l.item)
		case version == l.stub.version && !l.isStub:
			d.removal.stubs[l.item] = l.stub.encode(salt)
		}
	}
	return nil
}

// lastVersion is the newest durable version of a stream.
func (e *Engine) lastVersion(of streamIncarnation) (version uint64, err error) {
	err = e.index.consult(func() error {
		m := e.appender.durable.Load()
		version, err = e.index.view.Load().version(e.index, indexName(of.name, of.incarnation), m)
		return err
	})
	return version, err
}

// needs reports whether a change in the log is needed to make the records from it: the record is
// as the change has left it, or was deleted. A deletion is needed while there may be changes
// before it; once there is a later one, it hides nothing any more.
func (s *recordStore) needs(c *recordChange) (bool, error) {
	present, err := s.present(c.id())
	if c.revision == 0 {
		return present.revision == 0, err
	}
	// A record that was deleted and put again may have a revision for the second time.
	return present.revision == c.revision && bytes.Equal(present.value, c.value), err
}
