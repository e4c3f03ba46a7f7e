package core

import (
	"iter"
	"slices"
)

// Batch is an immutable run of encoded events in reading order: what one step wrote,
// or one page of a read. Copies share the bytes. The zero Batch is empty.
type Batch struct {
	// Block holds Count encoded events back to back (codec.go).
	Block []byte
	Count int
	// First and Last are the positions of the first and the last event.
	First, Last uint64
	// Hidden reports that the events may include ones that readers of $all do not get:
	// events of the system's streams, and links, which are without content then. Only
	// Steps and pages of ReadLog set it.
	Hidden bool
}

// Events decodes the events one by one, in place. It panics on a malformed
// event: use ParseBatch to make a Batch of bytes from outside.
func (b Batch) Events() iter.Seq[Event] {
	return func(yield func(Event) bool) {
		for rest := b.Block; len(rest) > 0; {
			var e Event
			n, err := DecodeEvent(rest, &e)
			if err != nil {
				panic("core: batch with a malformed event")
			}
			if !yield(e) {
				return
			}
			rest = rest[n:]
		}
	}
}

// Place is an event's place, which is cheaper to find than to decode the event.
type Place struct {
	Position       uint64
	Version        uint64 // in Stream
	RecordedMicros int64
	Stream         string // a view into Batch.Block
	// At and Size are those of the encoded event in Batch.Block.
	At, Size int
}

// Places returns each event's place. It panics as Events does.
func (b Batch) Places() iter.Seq[Place] {
	return func(yield func(Place) bool) {
		for at := 0; at < len(b.Block); {
			p, ok := decodePlace(b.Block[at:])
			if !ok {
				panic("core: batch with a malformed event")
			}
			p.At = at
			if !yield(p) {
				return
			}
			at += p.Size
		}
	}
}

// Slice decodes all events.
func (b Batch) Slice() []Event {
	events := make([]Event, 0, b.Count)
	for e := range b.Events() {
		events = append(events, e)
	}
	return events
}

// ParseBatch checks that block is exactly count events, and returns a Batch that owns
// the block.
func ParseBatch(block []byte, count int) (Batch, error) {
	b := Batch{Block: block, Count: count}
	seen := 0
	for rest := block; len(rest) > 0; seen++ {
		var e Event
		n, err := DecodeEvent(rest, &e)
		if err != nil {
			return Batch{}, err
		}
		if seen == 0 {
			b.First = e.Position
		}
		b.Last = e.Position
		rest = rest[n:]
	}
	if seen != count {
		return Batch{}, errMalformedEvent
	}
	return b, nil
}

// Add appends one encoded event to a Batch that is still being built by its only
// owner.
func (b *Batch) Add(encoded []byte, position uint64) {
	if b.Count == 0 {
		b.First = position
	}
	b.Block = append(b.Block, encoded...)
	b.Count++
	b.Last = position
}

// Matching returns the events that match f: b itself if all of them do.
func (b Batch) Matching(f *Filter) Batch {
	return b.where(func(h *eventHead) bool { return f.Match(h.home, h.typ) })
}

// where returns the events of which keep is true: b itself if it is of all of them.
func (b Batch) where(keep func(h *eventHead) bool) Batch {
	var out Batch
	all := true
	for at := 0; at < len(b.Block); {
		h, ok := decodeHead(b.Block[at:])
		if !ok {
			panic("core: batch with a malformed event")
		}
		kept := keep(&h)
		if all && !kept { // the first that is not: what is before it, is
			all = false
			out = b.before(at)
		}
		if !all && kept {
			out.Add(b.Block[at:at+h.size], h.position)
		}
		at += h.size
	}
	if all {
		return b
	}
	return out
}

// before is a copy of the events that come before the byte end.
func (b Batch) before(end int) (out Batch) {
	for at := 0; at < end; {
		h, _ := decodeHead(b.Block[at:])
		out.Add(b.Block[at:at+h.size], h.position)
		at += h.size
	}
	return out
}

// Cut splits off the first events that fit l, at least one if there is any.
// Both parts share the bytes of b.
func (b Batch) Cut(l Limit) (head, tail Batch) {
	if b.Count <= l.Events && len(b.Block) <= l.Bytes {
		return b, Batch{}
	}
	end, count := 0, 0
	var last eventHead
	for end < len(b.Block) && count < l.Events {
		h, ok := decodeHead(b.Block[end:])
		if !ok {
			panic("core: batch with a malformed event")
		}
		if count > 0 && end+h.size > l.Bytes {
			break
		}
		end += h.size
		count++
		last = h
	}
	if count == 0 {
		return Batch{}, b
	}
	if count == b.Count {
		return b, Batch{}
	}
	head = Batch{Block: b.Block[:end:end], Count: count, First: b.First, Last: last.position, Hidden: b.Hidden}
	next, _ := decodeHead(b.Block[end:])
	tail = Batch{Block: b.Block[end:], Count: b.Count - count, First: next.position, Last: b.Last, Hidden: b.Hidden}
	return head, tail
}

// joinAfter returns the events of the batches after position, cut to limit. It copies
// them only if they come from several batches.
func joinAfter(batches []Batch, position uint64, limit Limit) Batch {
	var parts []Batch
	left := limit
	for _, b := range batches {
		part, rest := b.after(position).Cut(left)
		if len(parts) > 0 && len(part.Block) > left.Bytes {
			break // Cut gives at least one event, which is for the next time
		}
		if part.Count > 0 {
			parts = append(parts, part)
		}
		left = Limit{left.Events - part.Count, left.Bytes - len(part.Block)}
		if rest.Count > 0 || left.Events <= 0 || left.Bytes <= 0 {
			break
		}
	}
	switch len(parts) {
	case 0:
		return Batch{}
	case 1:
		return parts[0]
	}
	out := Batch{First: parts[0].First, Last: parts[len(parts)-1].Last}
	for _, p := range parts {
		out.Count += p.Count
	}
	out.Block = make([]byte, 0, limit.Bytes-left.Bytes)
	for _, p := range parts {
		out.Block = append(out.Block, p.Block...)
	}
	return out
}

// after drops the events at or below position.
func (b Batch) after(position uint64) Batch {
	if b.Last <= position {
		return Batch{}
	}
	for b.First <= position {
		h, _ := decodeHead(b.Block)
		b.Block = b.Block[h.size:]
		b.Count--
		next, ok := decodeHead(b.Block)
		if !ok {
			panic("core: batch with a malformed event")
		}
		b.First = next.position
	}
	return b
}

// newerThan returns the events after position of a batch that was read backward, in order.
func newerThan(position uint64, backward Batch) (out Batch) {
	var heads []eventHead
	for rest := backward.Block; len(rest) > 0; {
		h, ok := decodeHead(rest)
		if !ok {
			panic("core: batch with a malformed event")
		}
		if h.position <= position {
			break
		}
		heads = append(heads, h)
		rest = rest[h.size:]
	}
	end := 0
	for _, h := range heads {
		end += h.size
	}
	for _, h := range slices.Backward(heads) {
		out.Add(backward.Block[end-h.size:end], h.position)
		end -= h.size
	}
	return out
}

// Limit bounds a page or a delivery. A single event may exceed Bytes.
type Limit struct {
	Events int
	Bytes  int
}
