package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const (
	// atLeast is the parameter by which a read waits until the binding has handled everything up to
	// a position. In a ring it is served by the owner.
	atLeast = "atLeast"
	// positionHeader says up to which position everything is in a value or an answer.
	positionHeader = "Gyre-Position"
)

// stateBody is a page of state, over both protocols.
type stateBody struct {
	Entries  []plugins.Entry `json:"entries"`
	Next     string          `json:"next,omitempty"` // the after of the next page
	End      bool            `json:"end"`
	Position uint64          `json:"position"` // up to which everything is in it
}

// value is GET /v1/plugins/{binding}/state/{key}: the value as it is stored.
func (a *api) value(w http.ResponseWriter, r *http.Request) error {
	return readLane(w, r, func(ctx context.Context, lane int, position uint64) (plugins.Answer, error) {
		entry, err := a.Bindings.Get(ctx, r.PathValue("binding"), plugins.KeyRequest{Lane: lane, Key: r.PathValue("key"), AtLeast: position})
		return plugins.Answer{Value: entry.Value, Position: entry.Position}, err
	})
}

// readLane answers with what a plugin has made, which read returns of a lane and at least of a
// position.
func readLane(w http.ResponseWriter, r *http.Request, read func(ctx context.Context, lane int, position uint64) (plugins.Answer, error)) error {
	ctx, cancel, err := wsapi.Timeout(w, r)
	if err != nil {
		return err
	}
	defer cancel()
	lane, position, err := whichState(r.URL.Query())
	if err != nil {
		return err
	}
	answer, err := read(ctx, lane, position)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Type", "application/octet-stream")
	h.Set(positionHeader, strconv.FormatUint(answer.Position, 10))
	if plugins.IsJSON(answer.Value) {
		h.Set("Content-Type", typeJSON)
	}
	_, err = w.Write(answer.Value)
	return err
}

// state is GET /v1/plugins/{binding}/state.
func (a *api) state(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	lane, position, err := whichState(q)
	if err != nil {
		return err
	}
	limit, err := wsapi.Number(q, "limit", 1, core.MaxReadEvents)
	if err != nil {
		return err
	}
	return give(w, r, func(ctx context.Context) (stateBody, error) {
		return a.statePage(ctx, r.PathValue("binding"), plugins.StateRequest{
			Lane: lane, Prefix: q.Get("prefix"), After: q.Get("after"), Limit: int(limit), AtLeast: position,
		})
	})
}

func (a *api) statePage(ctx context.Context, binding string, r plugins.StateRequest) (body stateBody, err error) {
	if r.Limit == 0 {
		r.Limit = defaultLimit
	}
	page, err := a.Bindings.Entries(ctx, binding, r)
	if err != nil {
		return body, err
	}
	body = stateBody{Entries: append([]plugins.Entry{}, page.Entries...), End: page.End, Position: page.Position}
	if n := len(page.Entries); n > 0 && !page.End {
		body.Next = page.Entries[n-1].Key
	}
	return body, nil
}

// whichState is the parameter lane, plugins.OnlyLane if it is not given; and atLeast.
func whichState(q url.Values) (lane int, position uint64, err error) {
	lane = plugins.OnlyLane
	if q.Has("lane") {
		n, err := wsapi.Number(q, "lane", 0, plugins.MaxLanes-1)
		if err != nil {
			return 0, 0, err
		}
		lane = int(n)
	}
	position, err = wsapi.Number(q, atLeast, 0, core.MaxNumber)
	return lane, position, err
}

// stateMessage is what the ops about state have in common.
type stateMessage struct {
	Binding string `json:"binding"`
	Lane    *int   `json:"lane"`
	AtLeast uint64 `json:"atLeast"`
}

// which checks the lane, and returns it or plugins.OnlyLane.
func (m *stateMessage) which() (int, error) {
	if m.AtLeast > core.MaxNumber {
		return 0, core.Errorf(core.CodeInvalidRequest, "atLeast is not a position from 0 to 2^53-1")
	}
	if m.Lane == nil {
		return plugins.OnlyLane, nil
	}
	if *m.Lane < 0 || *m.Lane >= plugins.MaxLanes {
		return 0, core.Errorf(core.CodeInvalidRequest, "lane %d is none: it is from 0 to %d", *m.Lane, plugins.MaxLanes-1)
	}
	return *m.Lane, nil
}

// query is the query of the request that says the same.
func (m *stateMessage) query() url.Values {
	q := url.Values{}
	if m.Lane != nil {
		q.Set("lane", strconv.Itoa(*m.Lane))
	}
	if m.AtLeast > 0 {
		q.Set(atLeast, strconv.FormatUint(m.AtLeast, 10))
	}
	return q
}

// stateOp is the op plugin.state: a key, or a page.
func (a *api) stateOp(ctx context.Context, message []byte) (any, error) {
	var m struct {
		stateMessage
		Key    *string `json:"key"`
		Prefix string  `json:"prefix"`
		After  string  `json:"after"`
		Limit  int     `json:"limit"`
	}
	if err := wire.Unmarshal(message, &m); err != nil {
		return nil, err
	}
	lane, err := m.which()
	switch {
	case err != nil:
		return nil, err
	case m.Limit < 0 || m.Limit > core.MaxReadEvents:
		return nil, core.Errorf(core.CodeInvalidRequest, "limit %d is not from 1 to %d", m.Limit, core.MaxReadEvents)
	}
	if err := a.handles(ctx, m.Binding, "state"); err != nil {
		return nil, err
	}
	if m.Key != nil {
		return a.keyOp(ctx, &m.stateMessage, plugins.KeyRequest{Lane: lane, Key: *m.Key, AtLeast: m.AtLeast})
	}
	there := request{method: http.MethodGet, path: statePath(m.Binding, "/state"), query: m.query()}
	for name, value := range map[string]string{"prefix": m.Prefix, "after": m.After} {
		if value != "" {
			there.query.Set(name, value)
		}
	}
	if m.Limit > 0 {
		there.query.Set("limit", strconv.Itoa(m.Limit))
	}
	return a.whereOwned(ctx, &m.stateMessage, &there, func() (any, error) {
		return a.statePage(ctx, m.Binding, plugins.StateRequest{Lane: lane, Prefix: m.Prefix, After: m.After, Limit: m.Limit, AtLeast: m.AtLeast})
	}, func(answer *answer) (any, error) { return json.RawMessage(answer.body.Bytes()), nil })
}

// keyOp is the op plugin.state of a key.
func (a *api) keyOp(ctx context.Context, m *stateMessage, r plugins.KeyRequest) (any, error) {
	there := request{method: http.MethodGet, path: statePath(m.Binding, "/state/"+url.PathEscape(r.Key)), query: m.query()}
	return a.whereOwned(ctx, m, &there, func() (any, error) {
		return a.Bindings.Get(ctx, m.Binding, r)
	}, func(answer *answer) (any, error) {
		return plugins.Entry{Lane: max(r.Lane, 0), Key: r.Key, Value: answer.body.Bytes(), Position: answer.position()}, nil
	})
}
