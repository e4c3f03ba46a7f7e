package delivery

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/gyre-events/gyre/core"
)

// Store is what to make durable in one Commit, on the condition that the
// checkpoint's record was last written by this machine (compare-and-set).
type Store struct {
	// Checkpoint is the new one. It is never lower than the one before.
	Checkpoint uint64
	// Park are events to keep as parked, in place of an earlier record of theirs.
	// Those at or below Checkpoint are finished by nothing else.
	Park []Parked
	// Remove are events that are no longer parked. There may be no record of
	// them.
	Remove []ParkedRef
	// Failed are events that failed and are not finished, to keep in place of an earlier
	// record of theirs. Forget are the positions of those that need none any more; there
	// may be no record of them.
	Failed []FailedEvent
	Forget []uint64
}

// Parked is an event that was parked.
type Parked struct {
	ParkedRef
	RecordedMicros int64
	Raw            []byte
	At             time.Time
	Cause          Cause
	Reason         string
	Attempts       int
	Failures       []Failure // the last of them
}

// storage is what is stored and what is to be.
type storage struct {
	checkpoint uint64 // stored
	passed     int    // finished events between the checkpoint and the floor, but for storing
	since      instant
	lazy       instant // when to store that events for others were passed over; never if none were
	forced     bool    // store as soon as there is something to store

	failed failed

	underWay bool
	out      Store // Invariant: not changed while under way
	storing  int   // the passed events of out
	failures int   // in a row
	retryAt  instant
}

const (
	// lazyAfter is how long the checkpoint may lag behind when only events were
	// passed over that are not for the subscription.
	lazyAfter = instant(time.Second)

	// The backoff after a store that failed doubles from the first to the second.
	minStoreBackoff = instant(100 * time.Millisecond)
	maxStoreBackoff = instant(5 * time.Second)

	// maxStoreParks keeps a Commit of records with their failures below 4 MiB, parked events
	// and failed ones together.
	maxStoreParks = 256
	// maxStoreRemoves is for the bound on records in a Commit.
	maxStoreRemoves = 1000
)

func makeStorage(checkpoint uint64) storage {
	return storage{checkpoint: checkpoint, since: never, lazy: never}
}

// unstored is how many finished events before the window are not stored as such.
func (st *storage) unstored() int { return st.passed + st.storing }

// Flush has the checkpoint stored by the next Advance, or when the store under way
// is done.
func (m *Machine) Flush() { m.store.forced = true }

// Flushed says that everything is stored that can be.
func (m *Machine) Flushed() bool {
	st := &m.store
	return !st.underWay && m.window.floor() <= st.checkpoint && m.counts[parking]+m.counts[removing]+st.failed.count == 0 && !st.failed.anyOver(st.checkpoint)
}

// Unstored is how many events are to be stored as parked, and as no longer parked. Each
// kind is stored in the order in which the inputs came.
func (m *Machine) Unstored() (parks, removals int) {
	return m.counts[parking], m.counts[removing]
}

// nextStore begins a store, if it is time for one.
func (m *Machine) nextStore() *Store {
	st := &m.store
	m.watchFloor()
	if m.storeAt() > m.now {
		return nil
	}
	st.out = Store{Checkpoint: m.window.floor()}
	for _, e := range m.parked.parking[:min(len(m.parked.parking), maxStoreParks)] {
		e.stored = true
		st.out.Park = append(st.out.Park, m.parkedOf(e))
		st.out.forget(e)
	}
	for _, e := range m.parked.removing[:min(len(m.parked.removing), maxStoreRemoves)] {
		st.out.Remove = append(st.out.Remove, ParkedRef{e.Position, e.Key})
		st.out.forget(e)
	}
	if len(st.out.Park) > 0 {
		st.out.Checkpoint = m.window.floorAfterStore()
	}
	m.storeFailed(&st.out)
	st.underWay, st.forced = true, false
	st.storing, st.passed = st.passed, 0
	st.since, st.lazy = never, never
	return &st.out
}

// forget adds the record of an entry that the store finishes, if it may have one.
func (s *Store) forget(e *entry) {
	if e.recorded {
		s.Forget = append(s.Forget, e.Position)
	}
}

