package sdk

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// Subscriptions manages the named subscriptions of a node. The methods and their errors are
// those of subscriptions.Owner. A change that was sent and not answered is unknown_outcome.
type Subscriptions struct{ client *Client }

// Subscriptions manages the node's named subscriptions.
func (c *Client) Subscriptions() Subscriptions { return Subscriptions{c} }

// Put creates a subscription. If it exists with the same definition, created is false; if it
// exists with another, the error is subscription_options_differ.
func (s Subscriptions) Put(ctx context.Context, name string, d *subscriptions.Definition) (info subscriptions.Info, created bool, err error) {
	if err := d.Validate(); err != nil {
		return info, false, err
	}
	status, err := s.client.do(ctx, http.MethodPut, pathOf(name, ""), url.Values{"create": {"true"}}, d, &info)
	return info, status == http.StatusCreated, err
}

// Redefine gives a subscription another definition as soon as nothing is in flight.
func (s Subscriptions) Redefine(ctx context.Context, name string, d *subscriptions.Definition) error {
	if err := d.Validate(); err != nil {
		return err
	}
	_, err := s.client.do(ctx, http.MethodPut, pathOf(name, ""), url.Values{"create": {"false"}}, d, nil)
	return err
}

// Info returns a subscription's state, or subscription_not_found.
func (s Subscriptions) Info(ctx context.Context, name string) (info subscriptions.Info, err error) {
	err = s.client.get(ctx, pathOf(name, ""), nil, &info)
	return info, err
}

// List returns a page of subscriptions, in the order of names.
func (s Subscriptions) List(ctx context.Context, r subscriptions.ListRequest) (page subscriptions.ListPage, err error) {
	query := listQuery(r.After, r.Limit, "prefix", r.Prefix)
	if r.Transient {
		query.Set("transient", "true")
	}
	err = s.client.get(ctx, "/v1/subscriptions", query, &page)
	return page, err
}

// Pause stops delivery until Resume.
func (s Subscriptions) Pause(ctx context.Context, name string) error {
	return s.post(ctx, pathOf(name, "/pause"), nil, nil)
}

// Resume ends a Pause or a stop.
func (s Subscriptions) Resume(ctx context.Context, name string) error {
	return s.post(ctx, pathOf(name, "/resume"), nil, nil)
}

// Reset moves the checkpoint: events from the place on are delivered.
func (s Subscriptions) Reset(ctx context.Context, name string, to core.From) error {
	return s.post(ctx, pathOf(name, "/reset"), struct {
		To core.From `json:"to"`
	}{to}, nil)
}

// Delete deletes a subscription with its checkpoint and parked events. The error is
// subscription_not_found if it does not exist.
func (s Subscriptions) Delete(ctx context.Context, name string) error {
	_, err := s.client.do(ctx, http.MethodDelete, pathOf(name, ""), nil, nil, nil)
	return err
}

// parkedEvent is the HTTP form of a parked event.
type parkedEvent struct {
	Position  uint64          `json:"position"`
	Key       string          `json:"key"`
	At        wire.Time       `json:"at"`
	Cause     delivery.Cause  `json:"cause"`
	Reason    string          `json:"reason"`
	Attempts  int             `json:"attempts"`
	Failures  []failure       `json:"failures"`
	Replaying bool            `json:"replaying"`
	Event     json.RawMessage `json:"event"`
}

type failure struct {
	At       wire.Time      `json:"at"`
	Attempt  int            `json:"attempt"`
	Consumer string         `json:"consumer"`
	Cause    delivery.Cause `json:"cause"`
	Reason   string         `json:"reason"`
}

// Parked returns a page of parked events.
func (s Subscriptions) Parked(ctx context.Context, name string, r subscriptions.ParkedRequest) (page subscriptions.ParkedPage, err error) {
	query := url.Values{}
	if r.After > 0 {
		query.Set("after", strconv.FormatUint(r.After, 10))
	}
	setLimit(query, r.Limit)
	var body struct {
		Parked []parkedEvent `json:"parked"`
		End    bool          `json:"end"`
	}
	if err := s.client.get(ctx, pathOf(name, "/parked"), query, &body); err != nil {
		return page, err
	}
	page.End = body.End
	for i := range body.Parked {
		p, err := body.Parked[i].decode()
		if err != nil {
			return page, core.Errorf(core.CodeProtocolError, "the answer cannot be understood: %w", err)
		}
		page.Parked = append(page.Parked, p)
	}
	return page, nil
}

func (e *parkedEvent) decode() (subscriptions.ParkedEvent, error) {
	p := subscriptions.ParkedEvent{
		Position: e.Position, Key: e.Key, At: time.Time(e.At), Cause: e.Cause, Reason: e.Reason,
		Attempts: e.Attempts, Replaying: e.Replaying,
	}
	for _, f := range e.Failures {
		p.Failures = append(p.Failures, delivery.Failure{
			At: time.Time(f.At), Attempt: f.Attempt, Consumer: f.Consumer, Cause: f.Cause, Reason: f.Reason,
		})
	}
	if len(e.Event) == 0 {
		return p, nil
	}
	event, err := wire.DecodeEvent(e.Event)
	if err == nil {
		p.Event.Add(event.Raw, event.Position)
	}
	return p, err
}

// Replay has parked events delivered again, and returns their number.
func (s Subscriptions) Replay(ctx context.Context, name string, which subscriptions.Selection) (n int, err error) {
	body := struct {
		All       bool         `json:"all,omitzero"`
		Positions []uint64     `json:"positions,omitzero"`
		IDs       []string     `json:"ids,omitzero"`
		Filter    *wire.Filter `json:"filter,omitzero"`
	}{All: which.All, Positions: which.Positions, IDs: textsOf(which.IDs)}
	if !which.Filter.IsZero() {
		body.Filter = &wire.Filter{Streams: which.Filter.Streams, Types: which.Filter.Types}
	}
	var counted struct {
		Count int `json:"count"`
	}
	err = s.post(ctx, pathOf(name, "/parked/replay"), body, &counted)
	return counted.Count, err
}

// Drop removes parked events, and returns their number.
func (s Subscriptions) Drop(ctx context.Context, name string, which subscriptions.Selection) (n int, err error) {
	query := url.Values{}
	var positions []string
	for _, p := range which.Positions {
		positions = append(positions, strconv.FormatUint(p, 10))
	}
	for key, list := range map[string][]string{
		"positions": positions, "ids": textsOf(which.IDs), "types": which.Filter.Types, "streams": which.Filter.Streams,
	} {
		if len(list) > 0 {
			query[key] = list
		}
	}
	if which.All == (len(query) > 0) {
		return 0, core.Errorf(core.CodeInvalidRequest, "say which events: all of them, positions, ids or a filter")
	}
	var counted struct {
		Count int `json:"count"`
	}
	_, err = s.client.do(ctx, http.MethodDelete, pathOf(name, "/parked"), query, nil, &counted)
	return counted.Count, err
}

func (s Subscriptions) post(ctx context.Context, path string, body, to any) error {
	_, err := s.client.do(ctx, http.MethodPost, path, nil, body, to)
	return err
}

// pathOf returns a path below a subscription.
func pathOf(name, what string) string { return "/v1/subscriptions/" + url.PathEscape(name) + what }

func textsOf(ids []core.ID) []string {
	var texts []string
	for _, id := range ids {
		texts = append(texts, id.String())
	}
	return texts
}
