package core

import "hash/maphash"

// slotCount is the number of slots that names are hashed to.
const slotCount = 4096

// slots is the set of streams and records that some Commits touch, coarsely:
// each name is one of 4096 slots. The committer keeps Commits that share a
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

func slotOf(name string) uint16 { return uint16(maphash.String(slotSeed, name) % slotCount) }

func (c *Commit) touches() touched {
	if len(c.Appends) == 1 && len(c.Checks) == 0 && len(c.Records) == 0 {
		return touched{slot: slotOf(c.Appends[0].Stream)}
	}
	set := new(slots)
	for i := range c.Appends {
		set.addSlot(slotOf(c.Appends[i].Stream))
	}
	for i := range c.Checks {
		set.addSlot(slotOf(c.Checks[i].Stream))
	}
	for i := range c.Records {
		set.addSlot(slotOf(c.Records[i].Table + "\x00" + c.Records[i].Key))
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
