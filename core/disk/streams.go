package disk

import (
	"container/heap"
	"context"
	"errors"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/gyre-events/gyre/core"
)

// moment is where and when an event was recorded, in Unix µs. The zero moment has to be read
// from the log.
type moment struct {
	position uint64
	recorded int64
}

func momentOf(e *core.Event) moment { return moment{e.Position, e.Recorded.UnixMicro()} }

func (m moment) unknown() bool { return m.position == 0 }

func (m moment) place() core.StreamPlace {
	return core.StreamPlace{Position: m.position, Recorded: time.UnixMicro(m.recorded).UTC()}
}

// part is what a table or a run has of a stream.
type part struct {
	name             string
	first, last      uint64 // versions
	created, changed moment // of these
	at               offset // of the last event, if changed is unknown
}

// Streams is core.Engine's.
func (e *Engine) Streams(ctx context.Context, r core.StreamsRequest) (page core.StreamsPage, err error) {
	if err := e.enter(ctx); err != nil {
		return page, err
	}
	defer e.inUse.RUnlock()
	if r.Names == nil && r.Sort != core.ByName {
		return e.walkStreams(ctx, &r)
	}
	end := e.appender.durable.Load().end
	if r.Names != nil {
		return e.named(ctx, &r, end)
	}
	return e.list(ctx, &r, end)
}

// named describes the streams of r.Names.
func (e *Engine) named(ctx context.Context, r *core.StreamsRequest, end offset) (core.StreamsPage, error) {
	page := core.StreamsPage{End: true, Looked: len(r.Names)}
	for _, name := range r.Names {
		info, ok, err := e.describe(ctx, name, end, r.Details)
		if err != nil {
			return page, err
		}
		if ok {
			page.Streams = append(page.Streams, info)
		}
	}
	return page, nil
}

// removes reports whether entries may have been removed that the index has places of.
func (e *Engine) removes() bool { return e.changed.removals.Load() || e.index.view.Load().gaps }

// describe describes a stream as of end; ok is false if it has no events.
func (e *Engine) describe(ctx context.Context, stream string, end offset, details bool) (info core.StreamInfo, ok bool, err error) {
	l, err := e.lifecycle(stream)
	if err != nil {
		return info, false, err
	}
	removes := e.removes()
	err = e.index.consult(func() error {
		name := indexName(stream, l.Incarnation())
		info, ok, err = e.describeIncarnation(e.index.view.Load(), name, end, details && !removes)
		return err
	})
	if err == nil && ok && details && removes {
		err = e.addPlaces(ctx, &info)
	}
	info.Name, _ = parseIndexName(info.Name)
	info.State = l.State
	return info, ok, err
}

// describeIncarnation is describe of the incarnation that the index has under a name.
func (e *Engine) describeIncarnation(v *view, name string, end offset, details bool) (info core.StreamInfo, ok bool, err error) {
	var whole part
	// take takes an older part, and reports whether there may be one before it that matters.
	take := func(p part) bool {
		if !ok {
			whole, ok = p, true
		}
		whole.created = p.created
		return details && p.first > 1
	}
	for k := len(v.tables) - 1; k >= 0; k-- {
		p, found, err := v.tables[k].part(name, end)
		if err != nil {
			return info, false, err
		}
		if found && !take(p) {
			info, err = e.info(&whole, details)
			return info, ok, err
		}
	}
	hash := e.key.name(name)
	b := blocks.Get().(*[blockBytes]byte)
	defer blocks.Put(b)
	for k := len(v.runs) - 1; k >= 0; k-- {
		s, found, err := v.runs[k].stream(b, name, hash)
		if err != nil {
			return info, false, err
		}
		if found && !take(s.part()) {
			break
		}
	}
	if !ok {
		return info, false, nil
	}
	info, err = e.info(&whole, details)
	return info, true, err
}

