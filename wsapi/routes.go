package wsapi

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// Route is one operation of the HTTP API. openapi.json has the same list.
type Route struct {
	Method, Path string
	// Needs is what a principal must be allowed to do with something; with what, the handler
	// or the Guard behind it checks. It is access.Connect where the Guard checks each part.
	Needs access.Action
	// Handle responds. An error is answered as a problem document, unless the response
	// has begun.
	Handle func(w http.ResponseWriter, r *http.Request) error
	Query  []string // the parameters it knows; others are refused
	// AnyQuery has every parameter taken: a page keeps there what is chosen on it.
	AnyQuery bool
	Drained  bool // it is also served while the node shuts down
	// Relieves is set where a request leaves the node less to do: it is served whatever else is
	// in flight. So are those with Drained, and those that need access.Open.
	Relieves bool
	// Owned names the wildcard of the path that is a subscription's name, or a binding's.
	// In a ring the route is served where that is owned.
	Owned string
	// OwnedIf names a parameter of the query without which any node serves the route; none, if it
	// is empty.
	OwnedIf string
	// Audit is the type of the event that the audit gets when the route was served; none, if
	// it is empty.
	Audit string
	// AuditOnly says that only an answer of this status is for the audit: with another there was
	// nothing to do. 0 is any.
	AuditOnly int
	// Op is the WebSocket op that does the same; none if it is empty. Its message has the
	// path's wildcards and the query's parameters as fields; those that are left are the
	// body's.
	Op string
}

// socketPath is where a WebSocket is opened.
const socketPath = "/v1/ws"

