package core

import (
	"slices"
	"sort"
	"sync"
)

// tail keeps the newest events in memory and wakes the followers that wait for
// more. What it keeps is contiguous: it ends at the head and has every event
// back to its first.
type tail struct {
	maxBytes int

	// gaps has room for one: an early batch waits for what others wrote.
	gaps chan struct{}

	mu sync.Mutex // protects the fields below
	// log is the identity of the log that this is the tail of.
	log string
	// followed says whether somebody misses what is not in the tail; nil unless
	// others write to the log, too.
	followed func() bool
	// batches are in position order without a gap. Elements are never
	// changed, so a reader may keep a subslice after releasing mu.
	batches []Batch
	bytes   int // of batches
	dropped int // batches whose memory a copy would free
	// end is the last position that was published: the head as followers see
	// it.
	end     uint64
	early   []early
	waiters waiters
	// added are the batches whose waiters are not woken yet. They are woken before who
	// waits changes: a waiter that comes or leaves has been told of all that is here.
	added []Batch
}

// early is a batch that came before the one that precedes it, because the step
// of another worker is not done.
type early struct {
	Batch
	// awaits are the steps that were under way when it came. When all of them
	// are done and the gap is still there, it is one for good.
	awaits workerSet
}

// workerSet is a set of the committer's workers, a bit each.
type workerSet uint

func newTail(maxBytes int, log string, head uint64) *tail {
	return &tail{maxBytes: maxBytes, log: log, end: head, waiters: makeWaiters(), gaps: make(chan struct{}, 1)}
}

// share says that others write to the log, too. It is called before anything
// else.
func (t *tail) share(followed func() bool) {
	t.mu.Lock()
	t.followed = followed
	t.mu.Unlock()
}

func (t *tail) isShared() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.followed != nil
}

// place is where the tail ends, in which log.
func (t *tail) place() (log string, end uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.log, t.end
}

// maxEarly bounds the batches that wait for one that comes before them.
const maxEarly = 64

// publish adds what the step of a worker wrote, if anything. Steps may arrive in
// another order than that of their positions; others are those still under way. Who
// waits for it is not woken before wake, so that who appended is answered first.
func (t *tail) publish(worker int, b Batch, others workerSet) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.early {
		t.early[i].awaits &^= 1 << worker
	}
	if b.Count > 0 {
		t.early = append(t.early, early{b, others})
	}
	t.takeEarly()
}

// wake wakes those who wait for what was published.
func (t *tail) wake() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wakeAdded()
}

// wakeAdded is wake. mu is held.
func (t *tail) wakeAdded() {
	for i := range t.added {
		t.waiters.wake(t.added[i])
	}
	clear(t.added)
	t.added = t.added[:0]
}

// takeEarly adds the early batches whose time has come. mu is held.
func (t *tail) takeEarly() {
	for len(t.early) > 0 {
		i := t.earliest()
		next := t.early[i]
		if next.First > t.end+1 && len(t.early) <= maxEarly && t.mayFill(next.awaits) {
			return
		}
		t.early = slices.Delete(t.early, i, i+1)
		t.add(next.Batch)
	}
}

// mayFill reports whether a gap may still be filled: by a step under way, or with
// what others wrote, if anybody misses it. mu is held.
func (t *tail) mayFill(awaits workerSet) bool {
	if awaits != 0 {
		return true
	}
	if t.followed == nil || !t.followed() {
		return false
	}
	select {
	case t.gaps <- struct{}{}:
	default:
	}
	return true
}

// missing is the position up to which the tail lacks something, as far as it
// knows.
func (t *tail) missing() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.early) == 0 {
		return t.end
	}
	return t.early[t.earliest()].First - 1
}

// fill adds a page of what follows the tail, and moves its end as far as the
// page vouches for.
func (t *tail) fill(page Page) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if page.Count > 0 {
		t.add(page.Batch)
	}
	if page.End {
		// Up to the head nothing more is there. What a step of ours has written
		// beyond the last event that came is not in the page.
		upTo := page.Head
		if len(t.early) > 0 {
			upTo = min(upTo, t.early[t.earliest()].First-1)
		}
		t.end = max(t.end, upTo)
	}
	t.takeEarly()
	t.wakeAdded()
}

// keep reports whether the tail is of that log. If not, it begins anew at the
// log's head.
func (t *tail) keep(log string, head uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.log == log {
		return true
	}
	t.restart()
	t.early = nil
	t.log, t.end = log, head
	return false
}

func (t *tail) earliest() (least int) {
	for i := range t.early {
		if t.early[i].First < t.early[least].First {
			least = i
		}
	}
	return least
}

// skipTo moves the head to one that storage has reached without telling the
// tail, if it is not there; who waits is sent to storage for what is missing.
// Then it takes what waited for that.
func (t *tail) skipTo(head uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if head > t.end {
		t.restart()
		t.end = head
	}
	t.takeEarly()
	t.wakeAdded()
}

// restart forgets what is kept and sends everyone who waits to storage for
// what comes after the head. mu is held.
func (t *tail) restart() {
	t.batches, t.bytes, t.dropped = nil, 0, 0
	t.wakeAdded()
	t.waiters.wakeAll(t.end)
}

