package delivery

// dispatch sends what may be sent to who is willing: always the event with the
// lowest position, so that one that comes back comes before newer ones, and to the
// subscriber with the fewest in flight. Who has many in flight gets some at a time:
// neighbours of the log that stay together go out without being copied, and whoever
// has that many to do does not miss one.
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
		if !m.sendSome(sub) {
			break
		}
		if sub.willing(m.opts.BufferSize) {
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
// is nothing left to send.
func (m *Machine) sendSome(s *subscriber) bool {
	for until := s.inFlight + 1 + s.inFlight/atATime; s.inFlight < until && s.willing(m.opts.BufferSize); {
		e := m.nextToSend()
		if e == nil {
			return false
		}
		m.send(e, s)
	}
	return true
}

// nextToSend takes the entry with the lowest position that may be sent.
func (m *Machine) nextToSend() *entry {
	e := m.window.first()
	if len(m.ready) > 0 && (e == nil || m.ready[0].before(e)) {
		return m.ready.pop()
	}
	if e != nil {
		m.window.next++
	}
	return e
}

func (m *Machine) send(e *entry, s *subscriber) {
	m.enter(e, inFlight)
	e.attempt++
	e.holder, e.serial, e.sentAt = s, m.nextSerial(), m.now
	s.credit.spend(len(e.Raw))
	s.inFlight++
	s.served = e.serial
	s.sent.push(sent{e, e.serial})
	s.out = append(s.out, Delivery{e.Position, e.attempt, e.Raw})
	m.totals.sent++
	if e.attempt > 1 {
		m.totals.redelivered++
	}
}

// unsend takes an entry back from who has it.
func (m *Machine) unsend(e *entry) {
	e.holder.inFlight--
	e.holder, e.serial, e.timer = nil, 0, 0
}

// enqueue puts an entry into the queue of its key.
func (m *Machine) enqueue(e *entry) {
	if !m.queues.insert(e) {
		return
	}
	if e.next != nil {
		m.unready(e.next)
	}
	m.makeReady(e)
}

// makeReady has an entry sent when its turn comes. Those that the window will come to
// are found there.
func (m *Machine) makeReady(e *entry) {
	if e.replay || e.index < m.window.next {
		m.ready.push(e)
	}
}

// unready takes a waiting entry from among the ready.
func (m *Machine) unready(e *entry) {
	m.ready.filter(func(o *entry) bool { return o != e })
}

// requeue makes an entry wait again that was sent before. It is the first of its
// queue, if it has one, unless a replay with a lower position came meanwhile.
func (m *Machine) requeue(e *entry) {
	m.enter(e, waiting)
	e.timer = 0
	if e.next != nil && e.next.before(e) {
		m.leaveQueue(e)
		m.enqueue(e)
		return
	}
	m.makeReady(e)
}

// finish ends an entry: it is acked, skipped, or parked in storage.
func (m *Machine) finish(e *entry) {
	m.leaveQueue(e)
	m.window.finish(e)
	m.drop(e)
}

// leaveQueue lets the next event of an entry's key go.
func (m *Machine) leaveQueue(e *entry) {
	if e.queue == nil {
		return
	}
	if first := m.queues.leave(e); first != nil && first.state == waiting {
		m.makeReady(first)
	}
}

func (m *Machine) drop(e *entry) {
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

// expire ends backoffs and fails the attempts whose time is over.
func (m *Machine) expire() {
	for len(m.timers) > 0 && m.timers[0].at <= m.now {
		t := m.timers.pop()
		switch {
		case t.dead():
		case t.e.state == retrying:
			m.requeue(t.e)
		default:
			m.timeOut(t.e)
		}
	}
	for _, s := range m.subs.all {
		for i := s.untimed(); i < s.sent.tail; i = s.untimed() {
			e := s.sent.at(i).e
			if e.sentAt+m.opts.ackTimeout() > m.now {
				break
			}
			m.timeOut(e)
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
			at = min(at, s.sent.at(i).e.sentAt+m.opts.ackTimeout())
		}
	}
	return at
}

// lastDeadline is when the last event in flight fails if it is not answered, 0 if none is
// in flight.
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

// deadlineOf is when an event in flight fails if it is not answered.
func (m *Machine) deadlineOf(e *entry) instant {
	if e.timer != 0 {
		return e.deadline
	}
	return e.sentAt + m.opts.ackTimeout()
}
