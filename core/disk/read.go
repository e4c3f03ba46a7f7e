package disk

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"sync"

	"github.com/gyre-events/gyre/core"
)

// errRetired says that a part of the index was replaced under a reader.
var errRetired = errors.New("the index has moved on")

// Read is core.Engine's.
func (e *Engine) Read(ctx context.Context, r core.ReadRequest) (core.Page, error) {
	if err := e.enter(ctx); err != nil {
		return core.Page{}, err
	}
	defer e.inUse.RUnlock()
	if r.Stream == core.All {
		return e.readAll(ctx, r, ofAll)
	}
	return e.readStream(ctx, r)
}

// readStream reads a page of a stream. It goes on while all that it finds was removed, and from
// the beginning if the stream itself was meanwhile.
func (e *Engine) readStream(ctx context.Context, r core.ReadRequest) (page core.Page, err error) {
	from, incarnation := r.From, uint32(0)
	for {
		err = e.index.consult(func() error {
			page, err = e.readSpan(&r)
			return err
		})
		beginsAgain := incarnation != 0 && page.Incarnation != incarnation
		if err != nil || (page.Count > 0 || page.End) && !beginsAgain {
			return page, err
		}
		if err := ctx.Err(); err != nil {
			return core.Page{}, core.AsError(err)
		}
		if r.From = page.Next; beginsAgain {
			r.From = from
		}
		incarnation = page.Incarnation
	}
}

// readSpan reads a page of a stream from as many entries as the page may have events.
func (e *Engine) readSpan(r *core.ReadRequest) (core.Page, error) {
	m := e.appender.durable.Load()
	v := e.index.view.Load()
	l, err := e.lifecycle(r.Stream)
	if err != nil {
		return core.Page{}, err
	}
	if refusal := l.Refusal(r.Stream); refusal != nil {
		return core.Page{}, refusal
	}
	name := indexName(r.Stream, l.Incarnation())
	version, err := v.version(e.index, name, m)
	if err != nil {
		return core.Page{}, err
	}
	page := core.Page{Version: version, Incarnation: l.Incarnation(), Head: m.head}
	if version == 0 {
		return core.Page{Incarnation: l.Incarnation()}, core.NewStreamNotFound(r.Stream)
	}
	lo, n := span(&page, r, version)
	if n == 0 {
		return page, nil
	}
	offs := make([]offset, n)
	if err := v.postings(e.index, name, lo, offs); err != nil {
		return page, err
	}
	g := gatherer{engine: e, view: v, page: &page, limit: r.Limit, stream: r.Stream, incarnation: l.Incarnation(), lo: lo}
	if err := g.gather(offs, r.Backward); err != nil {
		return page, err
	}
	finish(&page, r.Backward, version, g.next)
	return page, nil
}

// span is the range of numbers that a page may have at most, of a stream or
// log whose last is last. If it has none, the page is complete as it is.
func span(page *core.Page, r *core.ReadRequest, last uint64) (lo uint64, n int) {
	limit := uint64(r.Limit.Events)
	if r.Backward {
		hi := last
		if r.From > 0 {
			hi = min(r.From, last)
		}
		if hi == 0 {
			page.End = true
			return 0, 0
		}
		n := min(limit, hi)
		return hi - n + 1, int(n)
	}
	lo = max(r.From, 1)
	if lo > last {
		page.Next, page.End = lo, true
		return 0, 0
	}
	return lo, int(min(limit, last-lo+1))
}

// finish sets where the next page begins: next is the number of the first
// event that is not in this one.
func finish(page *core.Page, backward bool, last, next uint64) {
	page.Next = next
	if backward {
		page.End = next == 0
	} else {
		page.End = next > last
	}
}

// gatherer reads events of one stream whose places are known.
type gatherer struct {
	engine      *Engine
	view        *view
	page        *core.Page
	limit       core.Limit
	stream      string
	incarnation uint32
	lo          uint64 // version of the first offset
	next        uint64 // version that the page stopped before
	full        bool
	// guess, in bytes, is what the last event of a group may have: hardly more than the
	// largest so far.
	guess int
}

// Events whose places are near are read at once: up to nearBytes of something
// else costs less to read than another call costs.
const (
	nearBytes   = 8 << 10
	groupBytes  = 256 << 10
	guessBytes  = 1 << 10 // before any is known
	headerGuess = eventPrefixBytes + binary.MaxVarintLen64
)

// gather adds the events at offs, which grow, to the page, in order or
// backward, until the page is full. It passes over those that were removed, whose place
// is 0.
func (g *gatherer) gather(offs []offset, backward bool) error {
	if backward {
		g.next = g.lo + uint64(len(offs)) - 1
		for hi := len(offs); hi > 0 && !g.full; {
			lo := hi - 1
			if offs[lo] == 0 {
				g.next, hi = g.next-1, lo
				continue
			}
			for lo > 0 && joins(offs[lo-1], offs[lo], offs[hi-1]) {
				lo--
			}
			if err := g.group(offs[lo:hi], g.lo+uint64(lo), true); err != nil {
				return err
			}
			hi = lo
		}
		return nil
	}
	g.next = g.lo
	for lo := 0; lo < len(offs) && !g.full; {
		hi := lo + 1
		if offs[lo] == 0 {
			g.next, lo = g.next+1, hi
			continue
		}
		for hi < len(offs) && joins(offs[hi-1], offs[hi], offs[lo]) {
			hi++
		}
		if err := g.group(offs[lo:hi], g.lo+uint64(lo), false); err != nil {
			return err
		}
		lo = hi
	}
	return nil
}

