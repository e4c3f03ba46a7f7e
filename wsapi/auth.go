package wsapi

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/requests"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// authorize returns r with its principal in its context, which ends with that, if it may do
// what a route needs. Who has no key, or a wrong one, may do what needs nothing. release is
// called when the request is over.
func (a *API) authorize(w http.ResponseWriter, r *http.Request, needs access.Action) (_ *http.Request, release func(), err error) {
	r, p, err := a.takeTicket(r)
	if err == nil && p == nil {
		if p, err = a.principal(r); err != nil && needs == access.Open && !isFinal(r, err) {
			p, err = access.Nobody(), nil
		}
	}
	if err == nil {
		err = p.Check(needs, "")
	}
	if err != nil {
		if core.AsError(err).Code == core.CodeUnauthenticated {
			w.Header().Set("WWW-Authenticate", `Bearer realm="gyre"`)
		}
		return nil, nil, err
	}
	as := access.WithAddress(access.With(r.Context(), p), access.Address(r.RemoteAddr))
	if p.Ended() == nil {
		return r.WithContext(as), func() {}, nil
	}
	ctx, cancel := context.WithCancelCause(as)
	stop := p.AfterEnd(cancel)
	return r.WithContext(ctx), func() { stop(); cancel(nil) }, nil
}

// principal returns whose token a request has, or whose session, if it has no token.
func (a *API) principal(r *http.Request) (*access.Principal, error) {
	token, err := tokenOf(r)
	if err != nil {
		return nil, err
	}
	if token == "" {
		s, err := a.sessionOf(r)
		if err == nil && s != nil {
			err = s.checkPage(r, r.URL.Path == socketPath)
		}
		if err != nil || s != nil {
			return principalOf(s), err
		}
	}
	if wire.IsNodeToken(token) {
		return a.ofNode(token, r)
	}
	return a.logins.Authenticate(requests.AddressOf(r.RemoteAddr), token)
}

// principalOf is whose session it is; nil: there is none.
func principalOf(s *session) *access.Principal {
	if s == nil {
		return nil
	}
	return s.principal
}

// isFinal reports whether an error of principal ends a request for a WebSocket, though
// another token could come in hello.
func isFinal(r *http.Request, err error) bool {
	return r.URL.Path == socketPath && (hasToken(r) || errors.Is(err, core.CodeOriginNotAllowed))
}

// hasToken reports whether a request has a token, whatever it is worth.
func hasToken(r *http.Request) bool {
	token, err := tokenOf(r)
	return token != "" || err != nil
}

// tokenOf returns the token of a request: that of its Authorization header, or of a
// subprotocol that it offers. Browsers can send no other header with a WebSocket.
func tokenOf(r *http.Request) (string, error) {
	var found []string
	for _, value := range r.Header.Values("Authorization") {
		scheme, token, _ := strings.Cut(value, " ")
		if !strings.EqualFold(scheme, "Bearer") || token == "" {
			return "", core.Errorf(core.CodeUnauthenticated, "the Authorization header is not of the form: Bearer TOKEN")
		}
		found = append(found, strings.TrimSpace(token))
	}
	offered, err := wire.BearerToken(r.Header)
	if err != nil {
		return "", err
	}
	if offered != "" {
		found = append(found, offered)
	}
	switch len(found) {
	case 0:
		return "", nil
	case 1:
		return found[0], nil
	}
	return "", core.Errorf(core.CodeUnauthenticated, "the request has more than one token")
}
