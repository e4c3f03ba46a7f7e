package cluster

import (
	"slices"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
)

// entryList is a list of entries in order: an order set (R4), which is the unsettled entries that
// touch one slot as they were submitted, those that wait, or those that a path has.
type entryList struct {
	first, last *place
	len         int
}

// place is an entry's place in a list. It is in one list at most.
type place struct {
	entry      *entry
	slot       int // of an order set
	in         *entryList
	prev, next *place
	// overtaken reports that a later entry of the order set has been decided (R6c). All
	// earlier places are overtaken, too.
	overtaken bool
}

func (l *entryList) add(p *place) {
	p.in, p.prev, p.next = l, l.last, nil
	if l.last == nil {
		l.first = p
	} else {
		l.last.next = p
	}
	l.last = p
	l.len++
}

// leave takes p out of its list, if it is in one.
func (p *place) leave() {
	l := p.in
	if l == nil {
		return
	}
	if p.prev == nil {
		l.first = p.next
	} else {
		p.prev.next = p.next
	}
	if p.next == nil {
		l.last = p.prev
	} else {
		p.next.prev = p.prev
	}
	l.len--
	p.in, p.prev, p.next = nil, nil, nil
}

// entries returns the entries of l as they are now.
func (l *entryList) entries() []*entry {
	all := make([]*entry, 0, l.len)
	for p := l.first; p != nil; p = p.next {
		all = append(all, p.entry)
	}
	return all
}

// overtake marks everything before p.
func (p *place) overtake() {
	for b := p.prev; b != nil && !b.overtaken; b = b.prev {
		b.overtaken = true
	}
}

// slotsOf appends the slots that c appends to, checks or changes, and that of its progress, each
// once, to dst. home is the slot of homeOf, -1 if there is none.
func slotsOf(c *core.Commit, dst []int) (slots []int, home int) {
	home = -1
	if name := homeOf(c); name != "" {
		home = ring.Slot(name)
	}
	if home >= 0 && len(c.Appends) == 1 && len(c.Checks) == 0 && c.Progress == nil {
		return append(dst, home), home
	}
	for i := range c.Appends {
		dst = append(dst, ring.Slot(c.Appends[i].Stream))
	}
	for i := range c.Checks {
		dst = append(dst, ring.Slot(c.Checks[i].Stream))
	}
	for i := range c.Streams {
		dst = append(dst, ring.Slot(c.Streams[i].Stream))
	}
	if c.Progress != nil {
		dst = append(dst, ring.Slot(c.Progress.Name))
	}
	slices.Sort(dst)
	return slices.Compact(dst), home
}

// homeOf is the name whose owner makes c: the first stream that it appends to, else its
// progress. Any node makes what has neither, what changes whole streams or has records, which
// storage compares, and what the system writes; that is "". A change of a stream has no id
// that it could be looked up by, so it is never handed over to another node.
func homeOf(c *core.Commit) string {
	switch {
	case c.System, len(c.Streams) > 0, len(c.Records) > 0:
		return ""
	case len(c.Appends) > 0:
		return c.Appends[0].Stream
	case c.Progress != nil:
		return c.Progress.Name
	}
	return ""
}

// ofOneKind refuses a Commit of the system that also writes what has an owner.
func ofOneKind(c *core.Commit) error {
	if !c.System {
		return nil
	}
	owned := c.Progress != nil
	for i := range c.Appends {
		owned = owned || !core.IsSystem(c.Appends[i].Stream)
	}
	if owned {
		return core.Errorf(core.CodeNotSupported, "in a ring, a commit of the system writes its streams and records only")
	}
	return nil
}
