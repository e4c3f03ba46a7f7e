package core

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

const (
	// A reader that catches up gets its cursor every progressEvery positions without a
	// match; a reader that waits at the head, every progressAfter.
	progressEvery = 10_000
	progressAfter = 15 * time.Second

	// scanBytes is how much a filtered reader reads from storage at a time, at most: it reads
	// twice as much as before when it has taken all of what matches.
	scanBytes = 1 << 20
)

// follower is a Follower of a Store. While it is behind, it reads the tail if that reaches
// back far enough, else pages from storage. At the head it waits in the tail's index. It
// keeps only its place, so a slow reader costs nothing.
type follower struct {
	store  *Store
	stream string // All, or a name
	filter *Filter
	key    string // of filter; "" where there is none
	system bool   // events of the system's streams are asked for
	log    string // identity of the log

	position uint64 // everything up to here has been delivered or does not match
	inStream        // at position
	// deleted reports that the stream is: nothing is delivered, and position stays until that
	// is undone. deletedAt is the log's head when it was found so.
	deleted   bool
	deletedAt uint64
	scan      int    // bytes that it reads from storage next, if it is filtered
	dense     bool   // most of the last page matched
	reported  uint64 // position of the last Delivery
	begun     bool   // there was one
	live      bool   // Live of the last one

	waiter *waiter
	late   *time.Timer // stopped unless it waits; nil if it waits for every event

	closed    context.Context
	close     context.CancelFunc
	closeOnce sync.Once
}

// inStream is a follower's place in its stream, which only reading from storage needs.
type inStream struct {
	placed  bool   // the fields below have a meaning
	version uint64 // of the stream
	// incarnation is the one that version is of, unless that is 0.
	incarnation uint32
}

// Follow is Log.Follow.
func (s *Store) Follow(ctx context.Context, r FollowRequest) (Follower, error) {
	if err := ValidateReadable(r.Stream); err != nil {
		return nil, err
	}
	if err := r.Filter.Validate(); err != nil {
		return nil, err
	}
	f := &follower{store: s, stream: r.Stream, filter: &r.Filter, system: r.System}
	if !r.Filter.IsZero() {
		f.key = r.Filter.key()
	}
	if err := f.start(ctx, r.From); err != nil {
		return nil, err
	}
	f.prepareWait()
	f.reported = f.position
	f.closed, f.close = context.WithCancel(s.closing)
	s.followers.Add(1)
	if s.watch != nil {
		s.watch.follow()
	}
	return f, nil
}

// Close is Follower.Close.
func (f *follower) Close() error {
	f.closeOnce.Do(func() {
		f.close()
		f.store.followers.Add(-1)
	})
	return nil
}

// Next is Follower.Next.
func (f *follower) Next(ctx context.Context, limit Limit) (Delivery, error) {
	limit.Events, limit.Bytes = max(limit.Events, 1), max(limit.Bytes, 1)
	for overdue := false; ; {
		if err := f.ended(ctx); err != nil {
			return Delivery{}, err
		}
		removals := f.store.Removals()
		batch, at, err := f.advance(ctx, limit)
		if err != nil {
			return Delivery{}, err
		}
		if d, ok := f.deliver(batch, at, overdue); ok {
			d.Removals = removals
			return d, nil
		}
		if f.position < at.head {
			continue
		}
		if overdue, err = f.wait(ctx); err != nil {
			return Delivery{}, err
		}
	}
}

// ended returns why Next must end, or nil.
func (f *follower) ended(ctx context.Context) error {
	switch {
	case ctx.Err() != nil:
		return AsError(ctx.Err())
	case f.store.closing.Err() != nil:
		return context.Cause(f.store.closing)
	case f.closed.Err() != nil:
		return Errorf(CodeCanceled, "the follow was closed")
	}
	return f.store.checkLog(f.log)
}

