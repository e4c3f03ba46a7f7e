package core

import "sync"

// scanBuffers are for pages of which only what matches is copied: many readers that pass over
// events of others would otherwise keep the collector busy.
var scanBuffers = sync.Pool{New: func() any { return new([scanBytes]byte) }}

// choice is the matching events that a follower has found so far. While they are one run of a
// block, Block is a view of that; with the next run they are copied to a scan buffer. It ends with
// copied, unless it is a view.
type choice struct {
	Batch
	view   bool // Block is a view of the block that is being looked at, up to end
	end    int
	buffer *[scanBytes]byte // nil while there has been one run
}

// add adds an event: size bytes at a place of the block that is being looked at.
func (c *choice) add(block []byte, at, size int, position uint64) {
	if c.Count == 0 {
		c.First, c.view, c.end, c.Block = position, true, at, block[at:at]
	}
	if c.view && c.end == at {
		c.end += size
		c.Block = block[c.end-size-len(c.Block) : c.end : c.end]
	} else {
		c.leave()
		c.Block = append(c.Block, block[at:at+size]...)
	}
	c.Count++
	c.Last = position
}

// leave copies what is a view.
func (c *choice) leave() {
	if c.view {
		c.buffer = scanBuffers.Get().(*[scanBytes]byte)
		c.Block, c.view = append(c.buffer[:0], c.Block...), false
	}
}

// copied returns the events in memory of their size: readers keep many of them, a part of a block
// keeps all of it, and a block that grows leaves three times as much garbage.
func (c *choice) copied() Batch {
	c.Block = append([]byte(nil), c.Block...)
	if c.buffer != nil {
		scanBuffers.Put(c.buffer)
	}
	return c.Batch
}

// choose adds the matching events of b to c and moves the follower past all events that it
// examined. It returns false when c is full, and before a link without content in the follower's
// stream. x, if not nil, passes over what has expired.
func (f *follower) choose(c *choice, b Batch, limit Limit, x *expiry) bool {
	c.leave() // it was of another block
	for at := 0; at < len(b.Block); {
		h, ok := decodeHead(b.Block[at:])
		if !ok {
			panic("core: batch with a malformed event")
		}
		wanted := f.wants(&h)
		if wanted && h.bare {
			return false
		}
		if wanted && (x == nil || !x.hides(&h)) {
			if c.Count > 0 && (c.Count >= limit.Events || len(c.Block)+h.size > limit.Bytes) {
				return false
			}
			c.add(b.Block, at, h.size, h.position)
		}
		if f.stream == h.stream {
			f.version, f.incarnation, f.placed = h.version, h.incarnation, true
		}
		f.position = h.position
		at += h.size
	}
	return true
}

// wants reports whether the follower gets an event, if it has not expired.
func (f *follower) wants(h *eventHead) bool {
	mine := f.stream == h.stream || f.stream == All && h.inAll(f.system)
	return mine && f.filter.Match(h.home, h.typ)
}

// chosen is choose of one page. The events are copied, unless the page is the follower's own and they
// are most of it: then they are a view of it.
func (f *follower) chosen(page Batch, limit Limit, owned bool) (out Batch, all bool) {
	var c choice
	all = f.choose(&c, page, limit, nil)
	f.dense = isMost(len(c.Block), len(page.Block))
	if owned && c.view && isMost(len(c.Block), cap(page.Block)) {
		return c.Batch, all
	}
	return c.copied(), all
}

// isMost reports whether n bytes are so much of a block that it is worth keeping for them.
func isMost(n, of int) bool { return n > of-of/4 }
