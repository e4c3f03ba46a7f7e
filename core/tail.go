package core

import (
	"slices"
	"sort"
	"sync"
)

// tail keeps the newest events in memory and wakes the followers that wait for more. It
// ends at the head and has every event back to its first.
type tail struct {
	maxBytes int

	// gaps has room for one: an early batch waits for events of another writer.
	gaps chan struct{}
	// removals, and deletions, are those that the tail has got notices of, or may have missed. They
	// are noted in one step with forgetting the events, with mu held.
	removals, deletions *removals

	mu sync.Mutex // protects the fields below
	// log is the identity of the log that this is the tail of.
	log string
	// followed reports whether the Store has followers; nil unless the log has other
	// writers.
	followed func() bool
	// batches are in position order without a gap. Elements are never
	// changed, so a reader may keep a subslice after releasing mu.
	batches []Batch
	streams []*batchStreams // of each of batches
	bytes   int             // of batches
	dropped int             // batches whose memory a copy would free
	// passed says that the end has passed over positions that nobody has looked for notices in.
	passed bool
	// end is the last published position: the head that followers see.
	end     uint64
	early   []early
	waiters waiters
	// added are batches whose waiters are not woken yet. They are woken before the set
	// of waiters changes.
	added []Batch
}

// early is a batch that was published before the one that precedes it, because another
// worker's step is not done. It has positions and no events if some of those may be removed.
type early struct {
	Batch
	// awaits are the steps that were under way then. If the gap remains when all of
	// them are done, they have failed or another node wrote the events.
	awaits workerSet
}

// workerSet is a set of the committer's workers, a bit each.
type workerSet uint

func newTail(maxBytes int, log string, head uint64) *tail {
	t := &tail{maxBytes: maxBytes, log: log, end: head, waiters: makeWaiters(), gaps: make(chan struct{}, 1), removals: makeRemovals(), deletions: makeRemovals()}
	t.note(removal{}) // what was removed before
	return t
}

// share prepares the tail for a log with other writers. It is called first.
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

// place returns the log's identity and the tail's end.
func (t *tail) place() (log string, end uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.log, t.end
}

// maxEarly bounds the batches that wait for one that comes before them.
const maxEarly = 64

// publish adds a step's events, if it has any. Steps may arrive out of order; others are
// those still under way. Followers are woken later, by wake, so that the callers of
// Append are answered first.
func (t *tail) publish(worker int, b Batch, others workerSet) {
	notice, removed := b.notices()
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.early {
		t.early[i].awaits &^= 1 << worker
	}
	t.note(removed...)
	if notice {
		t.forget()
	}
	if notice || t.awaitsNotice() {
		b = b.emptied()
	}
	if b.Last > 0 {
		t.early = append(t.early, early{b, others})
	}
	t.takeEarly()
}

// note notes removals, and deletions. What may be of any stream may be either.
func (t *tail) note(which ...removal) {
	for _, x := range which {
		if !x.deletion {
			t.removals.add(x)
		}
		if x.deletion || x == (removal{}) {
			t.deletions.add(x)
		}
	}
}

// forget discards all events: some of them may be removed. mu is held.
func (t *tail) forget() {
	t.restart()
	for i := range t.early {
		t.early[i].Batch = t.early[i].emptied()
	}
}

// awaitsNotice reports whether a notice was published early, up to whose place events come that
// were written, or read, before it: they may be removed. mu is held.
func (t *tail) awaitsNotice() bool {
	return slices.ContainsFunc(t.early, func(e early) bool { return e.Count == 0 })
}

// emptied has the positions of b and none of its events.
func (b *Batch) emptied() Batch { return Batch{First: b.First, Last: b.Last} }

// wake wakes the followers that wait for published events.
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

// takeEarly adds the early batches that need not wait any longer. mu is held.
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

// mayFill reports whether a gap may still be filled: by a step under way or, if there are
// followers, from storage. mu is held.
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

// missing returns the position up to which the tail is known to lack events.
func (t *tail) missing() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.early) == 0 {
		return t.end
	}
	return t.early[t.earliest()].First - 1
}

// fill adds a page that follows the tail, and moves the end to where the page is
// complete.
func (t *tail) fill(page Page) {
	notice, removed := page.notices()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.note(removed...)
	if notice {
		t.forget()
	}
	if notice || t.awaitsNotice() {
		page.Batch = page.emptied()
	}
	t.add(page.Batch)
	if page.End {
		// The page is complete up to its head. A step of our own may have written
		// events that are not in it.
		upTo := page.Head
		if len(t.early) > 0 {
			upTo = min(upTo, t.early[t.earliest()].First-1)
		}
		t.end = max(t.end, upTo)
	}
	t.takeEarly()
	t.wakeAdded()
}