// deliver returns a Delivery if there is something to report.
func (f *follower) deliver(batch Batch, at place, overdue bool) (Delivery, bool) {
	live := f.position >= at.head || f.live && at.inTail
	changed := live != f.live || !f.begun
	passed := f.position - f.reported
	if batch.Count == 0 && !changed && passed < progressEvery && !(overdue && passed > 0) {
		return Delivery{}, false
	}
	f.begun, f.live, f.reported = true, live, f.position
	return Delivery{Batch: batch, Cursor: f.position, Head: max(at.head, f.position), Live: live}, true
}

// place is where a step forward was read from.
type place struct {
	head   uint64
	inTail bool // from memory, or at the head
}

// advance moves the follower forward by one read and returns the matching events.
func (f *follower) advance(ctx context.Context, limit Limit) (batch Batch, at place, err error) {
	f.deleted = false
	if err := f.store.policies.current(ctx); err != nil {
		return Batch{}, place{}, err
	}
	batches, head, inTail := f.tail()
	stopped := false
	switch {
	case inTail && f.store.policies.any.Load():
		batch, stopped, err = f.keptFromTail(ctx, batches, head, limit)
	case inTail:
		batch, stopped = f.fromTail(batches, head, limit)
	}
	if (!inTail || stopped) && err == nil {
		batch, err = f.fromStorage(ctx, limit)
	}
	if err == nil {
		err = f.store.checkLog(f.log) // the events may be of another log
	}
	if f.deleted {
		return batch, place{f.position, true}, err
	}
	return batch, place{head, inTail}, err
}

// tail returns the batches that hold what comes after the follower's position, if the tail
// reaches back that far.
func (f *follower) tail() (batches []Batch, head uint64, ok bool) {
	if f.stream == All {
		return f.store.tail.from(f.position)
	}
	return f.store.tail.fromOf(f.stream, f.position)
}

// fromTail takes the matching events from the batches, which have every event of the
// follower's stream after its position, up to the head. stopped reports that the next event
// is a link in that stream, whose content is in storage.
func (f *follower) fromTail(batches []Batch, head uint64, limit Limit) (out Batch, stopped bool) {
	if f.stream == All && f.key == "" && !slices.ContainsFunc(batches, func(b Batch) bool { return b.Hidden }) {
		out = joinAfter(batches, f.position, limit)
		f.position = max(f.position, out.Last)
		return out, false
	}
	before := f.position
	var c choice
	for _, b := range batches {
		if !f.choose(&c, b.after(f.position), limit, nil) {
			return c.copied(), f.position == before && c.Count == 0
		}
	}
	f.position = max(f.position, head)
	return c.copied(), false
}

// expiryPart is how much of the tail a follower looks at together for what has expired.
var expiryPart = Limit{Events: MaxReadEvents, Bytes: scanBytes}

// keptFromTail is fromTail without what has expired.
func (f *follower) keptFromTail(ctx context.Context, batches []Batch, head uint64, limit Limit) (out Batch, stopped bool, err error) {
	before := f.position
	x := f.store.newExpiry()
	var c choice
	for _, b := range batches {
		for rest := b.after(f.position); rest.Count > 0; {
			var part Batch
			part, rest = rest.Cut(expiryPart)
			if _, err := x.prepare(ctx, part, f.wants); err != nil {
				return c.copied(), false, err
			}
			if !f.choose(&c, part, limit, x) {
				return c.copied(), f.position == before && c.Count == 0, nil
			}
		}
	}
	f.position = max(f.position, head)
	return c.copied(), false, nil
}

// fromStorage reads what comes next from storage.
func (f *follower) fromStorage(ctx context.Context, limit Limit) (Batch, error) {
	if f.stream == All {
		return f.readAll(ctx, limit)
	}
	return f.readStream(ctx, limit)
}