// joins reports whether the neighbours a and b may be read at once, in a group
// that reaches to far on the other side.
func joins(a, b, far offset) bool {
	return a.segment() == b.segment() && b-a <= nearBytes && max(a, b, far)-min(a, b, far) <= groupBytes
}

// group reads the events at offs with as few calls as it takes; version is the
// first one's.
func (g *gatherer) group(offs []offset, version uint64, backward bool) error {
	number := offs[0].segment()
	file, err := g.engine.files.acquire(number)
	if err != nil {
		return cannotRead(err)
	}
	defer g.engine.files.release(file)
	w := takeWindow(file, math.MaxInt64, int(offs[len(offs)-1]-offs[0])+cmp.Or(g.guess, guessBytes))
	defer w.giveBack()
	salt := g.view.segment(number).salt
	for i := range offs {
		if backward {
			i = len(offs) - 1 - i
		}
		if backward && (len(w.buf) == 0 || offs[i].byte() < w.start) {
			// Fill the window from the front: what is read next lies before.
			if _, err := w.at(offs[0].byte(), int(offs[i]-offs[0])+1); err != nil {
				return cannotRead(err)
			}
		}
		encoded, err := eventIn(w, offs[i], salt)
		if err == nil {
			g.guess = max(g.guess, eventPrefixBytes+len(encoded)*9/8)
			err = g.add(encoded, offs[i], version+uint64(i))
		}
		if err != nil && !errors.Is(err, errRemoved) || g.full {
			return err
		}
		if backward {
			g.next--
		} else {
			g.next++
		}
	}
	return nil
}

// add checks that the index is right and adds the event, or what it is a
// link to, if it fits.
func (g *gatherer) add(encoded []byte, o offset, version uint64) error {
	var ev core.Event
	if !decode(encoded, &ev) {
		return corrupt(o, "an event is malformed")
	}
	if ev.Version != version || ev.Stream != g.stream || ev.Incarnation != g.incarnation {
		return &indexError{at: o}
	}
	if !isEvent(&ev) {
		var err error
		if encoded, err = g.engine.resolve(g.view, &ev, o); err != nil || encoded == nil {
			return err
		}
	}
	if g.page.Count > 0 && len(g.page.Block)+len(encoded) > g.limit.Bytes {
		g.full = true
		return nil
	}
	if g.page.Block == nil {
		guess := len(encoded) * 5 / 4 * max(1, int(min(g.page.Version, uint64(g.limit.Events))))
		g.page.Block = make([]byte, 0, max(len(encoded), min(guess, g.limit.Bytes)))
	}
	g.page.Add(encoded, ev.Position)
	return nil
}

// eventIn reads the event at o and verifies its checksum. The error is errRemoved if a
// scavenge has removed it.
func eventIn(w *window, o offset, salt uint32) ([]byte, error) {
	b, err := w.at(o.byte(), headerGuess)
	if err != nil {
		return nil, cannotRead(err)
	}
	if len(b) <= eventPrefixBytes {
		return nil, corrupt(o, "an event is cut off")
	}
	size := eventSize(b[eventPrefixBytes:])
	if size <= 0 {
		_, removed, err := extentsOf(w.file).removed(o.byte())
		if err == nil && removed {
			err = errRemoved
		}
		return nil, cmp.Or(err, error(corrupt(o, "an event is damaged")))
	}
	if b, err = w.at(o.byte(), eventPrefixBytes+size); err != nil {
		return nil, cannotRead(err)
	}
	if len(b) < eventPrefixBytes+size {
		return nil, corrupt(o, "an event is cut off")
	}
	encoded := b[eventPrefixBytes:]
	if crc32.Update(salt, castagnoli, encoded) != binary.LittleEndian.Uint32(b) {
		return nil, corrupt(o, "an event is damaged")
	}
	return encoded, nil
}

// cannotRead is the answer when the system cannot read the log.
func cannotRead(err error) error {
	var known *core.Error
	if errors.As(err, &known) {
		return err
	}
	return core.Errorf(core.CodeUnavailable, "the disk answered: %s", reason(err))
}

// windows are used again: a page needs one for a moment.
var windows = sync.Pool{New: func() any { return new(window) }}

// maxPooledBytes keeps a rare huge event from staying in memory.
const maxPooledBytes = 2 * scanStrideBytes

func takeWindow(file File, end int64, stride int) *window {
	w := windows.Get().(*window)
	w.file, w.end, w.stride, w.start, w.buf = file, end, stride, 0, w.buf[:0]
	return w
}

func (w *window) giveBack() {
	w.file = nil
	if cap(w.buf) <= maxPooledBytes {
		windows.Put(w)
	}
}
