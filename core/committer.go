package core

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// workers is how many steps may be under way at once: while one waits for
	// its fsync, the next is verified and encoded.
	workers = 2

	// The bounds of a group. A single Commit always fits.
	maxGroupCommits = 1024
	maxGroupEvents  = 16 * 1024
	maxGroupBytes   = 4 << 20

	// maxHeldBack bounds what one look at the queue compares: the streams and
	// records of Commits that are held back.
	maxHeldBack = 64 * 1024

	// longAlone is after how many groups of one Commit there seems to be one appender.
	longAlone = 16

	// maxQueuedCommits bounds the queue beside its bytes.
	maxQueuedCommits = 16 * 1024
)

// committer makes groups of the queued Commits and takes them to the engine. A
// group is what arrived while the steps before it ran. Only lazy Commits wait
// longer, until one that is not lazy takes them along or MaxLazyWait has passed.
// Each worker is one goroutine, started in newCommitter and gone when stop returns.
type committer struct {
	engine   Engine
	tail     *tail
	policies *policies
	maxBytes int
	admit    Admit // nil admits all
	running  sync.WaitGroup

	mu sync.Mutex // protects the fields below
	// work is signaled when a worker may find something to take.
	work sync.Cond
	// room is closed, and made anew, when Commits leave a full queue.
	room    chan struct{}
	closed  bool
	queue   []*pending // in order of arrival
	bytes   int        // of queue
	load    int        // of queue
	waiting int        // submitters that wait for room
	busy    [workers]step
	alone   int // groups of a single Commit since the last larger one
	// lazy runs from when a lazy Commit was queued. When it ends it sets due, if
	// anything is queued: the queue's Commits wait no longer.
	lazy *time.Timer
	due  bool
	held held // before the queue

	counted counters
}

// counters are what Stats counts.
type counters struct {
	commits, events, conflicts, duplicates, failures, steps atomic.Uint64

	stepTime atomic.Int64 // in nanoseconds
}

// step is a worker's group, from take to release. The zero step is none.
type step struct {
	conflicts conflictSet
	epoch     uint64 // of all its Commits
	bytes     int
	events    int
	load      int
	begun     bool
}

// pending is a queued Commit.
type pending struct {
	ctx     context.Context
	commit  Commit
	single  [1]touch // room for the touches of most Commits
	touches []touch
	events  int
	bytes   int
	// load is the bytes of events and records, plus one for each. A lazy Commit has
	// none, since nobody waits for it.
	load int
	done func(Result, error)
	held *hold // nil: it was never held
}

func newCommitter(engine Engine, tail *tail, policies *policies, config *StoreConfig) *committer {
	c := &committer{engine: engine, tail: tail, policies: policies, maxBytes: config.QueueBytes, admit: config.Admit, room: make(chan struct{})}
	c.work.L = &c.mu
	for worker := range workers {
		c.running.Go(func() { c.run(worker) })
	}
	return c
}

var errFull = errors.New("the queue of appends is full")

func errClosed() error { return Errorf(CodeStoreClosed, "the store is closed") }

// submit queues a validated Commit, or has it judged first. If the queue is full, it waits, or
// returns false.
func (c *committer) submit(ctx context.Context, commit Commit, done func(Result, error), wait bool) bool {
	if commit.Progress != nil {
		commit.Records = slices.Concat(commit.Records, commit.Progress.records(c.engine.State().Log, time.Now()))
	}
	p := &pending{ctx: ctx, commit: commit, done: done}
	p.touches = p.commit.touches(p.single[:0])
	hasEvents := false
	for i := range commit.Appends {
		p.events += commit.Appends[i].Count()
		p.bytes += commit.Appends[i].size()
		hasEvents = hasEvents || len(commit.Appends[i].Events) > 0
	}
	p.events += len(commit.notices())
	for i := range commit.Records {
		p.bytes += commit.Records[i].size()
	}
	if !commit.Lazy {
		p.load = p.bytes + p.events + len(commit.Records)
	}
	var judge Judge
	if c.admit != nil && hasEvents && !commit.System {
		judge = c.admit(&p.commit)
	}
	err := c.enqueue(p, judge != nil, wait)
	switch {
	case errors.Is(err, errFull):
		return false
	case err != nil:
		c.counted.commits.Add(1)
		c.counted.failures.Add(1)
		done(Result{}, err)
	case judge != nil:
		judge(ctx, func(refusal error) { c.judged(p, refusal) })
	}
	return true
}

