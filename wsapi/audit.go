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
	// Record notes that the principal of ctx has done something to a target, from the address
	// of ctx. kind is a Route's Audit. outcome is "", or unknown_outcome if it may not have
	// been done.
	Record(ctx context.Context, kind, target string, outcome core.Code) error
}

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
		var outcome core.Code
		switch status := w.(*recorder).status(); {
		case errors.Is(err, core.CodeUnknownOutcome):
			outcome = core.CodeUnknownOutcome
		case err != nil, status >= http.StatusBadRequest, route.AuditOnly > 0 && status != route.AuditOnly:
			return err // it was not done
		}
		if !forwarded(r) { // or the node that was asked records it
			a.config.record(r.Context(), route.Audit, targetOf(route.Path, r), outcome)
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
	return func(ctx context.Context, name string) { copied.record(ctx, "SubscriptionDefined", name, "") }
}

// record records what was done, and is answered so, whether the audit has it or not.
func (c *Config) record(ctx context.Context, kind, target string, outcome core.Code) {
	if err := c.Audit.Record(ctx, kind, target, outcome); err != nil {
		c.Logger.ErrorContext(ctx, "the audit lacks what was done", "act", kind, "target", core.Clip(target), "error", err)
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
