package wsapi

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/gyre-events/gyre/core"
)

// Auditor keeps a record of what was done. It is safe for concurrent use.
type Auditor interface {
	// Record notes what the principal of ctx has done, from the address of ctx.
	Record(ctx context.Context, act Act) error
}

// Act is what was done.
type Act struct {
	Kind    string    // a Route's Audit
	Target  string    // what it was done to
	Outcome core.Code // "", or unknown_outcome if it may not have been done
	Detail  any       // what it was done with, as JSON; nil: there is no more to say
}

// AuditDetail has the audit say what a request was made with. The handler of a Route calls it, at
// most once; where the node that was asked has another one serve the route, the audit lacks it.
func AuditDetail(w http.ResponseWriter, detail any) { w.(*recorder).detail = detail }

// audited returns routes as they are served: what those do that have an Audit is recorded,
// at the node that was asked.
func (a *API) audited(routes []Route) []Route {
	if a.config.Audit == nil {
		return routes
	}
	for i := range routes {
		r := &routes[i]
		if r.Audit != "" {
			r.Handle = a.recording(*r)
		}
	}
	return routes
}

func (a *API) recording(route Route) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		err := route.Handle(w, r)
		rec := w.(*recorder)
		act := Act{Kind: route.Audit, Target: targetOf(route.Path, r), Detail: rec.detail}
		switch status := rec.status(); {
		case errors.Is(err, core.CodeUnknownOutcome):
			act.Outcome = core.CodeUnknownOutcome
		case err != nil, status >= http.StatusBadRequest, route.AuditOnly > 0 && status != route.AuditOnly:
			return err // it was not done
		}
		if !forwarded(r) { // or the node that was asked records it
			a.config.record(r.Context(), act)
		}
		return err
	}
}

// joinedNew returns what records subscriptions that were created by joining them; nil if nothing
// is recorded.
func (c *Config) joinedNew() func(ctx context.Context, name string) {
	if c.Audit == nil {
		return nil
	}
	copied := *c
	return func(ctx context.Context, name string) {
		copied.record(ctx, Act{Kind: "SubscriptionDefined", Target: name})
	}
}

// record records what was done, and is answered so, whether the audit has it or not.
func (c *Config) record(ctx context.Context, act Act) {
	if err := c.Audit.Record(ctx, act); err != nil {
		c.Logger.ErrorContext(ctx, "the audit lacks what was done", "act", act.Kind, "target", core.Clip(act.Target), "error", err)
	}
}

// targetOf is what a request is about: the wildcards of its path, or a node.
func targetOf(path string, r *http.Request) string {
	var names []string
	for part := range strings.SplitSeq(path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			names = append(names, r.PathValue(strings.TrimSuffix(name, "}")))
		}
	}
	if len(names) == 0 {
		return r.URL.Query().Get("node")
	}
	return strings.Join(names, "/")
}
