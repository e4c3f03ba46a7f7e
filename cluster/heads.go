package cluster

import (
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

// written takes notice of a Commit that was written here.
func (r *Router) written(c *core.Commit, result core.Result) {
	for i := range c.Appends {
		r.owned.note(c.Appends[i].Stream, c.Epoch, result.Appends[i].LastVersion)
	}
	for {
		known := r.heads.newest.Load()
		if result.Position <= known {
			return
		}
		if r.heads.newest.CompareAndSwap(known, result.Position) {
			break
		}
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
		r.mu.Lock()
		links := make([]Link, 0, len(r.peers))
		for _, pr := range r.peers {
			if pr.link != nil {
				links = append(links, pr.link)
			}
		}
		r.mu.Unlock()
		for _, link := range links {
			link.Head(head)
		}
		select {
		case <-time.After(headsApart):
		case <-r.closing.Done():
			return
		}
	}
}
