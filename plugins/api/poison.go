package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// poisonPage is a page of parked events.
type poisonPage struct {
	Poison []plugins.Poison `json:"poison"`
	Next   uint64           `json:"next,omitzero"` // the after of the next page
	End    bool             `json:"end"`
}

// poisonBody is a parked event, with the event.
type poisonBody struct {
	plugins.PoisonEvent
	Event json.RawMessage `json:"event,omitzero"` // absent if the log has it no longer
}

// poisoned is GET /v1/plugins/{binding}/poison.
func (a *api) poisoned(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	after, err := wsapi.Number(q, "after", 0, core.MaxNumber)
	if err != nil {
		return err
	}
	limit, err := wsapi.Number(q, "limit", 1, core.MaxReadEvents)
	if err != nil {
		return err
	}
	if limit == 0 {
		limit = defaultLimit
	}
	return give(w, r, func(ctx context.Context) (poisonPage, error) {
		page, err := a.Bindings.Poisoned(ctx, r.PathValue("binding"), plugins.PoisonRequest{After: after, Limit: int(limit)})
		body := poisonPage{Poison: page.Poison, End: page.End}
		if n := len(page.Poison); n > 0 && !page.End {
			body.Next = page.Poison[n-1].Position
		}
		return body, err
	})
}

// poison is GET /v1/plugins/{binding}/poison/{position}.
func (a *api) poison(w http.ResponseWriter, r *http.Request) error {
	position, err := positionOf(r)
	if err != nil {
		return err
	}
	return give(w, r, func(ctx context.Context) (poisonBody, error) {
		p, err := a.Bindings.Poison(ctx, r.PathValue("binding"), position)
		body := poisonBody{PoisonEvent: p}
		if p.Event != nil {
			body.Event = wire.AppendEventJSON(nil, p.Event)
		}
		return body, err
	})
}

// runPoison is POST /v1/plugins/{binding}/poison/{position}/run.
func (a *api) runPoison(w http.ResponseWriter, r *http.Request) error {
	position, err := positionOf(r)
	if err != nil {
		return err
	}
	var body plugins.PoisonRun
	if err := wsapi.ReadJSON(w, r, &body); err != nil {
		return err
	}
	return give(w, r, func(ctx context.Context) (plugins.PoisonTrial, error) {
		return a.Bindings.RunPoison(ctx, r.PathValue("binding"), position, body)
	})
}

// retryPoison is POST /v1/plugins/{binding}/poison/{position}/retry.
func (a *api) retryPoison(w http.ResponseWriter, r *http.Request) error {
	position, err := positionOf(r)
	if err != nil {
		return err
	}
	if err := wsapi.ReadNothing(w, r); err != nil {
		return err
	}
	return give(w, r, func(ctx context.Context) (plugins.PoisonRetry, error) {
		return a.Bindings.RetryPoison(ctx, r.PathValue("binding"), position)
	})
}

// dropPoison is DELETE /v1/plugins/{binding}/poison/{position}.
func (a *api) dropPoison(w http.ResponseWriter, r *http.Request) error {
	position, err := positionOf(r)
	if err != nil {
		return err
	}
	return done(w, r, func(ctx context.Context) error { return a.Bindings.DropPoison(ctx, r.PathValue("binding"), position) })
}

// positionOf is the position in a path.
func positionOf(r *http.Request) (uint64, error) {
	text := r.PathValue("position")
	position, err := strconv.ParseUint(text, 10, 64)
	if err != nil || position == 0 || position > core.MaxNumber {
		return 0, core.Errorf(core.CodeInvalidRequest, "%.40q is not a position: it is a number from 1 to %d", text, uint64(core.MaxNumber))
	}
	return position, nil
}
