package cluster

import (
	"slices"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
)

// order is an order set (R4): the unsettled entries that touch one slot, in the order in
// which they were submitted.
type order struct{ first, last *place }

// place is an entry's place in one order.
type place struct {
	entry      *entry
	slot       int
	prev, next *place
	// overtaken reports that a later entry of the order has been decided (R6c). All
	// earlier places are overtaken, too.
	overtaken bool
}

func (o *order) add(p *place) {
	p.prev = o.last
	if o.last == nil {
		o.first = p
	} else {
		o.last.next = p
	}
	o.last = p
}

func (o *order) remove(p *place) {
	if p.prev == nil {
		o.first = p.next
	} else {
		p.prev.next = p.next
	}
	if p.next == nil {
		o.last = p.prev
	} else {
		p.next.prev = p.prev
	}
}

// overtake marks everything before p.
func (p *place) overtake() {
	for b := p.prev; b != nil && !b.overtaken; b = b.prev {
		b.overtaken = true
	}
}

// slotsOf appends the slots that c appends to or checks, each once, to dst. The first
// append's is home; it is -1 if c has none.
func slotsOf(c *core.Commit, dst []int) (slots []int, home int) {
	home = -1
	if len(c.Appends) > 0 {
		home = ring.Slot(c.Appends[0].Stream)
	}
	if len(c.Appends) == 1 && len(c.Checks) == 0 {
		return append(dst, home), home
	}
	for i := range c.Appends {
		dst = append(dst, ring.Slot(c.Appends[i].Stream))
	}
	for i := range c.Checks {
		dst = append(dst, ring.Slot(c.Checks[i].Stream))
	}
	slices.Sort(dst)
	return slices.Compact(dst), home
}

// entryList is a list of entries; an entry is in one list at most.
type entryList struct {
	first, last *entry
	len         int
}

func (l *entryList) add(e *entry) {
	e.in, e.prev, e.next = l, l.last, nil
	if l.last == nil {
		l.first = e
	} else {
		l.last.next = e
	}
	l.last = e
	l.len++
}

// leave takes e out of its list, if it is in one.
func (e *entry) leave() {
	l := e.in
	if l == nil {
		return
	}
	if e.prev == nil {
		l.first = e.next
	} else {
		e.prev.next = e.next
	}
	if e.next == nil {
		l.last = e.prev
	} else {
		e.next.prev = e.prev
	}
	l.len--
	e.in, e.prev, e.next = nil, nil, nil
}

// entries returns the entries of l as they are now.
func (l *entryList) entries() []*entry {
	all := make([]*entry, 0, l.len)
	for e := l.first; e != nil; e = e.next {
		all = append(all, e)
	}
	return all
}