// enqueue waits while the queue is full, or returns errFull. What is held does not wait for
// room.
func (c *committer) enqueue(p *pending, isJudged, wait bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if isJudged || len(c.held.all) > 0 && c.held.isHeld(p.touches) {
		return c.hold(p, isJudged)
	}
	for !c.closed && len(c.queue) > 0 && (c.bytes+p.bytes > c.maxBytes || len(c.queue) >= maxQueuedCommits) {
		if !wait {
			return errFull
		}
		room := c.room
		c.waiting++
		c.work.Signal() // lazy Commits make room
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
		return errClosed()
	}
	c.push(p)
	return nil
}

// push puts p at the end of the queue. c.mu is held.
func (c *committer) push(p *pending) {
	c.queue = append(c.queue, p)
	c.bytes += p.bytes
	c.load += p.load
	if p.commit.Lazy && c.lazy == nil && !c.due {
		c.lazy = time.AfterFunc(MaxLazyWait, c.endLaziness)
	}
	c.work.Signal()
}

// endLaziness lets a step begin with the queued Commits.
func (c *committer) endLaziness() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lazy, c.due = nil, len(c.queue) > 0
	c.work.Signal()
}

// run is what a worker does.
func (c *committer) run(worker int) {
	var group []*pending
	var commits []*Commit
	for {
		group = c.take(worker, group[:0])
		if group == nil {
			return
		}
		group = c.checkPlaces(c.withdraw(group))
		commits = commits[:0]
		for _, p := range group {
			commits = append(commits, p.forEngine())
		}
		// The step belongs to all its callers: none of their contexts ends it.
		began := time.Now()
		done := c.engine.Commit(context.Background(), commits)
		c.counted.stepTime.Add(int64(time.Since(began)))
		c.counted.steps.Add(1)
		if slices.ContainsFunc(commits, (*Commit).PutsRetention) {
			c.policies.change()
		}
		c.publish(worker, done)
		unknown := done.unknown()
		if !unknown {
			c.release(worker)
		}
		c.counted.events.Add(uint64(done.Written.Count))
		var asks []asking
		for i, p := range group {
			if p.held != nil {
				p.held.refuse(&done.Outcomes[i])
			}
			done.Outcomes[i].leaveOut(&p.commit)
			if o := done.Outcomes[i]; p.asksPlace(&o) {
				asks = append(asks, asking{p, o})
			} else {
				c.answer(p, o)
			}
		}
		if unknown {
			// Whoever was answered may withdraw what conflicts, which has not begun.
			c.release(worker)
		}
		c.tail.wake()
		c.answerByPlace(asks)
		clear(group)
		clear(commits)
	}
}

// take waits for Commits that do not conflict with the other workers' steps, and removes
// a group of them from the queue. It returns nil when the committer stops.
//
// It yields once before that, unless Commits have long come one by one. The first to
// arrive wakes the worker; goroutines that are about to submit would otherwise be too
// late and need a sync of their own. A lone appender would only lose its thread, which
// costs 7-10 µs of 120.
func (c *committer) take(worker int, group []*pending) []*pending {
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
			if group = c.pick(worker, group); len(group) == 0 {
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
		c.work.Signal() // there may be work for another worker too
	} else {
		c.due = false
	}
	return group
}

// worthwhile reports whether to begin a step now. Beside another step it must be at
// least as large: groups that begin as soon as anything is queued would stay small, and
// each costs a sync. Lazy Commits begin a step of their own only when they are due or
// submitters wait for room, and never beside another step. c.mu is held.
func (c *committer) worthwhile() bool {
	for i := range c.busy {
		b := &c.busy[i]
		if b.begun && (c.load == 0 || c.load < b.load) {
			return false
		}
	}
	return c.load > 0 || len(c.queue) > 0 && (c.due || c.waiting > 0)
}

