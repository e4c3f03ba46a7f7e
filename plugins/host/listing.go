package host

import (
	"bytes"
	"context"
	"strings"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
)

// listing lists the state of a generation for a watch, page by page, while that goes on: what has
// changed meanwhile of what was listed is listed again. At the end it waits until it has seen all
// that was stored before it ended, so that what it has listed is the state at one revision of each
// lane.
type listing struct {
	watch  *watch
	before *binding  // whose state the difference is to; nil to list all
	was    revisions // of before

	lane      int // being listed
	upTo      int // the lane behind the last
	is, other *merging
	key       string   // everything up to it was listed of the lane
	stale     bool     // something that was read of the lane and not listed has changed
	until     []uint64 // the revisions that it has to see before it ends; nil before the end
	begun     bool     // there was a message
}

// merging reads the state of a lane, an entry ahead.
type merging struct {
	pages
	lane  string // what the keys of the lane begin with
	entry core.Record
	ok    bool
}

func newListing(w *watch, before *binding, was revisions) *listing {
	l := &listing{watch: w, before: before, was: was, lane: -1, upTo: w.live.Lanes}
	if before != nil {
		l.upTo = max(l.upTo, before.Lanes)
	}
	if lane := w.request.Lane; lane != plugins.OnlyLane {
		l.lane, l.upTo = lane-1, lane+1
	}
	return l
}

// step lists the next page, or ends the listing. moved is closed when there is a change.
func (l *listing) step(ctx context.Context, moved <-chan struct{}) (<-chan struct{}, error) {
	w := l.watch
	if l.is == nil && l.until == nil {
		if l.lane++; l.lane < l.upTo {
			return nil, l.open(ctx)
		}
		stored, err := w.host.lanes(ctx, w.live)
		if err != nil {
			return nil, err
		}
		l.until = make([]uint64, len(stored))
		for i := range stored {
			l.until[i] = stored[i].revision
		}
	}
	if l.is != nil {
		return nil, l.page(ctx)
	}
	for i, revision := range w.place.Revisions {
		if revision < l.until[i] {
			return moved, nil // it is told soon
		}
	}
	return nil, l.end(ctx)
}

// end ends the listing: what comes next is a change.
func (l *listing) end(ctx context.Context) error {
	w := l.watch
	if l.before != nil {
		now := w.place
		w.place = l.was
		before, err := w.before(ctx)
		w.place = now
		switch {
		case err != nil:
			return err
		case before == nil: // it is not at rest any more, or is being swept
			return w.again(ctx)
		}
	}
	if !l.begun {
		l.send(nil)
	}
	w.goLive()
	return nil
}

// open begins with a lane.
func (l *listing) open(ctx context.Context) (err error) {
	l.key, l.stale = "", false
	if l.is, err = l.read(ctx, l.watch.live); err != nil {
		return err
	}
	l.other = &merging{}
	if l.before != nil {
		l.other, err = l.read(ctx, l.before)
	}
	return err
}

func (l *listing) read(ctx context.Context, b *binding) (*merging, error) {
	m := &merging{lane: statePrefix(l.lane)}
	m.pages = pages{table: stateTable(b.Name, b.Generation), prefix: m.lane + l.watch.request.Prefix}
	return m, m.next(ctx, l.watch.host)
}

func (m *merging) next(ctx context.Context, h *Host) (err error) {
	m.entry, m.ok, err = m.pages.next(ctx, h.config.Store)
	return err
}

// page lists so many entries of the lane.
func (l *listing) page(ctx context.Context) error {
	if l.stale {
		l.stale = false
		l.is.pages = pages{table: l.is.table, prefix: l.is.prefix, after: l.is.lane + l.key}
		if err := l.is.next(ctx, l.watch.host); err != nil {
			return err
		}
	}
	var entries []plugins.Entry
	for size, n := 0, 0; size < listedBytes && n < listedEntries; n++ {
		e, differs, ok, err := l.merge(ctx)
		if err != nil {
			return err
		}
		if !ok {
			l.is, l.other = nil, nil
			break
		}
		l.key = e.Key
		if differs {
			size += len(e.Key) + len(e.Value)
			entries = append(entries, e)
		}
	}
	if len(entries) > 0 {
		l.send(entries)
	}
	return nil
}

// merge returns the next key of the lane in either generation, and whether it differs between them.
func (l *listing) merge(ctx context.Context) (e plugins.Entry, differs, ok bool, err error) {
	is, other := l.is, l.other
	order := -1
	switch {
	case !is.ok && !other.ok:
		return e, false, false, nil
	case !is.ok:
		order = 1
	case other.ok:
		order = strings.Compare(is.entry.Key, other.entry.Key)
	}
	if order <= 0 {
		e = plugins.Entry{Lane: l.lane, Key: is.entry.Key[len(is.lane):], Value: is.entry.Value}
		differs = order < 0 || !bytes.Equal(is.entry.Value, other.entry.Value)
		if err = is.next(ctx, l.watch.host); err != nil {
			return e, false, false, err
		}
	} else {
		e, differs = plugins.Entry{Lane: l.lane, Key: other.entry.Key[len(other.lane):], Deleted: true}, true
	}
	if order >= 0 {
		err = other.next(ctx, l.watch.host)
	}
	return e, differs, err == nil, err
}

// over lists what a change has made of keys that were listed. The others are listed later, and read
// again for that if they have been read.
func (l *listing) over(p *past) {
	w := l.watch
	if only := w.request.Lane; only != plugins.OnlyLane && only != p.lane || p.lane > l.lane {
		return
	}
	entries := w.matching(p.entries)
	if p.lane == l.lane && l.is != nil {
		var listed []plugins.Entry
		for _, e := range entries {
			if e.Key <= l.key {
				listed = append(listed, e)
			} else {
				l.stale = true
			}
		}
		entries = listed
	}
	if len(entries) > 0 {
		l.send(entries)
	}
}

// send sends entries.
func (l *listing) send(entries []plugins.Entry) {
	m := &plugins.WatchMessage{Kind: plugins.WatchState, Generation: l.watch.place.Generation, Entries: entries}
	if l.before != nil {
		m.Kind = plugins.WatchDifference
	}
	m.Reset = l.before == nil && !l.begun
	l.begun = true
	l.watch.ready = append(l.watch.ready, m)
}
