package disk

// writeRun makes the run of one sealed segment from its table.
func (ix *index) writeRun(t *memtable, s *sealedSegment, log string) (*run, error) {
	head := runHeader{
		log: log, first: t.segment, last: t.segment, seal: s.seal, firstPosition: t.first, nextPosition: s.next,
		end: at(t.segment, s.end), positions: s.next - t.first, window: t.window,
		rewritten: s.header.rewriting.mark(t.segment),
	}
	w, err := newRunWriter(ix.fs, ix.dir, ix.key, head)
	if err != nil {
		return nil, err
	}
	for _, s := range t.byName() {
		p := part{name: s.name, first: s.base + 1, last: s.last, created: s.created, changed: s.changed}
		if p.changed.unknown() {
			if p.changed, err = ix.momentAt(at(t.segment, int64(s.offs[len(s.offs)-1]))); err != nil {
				w.abandon()
				return nil, err
			}
		}
		w.stream(&p)
		for _, off := range s.offs {
			w.posting(t.place(off))
		}
	}
	for _, id := range t.ids.sorted() {
		w.id(id.hash, at(t.segment, int64(id.off)))
	}
	return w.finish(t.samples)
}

// sorted are the entries by hash, equal ones by offset. The slots are nearly
// in order as they are, for a hash's slot is its upper bits: only neighbours
// that collided stand wrong, and at the very beginning what has wrapped around.
func (t *idTable) sorted() []idSlot {
	all := make([]idSlot, 0, t.used)
	var wrapped []idSlot
	for i, s := range t.slots {
		switch {
		case s.off == 0:
		case int(s.hash>>t.shift) > i:
			wrapped = append(wrapped, s)
		default:
			all = append(all, s)
		}
	}
	all = append(all, wrapped...)
	for i := 1; i < len(all); i++ {
		s := all[i]
		k := i
		for k > 0 && (s.hash < all[k-1].hash || s.hash == all[k-1].hash && s.off < all[k-1].off) {
			all[k] = all[k-1]
			k--
		}
		all[k] = s
	}
	return all
}
