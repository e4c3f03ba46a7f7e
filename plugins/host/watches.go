package host

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
)

const (
	// maxWatches bounds the watches of a binding, and maxAllWatches those at a node.
	maxWatches    = 64
	maxAllWatches = 256
	// maxHistory and maxHistoryBytes bound the changes of a binding that are kept for watches that
	// are behind, but for the last one.
	maxHistory      = 4096
	maxHistoryBytes = 1 << 20
)

// watches are the histories of the bindings that are watched at this node, or were lately. There is
// none of a binding that nobody watches.
type watches struct {
	resets atomic.Uint64

	mu   sync.Mutex // protects the fields below
	list map[string]*history
	open int
}

// history has the last changes of a binding, for those who watch it.
type history struct {
	stop func() // ends the telling

	watching int       // watches.mu protects it
	left     time.Time // when nobody watched any more; watches.mu protects it

	mu      sync.Mutex // protects the fields below
	last    map[laneOf]uint64
	first   uint64 // the number of the first of changes
	changes []*past
	bytes   int
	moved   chan struct{} // closed when there is another change
}

// laneOf is a lane of a generation.
type laneOf struct {
	generation uint64
	lane       int
}

// past is a change that is over.
type past struct {
	laneOf
	switched bool
	unknown  bool // what has changed is not known
	revision uint64
	position uint64
	entries  []plugins.Entry
	bytes    int
}

// join takes a place at the history of a binding, which begins if there is none.
func (h *Host) join(name string) (*history, error) {
	w := &h.watches
	w.mu.Lock()
	defer w.mu.Unlock()
	of := w.list[name]
	switch {
	case w.open == maxAllWatches:
		return nil, core.Errorf(core.CodeTooManyWatches, "the node has %d watches, which is the most", maxAllWatches)
	case of != nil && of.watching == maxWatches:
		return nil, core.Errorf(core.CodeTooManyWatches, "binding %q has %d watches, which is the most", core.Clip(name), maxWatches)
	case of == nil:
		of = &history{last: map[laneOf]uint64{}, moved: make(chan struct{})}
		of.stop = h.observe(name, of.take)
		if w.list == nil {
			w.list = map[string]*history{}
		}
		w.list[name] = of
	}
	of.watching++
	w.open++
	return of, nil
}

// leave gives a place back. The history is kept for a while, for whoever comes back.
func (w *watches) leave(of *history) {
	w.mu.Lock()
	defer w.mu.Unlock()
	of.watching--
	of.left = time.Now()
	w.open--
}

// drop ends the histories that nobody has watched since a time.
func (w *watches) drop(before time.Time) {
	w.mu.Lock()
	var gone []*history
	for name, of := range w.list {
		if of.watching == 0 && of.left.Before(before) {
			gone = append(gone, of)
			delete(w.list, name)
		}
	}
	w.mu.Unlock()
	for _, of := range gone {
		of.stop()
	}
}

// WatchStats are numbers of watches.
type WatchStats struct {
	Open   int    // now
	Resets uint64 // of watches that were too slow, or came back too late, since the node started
}

// Watches returns how many watches there are at this node.
func (h *Host) Watches() WatchStats {
	h.watches.mu.Lock()
	defer h.watches.mu.Unlock()
	return WatchStats{Open: h.watches.open, Resets: h.watches.resets.Load()}
}

// take takes a change: see change, of which it keeps copies.
func (of *history) take(c *change) {
	of.mu.Lock()
	defer of.mu.Unlock()
	p := &past{laneOf: laneOf{c.generation, c.lane}, switched: c.switched, revision: c.revision, position: c.checkpoint}
	if !c.switched {
		last, known := of.last[p.laneOf]
		of.last[p.laneOf] = c.revision
		switch {
		case c.staged == nil && known && c.revision == last:
			return
		case c.staged == nil || known && c.revision != last+1:
			p.unknown = true
		default:
			p.keep(c)
		}
	}
	of.changes = append(of.changes, p)
	of.bytes += p.bytes
	gone := 0
	for of.bytes > maxHistoryBytes && gone < len(of.changes)-1 || len(of.changes)-gone > maxHistory {
		of.bytes -= of.changes[gone].bytes
		of.changes[gone] = nil
		gone++
	}
	of.first += uint64(gone)
	of.changes = of.changes[gone:]
	close(of.moved)
	of.moved = make(chan struct{})
}

// keep copies what a Commit has changed.
func (p *past) keep(c *change) {
	const perEntry = 96
	for key, v := range c.staged.Changes() {
		p.entries = append(p.entries, plugins.Entry{Lane: c.lane, Key: key, Value: slices.Clone(v.Bytes), Deleted: !v.OK})
		p.bytes += perEntry + len(key) + len(v.Bytes)
	}
}

// end is the number of the next change.
func (of *history) end() uint64 {
	of.mu.Lock()
	defer of.mu.Unlock()
	return of.first + uint64(len(of.changes))
}

// at returns the change of a number. It is nil if there is none yet, and moved is closed when there
// is one; lost says that it is not kept any more.
func (of *history) at(number uint64) (p *past, lost bool, moved <-chan struct{}) {
	of.mu.Lock()
	defer of.mu.Unlock()
	switch {
	case number < of.first:
		return nil, true, nil
	case number < of.first+uint64(len(of.changes)):
		return of.changes[number-of.first], false, nil
	}
	return nil, false, of.moved
}

// goesOn reports whether all that a lane has committed behind a revision is kept, or will be told;
// stored is its revision now. It returns the number of the first change to look at.
func (of *history) goesOn(lane laneOf, revision, stored uint64) (from uint64, ok bool) {
	of.mu.Lock()
	defer of.mu.Unlock()
	for i, p := range of.changes {
		if p.laneOf == lane && !p.switched && p.revision == revision+1 {
			return of.first + uint64(i), !p.unknown
		}
	}
	last, known := of.last[lane]
	return of.first + uint64(len(of.changes)), stored == revision || known && last == revision
}
