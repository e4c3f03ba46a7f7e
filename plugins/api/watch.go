package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const (
	// checkEvery is how often it is looked whether the principal may still see the state.
	checkEvery = time.Second
	// relayHeartbeat is how long lines may be without a sign of life, and relayIdle how long the
	// node that gets them waits for one.
	relayHeartbeat = 5 * time.Second
	relayIdle      = 15 * time.Second
	// reopenWithin is how long a watch looks for the node that owns the binding now.
	reopenWithin = 30 * time.Second
)

// stateOrWatch is GET /v1/plugins/{binding}/state: a page, or with watch what there is and what
// changes.
func (a *api) stateOrWatch(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	if q.Has("watch") {
		return a.watch(w, r)
	}
	if q.Has("cursor") {
		return core.Errorf(core.CodeInvalidRequest, "cursor is one of a watch: pages go on with after")
	}
	return a.state(w, r)
}

// watch answers with the messages of a watch, as server-sent events or lines of JSON.
func (a *api) watch(w http.ResponseWriter, r *http.Request) error {
	kind, err := wsapi.Accepted(r, typeEventStream, typeNDJSON)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	for _, name := range []string{"after", "limit", atLeast} {
		if q.Has(name) {
			return core.Errorf(core.CodeInvalidRequest, "a watch has no %s", name)
		}
	}
	lane, _, err := whichState(q)
	if err != nil {
		return err
	}
	asked := plugins.WatchRequest{Lane: lane, Prefix: q.Get("prefix"), Cursor: q.Get("cursor")}
	if last := r.Header.Get("Last-Event-ID"); last != "" { // a browser that comes back
		asked.Cursor = last
	}
	ctx, cancel, err := wsapi.Timeout(w, r)
	if err != nil {
		return err
	}
	defer cancel()
	watch, err := a.openWatching(ctx, r.PathValue("binding"), asked)
	if err != nil {
		return err
	}
	defer watch.close()
	if kind == typeEventStream {
		return wsapi.EventStream(w, r, watch.event)
	}
	return wsapi.LineStream(w, r, watch.line)
}

// watching is a watch of a binding wherever that is owned.
type watching struct {
	api     *api
	binding string
	request plugins.WatchRequest // to go on with
	ctx     context.Context      // ends with close
	cancel  context.CancelFunc
	from    plugins.Watch // nil while it looks for the owner
	lost    time.Time     // since when it does
	checked time.Time     // when the principal was
}

