package wsapi

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
)

// forwarded reports whether another node has sent a request on, by the token that only nodes can
// make. It is not sent on again. What a client says about that is not looked at.
func forwarded(r *http.Request) bool { return access.Of(r.Context()).Via != "" }

// nodeHeader names the node that owns what a response is about.
const nodeHeader = "Gyre-Node"

// Owners find who serves what in a ring. Its methods are safe for concurrent use.
type Owners interface {
	// Find returns the owner of a subscription; nil: it is this node. While this node
	// serves nobody it waits, and the error is no_node_available if ctx ends first. A
	// request that was forwarded is not sent on: the error is not_owner or not_serving.
	Find(ctx context.Context, name string, forwarded bool) (Forwarder, error)
	// Moved waits until another Find may have another answer, after a request went to a
	// node that did not take it and said why. The error is no_node_available if ctx ends
	// first.
	Moved(ctx context.Context, why *core.Error) error
	// At returns the node with an id, or not_found if the ring has no such node.
	At(node string) (Forwarder, error)
}

// Forwarder sends requests to another node.
type Forwarder interface {
	// Forward sends r on and its response to w, as it comes, until ctx ends. If there is none, or the node did not
	// take the request, nothing is written to w and the error says so. The error is
	// unknown_outcome if the node may have done something.
	Forward(ctx context.Context, w http.ResponseWriter, r *http.Request) error
}

// toOwners returns routes as they are served: those about a named subscription by its owner.
func (a *API) toOwners(routes []Route) []Route {
	if a.config.Owners == nil {
		return routes
	}
	routes = slices.Clone(routes)
	for i := range routes {
		r := &routes[i]
		if strings.HasPrefix(r.Path, "/v1/subscriptions/{subscription}") {
			r.Owned = "subscription"
		}
		if r.Owned != "" {
			r.Handle = a.atOwner(r.Owned, r.OwnedIf, r.Handle)
		}
	}
	return routes
}

type handler = func(http.ResponseWriter, *http.Request) error

// atOwner returns a handler that serves a request where the subscription is that a wildcard of its
// path names, all requests or those with a parameter, and follows it when that changes, until the
// request's deadline.
func (a *API) atOwner(owned, ownedIf string, here handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if ownedIf != "" && !r.URL.Query().Has(ownedIf) {
			return here(w, r)
		}
		ctx, cancel, err := a.timeout(r)
		if err != nil {
			return err
		}
		defer cancel()
		body, err := a.keepBody(w, r)
		if err != nil {
			return err
		}
		for {
			err := a.oneTry(ctx, w, rest(ctx, r, body), owned, here)
			if err == nil || w.(*recorder).begun() || !elsewhere(err) || forwarded(r) {
				return err
			}
			if err := a.config.Owners.Moved(ctx, core.AsError(err)); err != nil {
				return err
			}
		}
	}
}

func (a *API) oneTry(ctx context.Context, w http.ResponseWriter, r *http.Request, owned string, here handler) error {
	h := w.Header()
	h.Del(nodeHeader)
	owner, err := a.config.Owners.Find(ctx, r.PathValue(owned), forwarded(r))
	switch {
	case err != nil:
		return err
	case owner != nil:
		return owner.Forward(ctx, w, r)
	}
	h.Set(nodeHeader, a.config.Node)
	return here(w, r)
}

// elsewhere reports whether an error says that nothing was done, and another node may do it.
func elsewhere(err error) bool {
	switch core.AsError(err).Code {
	case core.CodeNotOwner, core.CodeNotServing, core.CodeStaleEpoch:
		return true
	}
	return false
}

// keepBody reads the body of a request that may have to be sent more than once.
func (a *API) keepBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	switch {
	case r.ContentLength == 0 || r.Method != http.MethodPost && r.Method != http.MethodPut:
		return nil, nil
	case r.ContentLength > maxBody:
		return nil, bodyTooLarge(maxBody)
	}
	body, err := a.bodyBytes(w, r)
	return body, a.bodyRead(w, err)
}

// rest is r for one try: with its body, and the time that is left.
func rest(ctx context.Context, r *http.Request, body []byte) *http.Request {
	again := r.Clone(r.Context())
	again.Body, again.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	again.TransferEncoding = nil
	if by, ok := ctx.Deadline(); ok {
		again.Header.Set("Gyre-Timeout", strconv.FormatInt(max(1, time.Until(by).Milliseconds()), 10))
	}
	return again
}

// nameOwner has the header of an append's answer name the owner, and not the body.
func (a *API) nameOwner(h http.Header, result *core.Result) {
	if a.config.Owners != nil {
		h.Set(nodeHeader, cmp.Or(result.Node, a.config.Node))
	}
	result.Node = ""
}
