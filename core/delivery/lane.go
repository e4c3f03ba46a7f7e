package delivery

// lane is the unfinished events of one key, in order of position. The first may be
// sent, the others wait for it to be finished.
type lane struct {
	head, tail *entry // Invariant: not nil
}

// lanes has a lane for every key with unfinished events. The map is never iterated.
type lanes struct {
	byKey map[string]*lane
	free  []*lane
}

func makeLanes() lanes { return lanes{byKey: map[string]*lane{}} }

// leads says that no event of its key is to be finished before e.
func (e *entry) leads() bool { return e.lane == nil || e.lane.head == e }

// insert puts an entry where its position belongs, but not before one that was
// sent and is not back, and says whether it is the first now. Events that are read
// go to the end; replays come in any order.
func (ls *lanes) insert(e *entry) (first bool) {
	l := ls.byKey[e.Key]
	if l == nil {
		ls.begin(e)
		return true
	}
	e.lane = l
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

// begin makes a lane.
func (ls *lanes) begin(e *entry) {
	var l *lane
	if n := len(ls.free); n > 0 {
		l, ls.free = ls.free[n-1], ls.free[:n-1]
	} else {
		l = &lane{}
	}
	l.head, l.tail, e.lane = e, e, l
	ls.byKey[e.Key] = l
}

// leave takes an entry out of its lane. If that makes another one the first, it is
// returned.
func (ls *lanes) leave(e *entry) (first *entry) {
	l := e.lane
	if l.head != e {
		ahead := l.head
		for ahead.next != e {
			ahead = ahead.next
		}
		ahead.next = e.next
		if l.tail == e {
			l.tail = ahead
		}
		e.lane, e.next = nil, nil
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
	e.lane, e.next = nil, nil
	return first
}
