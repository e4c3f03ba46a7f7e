package delivery

// fifo is a queue in a ring that grows and is used again: pushing and popping
// allocate nothing once it is as large as it has to be. Elements are counted for
// ever, so that an index stays good until its element is popped.
type fifo[T any] struct {
	buf []T // Invariant: empty, or a power of two long.
	// head and tail count what was popped and what was pushed; the elements are
	// those in [head, tail).
	head, tail uint64
}

func (q *fifo[T]) len() int { return int(q.tail - q.head) }

// at is the element with index i, which is in [head, tail).
func (q *fifo[T]) at(i uint64) *T { return &q.buf[i&uint64(len(q.buf)-1)] }

func (q *fifo[T]) push(x T) {
	if q.len() == len(q.buf) {
		q.grow()
	}
	q.tail++
	*q.at(q.tail - 1) = x
}

// pop drops the first element.
func (q *fifo[T]) pop() {
	var zero T
	*q.at(q.head) = zero
	q.head++
}

func (q *fifo[T]) grow() {
	const least = 16
	old := *q
	q.buf = make([]T, max(least, 2*len(old.buf)))
	for i := old.head; i < old.tail; i++ {
		*q.at(i) = *old.at(i)
	}
}

// heap has its least element first. It does without container/heap because that
// passes elements through interfaces.
type heap[T ordered[T]] []T

// ordered is what a heap is made of.
type ordered[T any] interface{ before(T) bool }

var (
	_ ordered[*subscriber] = (*subscriber)(nil)
	_ ordered[timer]       = timer{}
)

func (h *heap[T]) push(x T) {
	*h = append(*h, x)
	s := *h
	for i := len(s) - 1; i > 0; {
		parent := (i - 1) / 2
		if !s[i].before(s[parent]) {
			return
		}
		s[i], s[parent] = s[parent], s[i]
		i = parent
	}
}

func (h *heap[T]) pop() T {
	s := *h
	least, last := s[0], len(s)-1
	var zero T
	s[0], s[last] = s[last], zero
	*h = s[:last]
	h.fix(0)
	return least
}

// fix moves the element at i down to where it belongs.
func (h *heap[T]) fix(i int) {
	s := *h
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(s); child++ {
			if s[child].before(s[least]) {
				least = child
			}
		}
		if least == i {
			return
		}
		s[i], s[least] = s[least], s[i]
		i = least
	}
}

// filter keeps the elements that are wanted, in time linear in all of them.
func (h *heap[T]) filter(wanted func(T) bool) {
	s := *h
	n := 0
	for _, x := range s {
		if wanted(x) {
			s[n] = x
			n++
		}
	}
	clear(s[n:])
	*h = s[:n]
	for i := n/2 - 1; i >= 0; i-- {
		h.fix(i)
	}
}

// readyHeap has waiting entries that may be sent, the one with the lowest position first.
// An entry knows its place in it, so that it can leave from anywhere.
type readyHeap []*entry

func (h *readyHeap) first() *entry {
	if len(*h) == 0 {
		return nil
	}
	return (*h)[0]
}

func (h *readyHeap) push(e *entry) {
	*h = append(*h, e)
	e.ready = h
	h.up(len(*h) - 1)
}

func (h *readyHeap) remove(e *entry) {
	s := *h
	i, last := e.place, s[len(s)-1]
	s[len(s)-1] = nil
	*h = s[:len(s)-1]
	e.ready, e.place = nil, 0
	if last == e {
		return
	}
	s[i], last.place = last, i
	h.up(i)
	h.down(last.place)
}

// up moves the entry at i towards the first, to where it belongs.
func (h *readyHeap) up(i int) {
	s, e := *h, (*h)[i]
	for i > 0 {
		parent := (i - 1) / 2
		if !e.before(s[parent]) {
			break
		}
		s[i], s[parent].place = s[parent], i
		i = parent
	}
	s[i], e.place = e, i
}

// down moves the entry at i towards the last, to where it belongs.
func (h *readyHeap) down(i int) {
	s, e := *h, (*h)[i]
	for {
		least := 2*i + 1
		if least >= len(s) {
			break
		}
		if right := least + 1; right < len(s) && s[right].before(s[least]) {
			least = right
		}
		if !s[least].before(e) {
			break
		}
		s[i], s[least].place = s[least], i
		i = least
	}
	s[i], e.place = e, i
}
