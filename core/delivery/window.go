package delivery

// window is what was read and may not be passed by the checkpoint yet: every event
// from the first that is not finished to the last that was read, in order of
// position.
type window struct {
	entries fifo[windowEntry]
	// next is the index of the first entry that was not looked at for a first
	// delivery.
	next uint64
	// cursor is the position up to which everything was read.
	cursor uint64
	// hint is the index behind that of the last event that was looked for.
	hint uint64

	unfinished int // events
	bytes      int // of those

	passed   uint64 // the position of the last event that left the window
	recorded int64  // RecordedMicros of the last event that was read
}

// windowEntry is the place of one event.
type windowEntry struct {
	position uint64
	e        *entry // nil when it is finished
}

// floor is the highest position with everything at or below it finished, or not
// for this subscription.
func (w *window) floor() uint64 {
	if w.entries.len() == 0 {
		return w.cursor
	}
	return w.entries.at(w.entries.head).position - 1
}

// floorAfterStore is what floor will be when the entries that the store under way
// parks are finished.
func (w *window) floorAfterStore() uint64 {
	for i := w.entries.head; i < w.entries.tail; i++ {
		if s := w.entries.at(i); s.e != nil && !s.e.stored {
			return s.position - 1
		}
	}
	return w.cursor
}

// add puts an entry at the end. A nil one stands for an event that is finished
// already.
func (w *window) add(position uint64, e *entry) {
	if e != nil {
		e.index = w.entries.tail
		w.unfinished++
		w.bytes += len(e.Raw)
	}
	w.entries.push(windowEntry{position, e})
}

// finish gives up the place of an entry.
func (w *window) finish(e *entry) {
	w.entries.at(e.index).e = nil
	w.unfinished--
	w.bytes -= len(e.Raw)
}

// sweep drops finished events from the front and says how many of them are beyond
// a position.
func (w *window) sweep(stored uint64) (beyond int) {
	q := &w.entries
	for q.head < q.tail && q.at(q.head).e == nil {
		w.passed = q.at(q.head).position
		if w.passed > stored {
			beyond++
		}
		q.pop()
	}
	w.next = max(w.next, q.head)
	return beyond
}

// find is the unfinished entry of a position, or nil. What is asked for is mostly
// what follows, and otherwise not far from where it would be without gaps.
func (w *window) find(position uint64) *entry {
	q := &w.entries
	if w.hint >= q.head && w.hint < q.tail && q.at(w.hint).position == position {
		w.hint++
		return q.at(w.hint - 1).e
	}
	if q.len() == 0 || position < q.at(q.head).position {
		return nil
	}
	// Positions rise by 1 at least, so it is at high-1 or before.
	low, high := q.head, q.tail
	if gap := position - q.at(low).position; gap < uint64(q.len()) {
		high = low + gap + 1
	}
	if q.at(high-1).position > position {
		for low < high {
			if mid := low + (high-low)/2; q.at(mid).position > position {
				high = mid
			} else {
				low = mid + 1
			}
		}
	}
	if q.at(high-1).position != position {
		return nil
	}
	w.hint = high
	return q.at(high - 1).e
}