// openWatching begins a watch.
func (a *api) openWatching(ctx context.Context, binding string, r plugins.WatchRequest) (*watching, error) {
	w := &watching{api: a, binding: binding, request: r, checked: time.Now()}
	w.ctx, w.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := check(ctx, a.Bindings, access.SeePluginState, binding); err != nil {
		w.close()
		return nil, err
	}
	if err := w.open(ctx); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// close ends the watch.
func (w *watching) close() {
	w.cancel()
	if w.from != nil {
		w.from.Close()
	}
}

// open begins to watch at the owner, which it finds until ctx ends.
func (w *watching) open(ctx context.Context) (err error) {
	for {
		if w.from, err = w.tryOpen(ctx); err == nil || !w.moves(ctx, err) {
			return err
		}
		if err := w.api.Owners.Moved(ctx, core.AsError(err)); err != nil {
			return err
		}
	}
}

// moves reports whether another node may go on after an error.
func (w *watching) moves(ctx context.Context, err error) bool {
	return w.api.Owners != nil && !isForwarded(ctx) && (elsewhere(err) || errors.Is(err, errBrokenOff))
}

// tryOpen is one try of open.
func (w *watching) tryOpen(ctx context.Context) (plugins.Watch, error) {
	if w.api.Owners == nil {
		return w.api.Bindings.Watch(ctx, w.binding, w.request)
	}
	owner, err := w.api.Owners.Find(ctx, w.binding, isForwarded(ctx))
	switch {
	case err != nil:
		return nil, err
	case owner == nil:
		return w.api.Bindings.Watch(ctx, w.binding, w.request)
	}
	return openRemote(ctx, w.ctx, owner, w.binding, &w.request)
}

// next returns the next message, or nil if there is none for as long as wait.
func (w *watching) next(ctx context.Context, wait time.Duration) (*plugins.WatchMessage, error) {
	if time.Since(w.checked) > checkEvery {
		if err := check(ctx, w.api.Bindings, access.SeePluginState, w.binding); err != nil {
			return nil, err
		}
		w.checked = time.Now()
	}
	if w.from == nil {
		return nil, w.reopen(ctx, wait)
	}
	m, err := w.from.Next(ctx, min(wait, checkEvery))
	switch {
	case err == nil && m == nil:
		return nil, nil
	case err == nil:
		if m.Reset {
			w.request.Cursor = "" // until the state is whole
		}
		if m.Cursor != "" {
			w.request.Cursor = m.Cursor
		}
		return m, nil
	case ctx.Err() != nil || !w.moves(ctx, err):
		return nil, err
	}
	w.from.Close()
	w.from, w.lost = nil, time.Now()
	return nil, nil
}

// reopen looks for the owner for a while. It is no error if there is none yet.
func (w *watching) reopen(ctx context.Context, wait time.Duration) error {
	opening, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	err := w.open(opening)
	if err != nil && opening.Err() != nil && ctx.Err() == nil && time.Since(w.lost) < reopenWithin {
		return nil
	}
	return err
}

// event is a message as a server-sent event. While the state is not whole there is no id to come
// back with.
func (w *watching) event(ctx context.Context, wait time.Duration) (text []byte, err error) {
	m, err := w.await(ctx, wait)
	if err != nil || m == nil {
		return nil, err
	}
	if m.Reset || m.Cursor != "" {
		text = append(append(append(text, "id: "...), m.Cursor...), '\n')
	}
	line, err := wire.Marshal(m)
	return append(append(append(text, "data: "...), line...), "\n\n"...), err
}

// line is a message as a line; an empty one is a sign of life.
func (w *watching) line(ctx context.Context, wait time.Duration) ([]byte, error) {
	m, err := w.await(ctx, min(wait, relayHeartbeat))
	if err != nil || m == nil {
		return []byte("\n"), err
	}
	line, err := wire.Marshal(m)
	return append(line, '\n'), err
}

// await is next, for as long as wait.
func (w *watching) await(ctx context.Context, wait time.Duration) (*plugins.WatchMessage, error) {
	for by := time.Now().Add(wait); ; {
		m, err := w.next(ctx, max(time.Until(by), time.Millisecond))
		if m != nil || err != nil || !time.Now().Before(by) {
			return m, err
		}
	}
}

// openWatch opens the sub plugin.watch.
func (a *api) openWatch(ctx context.Context, message []byte) (wsapi.Stream, error) {
	var m struct {
		stateMessage
		Prefix string `json:"prefix"`
		Cursor string `json:"cursor"`
	}
	if err := wire.Unmarshal(message, &m); err != nil {
		return nil, err
	}
	lane, err := m.which()
	if err != nil {
		return nil, err
	}
	if m.AtLeast != 0 {
		return nil, core.Errorf(core.CodeInvalidRequest, "a watch has no atLeast")
	}
	if err := a.handles(ctx, m.Binding, "state"); err != nil {
		return nil, err
	}
	w, err := a.openWatching(ctx, m.Binding, plugins.WatchRequest{Lane: lane, Prefix: m.Prefix, Cursor: m.Cursor})
	if err != nil {
		return nil, err
	}
	return watchSub{w}, nil
}

// watchSub is what the sub plugin.watch sends.
type watchSub struct{ watch *watching }

// Run is part of wsapi.Stream.
func (s watchSub) Run(ctx context.Context, send func(any) error) error {
	defer s.watch.close()
	for {
		m, err := s.watch.await(ctx, time.Minute)
		if err != nil {
			return err
		}
		if m == nil {
			continue
		}
		if err := send(m); err != nil {
			return err
		}
	}
}

// Close is part of wsapi.Stream.
func (s watchSub) Close() { s.watch.close() }
