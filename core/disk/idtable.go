package disk

// idTable maps the hashes of ids to where their events are in one segment: an
// open-addressing table, because it takes an entry per event and a map costs
// four times as much. A hash may be there more than once.
type idTable struct {
	slots []idSlot // a power of two; at most 5/8 in use
	used  int
	shift uint8 // a hash's first slot is its upper bits
}

type idSlot struct {
	hash uint64
	off  uint32 // 0 = free: no event is at offset 0
}

const minIDSlots = 1 << 10

// newIDTable has room for n ids before it grows.
func newIDTable(n int) idTable {
	size, bits := minIDSlots, uint8(10)
	for size*5/8 < n {
		size, bits = size*2, bits+1
	}
	return idTable{slots: make([]idSlot, size), shift: 64 - bits}
}

func (t *idTable) add(hash uint64, off uint32) {
	if t.used >= len(t.slots)*5/8 {
		t.grow()
	}
	t.used++
	mask := len(t.slots) - 1
	i := int(hash >> t.shift)
	for t.slots[i].off != 0 {
		i = (i + 1) & mask
	}
	t.slots[i] = idSlot{hash, off}
}

func (t *idTable) grow() {
	old := t.slots
	t.slots = make([]idSlot, 2*len(old))
	t.shift--
	t.used = 0
	for _, s := range old {
		if s.off != 0 {
			t.add(s.hash, s.off)
		}
	}
}

// has reports whether find would find anything.
func (t *idTable) has(hash uint64) bool {
	mask := len(t.slots) - 1
	for i := int(hash >> t.shift); t.slots[i].off != 0; i = (i + 1) & mask {
		if t.slots[i].hash == hash {
			return true
		}
	}
	return false
}

// find appends the offsets under hash to offs.
func (t *idTable) find(offs []uint32, hash uint64) []uint32 {
	mask := len(t.slots) - 1
	for i := int(hash >> t.shift); t.slots[i].off != 0; i = (i + 1) & mask {
		if t.slots[i].hash == hash {
			offs = append(offs, t.slots[i].off)
		}
	}
	return offs
}

// clear empties the table and gives it room for n ids.
func (t *idTable) clear(n int) {
	if len(t.slots)*5/8 < n || len(t.slots) > minIDSlots && len(t.slots)/8 > n {
		*t = newIDTable(n)
		return
	}
	clear(t.slots)
	t.used = 0
}

// cut drops what is at or behind off.
func (t *idTable) cut(off uint32) {
	old := t.slots
	t.slots = make([]idSlot, len(old))
	t.used = 0
	for _, s := range old {
		if s.off != 0 && s.off < off {
			t.add(s.hash, s.off)
		}
	}
}

// hasAny reports whether the table has one of the hashes.
func (t *idTable) hasAny(hashes []uint64) bool {
	for _, h := range hashes {
		if t.has(h) {
			return true
		}
	}
	return false
}
