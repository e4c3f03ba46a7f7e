package scavenge

import (
	"time"

	"github.com/gyre-events/gyre/core"
)

// State says what became of the latest scavenge.
type State string

// The states.
const (
	None        State = "none"        // there was no scavenge yet
	Running     State = "running"     //
	Stopping    State = "stopping"    // it was asked to end, and will
	Stopped     State = "stopped"     // it ended because it was asked to
	Interrupted State = "interrupted" // its node ended
	Failed      State = "failed"      // Problem says why
	Done        State = "done"
)

// Ended reports whether the scavenge runs no more.
func (s State) Ended() bool { return s != Running && s != Stopping }

// Request says what a scavenge is to do.
type Request struct {
	// All removes everything that goes, whatever that costs (core.Scavenging).
	All bool `json:"all"`
	// DryRun only counts.
	DryRun bool `json:"dryRun"`
	// BytesPerSecond bounds what is read and written of the log; 0 is no bound.
	BytesPerSecond int64 `json:"bytesPerSecond"`
}

// Status is what is known of the latest scavenge.
type Status struct {
	State State `json:"state"`
	Request
	Node    string    `json:"node,omitempty"`   // where it runs, or ran
	Started time.Time `json:"started,omitzero"` // of the part that runs
	Changed time.Time `json:"changed,omitzero"` // when this was last so
	// Resumed is how many times it went on where it was ended.
	Resumed int `json:"resumed"`
	// Progress is how much of the log was looked at, from 0 to 1.
	Progress float64 `json:"progress"`
	Bytes    int64   `json:"bytes"`   // that the log had, as far as it was looked at
	Won      int64   `json:"won"`     // bytes that were given back, or would be
	Events   uint64  `json:"events"`  // that went, links included, or would go
	Records  uint64  `json:"records"` // changes of records that went, or would go
	// LeftOut is how many bytes the newest part of the log has, which was not looked at: All
	// includes it.
	LeftOut int64 `json:"leftOut,omitempty"`
	// Deferred is how many bytes have the parts of the log that are left to the next scavenge, as
	// policies were loosened again and again meanwhile.
	Deferred int64 `json:"deferred,omitempty"`
	// Problem is why it failed.
	Problem *Problem `json:"problem,omitempty"`
}

// Problem is an error of the catalogue.
type Problem struct {
	Code   core.Code `json:"code"`
	Detail string    `json:"detail"`
}

// entry is the record of the latest scavenge.
type entry struct {
	Status
	Process string `json:"process"` // the random name of what ran it
	Place   place  `json:"place"`   // of the last scavenge that was no dry run
}

// place is where a scavenge goes on that was ended, with what it had done. Next is 0 if there is
// nothing to go on with.
type place struct {
	Next    uint64         `json:"next"`
	All     bool           `json:"all"`
	Resumed int            `json:"resumed"`
	Done    core.Scavenged `json:"done"`
}

// next is the record of a scavenge that begins.
func (e *entry) next(r Request, node, process string, now time.Time) entry {
	n := entry{Status: Status{State: Running, Request: r, Node: node, Started: now, Changed: now}, Process: process, Place: e.Place}
	switch p := &n.Place; {
	case r.DryRun:
	case p.Next == 0 || p.All != r.All:
		*p = place{All: r.All}
	default:
		p.Resumed++
		n.Resumed = p.Resumed
		n.count(&p.Done)
	}
	return n
}

// count takes over what was done.
func (s *Status) count(d *core.Scavenged) {
	s.Bytes, s.Won, s.Events, s.Records, s.LeftOut, s.Deferred = d.Bytes, d.Won, d.Events, d.Changes, d.LeftOut, d.Deferred
	if s.Progress = 0; d.Next > 0 {
		s.Progress = min(float64(d.Next-1)/float64(max(d.Last, 1)), 1)
	}
}

// after is e with what a part has done, on top of what was done before it.
func (e entry) after(d core.Scavenged, now time.Time) entry {
	if !e.DryRun {
		before := e.Place.Done
		d.Bytes += before.Bytes
		d.Won += before.Won
		d.Events += before.Events
		d.Changes += before.Changes
		d.Deferred += before.Deferred
		e.Place.Done, e.Place.Next = d, d.Next
	}
	e.count(&d)
	e.Changed = now
	return e
}