// pick moves the next group from the queue to group. A group has the epoch of its first
// Commit. A Commit that stays in the queue holds back later ones that conflict with it.
// c.mu is held.
func (c *committer) pick(worker int, group []*pending) []*pending {
	var heldBack conflictSet
	compared := 0
	mine := &c.busy[worker]
	kept := c.queue[:0]
	for i, p := range c.queue {
		full := len(group) > 0 && (len(group) == maxGroupCommits || mine.events+p.events > maxGroupEvents || mine.bytes+p.bytes > maxGroupBytes)
		if full || compared > maxHeldBack {
			kept = append(kept, c.queue[i:]...)
			break
		}
		if len(group) > 0 && p.commit.Epoch != mine.epoch || heldBack.meets(p.touches) || c.isBlocked(worker, p) {
			heldBack.add(p.touches)
			compared += len(p.touches)
			kept = append(kept, p)
			continue
		}
		c.bytes -= p.bytes
		group = append(group, p)
		mine.conflicts.add(p.touches)
		mine.begun = true
		mine.epoch = p.commit.Epoch
		mine.bytes += p.bytes
		mine.events += p.events
		mine.load += p.load
		c.load -= p.load
	}
	clear(c.queue[len(kept):])
	c.queue = kept
	return group
}

// isBlocked reports whether p conflicts with another worker's step. c.mu is held.
func (c *committer) isBlocked(worker int, p *pending) bool {
	for other := range c.busy {
		if other != worker && c.busy[other].conflicts.meets(p.touches) {
			return true
		}
	}
	return false
}

// withdraw answers the Commits whose callers gave up before a step began with
// them, and returns the others.
func (c *committer) withdraw(group []*pending) []*pending {
	kept := group[:0]
	for _, p := range group {
		if err := Begin(p.ctx); err != nil {
			c.answer(p, Outcome{Err: err})
			continue
		}
		kept = append(kept, p)
	}
	clear(group[len(kept):])
	return kept
}

// publish gives a step's events to the tail, with the other steps that are under way:
// their events may have lower positions.
func (c *committer) publish(worker int, done Step) {
	var others workerSet
	c.mu.Lock()
	for i := range c.busy {
		if i != worker && c.busy[i].begun {
			others |= 1 << i
		}
	}
	c.mu.Unlock()
	if c.tail.isShared() {
		state := c.engine.State()
		c.tail.keep(state.Log, state.Head)
	}
	c.tail.publish(worker, done.Written, others)
	if done.unknown() {
		// It may have been written all the same: then storage has it.
		c.tail.skipTo(c.engine.State().Head)
	}
}

// unknown reports whether some Commit may have been written, or be written yet.
func (s *Step) unknown() bool {
	return slices.ContainsFunc(s.Outcomes, func(o Outcome) bool { return o.Err != nil && errors.Is(o.Err, CodeUnknownOutcome) })
}

// underWay reports whether a step is.
func (c *committer) underWay() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.busy[:], func(s step) bool { return s.begun })
}

// release ends the worker's step.
func (c *committer) release(worker int) {
	c.mu.Lock()
	c.busy[worker] = step{}
	if len(c.queue) > 0 {
		c.work.Broadcast()
	}
	c.mu.Unlock()
}

func (c *committer) answer(p *pending, o Outcome) {
	c.counted.commits.Add(1)
	switch {
	case o.Err == nil && o.Result.Duplicate:
		c.counted.duplicates.Add(1)
	case o.Err != nil && AsError(o.Err).Info().Class == ClassConflict:
		c.counted.conflicts.Add(1)
	case o.Err != nil:
		c.counted.failures.Add(1)
	}
	p.done(o.Result, o.Err)
}

func (c *committer) stats() Stats {
	c.mu.Lock()
	queued := len(c.queue) + len(c.held.all)
	c.mu.Unlock()
	n := &c.counted
	return Stats{
		Commits: n.commits.Load(), Events: n.events.Load(), Conflicts: n.conflicts.Load(),
		Duplicates: n.duplicates.Load(), Failures: n.failures.Load(), Steps: n.steps.Load(),
		StepTime: time.Duration(n.stepTime.Load()), Queued: queued,
	}
}

// stop answers the queued Commits and waits for the steps under way.
func (c *committer) stop() {
	c.mu.Lock()
	c.closed = true
	if c.lazy != nil {
		c.lazy.Stop()
	}
	queue := append(c.queue, c.held.empty()...)
	c.queue, c.bytes, c.load = nil, 0, 0
	close(c.room)
	c.room = make(chan struct{})
	c.work.Broadcast()
	c.mu.Unlock()
	for _, p := range queue {
		c.counted.commits.Add(1)
		c.counted.failures.Add(1)
		p.done(Result{}, Errorf(CodeStoreClosed, "the store was closed before the append was written"))
	}
	c.running.Wait()
}
