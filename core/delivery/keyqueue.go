package delivery

// keyQueue is the unfinished events of one key, in order of position. The first may be
// sent, the others wait for it to be finished.
type keyQueue struct {
	head, tail *entry // Invariant: not nil
}

// keyQueues has a queue for every key with unfinished events. The map is never iterated.
type keyQueues struct {
	byKey map[string]*keyQueue
	free  []*keyQueue
}

func makeKeyQueues() keyQueues { return keyQueues{byKey: map[string]*keyQueue{}} }

// leads says that no event of its key is to be finished before e.
func (e *entry) leads() bool { return e.queue == nil || e.queue.head == e }

// insert puts an entry where its position belongs, but not before one that was
// sent and is not back, and says whether it is the first now. Events that are read
// go to the end; replays come in any order.
func (ls *keyQueues) insert(e *entry) (first bool) {
	l := ls.byKey[e.Key]
	if l == nil {
		ls.begin(e)
		return true
	}
	e.queue = l
	switch {
	case l.tail.before(e):
		l.tail.next, l.tail = e, e
		return false
	case l.head.state == waiting && e.before(l.head):
		e.next, l.head = l.head, e
		return true
	}
	ahead := l.head
	for ahead.next != nil && ahead.next.before(e) {
		ahead = ahead.next
	}
	e.next, ahead.next = ahead.next, e
	if l.tail == ahead {
		l.tail = e
	}
	return false
}

// begin makes a queue.
func (ls *keyQueues) begin(e *entry) {
	var l *keyQueue
	if n := len(ls.free); n > 0 {
		l, ls.free = ls.free[n-1], ls.free[:n-1]
	} else {
		l = &keyQueue{}
	}
	l.head, l.tail, e.queue = e, e, l
	ls.byKey[e.Key] = l
}

// leave takes an entry out of its queue. If that makes another one the first, it is
// returned.
func (ls *keyQueues) leave(e *entry) (first *entry) {
	l := e.queue
	if l.head != e {
		ahead := l.head
		for ahead.next != e {
			ahead = ahead.next
		}
		ahead.next = e.next
		if l.tail == e {
			l.tail = ahead
		}
		e.queue, e.next = nil, nil
		return nil
	}
	l.head = e.next
	if first = l.head; first != nil {
		// The map's key is to be the string of an event that is still here: a
		// string keeps the block it is a part of in memory.
		ls.byKey[first.Key] = l
	} else {
		delete(ls.byKey, e.Key)
		l.tail = nil
		ls.free = append(ls.free, l)
	}
	e.queue, e.next = nil, nil
	return first
}
