package disk

import (
	"context"
	"errors"
	"math"
	"slices"
	"sort"

	"github.com/gyre-events/gyre/core"
)

var _ core.Selector = (*Engine)(nil)

// ReadSelected is core.Selector's. A page has events of one segment.
func (e *Engine) ReadSelected(ctx context.Context, r core.ReadRequest) (page core.Page, ok bool, err error) {
	if r.Stream != core.All || len(r.Select.Filter.Types) == 0 && r.Select.Category == "" {
		return core.Page{}, false, nil
	}
	if err := e.enter(ctx); err != nil {
		return core.Page{}, false, err
	}
	defer e.inUse.RUnlock()
	m := e.appender.durable.Load()
	lo, hi := reachOf(&r, m.head)
	if lo > hi {
		return core.Page{}, false, nil
	}
	for range maxHeals {
		page = core.Page{Version: m.head, Head: m.head, Batch: core.Batch{Block: r.Buffer}}
		p := &picker{walker: e.walker(ctx, &r, ofAll, &page), backward: r.Backward}
		ok, err = p.read(m, lo, hi, &r.Select)
		if !errors.Is(err, errKindsDamaged) {
			break
		}
		e.dropKinds(p.seg.number)
	}
	if errors.Is(err, errRemoved) || errors.Is(err, errKindsDamaged) {
		return core.Page{}, false, nil // the segment was rewritten meanwhile, or the disk damages what is written
	}
	return page, ok, err
}

// read reads what matches of a segment.
func (p *picker) read(m *mark, lo, hi uint64, s *core.Selection) (ok bool, err error) {
	if p.backward {
		p.segment(hi)
		p.lo, p.hi = p.seg.first, hi
	} else {
		p.segment(lo)
		p.lo, p.hi = lo, min(p.last, hi)
	}
	looked, ok, err := p.find(m, s)
	if !ok || err != nil {
		return false, err
	}
	defer p.lists.close()
	next, err := p.pick()
	if err != nil {
		return false, err
	}
	p.page.Scanned = looked + p.passed
	finish(p.page, p.backward, m.head, next)
	return true, nil
}

// reachOf is the range of positions that a page of $all may have at most.
func reachOf(r *core.ReadRequest, head uint64) (lo, hi uint64) {
	switch {
	case !r.Backward:
		return max(r.From, 1), head
	case r.From > 0:
		return 1, min(r.From, head)
	}
	return 1, head
}

// picker reads events of some kinds from a segment.
type picker struct {
	*walker
	backward bool
	seg      *segment
	seal     uint32 // of the segment, once it is sealed
	last     uint64 // position of the segment
	lo, hi   uint64 // positions that are wanted
	lists    lists
	window   *window
	passed   uint64 // events that were read and left out
}

// segment has p read from the segment of a position.
func (p *picker) segment(position uint64) {
	all := p.view.segments
	i := max(sort.Search(len(all), func(i int) bool { return all[i].first > position })-1, 0)
	p.seg, p.last = &all[i], math.MaxUint64
	if i+1 < len(all) {
		p.seal, p.last = kindsSeal(p.seg, &all[i+1]), all[i+1].first-1
	}
}

// find finds where the events are. looked is what that has cost, in events.
func (p *picker) find(m *mark, s *core.Selection) (looked uint64, ok bool, err error) {
	end := p.seg.end
	if !p.seg.sealed() {
		if m.end.segment() != p.seg.number {
			return 0, false, nil // the view is newer
		}
		end = m.end.byte()
	}
	p.lists, looked, ok, err = p.engine.kindLists(p.ctx, p.seg, p.seal, end, s)
	return looked, ok, err
}

// pick adds the events to the page, until it is full, and returns the position that follows
// what it has looked at.
func (p *picker) pick() (next uint64, err error) {
	file, err := p.engine.files.acquire(p.seg.number)
	if err != nil {
		return 0, cannotRead(err)
	}
	defer p.engine.files.release(file)
	p.window = takeWindow(file, p.seg.end, guessBytes)
	defer p.window.giveBack()
	offs, all, err := p.merged()
	if err != nil {
		return 0, err
	}
	for len(offs) > 0 {
		if err := p.ctx.Err(); err != nil {
			return 0, core.AsError(err)
		}
		n := p.together(offs)
		group, rest := offs[:n], offs[n:]
		if p.backward {
			rest, group = offs[:len(offs)-n], offs[len(offs)-n:]
		}
		var more bool
		if next, more, err = p.group(group); !more || err != nil {
			return next, err
		}
		offs = rest
	}
	switch {
	case !all:
		return next, nil
	case p.backward:
		return p.lo - 1, nil
	}
	return p.hi + 1, nil
}

