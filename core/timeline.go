package core

// Timeline is a stretch of a log's history, from one opening of the log to the
// next. Cursors and ETags begin with its name. A log that is restored from an
// older copy goes on in a timeline of its own, so that no position of the lost
// tail is taken for one that was written after the restore.
type Timeline struct {
	// Name is a short word of letters and digits that no other timeline of any
	// log has.
	Name string
	// After is the head of the log when the timeline began.
	After uint64
	// Log is the identity that the log had in the timeline, which a restore of a backup
	// replaces. It is empty where storage does not know it.
	Log string
}

// Timeline returns the name of the timeline that the log is in. It is the log's
// identity where storage keeps no timelines.
func (s State) Timeline() string {
	if n := len(s.Timelines); n > 0 {
		return s.Timelines[n-1].Name
	}
	return s.Log
}

// Cursor returns the cursor of a position of the log as it is now.
func (s State) Cursor(position uint64) Cursor {
	return Cursor{Log: s.Timeline(), Position: position}
}

// End returns the last position that the log had in a timeline, its head for the
// last one. ok is false if the log has no such timeline. The identity of the log
// stands for the last one, too, and a former identity for the last one of those that had it.
func (s State) End(timeline string) (end uint64, ok bool) {
	if timeline == s.Timeline() || timeline == s.Log {
		return s.Head, true
	}
	for i := len(s.Timelines) - 2; i >= 0; i-- {
		if t := &s.Timelines[i]; t.Name == timeline || t.Log == timeline && timeline != "" {
			return s.Timelines[i+1].After, true
		}
	}
	return 0, false
}

// Reached reports whether the log has what it had up to position in a timeline, or under an
// identity.
func (s State) Reached(timeline string, position uint64) bool {
	end, ok := s.End(timeline)
	return ok && position <= end
}

// checkPlace checks that what the log had up to position in a timeline is what it
// has now. Errors: log_changed, and invalid_cursor if the position is not there yet.
// Without a timeline, the position is taken for one of the log as it is.
func (s State) checkPlace(timeline string, position uint64) error {
	if timeline == "" {
		timeline = s.Log
	}
	end, ok := s.End(timeline)
	switch {
	case !ok:
		return Errorf(CodeLogChanged, "the cursor is of log %q, this is log %q", Clip(timeline), s.Timeline())
	case position <= end:
		return nil
	case timeline == s.Timeline() || timeline == s.Log:
		return Errorf(CodeInvalidCursor, "position %d is ahead of the log's head %d", position, end)
	}
	return Errorf(CodeLogChanged, "position %d is of a tail that the log has lost; it had %d when it was opened again", position, end)
}
