package wsapi

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/wsapi/requests"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// named is the subscription of a request, the API's subscriptions, and the request's
// deadline.
func (a *API) named(r *http.Request) (name string, subs Subscriptions, ctx context.Context, cancel context.CancelFunc, err error) {
	if a.subs == nil {
		return "", nil, nil, nil, requests.NoSubscriptions()
	}
	ctx, cancel, err = a.timeout(r)
	return r.PathValue("subscription"), a.subs, ctx, cancel, err
}

// subscriptionsPage is the body of GET /v1/subscriptions.
type subscriptionsPage struct {
	Subscriptions []subscriptions.Info `json:"subscriptions"`
	Cursor        string               `json:"cursor,omitzero"` // of the next page
	End           bool                 `json:"end"`
}

// listSubscriptions is GET /v1/subscriptions.
func (a *API) listSubscriptions(w http.ResponseWriter, r *http.Request) error {
	_, subs, ctx, cancel, err := a.named(r)
	if err != nil {
		return err
	}
	defer cancel()
	list, err := ParseList(r.URL.Query(), "transient")
	if err != nil {
		return err
	}
	transient, err := isTrue(r.URL.Query(), "transient")
	if err != nil {
		return err
	}
	page, err := subs.List(ctx, subscriptions.ListRequest{
		Prefix: list.Prefix, After: list.After, Limit: list.Limit, Transient: transient,
		Hosted: forwarded(r), // another node asks for what this one hosts
	})
	if err != nil {
		return err
	}
	body := subscriptionsPage{Subscriptions: page.Subscriptions, End: page.End}
	if n := len(page.Subscriptions); n > 0 && !page.End {
		body.Cursor = ListCursor(page.Subscriptions[n-1].Name)
	}
	w.Header().Set("Cache-Control", "no-store")
	return WriteJSON(w, http.StatusOK, body)
}

// putSubscription is PUT /v1/subscriptions/{subscription}: it creates the subscription, or
// gives it another definition. With create=true it does the first only, with create=false
// the second.
func (a *API) putSubscription(w http.ResponseWriter, r *http.Request) error {
	name, subs, ctx, cancel, err := a.named(r)
	if err != nil {
		return err
	}
	defer cancel()
	d := subscriptions.DefaultDefinition()
	if err := a.decodeBody(w, r, &d, wire.UnmarshalDefinition); err != nil {
		return err
	}
	var info subscriptions.Info
	var created bool
	switch create := r.URL.Query().Get("create"); create {
	case "true":
		info, created, err = subs.Put(ctx, name, &d)
	case "false":
		if err = subs.Redefine(ctx, name, &d); err == nil {
			info, err = subs.Info(ctx, name)
		}
	case "":
		if info, created, err = subs.Put(ctx, name, &d); errors.Is(err, core.CodeSubscriptionOptionsDiffer) {
			if err = subs.Redefine(ctx, name, &d); err == nil {
				info, err = subs.Info(ctx, name)
			}
		}
	default:
		err = core.Errorf(core.CodeInvalidRequest, `create is "true" or "false", or left out, not %.80q`, create)
	}
	if err != nil {
		return err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
		w.Header().Set("Location", "/v1/subscriptions/"+url.PathEscape(name))
	}
	return WriteJSON(w, status, info)
}

// getSubscription is GET /v1/subscriptions/{subscription}.
func (a *API) getSubscription(w http.ResponseWriter, r *http.Request) error {
	return a.controlSubscription(w, r, func(Subscriptions, context.Context, string) error { return nil })
}

// deleteSubscription is DELETE /v1/subscriptions/{subscription}.
func (a *API) deleteSubscription(w http.ResponseWriter, r *http.Request) error {
	name, subs, ctx, cancel, err := a.named(r)
	if err != nil {
		return err
	}
	defer cancel()
	if err := subs.Delete(ctx, name); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// pauseSubscription is POST /v1/subscriptions/{subscription}/pause.
func (a *API) pauseSubscription(w http.ResponseWriter, r *http.Request) error {
	return a.switchSubscription(w, r, Subscriptions.Pause)
}

// resumeSubscription is POST /v1/subscriptions/{subscription}/resume.
func (a *API) resumeSubscription(w http.ResponseWriter, r *http.Request) error {
	return a.switchSubscription(w, r, Subscriptions.Resume)
}

// switchSubscription is controlSubscription for a request that has no use for a body.
func (a *API) switchSubscription(w http.ResponseWriter, r *http.Request, do func(Subscriptions, context.Context, string) error) error {
	if err := a.ignoreBody(w, r); err != nil {
		return err
	}
	return a.controlSubscription(w, r, do)
}

// resetBody is where a subscription is to continue.
type resetBody struct {
	To *wire.From `json:"to"`
}

// resetSubscription is POST /v1/subscriptions/{subscription}/reset.
func (a *API) resetSubscription(w http.ResponseWriter, r *http.Request) error {
	return a.controlSubscription(w, r, func(subs Subscriptions, ctx context.Context, name string) error {
		var body resetBody
		if err := a.jsonBody(w, r, &body); err != nil {
			return err
		}
		if body.To == nil {
			return core.Errorf(core.CodeInvalidRequest, "to is missing: say where the subscription is to go on")
		}
		return subs.Reset(ctx, name, *body.To)
	})
}

// controlSubscription does something to a subscription and answers how it is then.
func (a *API) controlSubscription(w http.ResponseWriter, r *http.Request, do func(Subscriptions, context.Context, string) error) error {
	name, subs, ctx, cancel, err := a.named(r)
	if err != nil {
		return err
	}
	defer cancel()
	if err := do(subs, ctx, name); err != nil {
		return err
	}
	info, err := subs.Info(ctx, name)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return WriteJSON(w, http.StatusOK, info)
}