// routes is the HTTP API, without extensions.
func (a *API) routes() []Route {
	reading := append([]string{"from", "after", "limit", "dir", "cursor", "progress", "system"}, selecting...)
	appending := append([]string{"expect"}, progressParameters...)
	loading := append([]string{"snapshot"}, reading...)
	list := append(slices.Concat(a.clusterRoutes(), a.snapshotRoutes(), a.retentionRoutes()), []Route{
		{Method: "GET", Path: socketPath, Needs: access.Open, Handle: a.webSocket},
		{Method: "GET", Path: "/v1/server", Needs: access.SeeServer, Handle: a.server, Drained: true},
		a.statsRoute(),
		{Method: "GET", Path: "/v1/session", Needs: access.Open, Handle: a.seeSession},
		{Method: "POST", Path: "/v1/session", Needs: access.Open, Handle: a.logIn},
		{Method: "DELETE", Path: "/v1/session", Needs: access.Open, Handle: a.logOut},
		{Method: "POST", Path: "/v1/tickets", Needs: access.Connect, Handle: a.makeTicket},
		{Method: "GET", Path: "/livez", Needs: access.Open, Handle: a.livez, Drained: true},
		{Method: "GET", Path: "/readyz", Needs: access.Open, Handle: a.readyz, Query: []string{"verbose"}, Drained: true},
		{Method: "GET", Path: "/healthz", Needs: access.Open, Handle: a.readyz, Query: []string{"verbose"}, Drained: true},
		{Method: "GET", Path: "/v1/streams", Op: "streams", Needs: access.ListStreams, Handle: a.streams, Query: append([]string{"prefix", "cursor", "limit"}, listing...)},
		{Method: "GET", Path: "/v1/streams/{stream}", Op: "stream", Needs: access.Read, Handle: a.stream},
		{Method: "DELETE", Path: "/v1/streams/{stream}", Needs: access.DeleteStreams, Handle: a.deleteStream, Query: []string{"expect", "hard", "tombstone"}},
		{Method: "POST", Path: "/v1/streams/{stream}/undelete", Needs: access.DeleteStreams, Handle: a.undeleteStream, Query: []string{"expect"}},
		{Method: "POST", Path: "/v1/streams/{stream}/events", Needs: access.Append, Handle: a.appendEvents, Query: appending},
		{Method: "GET", Path: "/v1/streams/{stream}/events", Needs: access.Read, Handle: a.readStream, Query: loading},
		{Method: "POST", Path: "/v1/streams/{stream}/links", Needs: access.Append, Handle: a.appendLinks, Query: appending},
		{Method: "HEAD", Path: "/v1/streams/{stream}/events", Needs: access.Read, Handle: a.readStream, Query: loading},
		{Method: "GET", Path: "/v1/events", Needs: access.Read, Handle: a.readAll, Query: reading},
		{Method: "GET", Path: "/v1/events/{id}", Needs: access.Read, Handle: a.event},
		{Method: "POST", Path: "/v1/transactions", Needs: access.Connect, Handle: a.transaction},
		{Method: "GET", Path: "/v1/progress", Needs: access.Progress, Handle: a.listProgress, Query: []string{"prefix", "cursor", "limit"}},
		{Method: "GET", Path: "/v1/progress/{progress}", Needs: access.Progress, Handle: a.getProgress},
		{Method: "DELETE", Path: "/v1/progress/{progress}", Needs: access.DeleteProgress, Audit: "ProgressDeleted", Handle: a.deleteProgress},
		{Method: "GET", Path: "/v1/subscriptions", Needs: access.SeeSubscriptions, Handle: a.listSubscriptions, Query: []string{"prefix", "cursor", "limit", "transient"}},
		{Method: "PUT", Path: "/v1/subscriptions/{subscription}", Needs: access.SteerSubscriptions, Audit: "SubscriptionDefined", Handle: a.putSubscription, Query: []string{"create"}},
		{Method: "GET", Path: "/v1/subscriptions/{subscription}", Needs: access.Consume, Handle: a.getSubscription},
		{Method: "DELETE", Path: "/v1/subscriptions/{subscription}", Needs: access.SteerSubscriptions, Audit: "SubscriptionDeleted", Handle: a.deleteSubscription},
		{Method: "POST", Path: "/v1/subscriptions/{subscription}/pause", Needs: access.SteerSubscriptions, Audit: "SubscriptionPaused", Handle: a.pauseSubscription},
		{Method: "POST", Path: "/v1/subscriptions/{subscription}/resume", Needs: access.SteerSubscriptions, Audit: "SubscriptionResumed", Handle: a.resumeSubscription},
		{Method: "POST", Path: "/v1/subscriptions/{subscription}/reset", Needs: access.SteerSubscriptions, Audit: "SubscriptionReset", Handle: a.resetSubscription},
		{Method: "POST", Path: "/v1/subscriptions/{subscription}/fetch", Needs: access.Consume, Handle: a.fetch},
		{Method: "POST", Path: "/v1/subscriptions/{subscription}/ack", Needs: access.Consume, Relieves: true, Handle: a.ackFetched},
		{Method: "POST", Path: "/v1/subscriptions/{subscription}/nack", Needs: access.Consume, Relieves: true, Handle: a.nackFetched},
		{Method: "POST", Path: "/v1/subscriptions/{subscription}/extend", Needs: access.Consume, Relieves: true, Handle: a.extendFetched},
		{Method: "GET", Path: "/v1/subscriptions/{subscription}/parked", Needs: access.SteerSubscriptions, Handle: a.listParked, Query: []string{"after", "limit"}},
		{Method: "DELETE", Path: "/v1/subscriptions/{subscription}/parked", Needs: access.SteerSubscriptions, Audit: "ParkedDropped", Handle: a.dropParked, Query: []string{"positions", "ids", "types", "streams"}},
		{Method: "POST", Path: "/v1/subscriptions/{subscription}/parked/replay", Needs: access.SteerSubscriptions, Audit: "ParkedReplayed", Handle: a.replayParked},
		{Method: "GET", Path: "/", Needs: access.Open, Handle: a.home, AnyQuery: true},
		{Method: "GET", Path: "/openapi.json", Needs: access.SeeMetrics, Handle: a.serveOpenAPI, Drained: true},
		{Method: "GET", Path: "/asyncapi.json", Needs: access.SeeMetrics, Handle: a.serveAsyncAPI, Drained: true},
		{Method: "GET", Path: "/docs/errors/{code}", Needs: access.Open, Handle: a.explain, Drained: true},
	}...)
	if !a.config.Admin {
		list = append(list, a.metricsRoute())
	}
	return list
}

// mux finds the route of a request. Unlike http.ServeMux it answers a wrong path and a
// wrong method with a problem document, and never redirects.
type mux struct {
	paths *http.ServeMux
	pages Dashboard // nil: none
}

// methods are the routes of one path.
type methods map[string]*Route

// ServeHTTP is never called: a methods is only looked up.
func (methods) ServeHTTP(http.ResponseWriter, *http.Request) {}

func newMux(routes []Route, pages Dashboard) (*mux, error) {
	m := &mux{http.NewServeMux(), pages}
	paths := map[string]methods{}
	for _, r := range routes {
		if r.Needs == "" {
			return nil, core.Errorf(core.CodeInvalidConfig, "route %s %s does not say what it needs", r.Method, r.Path)
		}
		if paths[r.Path] == nil {
			paths[r.Path] = methods{}
			pattern := r.Path
			if pattern == "/" {
				pattern = "/{$}"
			}
			m.paths.Handle(pattern, paths[r.Path])
		}
		if paths[r.Path][r.Method] != nil {
			return nil, core.Errorf(core.CodeInvalidConfig, "there are two routes %s %s", r.Method, r.Path)
		}
		paths[r.Path][r.Method] = &r
	}
	return m, nil
}

