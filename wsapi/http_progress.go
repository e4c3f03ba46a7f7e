package wsapi

import (
	"context"
	"net/http"
	"net/url"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// progressPage is the body of GET /v1/progress.
type progressPage struct {
	Progress []wire.ProgressInfo `json:"progress"`
	Cursor   string              `json:"cursor,omitzero"` // of the next page
	End      bool                `json:"end"`
}

// listProgress is GET /v1/progress.
func (a *API) listProgress(w http.ResponseWriter, r *http.Request) error {
	return a.serveList(w, r, func(ctx context.Context, list List) (any, error) {
		page, err := core.ListProgress(ctx, a.config.Store, core.ProgressRequest{Prefix: list.Prefix, After: list.After, Limit: list.Limit})
		head := a.config.Store.State().Head
		body := progressPage{Progress: make([]wire.ProgressInfo, 0, len(page.Progress)), End: page.End}
		for i := range page.Progress {
			body.Progress = append(body.Progress, wire.NewProgressInfo(&page.Progress[i], head))
		}
		if n := len(page.Progress); n > 0 && !page.End {
			body.Cursor = ListCursor(page.Progress[n-1].Name)
		}
		return body, err
	})
}

// getProgress is GET /v1/progress/{progress}.
func (a *API) getProgress(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel, err := a.timeout(r)
	if err != nil {
		return err
	}
	defer cancel()
	info, err := core.ReadProgress(ctx, a.config.Store, r.PathValue("progress"))
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "private, no-store")
	return WriteJSON(w, http.StatusOK, wire.NewProgressInfo(&info, a.config.Store.State().Head))
}

// deleteProgress is DELETE /v1/progress/{progress}.
func (a *API) deleteProgress(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel, err := a.timeout(r)
	if err != nil {
		return err
	}
	defer cancel()
	if err := core.DeleteProgress(ctx, a.config.Store, r.PathValue("progress")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// progressParameters are those of an append to one stream, whose body has no room for it.
var progressParameters = []string{"progress", "from", "to", "log"}

// askedProgress takes the progress of an append from its query; nil if there is none.
func askedProgress(q url.Values) (*core.Progress, error) {
	if !q.Has("progress") {
		for _, name := range progressParameters[1:] {
			if q.Has(name) {
				return nil, core.Errorf(core.CodeInvalidRequest, "%s is of a progress, and no progress is named", name)
			}
		}
		return nil, nil
	}
	if err := only(q, append([]string{"expect"}, progressParameters...)...); err != nil {
		return nil, err
	}
	from, err := Number(q, "from", 0, core.MaxNumber)
	if err != nil {
		return nil, err
	}
	to, err := Number(q, "to", 1, core.MaxNumber)
	if err != nil {
		return nil, err
	}
	if !q.Has("from") || !q.Has("to") {
		return nil, core.Errorf(core.CodeInvalidRequest, "a progress moves from a position, 0 if none is stored, to a position")
	}
	return &core.Progress{Name: q.Get("progress"), From: from, To: to, Log: q.Get("log")}, nil
}