// readAll reads the next page of $all from storage.
func (f *follower) readAll(ctx context.Context, limit Limit) (Batch, error) {
	r := ReadRequest{Stream: All, From: f.position + 1, System: f.system, Limit: limit}
	if f.key != "" {
		f.scan = min(max(f.scan, limit.Bytes), scanBytes)
		r.Limit = Limit{Events: MaxReadEvents, Bytes: f.scan}
		if !f.dense {
			buffer := scanBuffers.Get().(*[scanBytes]byte)
			defer scanBuffers.Put(buffer)
			r.Buffer = buffer[:0]
		}
	}
	page, err := f.store.Read(ctx, r)
	if err != nil {
		return Batch{}, err
	}
	out := f.takePage(page, limit, r.Buffer == nil)
	if f.scan *= 2; f.position < page.Last {
		f.scan = 0 // what is not taken is read again
	}
	return out, nil
}

// readStream reads what comes next in the stream from storage.
func (f *follower) readStream(ctx context.Context, limit Limit) (batch Batch, err error) {
	head := f.store.engine.State().Head // before the read: it vouches for no more
	if f.placed {
		batch, err = f.readOn(ctx, limit)
	} else {
		batch, err = f.readFirst(ctx, limit)
	}
	f.deleted = errors.Is(err, CodeStreamDeleted)
	switch {
	case f.deleted:
		f.deletedAt = head
		return Batch{}, nil
	case isNotFound(err), errors.Is(err, CodeStreamTombstoned):
		f.position, f.placed = max(f.position, head), true
		return Batch{}, nil
	}
	return batch, err
}

// readOn reads the page of the stream after the follower's version.
func (f *follower) readOn(ctx context.Context, limit Limit) (Batch, error) {
	page, err := f.store.Read(ctx, ReadRequest{Stream: f.stream, From: f.version + 1, Limit: limit})
	if err != nil {
		return Batch{}, err
	}
	if f.version > 0 && page.Incarnation != f.incarnation {
		return f.readFirst(ctx, limit)
	}
	f.incarnation = page.Incarnation
	return f.takePage(page, limit, true), nil
}

// readFirst finds the stream's version at the follower's position. What it reads for that
// often has all that comes next.
func (f *follower) readFirst(ctx context.Context, limit Limit) (Batch, error) {
	version, end, err := f.store.versionAt(ctx, f.stream, f.position)
	if err != nil {
		return Batch{}, err
	}
	f.version, f.incarnation, f.placed = version, end.Incarnation, true
	newer := newerThan(f.position, end.Batch)
	if version+uint64(newer.Count) < end.Version {
		return f.readOn(ctx, limit)
	}
	var c choice
	if f.choose(&c, newer, limit, nil) {
		f.position = max(f.position, end.Head)
	}
	return c.copied(), nil
}

// takePage takes the matching events of a page and moves the follower past the page, or
// to the page's head if it is the last one. owned says that nobody else uses the page's memory.
func (f *follower) takePage(page Page, limit Limit, owned bool) Batch {
	out := page.Batch
	if f.key != "" {
		var all bool
		if out, all = f.chosen(page.Batch, limit, owned); !all {
			return out
		}
	} else if page.Count > 0 {
		f.position = page.Last
	}
	f.version = max(f.version, page.Next-1) // not used for All
	if f.stream == All {
		f.position = max(f.position, page.Next-1) // what $all passes over may follow the last event
	}
	if page.End {
		f.position = max(f.position, page.Head)
	}
	return out
}

// prepareWait makes the waiter and the timer that wait uses.
func (f *follower) prepareWait() {
	f.waiter = &waiter{stream: f.stream, filter: f.filter, woken: make(chan uint64, 1)}
	if f.stream == All {
		f.waiter.filterKey = f.key
	}
	if f.stream != All || f.key != "" {
		f.late = time.NewTimer(progressAfter)
		f.late.Stop()
	}
}

// wait waits at the head until an event may match. overdue reports that none came for so
// long that the reader should get its cursor.
func (f *follower) wait(ctx context.Context) (overdue bool, err error) {
	w, from := f.waiter, f.position
	if f.deleted {
		from = f.deletedAt
	}
	if !f.store.tail.wait(w, f.log, from) {
		return false, nil
	}
	var late <-chan time.Time
	if f.late != nil {
		f.late.Reset(progressAfter)
		defer f.late.Stop()
		late = f.late.C
	}
	select {
	case before := <-w.woken:
		f.passTo(before)
		return false, nil
	case <-late:
	case <-ctx.Done():
	case <-f.closed.Done():
	}
	head := f.store.tail.leave(w)
	select {
	case before := <-w.woken: // in the meantime
		head = before
	default:
	}
	f.passTo(head)
	return true, f.ended(ctx)
}

