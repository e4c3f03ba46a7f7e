package api

import (
	"context"
	"io"
	"net/http"

	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// query is POST /v1/plugins/{binding}/query: the body is the query, and the answer what the plugin
// answers.
func (a *api) query(w http.ResponseWriter, r *http.Request) error {
	return readLane(w, r, func(ctx context.Context, lane int, position uint64) (plugins.Answer, error) {
		text, err := io.ReadAll(wsapi.ReadStream(ctx, w, r, abi.MaxQueryBytes))
		if err != nil {
			return plugins.Answer{}, err
		}
		return a.Bindings.Query(ctx, r.PathValue("binding"), plugins.Query{Lane: lane, Text: text, AtLeast: position})
	})
}

// queryOp is the op plugin.query.
func (a *api) queryOp(ctx context.Context, message []byte) (any, error) {
	var m struct {
		stateMessage
		Query string `json:"query"`
	}
	if err := wire.Unmarshal(message, &m); err != nil {
		return nil, err
	}
	lane, err := m.which()
	if err != nil {
		return nil, err
	}
	if err := a.handles(ctx, m.Binding, "state"); err != nil {
		return nil, err
	}
	there := request{method: http.MethodPost, path: statePath(m.Binding, "/query"), query: m.query(), body: []byte(m.Query)}
	return a.whereOwned(ctx, &m.stateMessage, &there, func() (any, error) {
		return a.Bindings.Query(ctx, m.Binding, plugins.Query{Lane: lane, Text: []byte(m.Query), AtLeast: m.AtLeast})
	}, func(answer *answer) (any, error) {
		return plugins.Answer{Value: answer.body.Bytes(), Position: answer.position()}, nil
	})
}