// add appends b. Where there is a gap before it, the tail begins anew with b
// and everyone who waits is sent to storage for what is missing; what such a
// beginning has overtaken is in storage already. mu is held.
func (t *tail) add(b Batch) {
	if b = b.after(t.end); b.Count == 0 {
		return
	}
	if b.First > t.end+1 {
		t.restart()
	}
	t.batches = append(t.batches, b)
	t.bytes += len(b.Block)
	for t.bytes > t.maxBytes && len(t.batches) > 1 {
		t.bytes -= len(t.batches[0].Block)
		t.batches = t.batches[1:]
		t.dropped++
	}
	if t.dropped > len(t.batches) {
		t.batches, t.dropped = slices.Clone(t.batches), 0
	}
	t.end = b.Last
	t.added = append(t.added, b)
}

// from returns the batches that hold every event after position, if the tail
// reaches back that far. They are shared: the first may begin earlier.
func (t *tail) from(position uint64) (batches []Batch, head uint64, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if position >= t.end {
		return nil, t.end, true
	}
	if len(t.batches) == 0 || position+1 < t.batches[0].First {
		return nil, t.end, false
	}
	i := sort.Search(len(t.batches), func(i int) bool { return t.batches[i].Last > position })
	return t.batches[i:], t.end, true
}

// wait registers w unless there is something after position already, or the log
// is another one by now.
func (t *tail) wait(w *waiter, log string, position uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if position < t.end || log != t.log {
		return false
	}
	t.wakeAdded()
	t.waiters.add(w)
	return true
}

// leave takes w back and reports the head: nothing up to there was for w,
// unless it was woken.
func (t *tail) leave(w *waiter) (head uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wakeAdded()
	t.waiters.remove(w)
	return t.end
}

// waiter is one follower at the head. It waits for all events, for those of a
// stream, or for those that match a filter. It can wait again when it was woken
// or has left.
type waiter struct {
	stream    string // All, or a name
	filter    *Filter
	filterKey string // "" where there is no filter, and for a stream

	// woken receives the position before the first event that matched. It has
	// room for one: a waiter is removed when it is woken.
	woken chan uint64

	// The tail's mu protects the fields below.
	waiting    bool
	next, prev *waiter // in its group
}

// waiters indexes waiters by what they wait for, so that an event wakes those
// it is for and no other. Those under one key are a list. The tail's mu protects it.
type waiters struct {
	byStream map[string]*waiter // those who wait for everything under All
	byFilter map[string]*waiter // filters written the same are evaluated once
}

func makeWaiters() waiters {
	return waiters{byStream: map[string]*waiter{}, byFilter: map[string]*waiter{}}
}

// group is the index w belongs in, and its key there.
func (ws *waiters) group(w *waiter) (index map[string]*waiter, key string) {
	if w.filterKey != "" {
		return ws.byFilter, w.filterKey
	}
	return ws.byStream, w.stream
}

func (ws *waiters) add(w *waiter) {
	index, key := ws.group(w)
	w.waiting, w.next = true, index[key]
	if w.next != nil {
		w.next.prev = w
	}
	index[key] = w
}

// remove does nothing if w does not wait.
func (ws *waiters) remove(w *waiter) {
	if !w.waiting {
		return
	}
	index, key := ws.group(w)
	switch {
	case w.prev != nil:
		w.prev.next = w.next
	case w.next != nil:
		index[key] = w.next
	default:
		delete(index, key)
	}
	if w.next != nil {
		w.next.prev = w.prev
	}
	w.waiting, w.next, w.prev = false, nil, nil
}

// wake wakes, and removes, everyone b has an event for.
func (ws *waiters) wake(b Batch) {
	wakeGroup(ws.byStream, All, b.First-1)
	if len(ws.byStream) == 0 && len(ws.byFilter) == 0 {
		return
	}
	for rest := b.Block; len(rest) > 0; {
		h, ok := decodeHead(rest)
		if !ok {
			panic("core: batch with a malformed event")
		}
		rest = rest[h.size:]
		wakeGroup(ws.byStream, h.stream, h.position-1)
		if h.isLink() {
			continue // the groups by filter are of $all
		}
		for key, first := range ws.byFilter {
			if first.filter.Match(h.stream, h.typ) {
				wakeGroup(ws.byFilter, key, h.position-1)
			}
		}
	}
}

// wakeAll wakes, and removes, everyone.
func (ws *waiters) wakeAll(position uint64) {
	for _, index := range []map[string]*waiter{ws.byStream, ws.byFilter} {
		for key := range index {
			wakeGroup(index, key, position)
		}
	}
}

// wakeGroup wakes, and removes, those under a key of an index.
func wakeGroup(index map[string]*waiter, key string, position uint64) {
	w := index[key]
	if w == nil {
		return
	}
	delete(index, key)
	for w != nil {
		next := w.next
		w.waiting, w.next, w.prev = false, nil, nil
		w.woken <- position
		w = next
	}
}
