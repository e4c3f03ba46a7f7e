package disk

import (
	"container/heap"
	"context"
	"slices"
	"strings"

	"github.com/gyre-events/gyre/core"
)

// Streams is core.Engine's.
func (e *Engine) Streams(ctx context.Context, r core.StreamsRequest) (page core.StreamsPage, err error) {
	if err := e.enter(ctx); err != nil {
		return page, err
	}
	defer e.inUse.RUnlock()
	err = e.index.consult(func() error {
		m := e.appender.durable.Load()
		page, err = e.index.view.Load().list(r, m.end)
		return err
	})
	return page, err
}

// list merges the streams of every part by name; the newest part that has a
// stream knows its version.
func (v *view) list(r core.StreamsRequest, end offset) (core.StreamsPage, error) {
	var page core.StreamsPage
	var sources listing
	for i, run := range v.runs {
		s := &listed{age: i, cursor: newStreamCursor(run, max(r.Prefix, r.After))}
		if err := sources.open(s, r); err != nil {
			return page, err
		}
	}
	for i, t := range v.tables {
		s := &listed{age: len(v.runs) + i, infos: t.list(r, end)}
		if err := sources.open(s, r); err != nil {
			return page, err
		}
	}
	heap.Init(&sources)
	for len(sources) > 0 && strings.HasPrefix(sources[0].info.Name, r.Prefix) {
		newest := sources[0]
		info := newest.info
		info.First = 1
		if r.Lists(info.Name) {
			if len(page.Streams) == r.Limit {
				page.Next = page.Streams[r.Limit-1].Name
				return page, nil
			}
			page.Looked++
			page.Streams = append(page.Streams, info)
		}
		for len(sources) > 0 && sources[0].info.Name == info.Name {
			ok, err := sources[0].next()
			if err != nil {
				return page, err
			}
			if ok {
				heap.Fix(&sources, 0)
			} else {
				heap.Pop(&sources)
			}
		}
	}
	page.End = true
	return page, nil
}

// list are the first streams of a table that r asks for, and one more.
func (t *memtable) list(r core.StreamsRequest, end offset) []core.StreamInfo {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var found []core.StreamInfo
	cut := func() {
		slices.SortFunc(found, func(a, b core.StreamInfo) int { return strings.Compare(a.Name, b.Name) })
		found = found[:min(len(found), r.Limit+1)]
	}
	last := "" // once known: no name behind it is in the page
	for name, s := range t.streams {
		if !r.Lists(name) || last != "" && name > last {
			continue
		}
		version := s.last
		if end.segment() == t.segment {
			version = s.base + uint64(visible(s.offs, t.segment, end))
		}
		if version == 0 {
			continue
		}
		found = append(found, core.StreamInfo{Name: name, Version: version})
		if len(found) > 4*(r.Limit+1) {
			cut()
			last = found[len(found)-1].Name
		}
	}
	cut()
	return found
}

// listed is one part in a merge: a table's list or a run's cursor.
type listed struct {
	info   core.StreamInfo
	age    int // greater is newer
	infos  []core.StreamInfo
	cursor *streamCursor
}

func (l *listed) next() (bool, error) {
	if l.cursor == nil {
		if len(l.infos) == 0 {
			return false, nil
		}
		l.info, l.infos = l.infos[0], l.infos[1:]
		return true, nil
	}
	if err := l.cursor.next(); err != nil {
		return false, err
	}
	l.info = core.StreamInfo{Name: l.cursor.stream.name, Version: l.cursor.stream.last()}
	return !l.cursor.done, nil
}

// listing is a heap by name, the newest first among equals.
type listing []*listed

// open adds a part, standing at its first stream that r asks for.
func (h *listing) open(l *listed, r core.StreamsRequest) error {
	for {
		ok, err := l.next()
		if err != nil || !ok {
			return err
		}
		if l.info.Name >= r.Prefix && l.info.Name > r.After {
			*h = append(*h, l)
			return nil
		}
	}
}

func (h listing) Len() int { return len(h) }
func (h listing) Less(i, j int) bool {
	if c := strings.Compare(h[i].info.Name, h[j].info.Name); c != 0 {
		return c < 0
	}
	return h[i].age > h[j].age
}
func (h listing) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *listing) Push(x any)   { *h = append(*h, x.(*listed)) }
func (h *listing) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