// info is a stream as the engine tells it.
func (e *Engine) info(p *part, details bool) (core.StreamInfo, error) {
	info := core.StreamInfo{Name: p.name, Version: p.last, First: 1}
	if !details {
		return info, nil
	}
	if p.changed.unknown() {
		var err error
		if p.changed, err = e.momentAt(p.at); err != nil {
			return info, err
		}
	}
	info.Created, info.Changed = p.created.place(), p.changed.place()
	return info, nil
}

// addPlaces adds the details to a stream, under its name in the index, of a log from which
// entries may have been removed: the index does not know which of its places those are.
func (e *Engine) addPlaces(ctx context.Context, info *core.StreamInfo) error {
	first, err := e.entryLeft(ctx, info.Name, info.Version, false)
	if err != nil {
		return err
	}
	if first.Version == 0 {
		info.First = info.Version + 1
		return nil
	}
	info.First = first.Version
	last, err := e.entryLeft(ctx, info.Name, info.Version, true)
	if err == nil {
		info.Created, info.Changed = momentOf(&first).place(), momentOf(&last).place()
	}
	return err
}

// maxEntriesAtOnce is how many places of a stream's events are looked up at once, after fewer
// at the beginning.
const maxEntriesAtOnce = 1_000

// entryLeft returns the first event or link of a stream, or the last one, that is not removed;
// its version is 0 if none is left. The stream is at a version.
func (e *Engine) entryLeft(ctx context.Context, name string, version uint64, backward bool) (entry core.Event, err error) {
	of := e.remember(e.lifecycle)
	for passed, n := uint64(0), uint64(1); passed < version; passed, n = passed+n, min(4*n, maxEntriesAtOnce) {
		if err := ctx.Err(); err != nil {
			return core.Event{}, core.AsError(err)
		}
		n = min(n, version-passed)
		lo := passed + 1
		if backward {
			lo = version - passed - n + 1
		}
		found := false
		err := e.index.consult(func() error {
			entry, found, err = e.entryOf(e.index.view.Load(), name, lo, n, backward, of)
			return err
		})
		if found || err != nil {
			return entry, err
		}
	}
	return core.Event{}, nil
}

// entryOf returns the first or the last of n entries from a version on that is not removed; ok
// is false if there is none.
func (e *Engine) entryOf(v *view, name string, lo, n uint64, backward bool, of lifecycles) (entry core.Event, ok bool, err error) {
	offs := make([]offset, n)
	if err := v.postings(e.index, name, lo, offs); err != nil {
		return entry, false, err
	}
	if backward {
		slices.Reverse(offs)
	}
	for _, o := range offs {
		if entry, ok, err = e.entryAt(v, o, of); ok || err != nil {
			return entry, ok, err
		}
	}
	return entry, false, nil
}

// entryAt reads the event or the link at o, of an incarnation that is there; ok is false if it
// or what it is a link to is removed.
func (e *Engine) entryAt(v *view, o offset, of lifecycles) (ev core.Event, ok bool, err error) {
	if o == 0 {
		return ev, false, nil
	}
	encoded, err := e.encodedAt(v, o, allWritten)
	switch {
	case errors.Is(err, errRemoved):
		return ev, false, nil
	case err != nil:
		return ev, false, err
	case !decode(encoded, &ev):
		return ev, false, corrupt(o, "an event is malformed")
	}
	if isEvent(&ev) {
		return ev, true, nil
	}
	event, err := e.linkedEvent(v, &ev, o, of)
	return ev, event != nil, err
}

// momentAt reads the place and the time of the event at o.
func (e *Engine) momentAt(o offset) (moment, error) {
	encoded, err := e.encodedAt(e.index.view.Load(), o, allWritten)
	if err != nil {
		return moment{}, err
	}
	var ev core.Event
	if !decode(encoded, &ev) {
		return moment{}, corrupt(o, "an event is malformed")
	}
	return momentOf(&ev), nil
}

