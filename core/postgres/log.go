package postgres

import (
	"sync"
	"time"

	"github.com/gyre-events/gyre/core"
)

// logState is what the engine knows of the log: hints, but for the identity.
type logState struct {
	// outage is what reads wait for the end of.
	outage outage

	mu sync.Mutex // protects the fields below
	id string
	// epoch is the greatest epoch that was seen.
	epoch     uint64
	timelines []core.Timeline
	// changes is how many Commits are known to have changed streams as a whole.
	changes uint64
	// head is the greatest position that is known to be committed.
	head uint64
	// last is the last event that is known to be committed, to recognize the log
	// by after a fail-over.
	last mark
	// changed is closed, and made anew, when head or id change.
	changed chan struct{}
	waiting int         // in WaitHead
	problem *core.Error // why the log takes no Commits; nil if it does
	failed  time.Time   // when that was last found
	bytes   int64
	// typesIndexed is whether typeIndex was there when that was last asked.
	typesIndexed bool
}

// mark is an event.
type mark struct {
	position uint64
	id       core.ID
	// changes is how many Commits had changed streams as a whole when the event was there.
	changes uint64
}

func (l *logState) state() core.State {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := core.State{Log: l.id, Epoch: l.epoch, Timelines: l.timelines, Head: l.head, Bytes: l.bytes}
	if l.problem != nil {
		s.ReadOnly = l.problem
	}
	return s
}

// hasTypes reports whether typeIndex is there, as far as is known.
func (l *logState) hasTypes() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.typesIndexed
}

// advance notes that the log has reached a head, and wakes waiters.
func (l *logState) advance(head uint64, last mark) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if last.position > l.last.position {
		l.last = last
	}
	if head > l.head {
		l.head = head
		l.wake()
	}
}

// append notes what a step of this engine has written. It wakes no waiter: the
// engine's Store has the events.
func (l *logState) append(last mark) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if last.position > l.last.position {
		l.last = last
	}
	l.head = max(l.head, last.position)
}

// forget forgets the last event that was known, if it was removed.
func (l *logState) forget(now *logRow, last mark) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last == last && now.mayHaveRemoved(last) {
		l.last = mark{}
	}
}

// wake wakes waiters. mu must be held.
func (l *logState) wake() {
	if l.waiting > 0 {
		close(l.changed)
		l.changed = make(chan struct{})
	}
}

// reached notes the epoch, the timelines and the changes of streams that the log was found
// at, and reports whether there were more changes.
func (l *logState) reached(now *logRow) (changed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	changed = now.changes > l.changes
	l.changes = max(l.changes, now.changes)
	l.epoch = max(l.epoch, now.epoch)
	l.timelines = now.timelines
	return changed
}

// noteChanges notes that a step of this engine has changed streams as a whole.
func (l *logState) noteChanges(changes uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changes = max(l.changes, changes)
}

// passed notes that an epoch is over, or the present one.
func (l *logState) passed(epoch uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch = max(l.epoch, epoch)
}

// identity is what tells logs apart.
type identity struct {
	id       string
	epoch    uint64
	timeline string // the newest; not part of what is known
}

// known is what a connection to the log has to find.
type known struct {
	identity
	changes uint64
	last    mark
}

func (l *logState) known() known {
	l.mu.Lock()
	defer l.mu.Unlock()
	return known{identity{id: l.id, epoch: l.epoch}, l.changes, l.last}
}

// replace notes that the log is another one now.
func (l *logState) replace(now *logRow) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.id == now.id {
		l.head = max(l.head, now.head)
	} else {
		l.id, l.head, l.last, l.changes = now.id, now.head, mark{}, 0
	}
	l.changes = max(l.changes, now.changes)
	l.epoch = max(l.epoch, now.epoch)
	l.timelines = now.timelines
	l.wake()
}

// fail notes why the log takes no Commits; nil that it does.
func (l *logState) fail(problem *core.Error) (before *core.Error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before, l.problem, l.failed = l.problem, problem, time.Now()
	return before
}

// doubtFor is for how long a problem is believed that no Commit has met again.
const doubtFor = 5 * time.Second

// mayMend reports whether there is a problem that a look at the log disproves:
// that it cannot be reached, or one that was found some time ago. A full disk shows
// when something is written, and nothing may be as long as the node says that it
// cannot.
func (l *logState) mayMend() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.problem != nil && (l.problem.Code == core.CodeStoreUnavailable || time.Since(l.failed) > doubtFor)
}
