package core

import (
	"context"
	"time"
)

// One read with a Select looks at so much of the log at most, whatever it finds. A reader
// that goes on after such a page gets all that matches; one that gives up has cost little.
const (
	scanPageEvents = 64 << 10
	scanPageBytes  = 16 << 20
)

// scanFirstBytes is what a scan reads first. It reads twice as much each time, up to
// scanBytes: what is wanted may be near.
const scanFirstBytes = 64 << 10

// scan is a read with a Select under way. It reads pages of everything, or of what the
// engine has selected, and copies what matches.
type scan struct {
	store  *Store
	want   ReadRequest
	page   Page // Head and Version are those of the part that has the newest events
	next   uint64
	part   int // bytes to read next
	room   int // for what the part may have that matches, if most of it does
	events int // that were looked at,
	bytes  int // with their bytes
	stop   time.Time
	full   bool
}

// scan returns the page of a request with a Select.
func (s *Store) scan(ctx context.Context, r ReadRequest) (Page, error) {
	c := &scan{store: s, want: r, next: r.From, part: scanFirstBytes}
	if deadline, ok := ctx.Deadline(); ok {
		now := time.Now()
		c.stop = now.Add(deadline.Sub(now) / 2) // what was found is returned in time
	}
	buffer := scanBuffers.Get().(*[scanBytes]byte)
	defer scanBuffers.Put(buffer)
	for first := true; first || !c.ends(); first = false {
		part, err := c.read(ctx, buffer[:0])
		if err != nil {
			return Page{}, err
		}
		c.events += part.Count + int(part.Scanned)
		c.bytes += len(part.Block)
		if s.policies.any.Load() {
			if _, err := s.newExpiry().trim(ctx, &r, &part); err != nil {
				return Page{}, err
			}
		}
		c.take(&part, first)
	}
	return c.page, nil
}

// ends reports whether the page is complete, or no more is looked at for it.
func (c *scan) ends() bool {
	return c.full || c.page.End || c.page.Count >= c.want.Limit.Events ||
		c.events >= scanPageEvents || c.bytes >= scanPageBytes ||
		!c.stop.IsZero() && !time.Now().Before(c.stop)
}

// read reads the part that comes next, from an index if the engine has one. A reader that may
// not read everything gets no index: how far and how fast that leads would tell what there is
// in streams of others.
func (c *scan) read(ctx context.Context, buffer []byte) (Page, error) {
	r := c.want
	r.From, r.Buffer = c.next, buffer
	if e, ok := c.store.engine.(Selector); ok && r.Select.Filter.Within == nil {
		r.Limit = Limit{Events: c.want.Limit.Events - c.page.Count, Bytes: min(scanBytes, max(c.want.Limit.Bytes-len(c.page.Block), 1))}
		if page, ok, err := e.ReadSelected(ctx, r); ok || err != nil {
			c.room = len(page.Block)
			return page, err
		}
	}
	r.Limit = Limit{Events: MaxReadEvents, Bytes: min(c.part, scanPageBytes-c.bytes)}
	c.part = min(2*c.part, scanBytes)
	r.Select = Selection{}
	return c.store.engine.Read(ctx, r)
}

// take copies what matches of a part, and moves on past the part or up to the first event
// that there is no room for.
func (c *scan) take(part *Page, first bool) {
	if first || !c.want.Backward {
		c.page.Version, c.page.Incarnation, c.page.Head = part.Version, part.Incarnation, part.Head
	}
	c.page.Expired = c.page.Expired || part.Expired
	c.next, c.page.End = part.Next, part.End
	for rest := part.Block; len(rest) > 0; {
		h, ok := decodeHead(rest)
		if !ok {
			panic("core: batch with a malformed event")
		}
		if c.want.Select.match(rest, &h) && !c.add(rest[:h.size], &h) {
			break
		}
		rest = rest[h.size:]
	}
	c.page.Next = c.next
	c.page.Scanned = c.scanned()
}

// add adds an event to the page. If there is no room, the next page begins with it.
func (c *scan) add(encoded []byte, h *eventHead) bool {
	p, limit := &c.page, c.want.Limit
	if p.Count > 0 && (p.Count >= limit.Events || len(p.Block)+h.size > limit.Bytes) {
		c.full, p.End, c.next = true, false, h.version
		if c.want.Stream == All {
			c.next = h.position
		}
		return false
	}
	if p.Block == nil {
		p.Block = make([]byte, 0, max(h.size, c.room))
	}
	p.Add(encoded, h.position)
	return true
}

// scanned is how many versions, or positions of $all, the page reaches over.
func (c *scan) scanned() uint64 {
	if c.want.Backward {
		from := c.page.Version
		if c.want.From > 0 {
			from = min(from, c.want.From)
		}
		return from - min(from, c.next)
	}
	from := max(c.want.From, 1)
	return max(c.next, from) - from
}

// seek sets where r begins to the place of its FromTime. If nothing is there, page is the
// empty page of r.
func (s *Store) seek(ctx context.Context, r *ReadRequest) (page Page, empty bool, err error) {
	end, err := s.engine.Read(ctx, ReadRequest{Stream: r.Stream, Backward: true, System: r.System, Limit: Limit{Events: 1, Bytes: 1}})
	if err != nil {
		return Page{}, false, err
	}
	t := r.FromTime
	r.FromTime = time.Time{}
	begins := func(recorded time.Time) bool { return !recorded.Before(t) }
	if r.Backward {
		begins = func(recorded time.Time) bool { return recorded.After(t) }
	}
	r.From, err = s.firstRecorded(ctx, ReadRequest{Stream: r.Stream, System: r.System}, end.Version, begins)
	if err != nil || !r.Backward {
		return Page{}, false, err
	}
	r.From--
	return Page{Version: end.Version, Incarnation: end.Incarnation, Head: end.Head, End: true}, r.From == 0, nil
}

// firstRecorded returns the first version of a stream, or position of $all, from which on
// begins holds for the times at which events were recorded; last+1 if there is none.
func (s *Store) firstRecorded(ctx context.Context, r ReadRequest, last uint64, begins func(recorded time.Time) bool) (uint64, error) {
	r.Limit = Limit{Events: 1, Bytes: 1}
	return searchUint(1, last+1, func(n uint64) (bool, error) {
		r.From = n
		page, err := s.engine.Read(ctx, r)
		if err != nil || page.Count == 0 {
			return true, err
		}
		return begins(page.Slice()[0].Recorded), nil
	})
}
