package host

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gyre-events/gyre/plugins/effects"
)

// tellWithin is how long a lane that ends waits for the answers to its Commits, to tell of them.
const tellWithin = time.Second

// change is what has become of a generation of a binding at its owner. A lane's are told in order,
// each when its Commit was made, and what comes behind a switch is told after it.
//
// Not every Commit is told, such as one whose answer was lost. So a lane tells the revision of its
// record: if it is not the one behind the last, what it has stored is to be read again.
type change struct {
	generation uint64
	switched   bool // it is live from now on, and no lane is told of
	lane       int
	revision   uint64 // of the lane's record
	checkpoint uint64
	staged     *effects.Staged // what the Commit has changed, until observe's function returns; nil if unknown
}

// feeds are who is told of changes, by binding.
type feeds struct {
	some atomic.Int64 // how many there are

	mu   sync.Mutex // protects the field below, and is held while they are told
	list map[string][]*func(*change)
}

// observe has do told of the changes of a binding at this node, until stop. do must not wait, nor
// call the Host.
func (h *Host) observe(name string, do func(*change)) (stop func()) {
	f := &h.feeds
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.list == nil {
		f.list = map[string][]*func(*change){}
	}
	f.list[name] = append(f.list[name], &do)
	f.some.Add(1)
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		left := slices.DeleteFunc(f.list[name], func(other *func(*change)) bool { return other == &do })
		if f.list[name] = left; len(left) == 0 {
			delete(f.list, name)
		}
		f.some.Add(-1)
	}
}

// tell tells of a change.
func (h *Host) tell(name string, c *change) {
	f := &h.feeds
	if f.some.Load() == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, do := range f.list[name] {
		(*do)(c)
	}
}

// tellOf tells of the lane as its last Commit has left it, and of what that has changed, if it is
// known.
func (l *lane) tellOf(s *effects.Staged) {
	if l.host.feeds.some.Load() == 0 {
		return
	}
	l.host.tell(l.binding.Name, &change{
		generation: l.binding.Generation, lane: l.number, revision: l.stored.revision - uint64(len(l.flights)), checkpoint: l.made.Checkpoint, staged: s,
	})
}

// tellRest tells of the Commits that are under way when the lane ends.
func (l *lane) tellRest() {
	if l.host.feeds.some.Load() == 0 {
		return
	}
	late := time.NewTimer(tellWithin)
	defer late.Stop()
	for len(l.flights) > 0 {
		select {
		case a := <-l.oldest():
			f := l.flights[0]
			if l.flights = l.flights[1:]; !l.isMade(a) {
				return
			}
			l.made = f.next
			l.tellOf(&f.staged)
		case <-late.C:
			return
		}
	}
}