func (m *Machine) parkedOf(e *entry) Parked {
	return Parked{
		ParkedRef: ParkedRef{e.Position, e.Key}, RecordedMicros: e.RecordedMicros, Raw: e.Raw,
		At: m.wall(e.past.at), Cause: e.past.cause, Reason: e.past.reason, Attempts: e.attempt, Failures: e.past.failures,
	}
}

// watchFloor notices since when there is something to store.
func (m *Machine) watchFloor() {
	st, floor := &m.store, m.window.floor()
	if st.passed > 0 && st.since == never {
		st.since = m.now
	}
	known := max(st.checkpoint, m.window.passed)
	if st.underWay {
		known = max(known, st.out.Checkpoint)
	}
	switch {
	case floor <= known:
		st.lazy = never
	case st.lazy == never:
		st.lazy = m.now + max(lazyAfter, m.opts.checkpointAfter())
	}
	if !st.underWay && floor <= st.checkpoint {
		st.forced = false
	}
}

// storeAt is when the next store is due, never if there is nothing for one.
func (m *Machine) storeAt() instant {
	st, at := &m.store, never
	switch {
	case st.underWay:
		return never
	case len(m.parked.parking)+len(m.parked.removing)+st.failed.count > 0 || st.failed.anyOver(st.checkpoint):
		at = m.now
	case m.window.floor() <= st.checkpoint:
		return never
	case st.forced || st.passed >= m.opts.CheckpointThreshold:
		at = m.now
	default:
		if after := m.opts.checkpointAfter(); after > 0 && st.passed > 0 {
			at = st.since + after
		}
		at = min(at, st.lazy)
	}
	return max(at, st.retryAt)
}

// Stored is the answer to Output.Store. After an error it will be tried again,
// with what there is to store then; where it is not known whether the Commit was
// made, the host finds out first. A record_conflict means that another owner has
// written: the machine does nothing any more, and every lease has ended.
func (m *Machine) Stored(now time.Time, err error) {
	st := &m.store
	if !st.underWay {
		return
	}
	m.tick(now)
	st.underWay = false
	switch {
	case err == nil:
		m.stored()
	case errors.Is(err, core.CodeRecordConflict):
		m.mode = lost
		m.subs = subscribers{lease: m.subs.lease}
	default:
		parking := slices.Clone(m.parked.parking[:len(st.out.Park)])
		for _, e := range parking {
			e.stored = false
		}
		m.unparkExpired(parking)
		m.storeFailedAgain(&st.out)
		st.passed += st.storing
		st.retryAt = m.now + min(minStoreBackoff<<min(st.failures, 10), maxStoreBackoff)
		st.failures++
		st.forced = true
	}
	st.out, st.storing = Store{}, 0
}

// stored finishes what the store was for.
func (m *Machine) stored() {
	st, a := &m.store, &m.parked
	st.checkpoint = st.out.Checkpoint
	st.failures, st.retryAt = 0, 0
	var expired []ParkedRef
	n := len(st.out.Park)
	m.totals.parked += uint64(n)
	for _, e := range a.parking[:n] {
		e.recorded = false
		if e.expired {
			expired = append(expired, ParkedRef{e.Position, strings.Clone(e.Key)})
		}
		if e.replay {
			m.forget(e)
		} else {
			m.finish(e)
		}
	}
	a.parking = dropFirst(a.parking, n)
	n = len(st.out.Remove)
	for _, e := range a.removing[:n] {
		e.recorded = false
		if m.opts.holdsKeys() {
			a.hold(e.Key, -1, 0)
		}
		m.forget(e)
	}
	a.removing = dropFirst(a.removing, n)
	for _, ref := range expired {
		m.remove(m.addReplay(Item{Position: ref.Position, Key: ref.Key}))
	}
	st.passed += m.window.sweep(st.checkpoint)
}

// dropFirst drops n entries from the front, in place.
func dropFirst(list []*entry, n int) []*entry {
	left := copy(list, list[n:])
	clear(list[left:])
	return list[:left]
}
