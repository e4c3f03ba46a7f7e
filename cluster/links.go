package cluster

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
)

// Bounds of a Link's use.
const (
	maxQueued   = 4096 // entries that wait to be sent on one Link; others wait for room
	maxBatch    = 64   // of them that are taken at a time
	dialWithin  = 5 * time.Second
	redialFirst = 20 * time.Millisecond
	redialMost  = time.Second
	// redialAfter is how long a newer view is waited for when an owner does not serve.
	redialAfter = 100 * time.Millisecond
	// partingWithin is how long the answers of a Link are waited for that is closed for
	// another reason than a break.
	partingWithin = time.Second
)

// peer is another node that serves, and the Link to it, which is kept. Its goroutine
// dials and submits. The Router's mutex protects the fields below wake.
type peer struct {
	router *Router
	member ring.Member
	wake   chan struct{} // has room for one

	link       Link // nil: none
	from       uint64
	generation uint64
	path       *path
	queue      []queued
	full       bool // entries wait for room in queue
	out        int  // entries that the Link has, and has not answered
	renew      bool // another generation of the Link is needed (R5)
	gone       bool // it does not serve; run forgets it, unless it serves again before
	leases     int  // of subscribers that use the Link; it stays until the owner ends them
	pause      time.Duration
	up         chan struct{} // closed while there is a Link
}

// queued is an entry that waits to be sent.
type queued struct {
	entry *entry
	path  *path
}

// setPeers has a peer for every other node that serves. One that drains may be in no State for a
// moment: it has the same peer afterwards, since a new Link would close the one that leases use.
func (r *Router) setPeers() {
	members := r.state.roster().members
	for session, pr := range r.peers {
		pr.gone = !slices.ContainsFunc(members, func(m ring.Member) bool { return m.Session == session })
		pr.pause = 0
		pr.signal()
	}
	for _, m := range members {
		if r.peers[m.Session] != nil {
			continue
		}
		pr := &peer{router: r, member: m, wake: make(chan struct{}, 1), up: make(chan struct{})}
		r.peers[m.Session] = pr
		r.running.Go(pr.run)
	}
}

// peer returns the peer of a session that serves, or nil. mu is held.
func (r *Router) peer(session uint64) *peer {
	if pr := r.peers[session]; pr != nil && !pr.gone {
		return pr
	}
	return nil
}

// push queues e.
func (pr *peer) push(e *entry, p *path) {
	e.giveIDs()
	pr.queue = append(pr.queue, queued{e, p})
	pr.signal()
}

// slowDown has the next Link dialed later.
func (pr *peer) slowDown() { pr.pause = min(max(2*pr.pause, redialFirst), redialMost) }

func (pr *peer) signal() {
	select {
	case pr.wake <- struct{}{}:
	default:
	}
}

// run keeps a Link to the member until it leaves the view.
func (pr *peer) run() {
	for pr.rest() {
		link, from, generation := pr.dial()
		if link == nil {
			continue
		}
		stop := context.AfterFunc(pr.router.closing, func() { _ = link.Close() })
		pr.connected(link, from, generation)
		pr.feed(link)
		stop()
		pr.disconnected(link)
	}
}

// sending is the context of a Commit on a Link. Its deadline goes along, so that the owner
// does not begin what nobody waits for. It does not end: what is sent is answered, or the
// Link breaks.
type sending struct{ context.Context }

// Done is part of context.Context.
func (sending) Done() <-chan struct{} { return nil }

// Err is part of context.Context.
func (sending) Err() error { return nil }

// Value is part of context.Context.
func (sending) Value(any) any { return nil }

// rest waits as long as the last tries demand, and reports whether there is to be another.
func (pr *peer) rest() bool {
	r := pr.router
	for {
		r.mu.Lock()
		if pr.gone {
			delete(r.peers, pr.member.Session)
		}
		pause, over := pr.pause, pr.gone || r.closing.Err() != nil
		r.mu.Unlock()
		if over || pause == 0 {
			return !over
		}
		select {
		case <-time.After(pause):
			return true
		case <-pr.wake:
		case <-r.closing.Done():
		}
	}
}