// find is the routes of the path of r, and its pattern; nil if there is nothing.
func (m *mux) find(r *http.Request) (at methods, pattern string) {
	escaped := r.URL.EscapedPath()
	if path.Clean(escaped) != escaped {
		return nil, ""
	}
	h, pattern := m.paths.Handler(r)
	at, ok := h.(methods)
	if !ok || pattern == pagesPath && !m.pages.Serves(r) {
		return nil, ""
	}
	return at, pattern
}

// of is the route of r among those of its path.
func (m methods) of(r *http.Request) (*Route, error) {
	found := m[r.Method]
	if found == nil && r.Method == http.MethodHead {
		found = m[http.MethodGet]
	}
	if found == nil {
		return nil, core.Errorf(core.CodeMethodNotAllowed, "%s takes %s, not %s", core.Clip(r.URL.Path), m.allow(), core.Clip(r.Method))
	}
	return found, nil
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
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.answer(a.mux, w, r) }

// answer serves a request by the routes of m.
func (a *API) answer(m *mux, w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	rec := newRecorder(w, r, a.memory.Account(), a.config.Limits.IOTimeout)
	rec.api = a
	defer rec.memory.Release()
	pattern, err := a.serve(m, rec, r)
	if err != nil && !rec.begun() {
		a.problem(rec, rec.request, err)
	}
	rec.finish()
	if pattern == "" {
		pattern = "unknown"
	}
	a.metrics.answered(pattern, r.Method, rec.status(), time.Since(started))
}

func (a *API) serve(m *mux, w *recorder, r *http.Request) (pattern string, err error) {
	at, pattern := m.find(r)
	ws := pattern == socketPath
	reading := r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions
	if !isPeerPath(pattern) {
		if err := a.guard.admit(w.Header(), r, ws || !reading); err != nil {
			return pattern, err
		}
	}
	switch {
	case at == nil:
		return pattern, core.Errorf(core.CodeNotFound, "there is nothing at %s", core.Clip(r.URL.Path))
	case r.Method == http.MethodOptions:
		a.options(w, r, at)
		return pattern, nil
	}
	found, err := at.of(r)
	if err != nil {
		w.Header().Set("Allow", at.allow())
		return pattern, err
	}
	if err := checkPlace(w, r, found); err != nil {
		return pattern, err
	}
	r, release, err := a.authorize(w, r, found.Needs)
	if err != nil {
		return pattern, err
	}
	defer release()
	w.request = r // with its principal
	if a.draining.Load() && !found.Drained {
		return pattern, core.Errorf(core.CodeShuttingDown, "the node is shutting down")
	}
	leave, err := a.enter(w, r, found)
	if err != nil {
		return pattern, err
	}
	defer leave()
	if err := found.refuseQuery(r.URL.Query()); err != nil {
		return pattern, err
	}
	if _, err := url.ParseQuery(r.URL.RawQuery); err != nil {
		return pattern, core.Errorf(core.CodeInvalidRequest, "the query cannot be read")
	}
	if found.Method != http.MethodPost && found.Method != http.MethodPut {
		if err := a.ignoreBody(w, r); err != nil {
			return pattern, err
		}
	}
	setPathValues(r, pattern)
	err = found.Handle(w, r)
	if err != nil && !errors.Is(err, core.CodeUnknownOutcome) {
		if ended := access.Of(r.Context()).Check(access.Open, ""); ended != nil {
			err = ended // and so the request has
		}
	}
	return pattern, err
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
func (a *API) options(w http.ResponseWriter, r *http.Request, at methods) {
	allow := at.allow()
	w.Header().Set("Allow", allow)
	a.guard.preflight(w.Header(), r, allow)
	w.WriteHeader(http.StatusNoContent)
}

// timeout gives a request its deadline: Gyre-Timeout in milliseconds.
func (a *API) timeout(r *http.Request) (context.Context, context.CancelFunc, error) {
	var ms int64
	if values := r.Header.Values("Gyre-Timeout"); len(values) > 0 {
		text := strings.Join(values, ", ")
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n <= 0 {
			return nil, nil, core.Errorf(core.CodeInvalidRequest, "Gyre-Timeout %q is not a whole number of milliseconds from 1 to 2^53-1", core.Clip(text))
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

// untilClose is ctx that also ends when the API closes: nobody waits while the node shuts
// down.
func (a *API) untilClose(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(a.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}
