package wsapi

import (
	"net/http"
	"strings"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// authorize returns r with its principal in its context, if that may do what a route needs.
// Who has no key, or a wrong one, may do what needs nothing.
func (a *API) authorize(w http.ResponseWriter, r *http.Request, needs access.Action) (*http.Request, error) {
	r, p, err := a.takeTicket(r)
	if err == nil && p == nil {
		if p, err = a.principal(r); err != nil && needs == access.Open {
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
		return nil, err
	}
	return r.WithContext(access.With(r.Context(), p)), nil
}

// principal returns whose token a request has.
func (a *API) principal(r *http.Request) (*access.Principal, error) {
	token, err := tokenOf(r)
	if err != nil {
		return nil, err
	}
	return a.config.Access.Authenticate(token)
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