// dial makes the next generation of the Link. It returns nil if that failed.
func (pr *peer) dial() (link Link, from, generation uint64) {
	r := pr.router
	r.mu.Lock()
	r.generation++
	generation = r.generation
	r.mu.Unlock()
	from = r.config.Ring.State().Self.Session
	ctx, cancel := context.WithTimeout(r.closing, dialWithin)
	defer cancel()
	link, err := r.config.Dialer.Dial(ctx, pr.member, generation)
	if err == nil && r.config.Ring.State().Self.Session == from {
		return link, from, generation
	}
	if err == nil {
		_ = link.Close() // this node has another session now
	}
	if errors.Is(err, ErrRefused) {
		r.config.Ring.Refused(pr.member.Session)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	pr.slowDown()
	return nil, 0, 0
}

// connected takes a new Link into use. All earlier ones are closed at the other end, so
// what was on them is dead (R6a).
func (pr *peer) connected(link Link, from, generation uint64) {
	r := pr.router
	r.mu.Lock()
	defer r.unlock()
	pr.link, pr.from, pr.generation = link, from, generation
	pr.renew = false
	close(pr.up)
	for p := range r.paths {
		if p.owner == pr.member.Session && p.peer != nil && p.from == from && p.generation < generation {
			p.dead = true
			r.passed(p)
		}
	}
	r.retryAll()
}

// feed submits what is queued until the Link breaks, or is not wanted any more.
func (pr *peer) feed(link Link) {
	r := pr.router
	var batch []queued
	var parting <-chan time.Time
	for {
		var leave, idle bool
		batch, leave, idle = pr.next(batch[:0])
		for _, q := range batch {
			c := q.entry.commit
			c.Epoch = q.path.epoch
			link.Submit(sending{q.entry.ctx}, c, func(result core.Result, err error) {
				pr.answered(q, result, err)
			})
		}
		if len(batch) > 0 {
			link.Flush()
			continue
		}
		if leave && idle {
			return
		}
		switch {
		case !leave:
			parting = nil
		case parting == nil:
			parting = time.After(partingWithin)
		}
		select {
		case <-pr.wake:
		case <-parting:
			return
		case <-link.Broken():
			return
		case <-r.closing.Done():
			return
		}
	}
}

// next takes from the queue what is to be submitted now. What is queued for a path that
// has ended comes back. leave says that the Link is not wanted any more, idle that it has
// answered everything.
func (pr *peer) next(batch []queued) (_ []queued, leave, idle bool) {
	r := pr.router
	r.mu.Lock()
	defer r.unlock()
	n := 0
	for _, q := range pr.queue {
		if len(batch) == maxBatch {
			break
		}
		n++
		if q.path.ended || !q.entry.isOn(q.path) {
			r.unsent(q)
			continue
		}
		pr.out++
		r.counted.forwarded.Add(1)
		batch = append(batch, q)
	}
	if pr.full && len(pr.queue)-n <= maxQueued/2 {
		pr.full = false
		r.retryAll()
	}
	clear(pr.queue[:n])
	if pr.queue = pr.queue[n:]; len(pr.queue) == 0 {
		pr.queue = nil
	}
	return batch, pr.renew || pr.gone && pr.leases == 0, pr.out == 0
}

// unsent takes an entry back that was queued, and not sent.
func (r *Router) unsent(q queued) {
	q.path.out--
	if q.entry.isOn(q.path) {
		r.comesBack(q.entry)
	}
	r.passed(q.path)
}

// answered is called with the answer to a submitted entry.
func (pr *peer) answered(q queued, result core.Result, err error) {
	r := pr.router
	if err == nil && r.config.Head != nil {
		r.config.Head(result.Position)
	}
	r.mu.Lock()
	defer r.unlock()
	if pr.out--; pr.out == 0 && (pr.renew || pr.gone) {
		pr.signal()
	}
	if err == nil {
		pr.pause = 0
	}
	r.answer(q.entry, q.path, result, err)
}

// disconnected takes a Link out of use, and closes it.
func (pr *peer) disconnected(link Link) {
	r := pr.router
	r.mu.Lock()
	pr.link, pr.up = nil, make(chan struct{})
	if !pr.renew { // it broke: the next may break at once, too
		pr.slowDown()
	}
	if p := pr.path; p != nil {
		pr.path, p.ended = nil, true
		defer func() {
			r.mu.Lock()
			defer r.unlock()
			r.passed(p)
		}()
	}
	for _, q := range pr.queue {
		q.path.ended = true
		r.unsent(q)
	}
	pr.queue, pr.full = nil, false
	r.unlock()
	_ = link.Close()
}

// link returns the Link to a member of the newest view, and waits until there is one. The
// error is not_serving if the session is not a member, or if ctx ends first.
func (r *Router) link(ctx context.Context, session uint64) (Link, error) {
	for {
		r.mu.Lock()
		r.look()
		pr := r.peer(session)
		var link Link
		var up chan struct{}
		if pr != nil {
			link, up = pr.link, pr.up
		}
		changed := r.state.Changed
		r.unlock()
		if link != nil {
			return link, nil
		}
		if pr == nil {
			return nil, core.Errorf(core.CodeNotServing, "session %d is not a member of the view", session)
		}
		select {
		case <-up:
		case <-changed:
		case <-ctx.Done():
			return nil, core.Errorf(core.CodeNotServing, "there is no connection to %s", pr.member.Node)
		case <-r.closing.Done():
			return nil, errShuttingDown()
		}
	}
}
