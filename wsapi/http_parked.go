package wsapi

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// parkedPage is the body of GET /v1/subscriptions/{subscription}/parked.
type parkedPage struct {
	Parked []parkedEvent `json:"parked"`
	Next   uint64        `json:"next,omitzero"` // the after of the next page
	End    bool          `json:"end"`
}

type parkedEvent struct {
	Position  uint64         `json:"position"`
	Key       string         `json:"key,omitzero"` // the partition key
	At        wire.Time      `json:"at"`
	Cause     delivery.Cause `json:"cause"`
	Reason    string         `json:"reason,omitzero"`
	Attempts  int            `json:"attempts"`
	Failures  []failure      `json:"failures,omitzero"`
	Replaying bool           `json:"replaying,omitzero"`
	Event     jsontext.Value `json:"event,omitzero"` // absent if the log has it no longer
}

type failure struct {
	At       wire.Time      `json:"at"`
	Attempt  int            `json:"attempt"`
	Consumer string         `json:"consumer,omitzero"`
	Cause    delivery.Cause `json:"cause"`
	Reason   string         `json:"reason,omitzero"`
}

// listParked is GET /v1/subscriptions/{subscription}/parked.
func (a *API) listParked(w http.ResponseWriter, r *http.Request) error {
	name, subs, ctx, cancel, err := a.named(r)
	if err != nil {
		return err
	}
	defer cancel()
	q := r.URL.Query()
	if err := only(q, "after", "limit"); err != nil {
		return err
	}
	after, err := Number(q, "after", 0, core.MaxNumber)
	if err != nil {
		return err
	}
	limit, err := Number(q, "limit", 1, core.MaxReadEvents)
	if err != nil {
		return err
	}
	page, err := subs.Parked(ctx, name, subscriptions.ParkedRequest{After: after, Limit: int(limit)})
	if err != nil {
		return err
	}
	body := parkedPage{Parked: make([]parkedEvent, 0, len(page.Parked)), End: page.End}
	for i := range page.Parked {
		body.Parked = append(body.Parked, parkedOf(&page.Parked[i]))
	}
	if n := len(page.Parked); n > 0 && !page.End {
		body.Next = page.Parked[n-1].Position
	}
	w.Header().Set("Cache-Control", "no-store")
	return WriteJSON(w, http.StatusOK, body)
}

func parkedOf(p *subscriptions.ParkedEvent) parkedEvent {
	e := parkedEvent{
		Position: p.Position, Key: p.Key, At: wire.Time(p.At), Cause: p.Cause, Reason: p.Reason,
		Attempts: p.Attempts, Replaying: p.Replaying,
	}
	for _, f := range p.Failures {
		e.Failures = append(e.Failures, failure{wire.Time(f.At), f.Attempt, f.Consumer, f.Cause, f.Reason})
	}
	for event := range p.Event.Events() {
		e.Event = wire.AppendEventJSON(nil, &event)
	}
	return e
}

// selection is the body of a replay: all, or some in one of these ways.
type selection struct {
	All       bool         `json:"all,omitzero"`
	Positions []uint64     `json:"positions,omitzero"`
	IDs       []wire.ID    `json:"ids,omitzero"`
	Filter    *wire.Filter `json:"filter,omitzero"`
}

func (s *selection) decode() subscriptions.Selection {
	which := subscriptions.Selection{All: s.All, Positions: s.Positions}
	for _, id := range s.IDs {
		which.IDs = append(which.IDs, core.ID(id))
	}
	if s.Filter != nil {
		which.Filter = core.Filter{Streams: s.Filter.Streams, Types: s.Filter.Types}
	}
	return which
}

// counted is the body that says how many parked events it was.
type counted struct {
	Count int `json:"count"`
}

// replayParked is POST /v1/subscriptions/{subscription}/parked/replay.
func (a *API) replayParked(w http.ResponseWriter, r *http.Request) error {
	var body selection
	if err := a.jsonBody(w, r, &body); err != nil {
		return err
	}
	return a.selectParked(w, r, Subscriptions.Replay, body.decode())
}

// dropParked is DELETE /v1/subscriptions/{subscription}/parked: of all, or of those
// that the query names.
func (a *API) dropParked(w http.ResponseWriter, r *http.Request) error {
	which, err := selectionQuery(r.URL.Query())
	if err != nil {
		return err
	}
	return a.selectParked(w, r, Subscriptions.Drop, which)
}

func selectionQuery(q url.Values) (which subscriptions.Selection, err error) {
	if err := only(q, "positions", "ids", "types", "streams"); err != nil {
		return which, err
	}
	if len(q) == 0 {
		which.All = true
		return which, nil
	}
	for _, text := range q["positions"] {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil || n > core.MaxNumber {
			return which, core.Errorf(core.CodeInvalidRequest, "positions: %q is not a position", core.Clip(text))
		}
		which.Positions = append(which.Positions, n)
	}
	for _, text := range q["ids"] {
		id, err := core.ParseID(text)
		if err != nil {
			return which, err
		}
		which.IDs = append(which.IDs, id)
	}
	which.Filter = core.Filter{Streams: q["streams"], Types: q["types"]}
	return which, nil
}

func (a *API) selectParked(w http.ResponseWriter, r *http.Request,
	do func(Subscriptions, context.Context, string, subscriptions.Selection) (int, error), which subscriptions.Selection,
) error {
	name, subs, ctx, cancel, err := a.named(r)
	if err != nil {
		return err
	}
	defer cancel()
	n, err := do(subs, ctx, name, which)
	if err != nil {
		return err
	}
	return WriteJSON(w, http.StatusOK, counted{n})
}
