package core

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

const (
	// lanes is how many steps may be under way at once: while one waits for
	// its fsync, the next is verified and encoded.
	lanes = 2

	// The bounds of a group. A single Commit always fits.
	maxGroupCommits = 1024
	maxGroupEvents  = 16 * 1024
	maxGroupBytes   = 4 << 20

	// longAlone is how many groups of one Commit say that there is one appender.
	longAlone = 16

	// maxQueuedCommits bounds the queue beside its bytes.
	maxQueuedCommits = 16 * 1024
)

// committer makes groups of the Commits that wait and takes them to the
// engine. There is no timer: a group is what arrived while the steps before it
// ran. Each lane is one goroutine, started in newCommitter and gone when stop
// returns.
type committer struct {
	engine   Engine
	tail     *tail
	maxBytes int
	running  sync.WaitGroup

	mu sync.Mutex // protects the fields below
	// work is signalled when a lane may find something to take.
	work sync.Cond
	// room is closed, and made anew, when Commits leave a full queue.
	room    chan struct{}
	closed  bool
	queue   []*pending // in order of arrival
	bytes   int        // of queue
	load    int        // of queue
	waiting int        // submitters that wait for room
	busy    [lanes]step
	alone   int // groups of a single Commit, since there was a larger one

	commits, events, conflicts, duplicates, failures, steps atomic.Uint64
}

// step is what a lane works on, from take to release. The zero step is none.
type step struct {
	slots  slots
	bytes  int
	events int
	load   int
	begun  bool
}

// pending is a Commit on its way.
type pending struct {
	ctx     context.Context
	commit  Commit
	touched touched
	events  int
	bytes   int
	// load is how much there is for callers who wait: the bytes of its events, and
	// one for each. Records add nothing.
	load int
	done func(Result, error)
}

func newCommitter(engine Engine, tail *tail, maxBytes int) *committer {
	c := &committer{engine: engine, tail: tail, maxBytes: maxBytes, room: make(chan struct{})}
	c.work.L = &c.mu
	for lane := range lanes {
		c.running.Go(func() { c.run(lane) })
	}
	return c
}

// submit queues a validated Commit.
func (c *committer) submit(ctx context.Context, commit Commit, done func(Result, error)) {
	p := &pending{ctx: ctx, commit: commit, touched: commit.touches(), done: done}
	for i := range commit.Appends {
		p.events += commit.Appends[i].Count()
		p.bytes += commit.Appends[i].size()
	}
	p.load = p.bytes + p.events
	for i := range commit.Records {
		p.bytes += len(commit.Records[i].Value)
	}
	if err := c.enqueue(p); err != nil {
		c.commits.Add(1)
		c.failures.Add(1)
		done(Result{}, err)
	}
}

// enqueue waits for room in the queue.
func (c *committer) enqueue(p *pending) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.closed && len(c.queue) > 0 && (c.bytes+p.bytes > c.maxBytes || len(c.queue) >= maxQueuedCommits) {
		room := c.room
		c.waiting++
		c.mu.Unlock()
		var err error
		select {
		case <-room:
		case <-p.ctx.Done():
			err = Errorf(CodeOverloaded, "the queue of appends stayed full (%w)", context.Cause(p.ctx))
		}
		c.mu.Lock()
		c.waiting--
		if err != nil {
			return err
		}
	}
	if c.closed {
		return Errorf(CodeStoreClosed, "the store is closed")
	}
	c.queue = append(c.queue, p)
	c.bytes += p.bytes
	c.load += p.load
	c.work.Signal()
	return nil
}

// run is the life of a lane.
func (c *committer) run(lane int) {
	var group []*pending
	var commits []*Commit
	for {
		group = c.take(lane, group[:0])
		if group == nil {
			return
		}
		group = c.withdraw(group)
		commits = commits[:0]
		for _, p := range group {
			commits = append(commits, &p.commit)
		}
		// The step belongs to all its callers: none of their contexts ends it.
		done := c.engine.Commit(context.Background(), commits)
		c.steps.Add(1)
		c.publish(lane, done)
		c.release(lane)
		c.events.Add(uint64(done.Written.Count))
		for i, p := range group {
			c.answer(p, done.Outcomes[i])
		}
		c.tail.wake()
		clear(group)
		clear(commits)
	}
}

// take waits for Commits that do not touch what the other lanes work on, and
// removes a group of them from the queue. It is nil when the committer stops.
//
// Before it does so it yields once, unless Commits have long come one by one. The
// first to arrive wakes the lane; goroutines that are as ready to submit would
// otherwise come too late and need a sync of their own. A lone appender would only
// see another thread take the lane over: measured, 7-10 µs of its 120.
func (c *committer) take(lane int, group []*pending) []*pending {
	c.mu.Lock()
	defer c.mu.Unlock()
	yielded := false
	for len(group) == 0 {
		switch {
		case c.closed:
			return nil
		case !c.worthwhile():
			c.work.Wait()
			yielded = false
		case !yielded && c.alone < longAlone:
			c.mu.Unlock()
			runtime.Gosched()
			c.mu.Lock()
			yielded = true
		default:
			if group = c.pick(lane, group); len(group) == 0 {
				c.work.Wait()
				yielded = false
			}
		}
	}
	if c.alone++; len(group) > 1 {
		c.alone = 0
	}
	if c.waiting > 0 {
		close(c.room)
		c.room = make(chan struct{})
	}
	if len(c.queue) > 0 {
		c.work.Signal() // there may be work for another lane too
	}
	return group
}

