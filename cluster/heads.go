package cluster

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/gyre-events/gyre/core"
)

// headsApart is the least time between two hints to other nodes.
const headsApart = time.Millisecond

// heads is what other nodes are told of the log's head.
type heads struct {
	newest atomic.Uint64
	moved  chan struct{} // has room for one
}

func newHeads() *heads { return &heads{moved: make(chan struct{}, 1)} }

// written takes notice of a Commit that was written here, whose position is the log's head if
// it is the last of its step. Only the last of a step says so to other nodes.
func (r *Router) written(c *core.Commit, result core.Result, head uint64) {
	if !c.System { // which nobody owns
		for i := range c.Appends {
			r.owned.note(c.Appends[i].Stream, c.Epoch, result.Appends[i].LastVersion)
		}
	}
	for i := range c.Streams {
		if c.Streams[i].Action.Removes() {
			r.owned.forget(c.Streams[i].Stream)
		}
	}
	if result.Position < head && len(c.Streams) == 0 { // the result leaves out what tells of changes of streams
		return // whoever writes at head says so
	}
	for known := r.heads.newest.Load(); known < head && !r.heads.newest.CompareAndSwap(known, head); {
		known = r.heads.newest.Load()
	}
	select {
	case r.heads.moved <- struct{}{}:
	default:
	}
}

// tellHeads tells other members what head the log has reached by this node's Commits.
func (r *Router) tellHeads() {
	for {
		select {
		case <-r.heads.moved:
		case <-r.closing.Done():
			return
		}
		head := r.heads.newest.Load()
		for _, link := range r.unaware(head) {
			link.Head(head)
		}
		select {
		case <-time.After(headsApart):
		case <-r.closing.Done():
			return
		}
	}
}

// unaware returns the Links to nodes that no answer to a Commit of theirs has told of a head.
func (r *Router) unaware(head uint64) []Link {
	aware := r.intakes.aware(head)
	r.mu.Lock()
	defer r.mu.Unlock()
	links := make([]Link, 0, len(r.peers))
	for session, pr := range r.peers {
		if pr.link != nil && !pr.gone && !slices.Contains(aware, session) {
			links = append(links, pr.link)
		}
	}
	return links
}
