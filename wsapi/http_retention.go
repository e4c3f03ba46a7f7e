package wsapi

import (
	"context"
	"net/http"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// retentionRoutes are those of policies of retention.
func (a *API) retentionRoutes() []Route {
	const stream, category = "/v1/streams/{stream}/retention", "/v1/retention/{category}"
	revision := []string{"expect"}
	return []Route{
		{Method: "GET", Path: "/v1/retention", Op: "retention.list", Needs: access.SetRetention, Handle: a.listRetentions, Query: []string{"cursor", "limit"}},
		{Method: "GET", Path: stream, Op: "retention.get", Needs: access.Read, Handle: a.getRetention},
		{Method: "PUT", Path: stream, Op: "retention.put", Needs: access.SetRetention, Audit: "StreamRetentionSet", Handle: a.putRetention, Query: revision},
		{Method: "DELETE", Path: stream, Op: "retention.clear", Needs: access.SetRetention, Audit: "StreamRetentionCleared", Handle: a.clearRetention, Query: revision},
		{Method: "GET", Path: category, Op: "retention.getDefault", Needs: access.SetRetention, Handle: a.getRetention},
		{Method: "PUT", Path: category, Op: "retention.putDefault", Needs: access.SetRetention, Audit: "CategoryRetentionSet", Handle: a.putRetention, Query: revision},
		{Method: "DELETE", Path: category, Op: "retention.clearDefault", Needs: access.SetRetention, Audit: "CategoryRetentionCleared", Handle: a.clearRetention, Query: revision},
	}
}

// retentionTarget is what a request is about: one of the two has a wildcard.
func retentionTarget(r *http.Request) core.RetentionTarget {
	return core.RetentionTarget{Stream: r.PathValue("stream"), Category: r.PathValue("category")}
}

// listRetentions is GET /v1/retention.
func (a *API) listRetentions(w http.ResponseWriter, r *http.Request) error {
	return a.serveList(w, r, func(ctx context.Context, list List) (any, error) {
		page, err := core.ListRetentions(ctx, a.config.Store, core.RetentionsRequest{After: list.After, Limit: list.Limit})
		body := wire.RetentionPage{Policies: make([]wire.RetentionPolicy, 0, len(page.Policies)), End: page.End}
		for i := range page.Policies {
			body.Policies = append(body.Policies, wire.NewRetentionPolicy(&page.Policies[i]))
		}
		if !page.End {
			body.Cursor = ListCursor(page.Next)
		}
		return body, err
	})
}

// getRetention is GET of a policy. Where there is none it has the revision only.
func (a *API) getRetention(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel, err := a.timeout(r)
	if err != nil {
		return err
	}
	defer cancel()
	info, err := reading(w, func() (core.RetentionInfo, error) {
		return core.ReadRetention(ctx, a.config.Store, retentionTarget(r))
	})
	if err != nil {
		return err
	}
	return writeRetention(w, &info)
}

// putRetention is PUT of a policy.
func (a *API) putRetention(w http.ResponseWriter, r *http.Request) error {
	var body wire.Retention
	if err := a.decodeBody(w, r, &body, wire.UnmarshalStrict); err != nil {
		return err
	}
	retention, err := body.Core()
	switch {
	case err != nil:
		return err
	case retention.IsZero():
		return core.Errorf(core.CodeInvalidRetention, "the policy has no bound; DELETE clears one")
	}
	AuditDetail(w, body)
	return a.setRetention(w, r, retention)
}

// clearRetention is DELETE of a policy.
func (a *API) clearRetention(w http.ResponseWriter, r *http.Request) error {
	return a.setRetention(w, r, core.Retention{})
}

func (a *API) setRetention(w http.ResponseWriter, r *http.Request, retention core.Retention) error {
	p := core.RetentionPut{Target: retentionTarget(r), Retention: retention, Expect: core.AnyVersion}
	if expect := r.URL.Query()["expect"]; len(expect) > 0 {
		var err error
		if p.Expect, err = core.ParseExpect(expect[0]); err != nil {
			return err
		}
	}
	info, err := changing(a, w, r, func(ctx context.Context) (core.RetentionInfo, error) {
		info, _, err := core.SetRetention(ctx, a.config.Store, p)
		return info, err
	})
	if err != nil {
		return err
	}
	return writeRetention(w, &info)
}

func writeRetention(w http.ResponseWriter, info *core.RetentionInfo) error {
	w.Header().Set("Cache-Control", "private, no-store")
	return WriteJSON(w, http.StatusOK, wire.NewRetentionPolicy(info))
}
