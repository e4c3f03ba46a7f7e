package disk

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"slices"

	"github.com/gyre-events/gyre/core"
)

// ReadLog is core.LogReader's.
func (e *Engine) ReadLog(ctx context.Context, from uint64, limit core.Limit) (core.Page, error) {
	if err := e.enter(ctx); err != nil {
		return core.Page{}, err
	}
	defer e.inUse.RUnlock()
	page, err := e.readAll(ctx, core.ReadRequest{Stream: core.All, From: from, Limit: limit}, ofLog)
	page.Hidden = true
	return page, err
}

// scope is what a walk through the log gives.
type scope uint8

const (
	ofAll scope = iota // what $all has
	ofLog              // everything that is not removed
)

// readAll reads a page of the log.
func (e *Engine) readAll(ctx context.Context, r core.ReadRequest, what scope) (core.Page, error) {
	m := e.appender.durable.Load()
	page := core.Page{Version: m.head, Head: m.head}
	lo, hi := reachOf(&r, m.head)
	if lo > hi {
		if page.End = true; !r.Backward {
			page.Next = lo
		}
		return page, nil
	}
	page.Block = r.Buffer
	w := e.walker(ctx, &r, what, &page)
	walk := w.walk
	if r.Backward {
		walk = w.walkBack
	}
	next, err := walk(lo, hi)
	finish(&page, r.Backward, m.head, next)
	return page, err
}

// walker returns what reads a page of the log as it is now.
func (e *Engine) walker(ctx context.Context, r *core.ReadRequest, what scope, page *core.Page) *walker {
	w := &walker{ctx: ctx, engine: e, view: e.index.view.Load(), page: page, limit: r.Limit, scope: what, system: r.System}
	if e.changed.removals.Load() {
		w.of = e.remember(e.lifecycle)
	}
	return w
}

// walker reads events by position.
type walker struct {
	ctx    context.Context // of the read: it may pass over events for long
	engine *Engine
	view   *view
	page   *core.Page
	limit  core.Limit
	scope  scope
	system bool       // $all has events of the system's streams, too
	of     lifecycles // nil while no stream was changed
	ends   []int      // of each event in the page's block, if not nil
	full   bool
}

// walkStrideBytes is read at once: enough for a page, not much too much.
const walkStrideBytes = 128 << 10

// walk adds the events from lo to hi to the page until it is full, and returns
// the position behind the last that it has looked at.
func (w *walker) walk(lo, hi uint64) (next uint64, err error) {
	s := w.view.sample(lo)
	next = lo
	for next <= hi {
		if s, next, err = w.walkSegment(s, next, hi); err != nil || w.full {
			return next, err
		}
	}
	return next, nil
}

// walkSegment goes on from s to the end of its segment. The sample that it
// returns is the beginning of the next.
func (w *walker) walkSegment(s sample, next, hi uint64) (sample, uint64, error) {
	seg := w.view.segment(s.at.segment())
	file, err := w.engine.files.acquire(seg.number)
	if err != nil {
		return s, next, cannotRead(err)
	}
	defer w.engine.files.release(file)
	win := takeWindow(file, seg.end, walkStrideBytes)
	defer win.giveBack()
	x := extentsOf(file)
	o, left, position := s.at.byte(), s.left, s.position
	for position <= hi {
		if w.full {
			return s, next, nil
		}
		if left == 0 {
			if err := w.ctx.Err(); err != nil {
				return s, next, core.AsError(err)
			}
			o = align(o)
			p, err := x.at(o)
			if err != nil {
				return s, next, cannotRead(err)
			}
			if !p.kept {
				o = p.end
			}
			if o >= seg.end {
				break
			}
			var first uint64
			if o, left, first, err = enterFrame(win, seg, o); err != nil {
				return s, next, err
			}
			position, next = max(position, first), max(next, first)
			continue
		}
		encoded, err := eventIn(win, at(seg.number, o), seg.salt)
		if errors.Is(err, errRemoved) {
			if o, left, err = passRemoved(x, o, left); err != nil {
				return s, next, cannotRead(err)
			}
			if position == next {
				next++
			}
			position++
			continue
		}
		if err != nil {
			return s, next, err
		}
		if position >= next {
			if positionOf(encoded) != position {
				return s, next, corrupt(at(seg.number, o), "an event is not at its position %d", position)
			}
			if fits, err := w.take(encoded, position); err != nil || !fits {
				return s, next, err
			}
			next++
		}
		o += int64(eventPrefixBytes + len(encoded))
		left--
		position++
	}
	if position > hi {
		return s, next, nil
	}
	following := w.view.segment(seg.number + 1).first // more than position if the last were removed
	return sample{position: following, at: at(seg.number+1, headerBytes)}, max(next, following), nil
}

