package ring

// Session is what storage knows of a session.
type Session struct {
	Member
	// Beats counts the beats. A session whose count has not moved for DeadAfter of an
	// observer's own clock is dead to him (Watch).
	Beats uint64
	// Released is the epoch up to which the session has let go of what it lost: it hosts
	// nothing that it does not own in the view of that epoch, or a later one.
	Released uint64
	// Draining asks to be left out of views: the session still answers as an entry node.
	Draining bool
	// Secret is known to who can read the storage. It proves one node to another. No report
	// has it.
	Secret [32]byte `json:"-"`
}

// Standing is what a beat answers: all of one moment.
type Standing struct {
	Epoch    uint64    // the newest, which is that of the log
	Sessions []Session // those that have not left, in the order of their numbers
}

// Session finds a session. One that is not there has left, or was superseded by another
// of its node id.
func (s *Standing) Session(number uint64) (Session, bool) {
	for _, session := range s.Sessions {
		if session.Session == number {
			return session, true
		}
	}
	return Session{}, false
}
