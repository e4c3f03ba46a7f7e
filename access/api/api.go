// Package api serves the keys of a store over HTTP, as an extension of a node's
// API; and says to everybody what they may do.
package api

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/access/keys"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi"
)

// Keys are those of the store. Its methods are safe for concurrent use.
type Keys interface {
	Create(ctx context.Context, want keys.Key) (made keys.Key, token string, err error)
	Init(ctx context.Context, note string) (made keys.Key, token string, err error)
	Revoke(ctx context.Context, id string) error
	List() []keys.Key
	Protected() bool
}

var _ Keys = (*keys.Keys)(nil)

type api struct{ keys Keys }

// New returns the extension of a node's API that serves keys.
func New(k Keys) wsapi.Extension {
	a := &api{k}
	return wsapi.Extension{Feature: "keys", Routes: []wsapi.Route{
		{Method: "GET", Path: "/v1/keys", Needs: access.ManageKeys, Handle: a.list},
		{Method: "POST", Path: "/v1/keys", Needs: access.ManageKeys, Handle: a.create},
		{Method: "POST", Path: "/v1/keys/first", Needs: access.Open, Handle: a.first},
		{Method: "DELETE", Path: "/v1/keys/{key}", Needs: access.ManageKeys, Handle: a.revoke},
		{Method: "GET", Path: "/v1/principal", Needs: access.Connect, Query: []string{"action", "target", "subscription"}, Handle: a.principal},
	}}
}

// keysBody is the body of GET /v1/keys.
type keysBody struct {
	Keys []keys.Key `json:"keys"`
}

// list is GET /v1/keys.
func (a *api) list(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Cache-Control", "no-store")
	return wsapi.WriteJSON(w, http.StatusOK, keysBody{append([]keys.Key{}, a.keys.List()...)})
}

// createBody is what a key is to be.
type createBody struct {
	Role    access.Role `json:"role"`
	Streams []string    `json:"streams"`
	Names   []string    `json:"names"`
	Note    string      `json:"note"`
	Expires time.Time   `json:"expires"`
}

// createdBody has the token of a key, which is shown once.
type createdBody struct {
	keys.Key
	Token string `json:"token"`
}

// create is POST /v1/keys.
func (a *api) create(w http.ResponseWriter, r *http.Request) error {
	var body createBody
	if err := wsapi.ReadJSON(w, r, &body); err != nil {
		return err
	}
	return answer(w, r, func(ctx context.Context) (keys.Key, string, error) {
		return a.keys.Create(ctx, keys.Key{Role: body.Role, Streams: body.Streams, Names: body.Names, Note: body.Note, Expires: body.Expires})
	})
}

// maxFirst bounds the body of POST /v1/keys/first: it comes from who has no key.
const maxFirst = 4 << 10

// first is POST /v1/keys/first: the first key, for who is at the node's machine.
func (a *api) first(w http.ResponseWriter, r *http.Request) error {
	switch {
	case a.keys.Protected():
		return core.Errorf(core.CodeKeysExist, "the store has keys already")
	case !isHere(r):
		return core.Errorf(core.CodeForbidden, "the first key is made from the node's own machine, and by no proxy: over a loopback address, or with gyre auth init --data or --postgres")
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxFirst)
	var body struct {
		Note string `json:"note"`
	}
	if err := wsapi.ReadJSON(w, r, &body); err != nil {
		return err
	}
	return answer(w, r, func(ctx context.Context) (keys.Key, string, error) { return a.keys.Init(ctx, body.Note) })
}

// isHere reports whether a request comes from the node's own machine, and not from a proxy
// there, as far as those say so.
func isHere(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if ip := net.ParseIP(host); err != nil || !ip.IsLoopback() {
		return false
	}
	for _, name := range []string{"Forwarded", "Via", "X-Real-Ip", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if len(r.Header.Values(name)) > 0 {
			return false
		}
	}
	return true
}

// answer makes a key and shows it.
func answer(w http.ResponseWriter, r *http.Request, do func(context.Context) (keys.Key, string, error)) error {
	ctx, cancel, err := wsapi.Timeout(w, r)
	if err != nil {
		return err
	}
	defer cancel()
	made, token, err := do(ctx)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return wsapi.WriteJSON(w, http.StatusCreated, createdBody{made, token})
}

// revoke is DELETE /v1/keys/{key}.
func (a *api) revoke(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel, err := wsapi.Timeout(w, r)
	if err != nil {
		return err
	}
	defer cancel()
	if err := a.keys.Revoke(ctx, r.PathValue("key")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// principalBody says who asks, and whether they may do what they ask about.
type principalBody struct {
	Name    string    `json:"name"`
	Role    string    `json:"role"`
	Streams []string  `json:"streams,omitempty"`
	Names   []string  `json:"names,omitzero"`
	Expires time.Time `json:"expires,omitzero"`
	// Actions are what its role may do, with the streams and names that it is granted.
	Actions []access.Action `json:"actions"`

	Action       access.Action `json:"action,omitempty"`
	Target       string        `json:"target,omitempty"`
	Subscription string        `json:"subscription,omitempty"`
	Allowed      *bool         `json:"allowed,omitempty"`
	Why          string        `json:"why,omitempty"` // it is not allowed
}

// principal is GET /v1/principal.
func (a *api) principal(w http.ResponseWriter, r *http.Request) error {
	p, q := access.Of(r.Context()), r.URL.Query()
	body := principalBody{
		Name: p.Name, Role: string(p.Role), Streams: p.Streams, Names: p.Names, Expires: p.Expires, Actions: p.Actions(),
		Action: access.Action(q.Get("action")), Target: q.Get("target"), Subscription: q.Get("subscription"),
	}
	if body.Action != "" {
		err := p.Answers(body.Action, body.Target, body.Subscription)
		if errors.Is(err, core.CodeInvalidRequest) {
			return err
		}
		allowed := err == nil
		if body.Allowed = &allowed; err != nil {
			body.Why = core.AsError(err).Detail
		}
	}
	w.Header().Set("Cache-Control", "no-store")
	return wsapi.WriteJSON(w, http.StatusOK, body)
}
