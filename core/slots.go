package core

import "hash/maphash"

// slotCount is the number of slots that names are hashed to: half of them are for
// streams, half for records. A step with nothing but records may take its time, and
// appends that touch none of them are not to wait for it by chance.
const slotCount = 2 * namesSlots

// namesSlots is the number of slots for one kind of names.
const namesSlots = 4096

// slots is the set of streams and records that some Commits touch, coarsely:
// each name is one of 4096 slots of its kind. The committer keeps Commits that share a
// slot in order, and never has two of them in different steps at a time. This
// is the stream owner's job here: order and batching. Versions and ids are
// the engine's, which decides by what it has and not by what is believed.
type slots [slotCount / 64]uint64

// touched is what one Commit touches: a single slot without an allocation,
// as most Commits have, or a set.
type touched struct {
	slot uint16
	set  *slots
}

var slotSeed = maphash.MakeSeed()

func streamSlot(name string) uint16 { return uint16(maphash.String(slotSeed, name) % namesSlots) }

func recordSlot(r *RecordOp) uint16 {
	var h maphash.Hash
	h.SetSeed(slotSeed)
	_, _ = h.WriteString(r.Table) // it never fails
	_ = h.WriteByte(0)
	_, _ = h.WriteString(r.Key)
	return namesSlots + uint16(h.Sum64()%namesSlots)
}

func (c *Commit) touches() touched {
	switch {
	case len(c.Appends) == 1 && len(c.Checks)+len(c.Records) == 0:
		return touched{slot: streamSlot(c.Appends[0].Stream)}
	case len(c.Records) == 1 && len(c.Appends)+len(c.Checks) == 0:
		return touched{slot: recordSlot(&c.Records[0])}
	}
	set := new(slots)
	for i := range c.Appends {
		set.addSlot(streamSlot(c.Appends[i].Stream))
	}
	for i := range c.Checks {
		set.addSlot(streamSlot(c.Checks[i].Stream))
	}
	for i := range c.Records {
		set.addSlot(recordSlot(&c.Records[i]))
	}
	return touched{set: set}
}

func (s *slots) addSlot(n uint16) { s[n/64] |= 1 << (n % 64) }

func (s *slots) add(t touched) {
	if t.set == nil {
		s.addSlot(t.slot)
		return
	}
	for i, w := range t.set {
		s[i] |= w
	}
}

func (s *slots) meets(t touched) bool {
	if t.set == nil {
		return s[t.slot/64]&(1<<(t.slot%64)) != 0
	}
	for i, w := range t.set {
		if s[i]&w != 0 {
			return true
		}
	}
	return false
}
