package ringtest

import (
	"encoding/json"
	"slices"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
)

// writer is what Stamp puts into an event's metadata.
type writer struct {
	Session uint64 `json:"session"`
	Epoch   uint64 `json:"epoch"`
}

// Stamp returns copies of a group's Commits whose events name the session that writes them,
// and the Commits' epochs. It is called in front of an engine.
func Stamp(group []*core.Commit, session uint64) []*core.Commit {
	stamped := make([]*core.Commit, len(group))
	for i, c := range group {
		metadata, err := json.Marshal(writer{session, c.Epoch})
		if err != nil {
			panic(err)
		}
		c := *c
		c.Appends = slices.Clone(c.Appends)
		for k := range c.Appends {
			events := slices.Clone(c.Appends[k].Events)
			for n := range events {
				events[n].Metadata = metadata
			}
			c.Appends[k].Events = events
		}
		stamped[i] = &c
	}
	return stamped
}

// CheckWriters checks that epochs rise along the log, and that each append was written by
// the owner, in the view of its epoch, of the first stream that it writes. views are all,
// in the order of their epochs.
func (h *History) CheckWriters(views []ring.View) error {
	var f faults
	owners := map[uint64]*ring.Owners{}
	for i := range views {
		owners[views[i].Epoch] = views[i].Owners()
	}
	epoch := uint64(0)
	for i := range h.Log {
		e := &h.Log[i]
		var by writer
		if err := json.Unmarshal(e.Metadata, &by); err != nil {
			f.add("position %d has no writer: %q", e.Position, e.Metadata)
			continue
		}
		if by.Epoch < epoch {
			f.add("position %d was written under epoch %d, after one of epoch %d", e.Position, by.Epoch, epoch)
		}
		epoch = by.Epoch
		n := number(e)
		if n < 1 || n > len(h.Appends) {
			continue // checkLog reports it
		}
		first := h.Appends[n-1].Commit.Appends[0].Stream
		view, ok := owners[by.Epoch]
		if !ok {
			f.add("position %d was written under epoch %d, of which there is no view", e.Position, by.Epoch)
		} else if owner, _ := view.Owner(ring.Slot(first)); owner.Session != by.Session {
			f.add("append %d to %s was written by session %d under epoch %d, whose owner is %d", n, first, by.Session, by.Epoch, owner.Session)
		}
	}
	return f.err()
}
