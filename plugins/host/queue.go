package host

import (
	"cmp"
	"slices"
	"strconv"
	"sync"

	"github.com/gyre-events/gyre/core"
)

// queued is an event that was delivered to a lane.
type queued struct {
	position uint64
	raw      []byte // encoded
	replay   bool   // of a parked event
	fault    string // of its filter, key or map
}

// queue has the events of a lane that were delivered and of which the machine was not shown:
// in the order of positions, each once.
type queue struct {
	mu     sync.Mutex // protects the fields below
	events []queued
	known  uint64 // what the Store's Removals was before the oldest of events was taken, or at the last look
}

// isKnown reports whether nothing was removed up to a count since the events were taken.
func (q *queue) isKnown(upTo uint64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.known >= upTo || len(q.events) == 0
}

// begin begins a look: it returns the events, and since when they may be gone. From then on they
// count as known up to a count.
func (q *queue) begin(upTo uint64) (events []queued, known uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	known, q.known = q.known, upTo
	return slices.Clone(q.events), known
}

// know takes back what begin has noted.
func (q *queue) know(known uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.known = min(q.known, known)
}

// push puts an event in its place, which was taken when the Store's Removals was known. One that is
// there already is the same event (L3).
func (q *queue) push(e queued, known uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := len(q.events)
	if n == 0 {
		q.known = known
	}
	q.known = min(q.known, known)
	if n == 0 || q.events[n-1].position < e.position {
		q.events = append(q.events, e)
		return
	}
	i, found := slices.BinarySearchFunc(q.events, e.position, byPosition)
	if !found {
		q.events = slices.Insert(q.events, i, e)
	}
}

func byPosition(e queued, position uint64) int { return cmp.Compare(e.position, position) }

// front copies to dst the first events that are not under way, and not behind upTo. Those under
// way are from the position first to last, or none if that is 0. Of what is before them nothing
// behind them is copied. full reports whether there is no room for another in a batch.
func (q *queue) front(dst []queued, limit core.Limit, first, last, upTo uint64) (_ []queued, full bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	events := q.events
	if last > 0 {
		if n, _ := slices.BinarySearchFunc(events, first, byPosition); n > 0 {
			events = events[:n]
		} else {
			n, _ = slices.BinarySearchFunc(events, last+1, byPosition)
			events = events[n:]
		}
	}
	bytes := 0
	for i := range events {
		if events[i].position > upTo {
			return dst, false
		}
		bytes += len(events[i].raw)
		if len(dst) == limit.Events || bytes > limit.Bytes && len(dst) > 0 {
			return dst, true
		}
		dst = append(dst, events[i])
	}
	return dst, len(dst) == limit.Events
}

// remove takes out events, which are in order.
func (q *queue) remove(gone []queued) {
	q.mu.Lock()
	defer q.mu.Unlock()
	i, to := 0, 0
	for _, e := range q.events {
		for i < len(gone) && gone[i].position < e.position {
			i++
		}
		if i < len(gone) && gone[i].position == e.position {
			continue
		}
		q.events[to] = e
		to++
	}
	clear(q.events[to:]) // they hold their blocks in memory
	q.events = q.events[:to]
}

func itoa(n int) string    { return strconv.Itoa(n) }
func utoa(n uint64) string { return strconv.FormatUint(n, 10) }