// passRemoved returns what is behind a removed event at o, which left counts.
func passRemoved(x *extents, o int64, left uint32) (int64, uint32, error) {
	p, err := x.at(o)
	if err != nil {
		return 0, 0, err
	}
	if !p.kept {
		return p.end, 0, nil // all of its frame was
	}
	next, _, err := x.removed(o)
	return next, left - 1, err
}

// enterFrame reads the frame header at o and returns where its events are, how many,
// and the position of the first.
func enterFrame(win *window, seg *segment, o int64) (events int64, n uint32, first uint64, err error) {
	b, err := win.at(o, frameHeaderBytes)
	if err != nil {
		return 0, 0, 0, cannotRead(err)
	}
	h, ok := decodeFrameHeader(b, seg.salt, o)
	if !ok {
		return 0, 0, 0, corrupt(at(seg.number, o), "a frame header is damaged")
	}
	return o + frameHeaderBytes + int64(h.recordsBytes), h.events, h.first, nil
}

func positionOf(encoded []byte) uint64 {
	_, k := binary.Uvarint(encoded)
	position, _ := binary.Uvarint(encoded[max(k, 0):])
	return position
}

// take adds an event to the page, or passes over it; false says that there is no room.
func (w *walker) take(encoded []byte, position uint64) (fits bool, err error) {
	if w.scope == ofAll && !core.InAll(encoded, w.system) {
		return true, nil
	}
	if isRemoved, err := w.isRemoved(encoded, position); err != nil || isRemoved {
		return true, err
	}
	if w.page.Count > 0 && len(w.page.Block)+len(encoded) > w.limit.Bytes {
		w.full = true
		return false, nil
	}
	if w.page.Block == nil {
		guess := len(encoded) * 9 / 8 * max(1, int(min(w.page.Head, uint64(w.limit.Events))))
		w.page.Block = make([]byte, 0, max(len(encoded), min(guess, w.limit.Bytes)))
	}
	w.page.Add(encoded, position)
	if w.ends != nil {
		w.ends = append(w.ends, len(w.page.Block))
	}
	w.full = w.page.Count == w.limit.Events
	return true, nil
}

// isRemoved reports whether what is encoded is removed.
func (w *walker) isRemoved(encoded []byte, position uint64) (bool, error) {
	if w.of == nil {
		return false, nil
	}
	var ev core.Event
	if !decode(encoded, &ev) {
		return false, core.Errorf(core.CodeStoreCorrupt, "the event at position %d is malformed", position)
	}
	return w.of.isRemoved(&ev)
}

// walkBack adds the events from hi down to lo, and returns the position before the
// last that it has looked at. It reads forward from one sample to the next and turns
// each piece around.
func (w *walker) walkBack(lo, hi uint64) (next uint64, err error) {
	page, limit := w.page, w.limit
	for hi >= lo {
		from := max(lo, w.view.sample(hi).position)
		piece := core.Page{Head: hi - from + 1} // what it has at most
		w.page, w.ends, w.full, w.limit = &piece, []int{0}, false, core.Limit{Events: int(hi - from + 1), Bytes: math.MaxInt}
		if _, err := w.walk(from, hi); err != nil {
			return hi, err
		}
		for i := piece.Count; i > 0; i-- {
			encoded := piece.Block[w.ends[i-1]:w.ends[i]]
			position := positionOf(encoded)
			if page.Count > 0 && len(page.Block)+len(encoded) > limit.Bytes {
				return position, nil
			}
			if page.Block == nil {
				page.Block = slices.Grow(page.Block, min(len(piece.Block), limit.Bytes))
			}
			page.Add(encoded, position)
			if page.Count == limit.Events {
				return position - 1, nil
			}
		}
		hi = from - 1 // also where there was no event
	}
	return hi, nil
}
