package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// stateBody is a page of state, over both protocols.
type stateBody struct {
	Entries []plugins.Entry `json:"entries"`
	Next    string          `json:"next,omitempty"` // the after of the next page
	End     bool            `json:"end"`
}

// value is GET /v1/plugins/{binding}/state/{key}: the value as it is stored.
func (a *api) value(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel, err := wsapi.Timeout(w, r)
	if err != nil {
		return err
	}
	defer cancel()
	lane, err := laneOf(r.URL.Query())
	if err != nil {
		return err
	}
	entry, err := a.Bindings.Get(ctx, r.PathValue("binding"), lane, r.PathValue("key"))
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Type", "application/octet-stream")
	if json.Valid(entry.Value) {
		h.Set("Content-Type", typeJSON)
	}
	_, err = w.Write(entry.Value)
	return err
}

// state is GET /v1/plugins/{binding}/state.
func (a *api) state(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel, err := wsapi.Timeout(w, r)
	if err != nil {
		return err
	}
	defer cancel()
	q := r.URL.Query()
	lane, err := laneOf(q)
	if err != nil {
		return err
	}
	limit, err := wsapi.Number(q, "limit", 1, core.MaxReadEvents)
	if err != nil {
		return err
	}
	body, err := a.statePage(ctx, r.PathValue("binding"), plugins.StateRequest{
		Lane: lane, Prefix: q.Get("prefix"), After: q.Get("after"), Limit: int(limit),
	})
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return wsapi.WriteJSON(w, http.StatusOK, body)
}

func (a *api) statePage(ctx context.Context, binding string, r plugins.StateRequest) (body stateBody, err error) {
	if r.Limit == 0 {
		r.Limit = defaultLimit
	}
	page, err := a.Bindings.Entries(ctx, binding, r)
	if err != nil {
		return body, err
	}
	body = stateBody{Entries: append([]plugins.Entry{}, page.Entries...), End: page.End}
	if n := len(page.Entries); n > 0 && !page.End {
		body.Next = page.Entries[n-1].Key
	}
	return body, nil
}

// laneOf is the parameter lane; plugins.OnlyLane if it is not given.
func laneOf(q url.Values) (int, error) {
	if !q.Has("lane") {
		return plugins.OnlyLane, nil
	}
	lane, err := wsapi.Number(q, "lane", 0, plugins.MaxLanes-1)
	return int(lane), err
}

// stateOp is the op plugin.state: a key, or a page.
func (a *api) stateOp(ctx context.Context, message []byte) (any, error) {
	var m struct {
		Binding string  `json:"binding"`
		Lane    *int    `json:"lane"`
		Key     *string `json:"key"`
		Prefix  string  `json:"prefix"`
		After   string  `json:"after"`
		Limit   int     `json:"limit"`
	}
	if err := wire.Unmarshal(message, &m); err != nil {
		return nil, err
	}
	lane := plugins.OnlyLane
	if m.Lane != nil {
		if lane = *m.Lane; lane < 0 || lane >= plugins.MaxLanes {
			return nil, core.Errorf(core.CodeInvalidRequest, "lane %d is none: it is from 0 to %d", lane, plugins.MaxLanes-1)
		}
	}
	if m.Limit < 0 || m.Limit > core.MaxReadEvents {
		return nil, core.Errorf(core.CodeInvalidRequest, "limit %d is not from 1 to %d", m.Limit, core.MaxReadEvents)
	}
	if m.Key != nil {
		return a.Bindings.Get(ctx, m.Binding, lane, *m.Key)
	}
	return a.statePage(ctx, m.Binding, plugins.StateRequest{Lane: lane, Prefix: m.Prefix, After: m.After, Limit: m.Limit})
}
