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
	known map[string]core.StreamInfo
}

// walkStreams goes through the log. A stream is listed where its first event is, or its last.
func (e *Engine) walkStreams(ctx context.Context, r *core.StreamsRequest) (core.StreamsPage, error) {
	w := streamWalk{engine: e, r: r, mark: e.appender.durable.Load(), known: map[string]core.StreamInfo{}}
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
		page, err := e.readAll(ctx, q, ofStreams)
		if err != nil {
			return w.page, err
		}
		if full, err := w.take(&page); full || err != nil {
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
func (w *streamWalk) take(page *core.Page) (full bool, err error) {
	w.bytes += len(page.Block)
	for ev := range page.Events() {
		if ev.Position > w.mark.head {
			break
		}
		info, listed, err := w.listed(&ev)
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
func (w *streamWalk) listed(ev *core.Event) (info core.StreamInfo, ok bool, err error) {
	if !w.r.Lists(ev.Stream) || w.r.Sort == core.ByCreated && ev.Version != 1 {
		return info, false, nil
	}
	info, met := w.known[ev.Stream]
	if !met {
		err := w.engine.index.consult(func() (err error) {
			info, _, err = w.engine.describe(w.engine.index.view.Load(), ev.Stream, w.mark.end, w.r.Details)
			return err
		})
		if err != nil {
			return info, false, err
		}
		w.known[info.Name] = info
	}
	at := momentOf(ev).place()
	if w.r.Sort == core.ByCreated {
		info.Created = at
		return info, true, nil
	}
	info.Changed = at
	return info, ev.Version == info.Version, nil
}