// merged returns the places of the events from lo to hi, in order: those at the end where the
// page begins, if that is enough for it. all is false if there are others.
func (p *picker) merged() (offs []uint32, all bool, err error) {
	all, low, high := true, uint32(0), uint32(math.MaxUint32)
	for i := range p.lists.of {
		list := &p.lists.of[i]
		from, to, err := p.wanted(list)
		if err != nil {
			return nil, false, err
		}
		most := p.limit.Events + 1
		cut := to-from > most
		if cut && p.backward {
			from = to - most
		} else if cut {
			to = from + most
		}
		places, err := list.slice(from, to)
		if err != nil {
			return nil, false, err
		}
		if cut {
			if all = false; p.backward {
				low = max(low, places[0])
			} else {
				high = min(high, places[most-1])
			}
		}
		offs = append(offs, places...)
	}
	if len(p.lists.of) > 1 {
		slices.Sort(offs)
	}
	first, _ := slices.BinarySearch(offs, low)
	behind := sort.Search(len(offs), func(i int) bool { return offs[i] > high })
	return offs[first:behind], all, nil
}

// wanted is the part of a list with the positions from lo to hi.
func (p *picker) wanted(list *placeList) (from, to int, err error) {
	if from, err = p.behind(list, p.lo); err != nil {
		return 0, 0, err
	}
	to, err = p.behind(list, p.hi+1)
	return from, max(from, to), err
}

// behind is the index of the first event of a list whose position is at least position. It
// reads events between two samples of the index at most.
func (p *picker) behind(list *placeList, position uint64) (int, error) {
	switch {
	case position <= p.seg.first:
		return 0, nil
	case position > p.last:
		return list.count, nil
	}
	from, err := list.search(uint32(p.view.sample(position).at.byte()))
	if err != nil {
		return 0, err
	}
	to := list.count
	if o, ok := p.view.sampleBehind(position); ok && o.segment() == p.seg.number {
		if to, err = list.search(uint32(o.byte())); err != nil {
			return 0, err
		}
	}
	places, err := list.slice(from, to)
	if err != nil {
		return 0, err
	}
	var failed error
	i := sort.Search(len(places), func(i int) bool {
		encoded, err := eventIn(p.window, at(p.seg.number, int64(places[i])), p.seg.salt)
		if err != nil {
			failed = err
			return true
		}
		return positionOf(encoded) >= position
	})
	return from + i, failed
}

// together is how many of the events that come next are read at once.
func (p *picker) together(offs []uint32) int {
	place := func(i int) offset {
		if p.backward {
			i = len(offs) - 1 - i
		}
		return at(p.seg.number, int64(offs[i]))
	}
	n := 1
	for n < len(offs) && n < p.limit.Events-p.page.Count {
		a, b := place(n-1), place(n)
		if !joins(min(a, b), max(a, b), place(0)) {
			break
		}
		n++
	}
	return n
}

// group adds events that are read at once. next follows the last one that it has looked at.
func (p *picker) group(offs []uint32) (next uint64, more bool, err error) {
	span := int(offs[len(offs)-1] - offs[0])
	p.window.stride = span + guessBytes
	if _, err := p.window.at(int64(offs[0]), span+1); err != nil {
		return 0, false, cannotRead(err)
	}
	for i := range offs {
		if p.backward {
			i = len(offs) - 1 - i
		}
		encoded, err := eventIn(p.window, at(p.seg.number, int64(offs[i])), p.seg.salt)
		if err != nil {
			return 0, false, err
		}
		next = positionOf(encoded)
		count := p.page.Count
		if fits, err := p.take(encoded, next); err != nil || !fits {
			return next, false, err
		}
		if p.page.Count == count {
			p.passed++
		}
		if p.backward {
			next--
		} else {
			next++
		}
		if p.full {
			return next, false, nil
		}
	}
	return next, true, nil
}
