package core

import (
	"context"
	"errors"
	"strings"
	"time"
)

// expiry decides which events have expired, by the policies and the time at which it was made.
// It is the only place where that is decided. One goroutine uses it.
//
// In a stream the events that have expired come before those that have not: versions and
// recorded times rise. So a stream has a first version that is left, and a read begins there.
type expiry struct {
	store   *Store
	now     int64 // Unix µs
	streams map[string]*horizon
	ages    map[time.Duration]*age // by MaxAge

	counted []string // streams whose last versions are to be asked for
	linked  []*age   // ages with positions to ask about
	asksAll bool     // positions of much of the log are asked about, one after the other
}

// horizon says what of a stream has expired; if it is nil, nothing has.
type horizon struct {
	policy
	age *age // nil without a MaxAge
	// last is a version that the stream has reached, 0 if none is known yet.
	last uint64
}

func (s *Store) newExpiry() *expiry {
	return &expiry{store: s, now: s.clock().UnixMicro(), streams: make(map[string]*horizon), ages: make(map[time.Duration]*age)}
}

// of returns the horizon of a stream; nil if it has no policy.
func (x *expiry) of(stream string) *horizon {
	if h := x.streams[stream]; h != nil {
		return h
	}
	p := x.store.policies.of(stream)
	if p.IsZero() {
		return nil
	}
	h := &horizon{policy: p}
	if p.MaxAge > 0 {
		h.age = x.ageOf(p.MaxAge)
	}
	x.streams[strings.Clone(stream)] = h // a name in a batch may be valid for now only
	return h
}

// before is the version before which all have expired, without regard to their age. position is
// that of an event of the stream's present incarnation.
func (h *horizon) before(position uint64) (version uint64) {
	if position <= h.truncatedTo {
		version = h.TruncateBefore
	}
	if h.MaxCount > 0 && h.last > h.MaxCount {
		version = max(version, h.last-h.MaxCount+1)
	}
	return version
}

// hides reports whether an event of the stream, or a link in it, has expired.
func (h *horizon) hides(position, version uint64, recorded int64) bool {
	return h != nil && (version < h.before(position) || h.age != nil && recorded < h.age.cutoff)
}

// hidesLinked is hides of an event that is known by a link to it.
func (h *horizon) hidesLinked(position, version uint64) bool {
	return h != nil && (version < h.before(position) || h.age != nil && h.age.hides(position))
}

// hides reports whether an event or link has expired, whose streams prepare has met. A link
// expires with the event that it names, too.
func (x *expiry) hides(h *eventHead) bool {
	return x.streams[h.stream].hides(h.position, h.version, h.recorded) ||
		h.isLink() && x.streams[h.home].hidesLinked(h.homePosition, h.homeVersion)
}

// prepare finds out what hides has to know of the streams of b, and reports whether any of them
// has a policy. wants, if not nil, says which events matter.
func (x *expiry) prepare(ctx context.Context, b Batch, wants func(h *eventHead) bool) (any bool, err error) {
	for rest := b.Block; len(rest) > 0; {
		h, ok := decodeHead(rest)
		if !ok {
			panic("core: batch with a malformed event")
		}
		if rest = rest[h.size:]; (wants == nil || wants(&h)) && x.meet(&h) {
			any = true
		}
	}
	return any, x.ask(ctx)
}

// meet notes what has to be asked about the streams of an event, and reports whether one of them
// has a policy.
func (x *expiry) meet(e *eventHead) (any bool) {
	any = x.meetStream(e.stream) != nil
	if !e.isLink() {
		return any
	}
	home := x.meetStream(e.home)
	if home != nil && home.age != nil {
		x.meetLinked(home.age, e.homePosition)
	}
	return any || home != nil
}

// meetStream is meet of one stream. It returns the stream's horizon.
func (x *expiry) meetStream(stream string) *horizon {
	h := x.of(stream)
	if h != nil && h.MaxCount > 0 && h.last == 0 {
		h.last = 1 // asked for once
		x.counted = append(x.counted, strings.Clone(stream))
	}
	return h
}

