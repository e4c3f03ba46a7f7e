package disk

import (
	"context"

	"github.com/gyre-events/gyre/core"
)

// What is read of the log for one page of a list by created or by changed.
const (
	walkStreamsEvents = 1_000 // at once, after fewer at the beginning
	walkStreamsBytes  = 32 << 20
)

// streamWalk is a page of streams in the order of their first or last events.
type streamWalk struct {
	engine *Engine
	r      *core.StreamsRequest
	mark   *mark
	page   core.StreamsPage
	bytes  int
	// known has what is known of the streams that were met, as of mark.
	known map[string]metStream
}

// metStream is a stream, and the version of the entry that it is listed at.
type metStream struct {
	info     core.StreamInfo
	listedAt uint64
}

// walkStreams goes through the log. A stream is listed where its first event is, or its last.
func (e *Engine) walkStreams(ctx context.Context, r *core.StreamsRequest) (core.StreamsPage, error) {
	w := streamWalk{engine: e, r: r, mark: e.appender.durable.Load(), known: map[string]metStream{}}
	q := core.ReadRequest{Stream: core.All, From: 1, Backward: r.Descending, Limit: core.Limit{Events: min(4*r.Limit, walkStreamsEvents), Bytes: core.MaxPageBytes}}
	switch after := r.AfterPosition(); {
	case r.After != "" && r.Descending:
		if q.From = min(after-1, w.mark.head); after <= 1 {
			return core.StreamsPage{End: true}, nil
		}
	case r.After != "":
		q.From = after + 1
	case r.Descending:
		q.From = w.mark.head
	}
	for q.From > 0 {
		page, err := e.readAll(ctx, q, ofLog)
		if err != nil {
			return w.page, err
		}
		if full, err := w.take(ctx, &page); full || err != nil {
			return w.page, err
		}
		if page.End {
			break
		}
		q.From, q.Buffer, q.Limit.Events = page.Next, page.Block[:0], walkStreamsEvents
	}
	w.page.End, w.page.Next = true, ""
	return w.page, nil
}

// take looks at the events of a page, and reports whether that is enough.
func (w *streamWalk) take(ctx context.Context, page *core.Page) (full bool, err error) {
	w.bytes += len(page.Block)
	for ev := range page.Events() {
		if ev.Position > w.mark.head {
			break
		}
		info, listed, err := w.listed(ctx, &ev)
		if err != nil {
			return false, err
		}
		if listed && len(w.page.Streams) == w.r.Limit {
			return true, nil
		}
		if listed {
			w.page.Streams = append(w.page.Streams, info)
		}
		w.page.Looked++
		w.page.Next = core.StreamsAfter(ev.Position)
	}
	return w.page.Looked >= core.MaxStreamsWalk || w.bytes >= walkStreamsBytes, nil
}

// listed returns the stream of an event if that is where it is listed.
func (w *streamWalk) listed(ctx context.Context, ev *core.Event) (info core.StreamInfo, ok bool, err error) {
	if !w.r.Lists(ev.Stream) || w.r.Sort == core.ByCreated && ev.Version != 1 && !w.engine.removes() {
		return info, false, nil
	}
	met, ok := w.known[ev.Stream]
	if !ok {
		if met, err = w.meet(ctx, ev.Stream); err != nil {
			return info, false, err
		}
		w.known[met.info.Name] = met
	}
	info = met.info
	if at := momentOf(ev).place(); w.r.Sort == core.ByCreated {
		info.Created = at
	} else {
		info.Changed = at
	}
	return info, ev.Version == met.listedAt, nil
}

// meet describes a stream. Where entries were removed, it looks for what is left of its own.
func (w *streamWalk) meet(ctx context.Context, stream string) (met metStream, err error) {
	e, isLast := w.engine, w.r.Sort == core.ByChanged
	if met.info, _, err = e.describe(ctx, stream, w.mark.end, w.r.Details); err != nil {
		return met, err
	}
	if met.listedAt = 1; isLast {
		met.listedAt = met.info.Version
	}
	if !e.removes() {
		return met, nil
	}
	l, err := e.lifecycle(stream)
	if err != nil {
		return met, err
	}
	entry, err := e.entryLeft(ctx, indexName(stream, l.Incarnation()), met.info.Version, isLast)
	met.listedAt = entry.Version
	return met, err
}
