package core

import "hash/maphash"

// streamSlots is the number of slots that stream names are hashed to.
const streamSlots = 4096

// conflictSet is what some Commits write and check. The committer keeps Commits
// that conflict in order, and never has two of them in different steps at a time:
// this is how a stream's order and the engine's batches go together. Versions and
// ids are the engine's, which decides by what it has.
//
// Two Commits conflict if one writes a stream or a record that the other writes or
// checks. Two checks do not. Streams are compared by slot, records by 64-bit hash: a
// Commit may have thousands of records, whose slots would soon meet all others.
type conflictSet struct {
	written, checked streamSet
	records          map[touch]bool // true: written
}

type streamSet [streamSlots / 64]uint64

func (s *streamSet) add(slot touch)      { s[slot/64] |= 1 << (slot % 64) }
func (s *streamSet) has(slot touch) bool { return s[slot/64]&(1<<(slot%64)) != 0 }

// touch is one stream or record that a Commit writes or checks: a hash of its name
// above two flags.
type touch uint64

const (
	touchWrites touch = 1 << iota
	touchRecord
	touchFlags = iota
)

var touchSeed = maphash.MakeSeed()

func touchStream(name string, flags touch) touch {
	return touch(maphash.String(touchSeed, name))<<touchFlags | flags
}

func (t touch) slot() touch { return t >> touchFlags % streamSlots }

func (r *RecordOp) touch() touch {
	var h maphash.Hash
	h.SetSeed(touchSeed)
	_, _ = h.WriteString(r.Table) // it never fails
	_ = h.WriteByte(0)
	_, _ = h.WriteString(r.Key)
	t := touch(h.Sum64())<<touchFlags | touchRecord
	if r.Action != CheckRecord {
		t |= touchWrites
	}
	return t
}

// touches appends what c writes and checks to dst. A check that anything passes is
// none.
func (c *Commit) touches(dst []touch) []touch {
	if n := len(c.Appends) + len(c.Checks) + len(c.Streams) + len(c.Records); n > cap(dst) {
		dst = make([]touch, 0, n)
	}
	for i := range c.Appends {
		dst = append(dst, touchStream(c.Appends[i].Stream, touchWrites))
	}
	for i := range c.Checks {
		if c.Checks[i].Expect != AnyVersion {
			dst = append(dst, touchStream(c.Checks[i].Stream, 0))
		}
	}
	for i := range c.Streams {
		dst = append(dst, touchStream(c.Streams[i].Stream, touchWrites))
	}
	if c.hasNotices() {
		dst = append(dst, touchStream(NoticeStream, touchWrites))
	}
	for i := range c.Records {
		if r := &c.Records[i]; r.Action != CheckRecord || r.Expect != AnyVersion {
			dst = append(dst, r.touch())
		}
	}
	return dst
}

func (s *conflictSet) add(touches []touch) {
	for _, t := range touches {
		switch {
		case t&touchRecord != 0:
			if s.records == nil {
				s.records = make(map[touch]bool)
			}
			name := t &^ touchWrites
			s.records[name] = s.records[name] || t&touchWrites != 0
		case t&touchWrites != 0:
			s.written.add(t.slot())
		default:
			s.checked.add(t.slot())
		}
	}
}

// meets reports whether something of the set conflicts with touches.
func (s *conflictSet) meets(touches []touch) bool {
	for _, t := range touches {
		writes := t&touchWrites != 0
		if t&touchRecord != 0 {
			if written, ok := s.records[t&^touchWrites]; ok && (written || writes) {
				return true
			}
			continue
		}
		if s.written.has(t.slot()) || writes && s.checked.has(t.slot()) {
			return true
		}
	}
	return false
}