// keep reports whether the tail is of that log. If not, the tail restarts at the log's
// head.
func (t *tail) keep(log string, head uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.log == log {
		return true
	}
	t.restart()
	t.note(removal{})
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

// skipTo advances the head to a position known to be in storage. Waiting followers read
// the gap from there.
func (t *tail) skipTo(head uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if head > t.end {
		t.restart()
		t.note(removal{}) // there may be notices in the gap
		t.end = head
	}
	t.takeEarly()
	t.wakeAdded()
}

// notePassed notes that there may have been notices where the end has passed over positions. It
// reports whether it has.
func (t *tail) notePassed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	passed := t.passed
	if t.passed = false; passed {
		t.note(removal{})
	}
	return passed
}

// restart discards all events and sends waiting followers to storage for what comes after
// the head. mu is held.
func (t *tail) restart() {
	t.batches, t.streams, t.bytes, t.dropped = nil, nil, 0, 0
	t.wakeAdded()
	t.waiters.wakeAll(t.end)
}

// add appends b. If there is a gap before it, the tail restarts with b and waiting
// followers read the gap from storage. Events at or below the end are in storage
// already and are dropped. The tail restarts behind a batch without events. mu is held.
func (t *tail) add(b Batch) {
	if b.Count == 0 && b.Last > t.end {
		t.passed = t.passed || b.First > t.end+1
		t.restart()
		t.end = b.Last
		return
	}
	if b = b.after(t.end); b.Count == 0 {
		return
	}
	if b.First > t.end+1 {
		t.restart()
		t.passed = true
	}
	t.batches, t.streams = append(t.batches, b), append(t.streams, &batchStreams{})
	t.bytes += len(b.Block)
	for t.bytes > t.maxBytes && len(t.batches) > 1 {
		t.bytes -= len(t.batches[0].Block)
		t.batches, t.streams = t.batches[1:], t.streams[1:]
		t.dropped++
	}
	if t.dropped > len(t.batches) {
		t.batches, t.streams, t.dropped = slices.Clone(t.batches), slices.Clone(t.streams), 0
	}
	t.end = b.Last
	t.added = append(t.added, b)
}

// from returns the batches that hold every event after position, if the tail
// reaches back that far. The first may begin earlier.
func (t *tail) from(position uint64) (batches []Batch, head uint64, ok bool) {
	batches, _, head, ok = t.after(position)
	return batches, head, ok
}

// fewBatches is how many batches are looked through as fast as their sets of streams.
const fewBatches = 8

// fromOf is from without batches that have no event of a stream.
func (t *tail) fromOf(stream string, position uint64) (batches []Batch, head uint64, ok bool) {
	all, sets, head, ok := t.after(position)
	if len(all) <= fewBatches {
		return all, head, ok
	}
	hash := hashStream(stream)
	for i := range all {
		if sets[i].mayHave(&all[i], hash) {
			batches = append(batches, all[i])
		}
	}
	return batches, head, ok
}

// after is from with the sets of streams of the batches.
func (t *tail) after(position uint64) (batches []Batch, sets []*batchStreams, head uint64, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if position >= t.end {
		return nil, nil, t.end, true
	}
	if len(t.batches) == 0 || position+1 < t.batches[0].First {
		return nil, nil, t.end, false
	}
	i := sort.Search(len(t.batches), func(i int) bool { return t.batches[i].Last > position })
	return t.batches[i:], t.streams[i:], t.end, true
}

// wait registers w, unless there are events after position or the log has another
// identity.
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

// leave removes w and returns the head. If w was not woken, no event up to there
// matched.
func (t *tail) leave(w *waiter) (head uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wakeAdded()
	t.waiters.remove(w)
	return t.end
}

// waiter is one follower at the head. It waits for all events, for those of a
// stream, or for those that match a filter. It can be reused.
type waiter struct {
	stream    string // All, or a name
	filter    *Filter
	filterKey string // "" without a filter, and for a stream

	// woken receives the position before the first event that matched. It has
	// room for one: a waiter is removed when it is woken.
	woken chan uint64

	// The tail's mu protects the fields below.
	waiting    bool
	next, prev *waiter // in its group
}

// waiters indexes waiters by what they wait for, so that an event wakes no others. The
// waiters of one key are a list. The tail's mu protects it.
type waiters struct {
	byStream map[string]*waiter // All for those that wait for every event
	byFilter map[string]*waiter // filters written the same are evaluated once
}

func makeWaiters() waiters {
	return waiters{byStream: map[string]*waiter{}, byFilter: map[string]*waiter{}}
}

// group returns the index of w, and its key there.
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

// wake wakes and removes every waiter that b has an event for.
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
			continue // filters are on $all, which has no links
		}
		for key, first := range ws.byFilter {
			if first.filter.Match(h.stream, h.typ) {
				wakeGroup(ws.byFilter, key, h.position-1)
			}
		}
	}
}

// wakeAll wakes and removes all waiters.
func (ws *waiters) wakeAll(position uint64) {
	for _, index := range []map[string]*waiter{ws.byStream, ws.byFilter} {
		for key := range index {
			wakeGroup(index, key, position)
		}
	}
}

// wakeGroup wakes and removes the waiters of a key of an index.
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
