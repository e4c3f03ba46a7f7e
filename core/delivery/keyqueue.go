package delivery

// keyQueue is the unfinished events of one key, in order of position.
//
// Invariant: those in flight are the first ones, and all of them are with one subscriber.
// So an event that comes back takes those behind it back, too.
type keyQueue struct {
	head, tail *entry // Invariant: not nil
	unsent     *entry // the first that is not in flight; nil if there is none
	holder     *subscriber
	inFlight   int
}

// keyQueues has a queue for every key with unfinished events. The map is never iterated.
type keyQueues struct {
	byKey map[string]*keyQueue
	free  []*keyQueue
}

func makeKeyQueues() keyQueues { return keyQueues{byKey: map[string]*keyQueue{}} }

// leads reports whether no unfinished event of its key is before e.
func (e *entry) leads() bool { return e.queue == nil || e.queue.head == e }

// insert puts an entry where its position belongs, but not before one that is in flight or
// parking. Events that are read go to the end; replays come in any order.
func (ks *keyQueues) insert(e *entry) {
	q := ks.byKey[e.Key]
	if q == nil {
		ks.begin(e)
		return
	}
	e.queue = q
	after := q.tail
	for after != nil && (after.state == waiting || after.state == retrying) && e.before(after) {
		after = after.prev
	}
	if e.prev = after; after == nil {
		e.next, q.head = q.head, e
	} else {
		e.next, after.next = after.next, e
	}
	if e.next == nil {
		q.tail = e
	} else {
		e.next.prev = e
	}
	if q.unsent == nil || q.unsent == e.next {
		q.unsent = e
	}
}

// begin makes a queue.
func (ks *keyQueues) begin(e *entry) {
	var q *keyQueue
	if n := len(ks.free); n > 0 {
		q, ks.free = ks.free[n-1], ks.free[:n-1]
	} else {
		q = &keyQueue{}
	}
	q.head, q.tail, q.unsent, e.queue = e, e, e, q
	ks.byKey[e.Key] = q
}

// remove takes an entry that is not in flight out of its queue, and returns the queue, or
// nil if it is empty now.
func (ks *keyQueues) remove(e *entry) *keyQueue {
	q := e.queue
	if q.unsent == e {
		q.unsent = e.next
	}
	if e.next == nil {
		q.tail = e.prev
	} else {
		e.next.prev = e.prev
	}
	switch {
	case e.prev != nil:
		e.prev.next = e.next
	case e.next != nil:
		q.head = e.next
		// The map's key has to be the string of an event that is still here: a string
		// keeps the block that it is a part of in memory.
		ks.byKey[q.head.Key] = q
	default:
		delete(ks.byKey, e.Key)
		q.head = nil
		ks.free = append(ks.free, q)
	}
	e.queue, e.next, e.prev = nil, nil, nil
	if q.head == nil {
		return nil
	}
	return q
}