// passTo notes that nothing up to a position matches.
func (f *follower) passTo(position uint64) {
	if !f.deleted {
		f.position = max(f.position, position)
	}
}

// start finds the position and version to begin after.
func (f *follower) start(ctx context.Context, from From) error {
	from, err := ProgressFrom(ctx, f.store, from)
	if err != nil {
		return err
	}
	state, err := f.store.freshState(ctx)
	if err != nil {
		return err
	}
	f.log = state.Log
	if f.store.watch != nil {
		f.store.watch.prepare(state.Head)
	}
	switch from.Kind {
	case FromStart:
		f.placed = true
		return nil
	case FromEnd:
		f.position = state.Head
		return nil
	case AfterPosition:
		f.position = from.N
		return state.checkPlace(from.Log, from.N)
	case AfterVersion:
		return f.startAfterVersion(ctx, from.N)
	case FromTime:
		first, err := f.store.firstRecorded(ctx, ReadRequest{Stream: All, System: f.system}, state.Head,
			func(recorded time.Time) bool { return !recorded.Before(from.Time) })
		f.position = first - 1
		return err
	}
	return Errorf(CodeInvalidCursor, "%d is not a kind of start", from.Kind)
}

func (f *follower) startAfterVersion(ctx context.Context, version uint64) error {
	if f.stream == All {
		return Errorf(CodeInvalidCursor, "$all has positions, not versions")
	}
	f.placed = true
	if version == 0 {
		return nil
	}
	page, err := f.store.engine.Read(ctx, ReadRequest{Stream: f.stream, From: min(version, MaxNumber), Limit: Limit{Events: 1, Bytes: 1}})
	switch {
	case err != nil && !isNotFound(err):
		return err
	case version > page.Version:
		return Errorf(CodeInvalidCursor, "stream %q is at version %d, the start is after version %d", Clip(f.stream), page.Version, version)
	case page.Count == 0: // this event and those after it are removed
		f.version, f.incarnation, f.position = version, page.Incarnation, page.Head
		return nil
	}
	f.version, f.incarnation, f.position = version, page.Incarnation, page.First
	if first, _ := decodePlace(page.Block); first.Version > version {
		f.position-- // the event of the version is removed
	}
	return nil
}

// nearEnd is how many events at a stream's end versionAt looks at before it searches: most
// followers go on from a place close to it.
var nearEnd = Limit{Events: 16, Bytes: 64 << 10}

// versionAt is the stream's version when the log was at position. end is the page at the
// stream's end that was read for it; without a stream the error is stream_not_found.
func (s *Store) versionAt(ctx context.Context, stream string, position uint64) (version uint64, end Page, err error) {
	end, err = s.Read(ctx, ReadRequest{Stream: stream, Backward: true, Limit: nearEnd})
	if err != nil || end.Count == 0 {
		return 0, end, err
	}
	oldest := end.Version
	for e := range end.Events() {
		if e.Position <= position {
			return e.Version, end, nil
		}
		oldest = e.Version
	}
	after, err := searchUint(1, oldest, func(version uint64) (bool, error) {
		page, err := s.engine.Read(ctx, ReadRequest{Stream: stream, From: version, Limit: Limit{Events: 1, Bytes: 1}})
		return err == nil && page.First > position, err
	})
	return after - 1, end, err
}

// searchUint finds the least n in [low, high) for which is holds, or high; is
// holds for all numbers from some on.
func searchUint(low, high uint64, is func(uint64) (bool, error)) (uint64, error) {
	for low < high {
		mid := low + (high-low)/2
		yes, err := is(mid)
		if err != nil {
			return low, err
		}
		if yes {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low, nil
}