// list is a page of streams by name.
func (e *Engine) list(ctx context.Context, r *core.StreamsRequest, end offset) (page core.StreamsPage, err error) {
	if !e.removes() {
		if page, err = e.consultList(r, end); err == nil {
			err = e.addStates(&page)
		}
		return page, err
	}
	q := *r
	q.Details = false
	if q.After != "" && !q.Descending {
		q.After = behindIncarnations(q.After)
	}
	for !page.End {
		if err := ctx.Err(); err != nil {
			return page, core.AsError(err)
		}
		all, err := e.consultList(&q, end)
		if err != nil {
			return page, err
		}
		if full, err := e.addPresent(ctx, &page, all.Streams, r); full || err != nil {
			return page, err
		}
		q.After, page.End = all.Next, all.End
	}
	return page, nil
}

// addPresent adds to a page of r what are streams of some incarnations, and reports whether the
// page is full.
func (e *Engine) addPresent(ctx context.Context, page *core.StreamsPage, incarnations []core.StreamInfo, r *core.StreamsRequest) (full bool, err error) {
	for _, info := range incarnations {
		stream, incarnation := parseIndexName(info.Name)
		l, err := e.lifecycle(stream)
		switch {
		case err != nil:
			return false, err
		case incarnation != l.Incarnation():
			continue
		case len(page.Streams) == r.Limit:
			page.Next = page.Streams[r.Limit-1].Name
			return true, nil
		}
		if r.Details {
			if err := e.addPlaces(ctx, &info); err != nil {
				return false, err
			}
		}
		info.Name, info.State = stream, l.State
		page.Streams = append(page.Streams, info)
		page.Looked++
	}
	return false, nil
}

// consultList is listIncarnations of the index as it is.
func (e *Engine) consultList(r *core.StreamsRequest, end offset) (page core.StreamsPage, err error) {
	err = e.index.consult(func() error {
		page, err = e.listIncarnations(e.index.view.Load(), r, end)
		return err
	})
	return page, err
}

// addStates adds the states of the streams, none of which has a later incarnation.
func (e *Engine) addStates(page *core.StreamsPage) error {
	for i := range page.Streams {
		l, err := e.lifecycle(page.Streams[i].Name)
		if err != nil {
			return err
		}
		page.Streams[i].State = l.State
	}
	return nil
}

// listIncarnations merges what every part has by its names in the index; the newest part that
// has one knows its version, the oldest where it begins.
func (e *Engine) listIncarnations(v *view, r *core.StreamsRequest, end offset) (core.StreamsPage, error) {
	var page core.StreamsPage
	sources, err := v.openListing(r, end)
	if err != nil {
		return page, err
	}
	for sources.Len() > 0 && strings.HasPrefix(sources.list[0].part.name, r.Prefix) {
		whole := sources.list[0].part
		for sources.Len() > 0 && sources.list[0].part.name == whole.name {
			whole.created = sources.list[0].part.created
			if err := sources.next(); err != nil {
				return page, err
			}
		}
		if !r.Lists(whole.name) {
			continue
		}
		if len(page.Streams) == r.Limit {
			page.Next = page.Streams[r.Limit-1].Name
			return page, nil
		}
		info, err := e.info(&whole, r.Details)
		if err != nil {
			return page, err
		}
		page.Streams = append(page.Streams, info)
		page.Looked++
	}
	page.End = true
	return page, nil
}

// bound is where the names of r begin: the first one, or what is behind the last one if
// Descending; then "" is the end.
func bound(r *core.StreamsRequest) string {
	if !r.Descending {
		return max(r.Prefix, r.After)
	}
	end := prefixEnd(r.Prefix)
	if r.After != "" && (end == "" || r.After < end) {
		return r.After
	}
	return end
}

// prefixEnd is the least text behind everything that begins with prefix; "" if there is none.
func prefixEnd(prefix string) string {
	for n := len(prefix); n > 0; n-- {
		if prefix[n-1] < 0xff {
			return prefix[:n-1] + string([]byte{prefix[n-1] + 1})
		}
	}
	return ""
}

