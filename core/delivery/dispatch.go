package delivery

// dispatch sends what may be sent to willing subscribers. The subscriber with the fewest
// in flight is next, and gets the event with the lowest position that may be sent to it:
// so one that comes back comes before newer ones. A subscriber with many in flight gets
// some at a time: neighbours of the log that stay together go out without being copied.
func (m *Machine) dispatch() {
	s := &m.subs
	for _, sub := range s.all {
		clear(sub.out)
		sub.out = sub.out[:0]
	}
	s.sends = s.sends[:0]
	if !m.delivers() {
		return
	}
	s.willing = s.willing[:0]
	for _, sub := range s.all {
		if sub.willing(m.opts.BufferSize) {
			s.willing.push(sub)
		}
	}
	for len(s.willing) > 0 {
		sub := s.willing[0]
		// What is left for others is bound to them: nothing more comes up for sub.
		if m.sendSome(sub) && sub.willing(m.opts.BufferSize) {
			s.willing.fix(0)
		} else {
			s.willing.pop()
		}
	}
	for _, sub := range s.all {
		if len(sub.out) > 0 {
			s.sends = append(s.sends, Send{sub.lease, sub.out})
		}
	}
}

// atATime is the part of what a subscriber has in flight that it may get before
// another one that has less: one in so many.
const atATime = 4

// sendSome sends a willing subscriber what it may get at a time. It is false if there
// is nothing left that may be sent to it.
func (m *Machine) sendSome(s *subscriber) bool {
	for until := s.inFlight + 1 + s.inFlight/atATime; s.inFlight < until && s.willing(m.opts.BufferSize); {
		e := m.nextFor(s)
		if e == nil {
			return false
		}
		m.send(e, s)
	}
	return true
}

// nextFor takes the entry with the lowest position that may be sent to s.
func (m *Machine) nextFor(s *subscriber) *entry {
	best := m.ready.first()
	if bound := s.ready.first(); best == nil || bound != nil && bound.before(best) {
		best = bound
	}
	for {
		e := m.nextUnseen()
		if e == nil || best != nil && best.before(e) {
			break
		}
		m.window.next++
		if e.queue == nil || e.queue.holder == nil || e.queue.holder == s {
			return e
		}
		m.offer(e.queue)
	}
	if best != nil {
		best.ready.remove(best)
	}
	return best
}

// nextUnseen is the first entry of the window that was not looked at and may be sent, or
// nil.
func (m *Machine) nextUnseen() *entry {
	for w := &m.window; w.next < w.entries.tail; w.next++ {
		e := w.entries.at(w.next).e
		if e != nil && e.state == waiting && (e.queue == nil || e.queue.unsent == e && m.open(e.queue)) {
			return e
		}
	}
	return nil
}

// open reports whether more events of a key may be sent. One is in flight at a time where
// parking it holds the others, and to a subscriber that has several workers: otherwise
// those behind it could be handled too early.
func (m *Machine) open(q *keyQueue) bool {
	return q.inFlight == 0 || q.holder.workers == 1 && !m.opts.holdsKeys()
}

func (m *Machine) send(e *entry, s *subscriber) {
	m.enter(e, inFlight)
	e.attempt++
	e.holder, e.serial, e.sentAt, e.since, e.overdue = s, m.nextSerial(), m.now, m.now, false
	s.credit.spend(len(e.Raw))
	s.inFlight++
	s.served = e.serial
	s.sent.push(sent{e, e.serial})
	s.out = append(s.out, Delivery{e.Position, e.attempt, e.replay, e.Raw, e.Key, e.Fault})
	m.totals.sent++
	if e.attempt > 1 {
		m.totals.redelivered++
	}
	if q := e.queue; q != nil {
		q.holder, q.unsent = s, e.next
		q.inFlight++
		m.offer(q)
	}
}

// unsend takes an entry back from the subscriber that has it. Whoever calls it goes on with
// comeBack or with leaveQueue.
func (m *Machine) unsend(e *entry) {
	e.holder.inFlight--
	e.holder, e.serial, e.timer = nil, 0, 0
	if q := e.queue; q != nil {
		if q.inFlight--; q.inFlight == 0 {
			q.holder = nil
		}
	}
}

// comeBack makes an entry that was in flight the next of its key to be sent: those that
// were sent behind it are taken back, too, and wait.
func (m *Machine) comeBack(e *entry) {
	q := e.queue
	if q == nil {
		return
	}
	if q.unsent != nil {
		m.unready(q.unsent)
	}
	for o := e.next; o != nil && o.state == inFlight; o = o.next {
		m.unsend(o)
		m.enter(o, waiting)
	}
	q.unsent = e
}

// enqueue puts an entry into the queue of its key.
func (m *Machine) enqueue(e *entry) {
	m.queues.insert(e)
	if e.queue.unsent == e && e.next != nil {
		m.unready(e.next)
	}
	m.offer(e.queue)
}

// makeReady has a waiting entry sent when its turn comes.
func (m *Machine) makeReady(e *entry) {
	if e.queue != nil {
		m.offer(e.queue)
	} else if e.state == waiting && m.seen(e) {
		m.ready.push(e)
	}
}

