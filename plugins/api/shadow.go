package api

import (
	"context"
	"net/http"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/wsapi"
)

// shadow is POST /v1/plugins/{binding}/shadow.
func (a *api) shadow(w http.ResponseWriter, r *http.Request) error {
	var body plugins.Shadow
	if err := wsapi.ReadJSON(w, r, &body); err != nil {
		return err
	}
	return a.answer(w, r, func(ctx context.Context, name string) (plugins.Status, error) {
		return a.Bindings.Shadow(ctx, name, body)
	})
}

// differencesRoute is the route of differences.
func (a *api) differencesRoute(binding func(method, below, op string, needs access.Action, audit string, handle handler) wsapi.Route) wsapi.Route {
	r := binding("GET", "/shadow", "plugin.differences", access.SeePluginState, "", a.ofEvents("shadow", a.differences))
	r.Query = []string{"before", "limit"}
	return r
}

// differences is GET /v1/plugins/{binding}/shadow.
func (a *api) differences(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	before, err := wsapi.Number(q, "before", 0, core.MaxNumber)
	if err != nil {
		return err
	}
	limit, err := wsapi.Number(q, "limit", 1, plugins.MaxDifferences)
	if err != nil {
		return err
	}
	if limit == 0 {
		limit = defaultLimit
	}
	return give(w, r, func(ctx context.Context) (plugins.ShadowReport, error) {
		return a.Bindings.Differences(ctx, r.PathValue("binding"), plugins.ShadowRequest{Before: before, Limit: int(limit)})
	})
}
