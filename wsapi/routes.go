package wsapi

import (
	"context"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// route is one operation of the HTTP API. openapi.json has the same list.
type route struct {
	method, path string
	handle       func(*API, http.ResponseWriter, *http.Request) error
	query        []string // the parameters it knows
	drained      bool     // also served while the node shuts down
}

// routes is the HTTP API.
func routes() []route {
	reading := []string{"from", "limit", "dir", "cursor", "types", "streams"}
	return []route{
		{method: "GET", path: "/v1/ws", handle: (*API).webSocket},
		{method: "GET", path: "/v1/server", handle: (*API).server, drained: true},
		{method: "GET", path: "/livez", handle: (*API).livez, drained: true},
		{method: "GET", path: "/readyz", handle: (*API).readyz, query: []string{"verbose"}, drained: true},
		{method: "GET", path: "/healthz", handle: (*API).readyz, query: []string{"verbose"}, drained: true},
		{method: "GET", path: "/v1/streams", handle: (*API).streams, query: []string{"prefix", "cursor", "limit"}},
		{method: "POST", path: "/v1/streams/{stream}/events", handle: (*API).appendEvents, query: []string{"expect"}},
		{method: "GET", path: "/v1/streams/{stream}/events", handle: (*API).readStream, query: reading},
		{method: "POST", path: "/v1/streams/{stream}/links", handle: (*API).appendLinks, query: []string{"expect"}},
		{method: "HEAD", path: "/v1/streams/{stream}/events", handle: (*API).readStream, query: reading},
		{method: "GET", path: "/v1/events", handle: (*API).readAll, query: reading},
		{method: "GET", path: "/v1/events/{id}", handle: (*API).event},
		{method: "POST", path: "/v1/transactions", handle: (*API).transaction},
		{method: "GET", path: "/v1/subscriptions", handle: (*API).listSubscriptions, query: []string{"prefix", "cursor", "limit", "transient"}},
		{method: "PUT", path: "/v1/subscriptions/{subscription}", handle: (*API).putSubscription, query: []string{"create"}},
		{method: "GET", path: "/v1/subscriptions/{subscription}", handle: (*API).getSubscription},
		{method: "DELETE", path: "/v1/subscriptions/{subscription}", handle: (*API).deleteSubscription},
		{method: "POST", path: "/v1/subscriptions/{subscription}/pause", handle: (*API).pauseSubscription},
		{method: "POST", path: "/v1/subscriptions/{subscription}/resume", handle: (*API).resumeSubscription},
		{method: "POST", path: "/v1/subscriptions/{subscription}/reset", handle: (*API).resetSubscription},
		{method: "POST", path: "/v1/subscriptions/{subscription}/fetch", handle: (*API).fetch},
		{method: "POST", path: "/v1/subscriptions/{subscription}/ack", handle: (*API).ackFetched},
		{method: "POST", path: "/v1/subscriptions/{subscription}/nack", handle: (*API).nackFetched},
		{method: "POST", path: "/v1/subscriptions/{subscription}/extend", handle: (*API).extendFetched},
		{method: "GET", path: "/v1/subscriptions/{subscription}/parked", handle: (*API).listParked, query: []string{"after", "limit"}},
		{method: "DELETE", path: "/v1/subscriptions/{subscription}/parked", handle: (*API).dropParked, query: []string{"positions", "ids", "types", "streams"}},
		{method: "POST", path: "/v1/subscriptions/{subscription}/parked/replay", handle: (*API).replayParked},
		{method: "GET", path: "/", handle: (*API).landing},
		{method: "GET", path: "/openapi.json", handle: (*API).serveOpenAPI, drained: true},
		{method: "GET", path: "/asyncapi.json", handle: (*API).serveAsyncAPI, drained: true},
		{method: "GET", path: "/docs/errors/{code}", handle: (*API).explain, drained: true},
		{method: "GET", path: "/metrics", handle: (*API).serveMetrics, query: []string{"name[]"}, drained: true},
	}
}

// mux finds the route of a request. Unlike http.ServeMux it answers a wrong path and a
// wrong method with a problem document, and never redirects.
type mux struct{ paths *http.ServeMux }

// methods are the routes of one path.
type methods map[string]*route

// ServeHTTP is never called: a methods is only looked up.
func (methods) ServeHTTP(http.ResponseWriter, *http.Request) {}

func newMux() *mux {
	m := &mux{http.NewServeMux()}
	paths := map[string]methods{}
	for _, r := range routes() {
		if paths[r.path] == nil {
			paths[r.path] = methods{}
			pattern := r.path
			if pattern == "/" {
				pattern = "/{$}"
			}
			m.paths.Handle(pattern, paths[r.path])
		}
		paths[r.path][r.method] = &r
	}
	return m
}

// find is the route of r, and the pattern of its path for the metrics.
func (m *mux) find(r *http.Request) (*route, string, error) {
	escaped := r.URL.EscapedPath()
	notFound := core.Errorf(core.CodeNotFound, "there is nothing at %s", clip(r.URL.Path))
	if clean := path.Clean(escaped); clean != escaped {
		return nil, "", notFound
	}
	h, pattern := m.paths.Handler(r)
	byMethod, ok := h.(methods)
	if !ok {
		return nil, "", notFound
	}
	method := r.Method
	if _, ok := byMethod[method]; !ok && method == http.MethodHead {
		method = http.MethodGet
	}
	found := byMethod[method]
	if found == nil {
		return nil, pattern, core.Errorf(core.CodeMethodNotAllowed, "%s takes %s, not %s", clip(r.URL.Path), byMethod.allow(), clip(r.Method))
	}
	return found, pattern, nil
}

// allow is the value of the Allow header.
func (m methods) allow() string {
	names := []string{http.MethodOptions}
	for name := range m {
		names = append(names, name)
		if name == http.MethodGet && m[http.MethodHead] == nil {
			names = append(names, http.MethodHead)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// ServeHTTP is the whole API, from / on.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	rec := newRecorder(w, r, a.memory.Account(), a.config.Limits.IOTimeout)
	defer rec.memory.Release()
	pattern, err := a.serve(rec, r)
	if err != nil && !rec.begun() {
		a.problem(rec, r, err)
	}
	if pattern == "" {
		pattern = "unknown"
	}
	a.metrics.answered(pattern, r.Method, rec.status(), time.Since(started))
}

func (a *API) serve(w *recorder, r *http.Request) (pattern string, err error) {
	found, pattern, routeErr := a.mux.find(r)
	ws := pattern == "/v1/ws"
	reading := r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions
	if err := a.guard.admit(w.Header(), r, ws || !reading); err != nil {
		return pattern, err
	}
	if r.Method == http.MethodOptions && pattern != "" {
		return pattern, a.options(w, r)
	}
	if routeErr != nil {
		if core.AsError(routeErr).Code == core.CodeMethodNotAllowed {
			h, _ := a.mux.paths.Handler(r)
			w.Header().Set("Allow", h.(methods).allow())
		}
		return pattern, routeErr
	}
	if a.draining.Load() && !found.drained {
		return pattern, core.Errorf(core.CodeShuttingDown, "the node is shutting down")
	}
	for name := range r.URL.Query() {
		if !slices.Contains(found.query, name) {
			return pattern, core.Errorf(core.CodeInvalidRequest, "query parameter %q is not known here", clip(name))
		}
	}
	if _, err := url.ParseQuery(r.URL.RawQuery); err != nil {
		return pattern, core.Errorf(core.CodeInvalidRequest, "the query cannot be read")
	}
	if found.method != http.MethodPost && found.method != http.MethodPut {
		if err := a.ignoreBody(w, r); err != nil {
			return pattern, err
		}
	}
	// The mux knows the wildcards' values only after it has matched for itself.
	_, matched := a.mux.paths.Handler(r)
	setPathValues(r, matched)
	return pattern, found.handle(a, w, r)
}

// setPathValues takes the values of a pattern's wildcards from the path. The mux
// does it only for handlers that it calls.
func setPathValues(r *http.Request, pattern string) {
	parts := strings.Split(r.URL.EscapedPath(), "/")
	for i, p := range strings.Split(pattern, "/") {
		if name, ok := strings.CutPrefix(p, "{"); ok && i < len(parts) {
			if v, err := url.PathUnescape(parts[i]); err == nil {
				r.SetPathValue(strings.TrimSuffix(name, "}"), v)
			}
		}
	}
}

// options responds with the methods that a path takes, and to a browser's preflight.
func (a *API) options(w http.ResponseWriter, r *http.Request) error {
	h, _ := a.mux.paths.Handler(r)
	allow := h.(methods).allow()
	w.Header().Set("Allow", allow)
	a.guard.preflight(w.Header(), r, allow)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// timeout gives a request its deadline: Gyre-Timeout in milliseconds.
func (a *API) timeout(r *http.Request) (context.Context, context.CancelFunc, error) {
	var ms int64
	if text := r.Header.Get("Gyre-Timeout"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n <= 0 {
			return nil, nil, core.Errorf(core.CodeInvalidRequest, "Gyre-Timeout %q is not a whole number of milliseconds", clip(text))
		}
		ms = n
	}
	d, err := wire.ClientTimeout(ms, a.config.Limits.Request, a.config.Limits.MaxRequest)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), d)
	ctx, _ = core.WithClaim(ctx) // one for all Commits of the request
	return ctx, cancel, nil
}
