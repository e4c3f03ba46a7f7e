package wsapi

import (
	"net/http"
	"net/http/pprof"
	"strconv"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
)

// maxProfileSeconds bounds the time of a profile.
const maxProfileSeconds = 60

// Admin is an http.HandlerFunc for metrics and profiles, for a listener of its own. It makes
// the same checks as ServeHTTP.
func (a *API) Admin(w http.ResponseWriter, r *http.Request) { a.answer(a.admin, w, r) }

// adminRoutes are those of Admin. They are not in openapi.json, but for /metrics.
func (a *API) adminRoutes() []Route {
	routes := []Route{
		a.metricsRoute(),
		{Method: "GET", Path: "/livez", Needs: access.Open, Handle: a.livez, Drained: true},
	}
	profile := func(name string, h http.HandlerFunc, query ...string) {
		routes = append(routes, Route{Method: "GET", Path: "/debug/pprof/" + name, Needs: access.SeeMetrics, Handle: profiled(h), Query: query, Drained: true})
	}
	for _, name := range []string{"allocs", "block", "goroutine", "heap", "mutex", "threadcreate"} {
		profile(name, pprof.Handler(name).ServeHTTP, "debug", "gc", "seconds")
	}
	profile("profile", pprof.Profile, "seconds")
	profile("trace", pprof.Trace, "seconds")
	return routes
}

func (a *API) metricsRoute() Route {
	needs := access.SeeMetrics
	if a.config.MetricsOpen {
		needs = access.Open
	}
	return Route{Method: "GET", Path: "/metrics", Needs: needs, Handle: a.serveMetrics, Query: []string{"name[]"}, Drained: true}
}

// profiled serves a profile of a bounded time. The command line is none of the profiles: it
// may have secrets.
func profiled(h http.HandlerFunc) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if text := r.URL.Query().Get("seconds"); text != "" {
			if n, err := strconv.Atoi(text); err != nil || n < 1 || n > maxProfileSeconds {
				return core.Errorf(core.CodeInvalidRequest, "seconds %q is not a number from 1 to %d", core.Clip(text), maxProfileSeconds)
			}
		}
		h(w, r)
		return nil
	}
}
