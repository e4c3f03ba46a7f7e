package core

import "errors"

// NoteKnown sets Known of an error that is duplicate_event for c, for engines, and returns any
// other error as it is. has reports whether the stream of a has an event, or a link if a has
// links, with this id. It is called for every id that c gives, with the number of the event or
// link. NoteKnown returns the first error of has instead.
func NoteKnown(err error, c *Commit, has func(n int, a *Append, id ID) (bool, error)) error {
	var refusal *Error
	if !errors.As(err, &refusal) || refusal.Code != CodeDuplicateEvent {
		return err
	}
	n := 0
	note := func(a *Append, id ID) error {
		if !id.IsZero() {
			switch known, err := has(n, a, id); {
			case err != nil:
				return err
			case known:
				refusal.Known = append(refusal.Known, n)
			}
		}
		n++
		return nil
	}
	for i := range c.Appends {
		a := &c.Appends[i]
		for j := range a.Events {
			if err := note(a, a.Events[j].ID); err != nil {
				return err
			}
		}
		for _, id := range a.Links {
			if err := note(a, id); err != nil {
				return err
			}
		}
	}
	return refusal
}
