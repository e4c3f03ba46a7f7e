package wsapi

import (
	"bufio"
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/cloudevents"
	"github.com/gyre-events/gyre/wsapi/requests"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// readStream is GET /v1/streams/{stream}/events.
func (a *API) readStream(w http.ResponseWriter, r *http.Request) error {
	return a.readAny(w, r, r.PathValue("stream"))
}

// readAll is GET /v1/events: the same of $all.
func (a *API) readAll(w http.ResponseWriter, r *http.Request) error {
	return a.readAny(w, r, core.All)
}

func (a *API) readAny(w http.ResponseWriter, r *http.Request, stream string) error {
	w.Header().Add("Vary", "Accept")
	kind := accepted(r.Header.Values("Accept"), typeJSON, typeNDJSON, typeEventStream, typeCloudBatch)
	switch {
	case kind == "":
		return core.Errorf(core.CodeNotAcceptable, "none of %q can be served", core.Clip(strings.Join(r.Header.Values("Accept"), ", ")))
	case kind == typeJSON && r.URL.Query().Has("snapshot"):
		return a.loaded(w, r, stream)
	case r.Method == http.MethodHead:
		return a.head(w, r, stream, kind)
	case kind == typeNDJSON:
		return a.lines(w, r, stream)
	case kind == typeEventStream:
		return a.tail(w, r, stream)
	}
	return a.page(w, r, stream, kind)
}

// page responds with one page of events, as JSON or as a batch of CloudEvents.
func (a *API) page(w http.ResponseWriter, r *http.Request, stream, kind string) error {
	request, err := pageQuery(r.URL.Query(), core.MaxReadEvents)
	if err != nil {
		return err
	}
	request.Stream = stream
	ctx, cancel, err := a.timeout(r)
	if err != nil {
		return err
	}
	defer cancel()
	state := a.config.Store.State()
	page, err := reading(w, func() (core.Page, error) { return a.read(ctx, w, &request, core.MaxPageBytes) })
	if err != nil {
		return err
	}
	h := w.Header()
	if notModified(w, r, setTag(h, r, state, &request, &page, kind)) {
		return nil
	}
	a.metrics.Read(page.Count)
	addNext(h, r, &request.ReadRequest, &page)
	body := requests.NewBuffer()
	defer body.Free()
	if kind == typeCloudBatch {
		body.B = cloudevents.AppendBatch(body.B, page.Batch) // the headers have the rest
	} else {
		body.B = append(appendPageFields(append(body.B, '{'), &page), '}')
	}
	body.B = append(body.B, '\n')
	h.Set("Content-Length", strconv.Itoa(len(body.B)))
	_, err = w.Write(body.B)
	return err
}

// reading reads the Store for a request, if the node takes another read.
func reading[T any](w http.ResponseWriter, read func() (T, error)) (found T, err error) {
	gate, share := &apiOf(w).gates.Reads, shareOf(w)
	if err := gate.Enter(share); err != nil {
		return found, err
	}
	defer gate.Leave(share, time.Now())
	return read()
}

// read reads a page of at most so many bytes into memory of the request, or of fewer if
// there is not as much left.
func (a *API) read(ctx context.Context, w http.ResponseWriter, r *pageRequest, most int) (core.Page, error) {
	memory := memoryOf(w)
	request := r.ReadRequest
	request.Limit.Bytes = memory.Reserve(most)
	if r.beyond {
		request.From, request.Backward, request.Limit.Events, request.Select = 0, true, 1, core.Selection{}
	}
	page, err := a.config.Store.Read(ctx, request)
	if err != nil {
		return page, err
	}
	if r.beyond {
		page.Batch, page.Next, page.End = core.Batch{}, 0, true
		if !r.Backward {
			page.Next = page.Version + 1
		}
	}
	return page, memory.Settle(request.Limit.Bytes, len(page.Block))
}

// setState sets the headers that say which state of the stream a response has.
func setState(h http.Header, page *core.Page, kind string) {
	h.Set("Content-Type", kind)
	h.Set("Gyre-Version", strconv.FormatUint(page.Version, 10))
	h.Set("Gyre-Head", strconv.FormatUint(page.Head, 10))
	h.Set("Cache-Control", "private, no-store")
}

// setTag is setState of a page that has an ETag, which it returns.
func setTag(h http.Header, r *http.Request, state core.State, request *pageRequest, page *core.Page, kind string) (tag string) {
	setState(h, page, kind)
	tag = etag(state, page.Incarnation, page.Version, selectionTag(r.URL.Query())+pageTag(request, page)+suffixes[kind])
	h.Set("ETag", tag)
	h.Set("Cache-Control", "private, no-cache")
	return tag
}

// notModified responds with 304 if the client has the state of the tag already.
func notModified(w http.ResponseWriter, r *http.Request, tag string) bool {
	if !matches(r.Header.Values("If-None-Match"), tag) {
		return false
	}
	w.Header().Del("Content-Type")
	w.WriteHeader(http.StatusNotModified)
	return true
}

// appendPageFields encodes a page as the fields of an object.
func appendPageFields(dst []byte, page *core.Page) []byte {
	dst = append(dst, `"events":`...)
	dst = wire.AppendEvents(dst, page.Batch, nil, false)
	dst = append(dst, ',')
	return wire.AppendPageEnd(dst, page)
}

// writeWithin gives the next write its deadline.
func (a *API) writeWithin(w http.ResponseWriter) {
	// Not every ResponseWriter has deadlines; the server's have.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(a.config.Limits.IOTimeout))
}

// addNext links the next page. The previous one has no link: where it begins depends on
// the size of its events.
func addNext(h http.Header, r *http.Request, request *core.ReadRequest, page *core.Page) {
	if page.End {
		return
	}
	limit := request.Limit.Events
	if limit == 0 {
		limit = core.DefaultReadEvents
	}
	q := url.Values{"from": {strconv.FormatUint(page.Next, 10)}, "limit": {strconv.Itoa(limit)}}
	if request.Backward {
		q.Set("dir", "backward")
	}
	appendSelection(q, r.URL.Query())
	if request.System {
		q.Set("system", "true")
	}
	h.Add("Link", "<"+r.URL.EscapedPath()+"?"+q.Encode()+`>; rel="next"`)
}

// head responds to HEAD with the headers of GET, and where the stream ends. It reads a page for
// the tag alone, so it has no Link and no Content-Length.
func (a *API) head(w http.ResponseWriter, r *http.Request, stream, kind string) error {
	h := w.Header()
	if kind == typeEventStream {
		setEventStream(h)
		_, err := tailQuery(r, stream)
		return err
	}
	maxLimit := uint64(core.MaxReadEvents)
	if kind == typeNDJSON {
		maxLimit = core.MaxNumber
	}
	request, err := pageQuery(r.URL.Query(), maxLimit)
	if err != nil {
		return err
	}
	request.Stream = stream
	_, isTagged := suffixes[kind]
	if !isTagged || stream == core.All {
		request = pageRequest{ReadRequest: core.ReadRequest{Stream: stream, Backward: true, Limit: core.Limit{Events: 1}}}
	}
	ctx, cancel, err := a.timeout(r)
	if err != nil {
		return err
	}
	defer cancel()
	state := a.config.Store.State()
	page, err := reading(w, func() (core.Page, error) { return a.read(ctx, w, &request, core.MaxPageBytes) })
	switch {
	case err != nil:
		return err
	case !isTagged:
		setState(h, &page, kind)
	case notModified(w, r, setTag(h, r, state, &request, &page, kind)):
		return nil
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// linesLimit is what lines reads at a time.
var linesLimit = core.Limit{Events: core.MaxReadEvents, Bytes: 256 << 10}

// lines answers events one a line, as fast as the client takes them, and at last a
// line that says how it ended.
func (a *API) lines(w http.ResponseWriter, r *http.Request, stream string) error {
	request, err := pageQuery(r.URL.Query(), core.MaxNumber)
	if err != nil {
		return err
	}
	request.Stream = stream
	left := request.Limit.Events
	if left == 0 {
		left = core.MaxNumber
	}
	ctx, cancel := a.untilClose(r.Context())
	defer cancel()
	page, err := reading(w, func() (core.Page, error) { return a.readLines(ctx, w, &request, left) })
	if err != nil {
		return err
	}
	h := w.Header()
	setState(h, &page, typeNDJSON)
	h.Set("X-Accel-Buffering", "no")
	out := bufio.NewWriterSize(w, 32<<10)
	for {
		a.writeWithin(w)
		a.metrics.Read(page.Count)
		var line []byte
		for e := range page.Events() {
			line = append(wire.AppendEventJSON(line[:0], &e), '\n')
			if _, err := out.Write(line); err != nil {
				return err
			}
		}
		left -= page.Count
		if page.End || left == 0 {
			line = append(wire.AppendPageEnd(append(line[:0], `{"$end":{`...), &page), "}}\n"...)
			_, _ = out.Write(line) // Flush has the error
			return out.Flush()
		}
		if err := out.Flush(); err != nil {
			return err
		}
		request.From, request.FromTime = page.Next, time.Time{}
		if page, err = a.readLines(ctx, w, &request, left); err != nil {
			return endLines(out, err)
		}
	}
}

func (a *API) readLines(ctx context.Context, w http.ResponseWriter, request *pageRequest, left int) (core.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, a.config.Limits.Request)
	defer cancel()
	request.Limit.Events = min(left, linesLimit.Events)
	memoryOf(w).Release() // the page before
	page, err := a.read(ctx, w, request, linesLimit.Bytes)
	if err != nil && a.ctx.Err() != nil {
		err = core.Errorf(core.CodeShuttingDown, "the node is shutting down")
	}
	return page, err
}

// endLines ends lines that have begun with an error.
func endLines(out *bufio.Writer, err error) error {
	body, marshalErr := wire.Marshal(map[string]any{"$end": map[string]any{"error": wire.NewError(err)}})
	if marshalErr != nil {
		return marshalErr
	}
	_, _ = out.Write(append(body, '\n')) // Flush has the error
	return out.Flush()
}

// event is GET /v1/events/{id}.
func (a *API) event(w http.ResponseWriter, r *http.Request) error {
	id, err := core.ParseID(r.PathValue("id"))
	if err != nil {
		return err
	}
	ctx, cancel, err := a.timeout(r)
	if err != nil {
		return err
	}
	defer cancel()
	e, err := reading(w, func() (core.Event, error) { return a.config.Store.Event(ctx, id) })
	if err != nil {
		return err
	}
	if err := memoryOf(w).Settle(0, len(e.Data)+len(e.Metadata)); err != nil {
		return err
	}
	a.metrics.Read(1)
	w.Header().Set("Content-Type", typeJSON)
	w.Header().Set("Cache-Control", "private, no-cache")
	_, err = w.Write(append(wire.AppendEventJSON(nil, &e), '\n'))
	return err
}
