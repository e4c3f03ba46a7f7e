package sdk

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// Poisoned returns a page of the events that a binding has parked, in the order of positions.
func (p Plugins) Poisoned(ctx context.Context, binding string, r plugins.PoisonRequest) (page plugins.PoisonPage, err error) {
	query := url.Values{}
	if r.After > 0 {
		query.Set("after", strconv.FormatUint(r.After, 10))
	}
	setLimit(query, r.Limit)
	err = p.client.get(ctx, pluginPath(binding, "/poison"), query, &page)
	return page, err
}

// Poison returns all that is known of an event that a binding has parked, or event_not_parked.
func (p Plugins) Poison(ctx context.Context, binding string, position uint64) (plugins.PoisonEvent, error) {
	var body struct {
		plugins.PoisonEvent
		Event json.RawMessage `json:"event"`
	}
	if err := p.client.get(ctx, poisonPath(binding, position, ""), nil, &body); err != nil || body.Event == nil {
		return body.PoisonEvent, err
	}
	event, err := wire.DecodeEvent(body.Event)
	if err != nil {
		return body.PoisonEvent, core.Errorf(core.CodeProtocolError, "the answer cannot be understood: %w", err)
	}
	body.PoisonEvent.Event = &event
	return body.PoisonEvent, nil
}

// RunPoison has a version handle a parked event alone, on the state as it is, and writes nothing. The
// errors are event_not_parked, those of Version and Deploy, too_many_dry_runs and plugin_failed.
func (p Plugins) RunPoison(ctx context.Context, binding string, position uint64, r plugins.PoisonRun) (t plugins.PoisonTrial, err error) {
	_, err = p.client.do(ctx, http.MethodPost, poisonPath(binding, position, "/run"), nil, r, &t)
	return t, err
}

// RetryPoison gives a parked event back, and waits for what comes of it, up to shortly before the
// deadline.
func (p Plugins) RetryPoison(ctx context.Context, binding string, position uint64) (r plugins.PoisonRetry, err error) {
	_, err = p.client.do(ctx, http.MethodPost, poisonPath(binding, position, "/retry"), nil, nil, &r)
	return r, err
}

// DropPoison forgets a parked event, which stays in the log.
func (p Plugins) DropPoison(ctx context.Context, binding string, position uint64) error {
	_, err := p.client.do(ctx, http.MethodDelete, poisonPath(binding, position, ""), nil, nil, nil)
	return err
}

func poisonPath(binding string, position uint64, what string) string {
	return pluginPath(binding, "/poison/") + strconv.FormatUint(position, 10) + what
}
