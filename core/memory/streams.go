package memory

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/gyre-events/gyre/core"
)

// Streams lists streams.
func (e *Engine) Streams(_ context.Context, r core.StreamsRequest) (core.StreamsPage, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.closed {
		return core.StreamsPage{}, errClosed()
	}
	if r.Names != nil {
		page := core.StreamsPage{End: true, Looked: len(r.Names)}
		for _, name := range r.Names {
			if len(e.streams[name]) > 0 {
				page.Streams = append(page.Streams, e.info(name, &r))
			}
		}
		return page, nil
	}
	var found []core.StreamInfo
	for name := range e.streams {
		if info := e.info(name, &r); r.Lists(name) && follows(&r, &info) {
			found = append(found, info)
		}
	}
	slices.SortFunc(found, func(a, b core.StreamInfo) int {
		if r.Descending {
			a, b = b, a
		}
		return cmp.Or(cmp.Compare(number(&r, &a), number(&r, &b)), strings.Compare(a.Name, b.Name))
	})
	page := core.StreamsPage{Streams: found[:min(len(found), r.Limit)], End: len(found) <= r.Limit}
	page.Looked = len(page.Streams)
	if !page.End {
		last := &page.Streams[r.Limit-1]
		if page.Next = last.Name; r.Sort != core.ByName {
			page.Next = core.StreamsAfter(number(&r, last))
		}
	}
	return page, nil
}

// info describes a stream.
func (e *Engine) info(name string, r *core.StreamsRequest) core.StreamInfo {
	positions := e.streams[name]
	info := core.StreamInfo{Name: name, Version: uint64(len(positions)), First: 1, State: e.states[name].State}
	isRemoved := func(position uint64) bool { return position == 0 }
	if r.Details {
		for _, p := range positions {
			if !isRemoved(p) {
				break
			}
			info.First++
		}
	}
	if slices.ContainsFunc(positions, isRemoved) {
		positions = slices.DeleteFunc(slices.Clone(positions), isRemoved)
	}
	if len(positions) == 0 {
		return info
	}
	if r.Details || r.Sort == core.ByCreated {
		info.Created = e.placeOf(positions[0])
	}
	if r.Details || r.Sort == core.ByChanged {
		info.Changed = e.placeOf(positions[len(positions)-1])
	}
	return info
}

func (e *Engine) placeOf(position uint64) core.StreamPlace {
	return core.StreamPlace{Position: position, Recorded: e.event(position).Recorded}
}

// number is the position that a stream is sorted by; 0 by name.
func number(r *core.StreamsRequest, i *core.StreamInfo) uint64 {
	switch r.Sort {
	case core.ByCreated:
		return i.Created.Position
	case core.ByChanged:
		return i.Changed.Position
	}
	return 0
}

// follows reports whether a stream has a place in the order of r, after the page before.
func follows(r *core.StreamsRequest, i *core.StreamInfo) bool {
	after, at := r.AfterPosition(), number(r, i)
	return r.Sort == core.ByName || at > 0 && (r.After == "" || at != after && at > after != r.Descending)
}