// worthwhile reports whether to begin a step now. Beside another step it has
// to be at least as large: groups that are begun as soon as anything is there
// would stay small, and each costs a sync. A step without events is another
// matter: the engine may let it wait for one with events to share a sync, so
// nothing waits for it but what has no events either, which would take the last
// lane. c.mu is held.
func (c *committer) worthwhile() bool {
	for i := range c.busy {
		b := &c.busy[i]
		switch {
		case !b.begun:
		case b.load == 0 && c.load == 0, c.load < b.load:
			return false
		}
	}
	return len(c.queue) > 0
}

// pick moves the next group from the queue to group. A Commit that must wait
// for another lane holds back the later ones that share a slot with it.
// c.mu is held.
func (c *committer) pick(lane int, group []*pending) []*pending {
	var blocked slots
	for other := range c.busy {
		for i, w := range c.busy[other].slots {
			blocked[i] |= w
		}
	}
	mine := &c.busy[lane]
	kept := c.queue[:0]
	for i, p := range c.queue {
		full := len(group) > 0 && (len(group) == maxGroupCommits || mine.events+p.events > maxGroupEvents || mine.bytes+p.bytes > maxGroupBytes)
		if full {
			kept = append(kept, c.queue[i:]...)
			break
		}
		if blocked.meets(p.touched) {
			blocked.add(p.touched)
			kept = append(kept, p)
			continue
		}
		c.bytes -= p.bytes
		group = append(group, p)
		mine.slots.add(p.touched)
		mine.begun = true
		mine.bytes += p.bytes
		mine.events += p.events
		mine.load += p.load
		c.load -= p.load
	}
	clear(c.queue[len(kept):])
	c.queue = kept
	return group
}

// withdraw answers the Commits whose callers gave up before a step began with
// them, and returns the others.
func (c *committer) withdraw(group []*pending) []*pending {
	kept := group[:0]
	for _, p := range group {
		if err := begin(p.ctx); err != nil {
			c.answer(p, Outcome{Err: err})
			continue
		}
		kept = append(kept, p)
	}
	clear(group[len(kept):])
	return kept
}

// publish takes what a step wrote to the tail, and tells it which other steps
// were under way then: what they wrote may come before this.
func (c *committer) publish(lane int, done Step) {
	var others laneSet
	c.mu.Lock()
	for i := range c.busy {
		if i != lane && c.busy[i].begun {
			others |= 1 << i
		}
	}
	c.mu.Unlock()
	if c.tail.isShared() {
		state := c.engine.State()
		c.tail.keep(state.Log, state.Head)
	}
	c.tail.publish(lane, done.Written, others)
	if slices.ContainsFunc(done.Outcomes, func(o Outcome) bool { return errors.Is(o.Err, CodeUnknownOutcome) }) {
		// It may have been written all the same: then storage has it.
		c.tail.skipTo(c.engine.State().Head)
	}
}

// underWay reports whether a step is.
func (c *committer) underWay() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.busy[:], func(s step) bool { return s.begun })
}

// release lets others at what the lane worked on.
func (c *committer) release(lane int) {
	c.mu.Lock()
	c.busy[lane] = step{}
	if len(c.queue) > 0 {
		c.work.Broadcast()
	}
	c.mu.Unlock()
}

func (c *committer) answer(p *pending, o Outcome) {
	c.commits.Add(1)
	switch {
	case o.Err == nil && o.Result.Duplicate:
		c.duplicates.Add(1)
	case o.Err != nil && AsError(o.Err).Info().Class == ClassConflict:
		c.conflicts.Add(1)
	case o.Err != nil:
		c.failures.Add(1)
	}
	p.done(o.Result, o.Err)
}

func (c *committer) stats() Stats {
	c.mu.Lock()
	queued := len(c.queue)
	c.mu.Unlock()
	return Stats{
		Commits: c.commits.Load(), Events: c.events.Load(), Conflicts: c.conflicts.Load(),
		Duplicates: c.duplicates.Load(), Failures: c.failures.Load(), Steps: c.steps.Load(),
		Queued: queued,
	}
}

// stop answers what is queued and waits for the steps under way.
func (c *committer) stop() {
	c.mu.Lock()
	c.closed = true
	queue := c.queue
	c.queue, c.bytes, c.load = nil, 0, 0
	close(c.room)
	c.room = make(chan struct{})
	c.work.Broadcast()
	c.mu.Unlock()
	for _, p := range queue {
		c.commits.Add(1)
		c.failures.Add(1)
		p.done(Result{}, Errorf(CodeStoreClosed, "the store was closed before the append was written"))
	}
	c.running.Wait()
}