// ask finds out about the streams and positions that were met.
func (x *expiry) ask(ctx context.Context) error {
	counted, linked := x.counted, x.linked
	x.counted, x.linked = nil, nil
	if err := x.count(ctx, counted); err != nil {
		return err
	}
	for _, a := range linked {
		if err := x.date(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// count finds the last versions of streams.
func (x *expiry) count(ctx context.Context, streams []string) error {
	for len(streams) > 0 {
		names := streams[:min(len(streams), MaxReadEvents)]
		streams = streams[len(names):]
		page, err := x.store.engine.Streams(ctx, StreamsRequest{Names: names, Limit: len(names)})
		if err != nil {
			return err
		}
		for i := range page.Streams {
			x.streams[page.Streams[i].Name].last = page.Streams[i].Version
		}
	}
	return nil
}

// firstLeft is the first version of a stream, of those from from to last, that is not too old;
// last+1 if there is none.
func (x *expiry) firstLeft(ctx context.Context, stream string, from, last uint64) (uint64, error) {
	h := x.streams[stream]
	if h.age == nil || from > last {
		return min(from, last+1), nil
	}
	return searchUint(from, last+1, func(version uint64) (bool, error) {
		page, err := x.store.engine.Read(ctx, ReadRequest{Stream: stream, From: version, Limit: Limit{Events: 1, Bytes: 1}})
		if err != nil || page.Count == 0 {
			return true, err
		}
		first, _ := decodePlace(page.Block)
		return first.RecordedMicros >= h.age.cutoff, nil
	})
}

// left returns the events of b that have not expired: b itself if none has.
func (x *expiry) left(ctx context.Context, b Batch) (Batch, error) {
	any, err := x.prepare(ctx, b, nil)
	if err != nil || !any {
		return b, err
	}
	return b.where(func(h *eventHead) bool { return !x.hides(h) }), nil
}

// mark sets what is true of the events that have expired.
func (x *expiry) mark(ctx context.Context, events [][]byte, expired []bool) error {
	for _, raw := range events {
		if h, ok := decodeHead(raw); ok {
			x.meet(&h)
		}
	}
	if err := x.ask(ctx); err != nil {
		return err
	}
	for i, raw := range events {
		if h, ok := decodeHead(raw); ok && x.hides(&h) {
			expired[i] = true
		}
	}
	return nil
}

// maxPassed bounds how often a read of a stream begins again behind events that have expired. The
// second page has others, unless they expire meanwhile.
const maxPassed = 3

// readKept is the engine's Read without what has expired.
func (s *Store) readKept(ctx context.Context, r ReadRequest) (page Page, err error) {
	x := s.newExpiry()
	for range maxPassed {
		if page, err = s.engine.Read(ctx, r); err != nil {
			return page, err
		}
		again, err := x.trim(ctx, &r, &page)
		if err != nil || !again {
			return page, err
		}
		r.From = page.Next
	}
	return page, nil
}

// trim takes out of a page what has expired. Where that is the beginning of the stream, a
// backward page ends, and a forward one goes on at the first version that is left; again
// reports that there is one, and nothing on the page.
func (x *expiry) trim(ctx context.Context, r *ReadRequest, page *Page) (again bool, err error) {
	all := page.Batch
	var own *horizon
	if r.Stream != All {
		if own = x.of(r.Stream); own != nil {
			own.last = max(page.Version, 1)
		}
	}
	if page.Batch, err = x.left(ctx, all); err != nil || page.Count == all.Count {
		return false, err
	}
	page.Expired = true
	if own == nil {
		return false, nil
	}
	var last Place
	for last = range all.Places() { //nolint:revive // the last one is what is wanted
	}
	switch {
	case !own.hides(last.Position, last.Version, last.RecordedMicros):
		return false, nil
	case r.Backward:
		page.Next, page.End = 0, true
		return false, nil
	case page.End:
		return false, nil
	}
	page.Next, err = x.firstLeft(ctx, r.Stream, max(page.Next, own.before(last.Position)), page.Version)
	page.End = page.Next > page.Version
	return !page.End, err
}

// isExpired reports whether an event has expired.
func (s *Store) isExpired(ctx context.Context, e *Event) (bool, error) {
	b := Batch{Block: e.Raw, Count: 1}
	left, err := s.newExpiry().left(ctx, b)
	return left.Count == 0, err
}

// retain makes the facts of streams those of the events that are left.
func (s *Store) retain(ctx context.Context, streams []StreamInfo) error {
	if !s.policies.any.Load() {
		return nil
	}
	x := s.newExpiry()
	for i := range streams {
		info := &streams[i]
		h := x.of(info.Name)
		if h == nil || info.Version == 0 {
			continue
		}
		info.Retention = h.Retention
		h.last = info.Version
		if err := x.shorten(ctx, info, h); err != nil {
			return err
		}
	}
	return nil
}

// shorten sets the first version of a stream, and its first place if that is known. Without
// places nothing is known of ages.
func (x *expiry) shorten(ctx context.Context, info *StreamInfo, h *horizon) (err error) {
	first := max(info.First, h.before(info.Created.Position))
	if info.State == StreamLive && h.age != nil && info.Created.Position > 0 && info.Created.Recorded.UnixMicro() < h.age.cutoff {
		if first, err = x.firstLeft(ctx, info.Name, first, info.Version); err != nil {
			return passOver(err)
		}
	}
	if first == info.First {
		return nil
	}
	if info.First = first; info.State != StreamLive || info.Created.Position == 0 {
		return nil
	}
	page, err := x.store.engine.Read(ctx, ReadRequest{Stream: info.Name, From: first, Limit: Limit{Events: 1, Bytes: 1}})
	if err != nil {
		return passOver(err)
	}
	if page.Count == 0 {
		info.Created, info.Changed = StreamPlace{}, StreamPlace{}
		return nil
	}
	place, _ := decodePlace(page.Block)
	info.Created = StreamPlace{place.Position, fromMicros(place.RecordedMicros)}
	return nil
}

// passOver is err, unless a stream of a list was deleted or removed meanwhile.
func passOver(err error) error {
	if isNotFound(err) || errors.Is(err, CodeStreamDeleted) || errors.Is(err, CodeStreamTombstoned) {
		return nil
	}
	return err
}

// maxFates bounds the streams whose horizon a scavenge remembers.
const maxFates = 10_000

// fates decides about events for a scavenge. Those of NoticeStream stay: no policy is about the
// system's streams. One goroutine uses it.
type fates struct {
	store *Store
	// x has one time, and the horizons of policies that were not loosened since.
	x        *expiry
	loosened uint64
}

// asOf is Scavenging.AsOf.
func (f *fates) asOf(ctx context.Context) (uint64, error) {
	loosened, err := f.store.policies.asOf(ctx)
	if err != nil {
		return 0, err
	}
	if f.x == nil || f.loosened != loosened {
		f.x, f.loosened = f.store.newExpiry(), loosened
		f.x.asksAll = true
	}
	return loosened, nil
}

// prepare is Scavenging.Prepare.
func (f *fates) prepare(ctx context.Context, events []Event) error {
	f.forget(2 * len(events)) // a link is in one stream and of another
	for i := range events {
		h := headOf(&events[i])
		f.x.meet(&h)
	}
	return f.x.ask(ctx)
}

// fate is Scavenging.Fate.
func (f *fates) fate(ctx context.Context, e *Event) (Fate, error) {
	f.forget(0)
	h := headOf(e)
	if !f.x.meet(&h) {
		return Stays, nil
	}
	if err := f.x.ask(ctx); err != nil {
		return Stays, err
	}
	if f.x.hides(&h) {
		return Goes, nil
	}
	return Stays, nil
}

// forget makes room for streams.
func (f *fates) forget(streams int) {
	if len(f.x.streams)+streams > maxFates {
		clear(f.x.streams)
		clear(f.x.ages)
	}
}

// headOf is what expiry needs of an event's place.
func headOf(e *Event) eventHead {
	h := eventHead{stream: e.Stream, version: e.Version, position: e.Position, recorded: micros(e.Recorded), home: e.Stream}
	if !e.Link.IsZero() {
		h.home, h.homePosition, h.homeVersion = e.Link.Stream, e.Link.Position, e.Link.Version
	}
	return h
}