// seen reports whether window.next will not come to an entry.
func (m *Machine) seen(e *entry) bool { return e.replay || e.index < m.window.next }

// offer puts the next entry of a key where it belongs: among what may be sent to anybody
// or, while some of the key are in flight, to the subscriber that has them.
func (m *Machine) offer(q *keyQueue) {
	e := q.unsent
	if e == nil || e.state != waiting || !m.seen(e) || !m.open(q) {
		return
	}
	to := &m.ready
	if q.holder != nil {
		to = &q.holder.ready
	}
	if e.ready != to {
		m.unready(e)
		to.push(e)
	}
}

// unready takes an entry from among the ready, if it is there.
func (m *Machine) unready(e *entry) {
	if e.ready != nil {
		e.ready.remove(e)
	}
}

// requeue makes an entry wait that was in flight or retrying.
func (m *Machine) requeue(e *entry) {
	m.enter(e, waiting)
	e.timer = 0
	m.reorder(e)
	m.makeReady(e)
}

// reorder puts an entry that is not in flight any more behind the replays with lower
// positions that came meanwhile.
func (m *Machine) reorder(e *entry) {
	if e.next != nil && e.next.before(e) {
		m.leaveQueue(e)
		m.enqueue(e)
	}
}

// finish ends an entry: it is acked, skipped, or parked in storage.
func (m *Machine) finish(e *entry) {
	m.leaveQueue(e)
	m.window.finish(e)
	m.drop(e)
}

// leaveQueue lets the next events of an entry's key go.
func (m *Machine) leaveQueue(e *entry) {
	if e.queue == nil {
		return
	}
	led := e.leads()
	q := m.queues.remove(e)
	if q == nil {
		return
	}
	if led && q.head.state == inFlight {
		m.beginTime(q.head)
	}
	m.offer(q)
}

// beginTime gives an entry in flight its whole time to ack: what was sent before it of its
// key is finished.
func (m *Machine) beginTime(e *entry) {
	e.since = m.now
	if until := m.opts.ackBy(m.now); e.timer == 0 && e.overdue || e.timer != 0 && e.deadline < until {
		m.setTimer(e, until)
	}
}

func (m *Machine) drop(e *entry) {
	m.unremember(e)
	if e.recorded {
		m.store.failed.over.push(position(e.Position))
	}
	m.counts[e.state]--
	m.pool.put(e)
}

// setTimer gives an entry a timer in place of the one it may have.
func (m *Machine) setTimer(e *entry, at instant) {
	const few = 16
	if len(m.timers) > 2*(m.window.unfinished+len(m.parked.replays))+few {
		m.timers.filter(func(t timer) bool { return !t.dead() })
	}
	e.timer, e.deadline = m.nextSerial(), at
	m.timers.push(timer{at, e.timer, e})
}

// expire ends backoffs and fails the attempts whose time is over. The time of an event
// behind others of its key begins when they are finished.
func (m *Machine) expire() {
	for len(m.timers) > 0 && m.timers[0].at <= m.now {
		t := m.timers.pop()
		switch {
		case t.dead():
		case t.e.state == retrying:
			m.requeue(t.e)
		case !t.e.leads():
			t.e.timer, t.e.overdue = 0, true
		default:
			m.timeOut(t.e)
		}
	}
	for _, s := range m.subs.all {
		for i := s.untimed(); i < s.sent.tail; i = s.untimed() {
			e := s.sent.at(i).e
			if m.opts.ackBy(e.sentAt) > m.now {
				break
			}
			switch until := m.opts.ackBy(e.since); {
			case !e.leads():
				e.overdue = true
			case until > m.now:
				m.setTimer(e, until)
			default:
				m.timeOut(e)
			}
		}
		s.trim()
	}
}

// wake is when expire or nextStore will have something to do.
func (m *Machine) wake() instant {
	if m.mode == lost {
		return never
	}
	for len(m.timers) > 0 && m.timers[0].dead() {
		m.timers.pop()
	}
	at := m.storeAt()
	if len(m.timers) > 0 {
		at = min(at, m.timers[0].at)
	}
	for _, s := range m.subs.all {
		if i := s.untimed(); i < s.sent.tail {
			at = min(at, m.opts.ackBy(s.sent.at(i).e.sentAt))
		}
	}
	return at
}

// lastDeadline is when the last event in flight fails whose time runs, if it is not
// answered; 0 if none is in flight.
func (m *Machine) lastDeadline() (last instant) {
	for _, s := range m.subs.all {
		for i := s.sent.head; i < s.sent.tail; i++ {
			if x := s.sent.at(i); !x.dead() {
				last = max(last, m.deadlineOf(x.e))
			}
		}
	}
	return last
}

// deadlineOf is when an event in flight fails if it is not answered; of one behind others
// of its key, it is 0 unless it was extended.
func (m *Machine) deadlineOf(e *entry) instant {
	switch {
	case m.opts.AckTimeoutMs == NoLimit:
		return never
	case e.timer != 0:
		return e.deadline
	case !e.leads():
		return 0
	}
	return m.opts.ackBy(e.since)
}
