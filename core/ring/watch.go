package ring

import "time"

// The times of sessions (see Watch and Holder). Those of one node are durations of its
// monotonic clock: no two clocks are compared.
const (
	// BeatEvery is the pause between two beats.
	BeatEvery = 500 * time.Millisecond
	// BeatTimeout bounds a beat: one that took longer confirms nothing.
	BeatTimeout = time.Second
	// ServeFor is how long a node serves after it sent its last confirmed beat.
	ServeFor = 3 * time.Second
	// DeadAfter is how long a session's count does not move until it is dead.
	DeadAfter = 4 * time.Second
	// ContactGap is the longest time between two standings that counts as contact without
	// interruption.
	ContactGap = time.Second
)

// Watch is what one observer knows of the beats of all sessions. Times are durations of the
// observer's monotonic clock, from any start. The zero Watch has observed nothing.
type Watch struct {
	observed bool
	sent     time.Duration // when the beat of the newest standing was sent
	received time.Duration // and when it was answered
	seen     map[uint64]sighting
}

// sighting is when the count of a session was last seen to move.
type sighting struct {
	beats uint64
	moved time.Duration
}

// Observe takes the answer of a beat of the observer. After a gap in these answers, all
// sessions that are listed have DeadAfter to beat again: the storage may have been away
// for everybody.
func (w *Watch) Observe(sent, received time.Duration, s *Standing) {
	gap := !w.observed || received-w.received > ContactGap
	seen := make(map[uint64]sighting, len(s.Sessions))
	for _, session := range s.Sessions {
		last, ok := w.seen[session.Session]
		if !ok || gap || last.beats != session.Beats {
			// The beat may have been sent at any time until the answer came.
			last = sighting{session.Beats, received}
		}
		seen[session.Session] = last
	}
	w.observed, w.sent, w.received, w.seen = true, sent, received, seen
}

// Dead reports whether a session is listed and its count has not moved for DeadAfter. A
// dead session no longer serves, unless a beat of it is on its way.
func (w *Watch) Dead(session uint64) bool { return w.Silent(session) >= DeadAfter }

// Silent returns for how long the count of a session has not moved, as of the newest
// standing. It is 0 if the session is not listed.
func (w *Watch) Silent(session uint64) time.Duration {
	last, ok := w.seen[session]
	if !ok {
		return 0
	}
	return max(0, w.sent-last.moved)
}

// Contact returns when the beat of the newest standing was sent.
func (w *Watch) Contact() (sent time.Duration) { return w.sent }