// openListing opens every part where the names of r begin.
func (v *view) openListing(r *core.StreamsRequest, end offset) (*listing, error) {
	from := bound(r)
	h := &listing{descending: r.Descending}
	for i, run := range v.runs {
		if err := h.open(&listed{age: i, cursor: newStreamCursor(run, from, r.Descending)}, from); err != nil {
			return nil, err
		}
	}
	for i, t := range v.tables {
		parts, err := t.list(r, from, end)
		if err != nil {
			return nil, err
		}
		if err := h.open(&listed{age: len(v.runs) + i, parts: parts}, from); err != nil {
			return nil, err
		}
	}
	heap.Init(h)
	return h, nil
}

// list are the first streams of a table that r asks for, and one more.
func (t *memtable) list(r *core.StreamsRequest, from string, end offset) ([]part, error) {
	order := t.byName()
	i, step := 0, 1
	switch {
	case !r.Descending:
		i = sort.Search(len(order), func(i int) bool { return order[i].name >= from })
	case from == "":
		i, step = len(order)-1, -1
	default:
		i, step = sort.Search(len(order), func(i int) bool { return order[i].name >= from })-1, -1
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.retired {
		return nil, errRetired
	}
	var found []part
	for ; i >= 0 && i < len(order) && len(found) <= r.Limit && strings.HasPrefix(order[i].name, r.Prefix); i += step {
		if !r.Lists(order[i].name) {
			continue
		}
		if p, ok := t.visiblePart(order[i], end); ok {
			found = append(found, p)
		}
	}
	return found, nil
}

// part is what the table has of a stream before end.
func (t *memtable) part(name string, end offset) (p part, ok bool, err error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	s := t.streams[name]
	if s == nil {
		return p, false, nil
	}
	if t.retired {
		return p, false, errRetired
	}
	p, ok = t.visiblePart(s, end)
	return p, ok, nil
}

// visiblePart is what the table has of s before end. mu is held.
func (t *memtable) visiblePart(s *memStream, end offset) (p part, ok bool) {
	p = part{name: s.name, first: s.base + 1, last: s.last, created: s.created, changed: s.changed}
	n := len(s.offs)
	if end.segment() == t.segment {
		n = visible(s.offs, t.segment, end)
	}
	if n == 0 {
		return p, false
	}
	if n < len(s.offs) || p.changed.unknown() {
		p.last, p.changed, p.at = s.base+uint64(n), moment{}, at(t.segment, int64(s.offs[n-1]))
	}
	return p, true
}

// listed is one source in a merge: a table's list or a run's cursor.
type listed struct {
	part   part
	age    int // greater is newer
	parts  []part
	cursor *streamCursor
}

func (l *listed) next() (bool, error) {
	if l.cursor == nil {
		if len(l.parts) == 0 {
			return false, nil
		}
		l.part, l.parts = l.parts[0], l.parts[1:]
		return true, nil
	}
	if err := l.cursor.next(); err != nil || l.cursor.done {
		return false, err
	}
	l.part = l.cursor.stream.part()
	return true, nil
}

// listing is a heap by name, the newest first among equals.
type listing struct {
	list       []*listed
	descending bool
}

// open adds a source, standing at its first stream from a name on, or before it.
func (h *listing) open(l *listed, from string) error {
	for {
		ok, err := l.next()
		if err != nil || !ok {
			return err
		}
		if name := l.part.name; h.descending && (from == "" || name < from) || !h.descending && name >= from {
			h.list = append(h.list, l)
			return nil
		}
	}
}

// next goes on in the first source.
func (h *listing) next() error {
	ok, err := h.list[0].next()
	if err != nil {
		return err
	}
	if ok {
		heap.Fix(h, 0)
	} else {
		heap.Pop(h)
	}
	return nil
}

func (h *listing) Len() int { return len(h.list) }
func (h *listing) Less(i, j int) bool {
	a, b := h.list[i], h.list[j]
	if a.part.name != b.part.name {
		return (a.part.name < b.part.name) != h.descending
	}
	return a.age > b.age
}
func (h *listing) Swap(i, j int) { h.list[i], h.list[j] = h.list[j], h.list[i] }
func (h *listing) Push(x any)    { h.list = append(h.list, x.(*listed)) }
func (h *listing) Pop() any {
	x := h.list[len(h.list)-1]
	h.list = h.list[:len(h.list)-1]
	return x
}
