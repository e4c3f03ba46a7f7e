package core

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// RemovalWatcher is implemented by a Log's Store. It serves those that keep events in memory
// which were read before: what was removed since must not be handed out.
type RemovalWatcher interface {
	// Removals counts how often events may have been removed, or a policy of retention was put.
	// When a Commit that does that is answered, the count has risen. Events that were read when
	// the count was the same, and later, are in the log still.
	Removals() uint64
	// AwaitRemoval waits until the count is greater than after, and returns it. While there are
	// policies, the count rises every expiresEvery that somebody waits. The error is ctx's, or
	// store_closed.
	AwaitRemoval(ctx context.Context, after uint64) (uint64, error)
	// Expires reports whether events may be gone without a change of the count, as time goes by or
	// others are appended. Gone has those, too.
	Expires() bool
	// Removed returns what may be gone of that which was read when Removals returned since.
	Removed(since uint64) Removed
	// Gone reports which of some encoded events are not in the log any more, or have expired.
	// since is what Removals returned before they were read.
	Gone(ctx context.Context, since uint64, events [][]byte) ([]bool, error)
}

// Removed is what may be gone from the log: the events of some streams, or of any; links go with
// their events.
type Removed struct {
	Streams []string // in no order; not all of them if Any is set
	Any     bool
	Expired bool // others may have expired
}

var _ RemovalWatcher = (*Store)(nil)

// maxRecentRemovals is how many removals a Store remembers at least. At most it is twice as many.
const maxRecentRemovals = 1024

// removals are those that a Store has learned of, from the notices that its tail gets.
type removals struct {
	count atomic.Uint64

	mu      sync.Mutex    // protects the fields below, and changes of count
	recent  []removal     // the last ones, the last at the end
	changed chan struct{} // is closed when count changes
}

// removal says that the events of a stream are gone that have positions before another. One
// without a stream says that any events may be gone; one of expiry, that some may have expired. One
// of deletion says that a stream was deleted, or undeleted, and that nothing is gone.
type removal struct {
	stream   string
	before   uint64
	expiry   bool
	deletion bool
}

// expiresEvery is how often those that keep events in memory look for what has expired with time,
// or because its stream went on.
const expiresEvery = 30 * time.Second

func makeRemovals() *removals { return &removals{changed: make(chan struct{})} }

// add notes a removal.
func (r *removals) add(x removal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.recent = append(r.recent, x)
	if n := len(r.recent); n > 2*maxRecentRemovals {
		r.recent = slices.Clone(r.recent[n-maxRecentRemovals:])
	}
	r.count.Add(1)
	close(r.changed)
	r.changed = make(chan struct{})
}

// since has the streams of the removals behind a count, with the positions before which their
// events are gone. It is not ok if these are not all. expired reports that others may have expired.
func (r *removals) since(count uint64) (before map[string]uint64, expired, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.count.Load() - min(count, r.count.Load())
	known := min(n, uint64(len(r.recent)))
	before = make(map[string]uint64, known)
	for _, x := range r.recent[uint64(len(r.recent))-known:] {
		if x.expiry {
			expired = true
		} else {
			before[x.stream] = max(before[x.stream], x.before)
		}
	}
	_, any := before[""]
	return before, expired, known == n && !any
}

// await waits until the count is greater than after, or until again is sent to.
func (r *removals) await(ctx context.Context, after uint64, again <-chan time.Time) (count uint64, err error) {
	for {
		r.mu.Lock()
		count, changed := r.count.Load(), r.changed
		r.mu.Unlock()
		if count > after {
			return count, nil
		}
		select {
		case <-changed:
		case <-again:
			return count, nil
		case <-ctx.Done():
			return count, AsError(context.Cause(ctx))
		}
	}
}

// Removals is RemovalWatcher.Removals.
func (s *Store) Removals() uint64 { return s.tail.removals.count.Load() }

// Removed is RemovalWatcher.Removed.
func (s *Store) Removed(since uint64) Removed {
	before, expired, known := s.tail.removals.since(since)
	delete(before, "")
	return Removed{Streams: slices.Collect(maps.Keys(before)), Any: !known, Expired: expired}
}

// MayBeGone has whoever keeps events in memory, or parked, look which of them are gone.
func (s *Store) MayBeGone() { s.tail.note(removal{}) }

// Expires is RemovalWatcher.Expires.
func (s *Store) Expires() bool { return s.policies.any.Load() }

// AwaitRemoval is RemovalWatcher.AwaitRemoval.
func (s *Store) AwaitRemoval(ctx context.Context, after uint64) (uint64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.closing, func() { cancel(context.Cause(s.closing)) })()
	again := time.NewTicker(expiresEvery)
	defer again.Stop()
	for {
		count, err := s.tail.removals.await(ctx, after, again.C)
		if err != nil || count > after {
			return count, err
		}
		if s.policies.any.Load() {
			s.tail.removals.add(removal{expiry: true})
		}
	}
}

// Gone is RemovalWatcher.Gone. An event is there if it is not before the first one of its
// stream; a link, if that holds of its event, too.
func (s *Store) Gone(ctx context.Context, since uint64, events [][]byte) ([]bool, error) {
	if len(events) == 0 {
		return nil, nil
	}
	gone, err := s.removed(ctx, since, events)
	if err != nil {
		return nil, err
	}
	if err := s.policies.current(ctx); err != nil || !s.policies.any.Load() {
		return gone, err
	}
	return gone, s.newExpiry().mark(ctx, events, gone)
}

// removed reports which events are not in the log any more.
func (s *Store) removed(ctx context.Context, since uint64, events [][]byte) ([]bool, error) {
	before, _, known := s.tail.removals.since(since)
	if known {
		return areBefore(before, events, false)
	}
	first := map[string]uint64{}
	var names []string
	for _, raw := range events {
		h, ok := decodeHead(raw)
		if !ok {
			return nil, errMalformedEvent
		}
		for _, name := range []string{h.stream, h.home} {
			if _, ok := first[name]; !ok {
				first[name] = 0
				names = append(names, name)
			}
		}
	}
	if err := s.firstPositions(ctx, names, first); err != nil {
		return nil, err
	}
	return areBefore(first, events, true)
}

// areBefore reports which events are before a position of their stream or, of a link, of the
// stream of its event. all is whether those are gone, too, whose stream has the position 0.
func areBefore(before map[string]uint64, events [][]byte, all bool) ([]bool, error) {
	is := make([]bool, len(events))
	if len(before) == 0 {
		return is, nil
	}
	for i, raw := range events {
		var e Event
		if _, err := DecodeEvent(raw, &e); err != nil {
			return nil, err
		}
		home := e.Home()
		at, homeAt := before[e.Stream], before[home.Stream]
		is[i] = e.Position < at || home.Position < homeAt || all && (at == 0 || homeAt == 0)
	}
	return is, nil
}

// firstPositions adds to first the position of the first event of each stream that has one.
func (s *Store) firstPositions(ctx context.Context, streams []string, first map[string]uint64) error {
	for len(streams) > 0 {
		n := min(len(streams), MaxReadEvents)
		page, err := s.engine.Streams(ctx, StreamsRequest{Names: streams[:n], Details: true, Limit: n})
		if err != nil {
			return err
		}
		for i := range page.Streams {
			first[page.Streams[i].Name] = page.Streams[i].Created.Position
		}
		streams = streams[n:]
	}
	return nil
}
