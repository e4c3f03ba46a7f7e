package wsapi

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/requests"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const (
	// ticketTTL is how long a ticket may be used.
	ticketTTL = 30 * time.Second
	// maxTickets bounds the tickets of all principals, maxOwnTickets those of one.
	maxTickets    = 4096
	maxOwnTickets = 256
)

// ticketBody is the body of POST /v1/tickets, madeTicket the answer.
type (
	ticketBody struct {
		Path string `json:"path"`
	}
	madeTicket struct {
		Ticket    string    `json:"ticket"`
		ExpiresAt wire.Time `json:"expiresAt"`
	}
)

// newTickets returns the tickets of a node that were not used yet. Each stands for a key in the URL
// of one request, for clients that can send no header: it is good for a path, as that is escaped.
func newTickets() *secrets[string] {
	return &secrets[string]{kind: "tickets that were not used yet", ttl: ticketTTL, most: maxTickets, mostOwn: maxOwnTickets}
}

// redeem returns whose ticket it is, if it is good for a request. It is no more afterwards.
func (a *API) redeem(text string, r *http.Request) (*access.Principal, error) {
	switch found := a.tickets.take(text); {
	case found == nil:
		return nil, core.Errorf(core.CodeUnauthenticated, "this node has no such ticket: one is good for %s, once, at the node that made it", ticketTTL)
	case r.Method != http.MethodGet || r.URL.EscapedPath() != found.what:
		return nil, core.Errorf(core.CodeUnauthenticated, "the ticket is for GET %s", core.Clip(found.what))
	default:
		return found.principal, nil
	}
}

// makeTicket is POST /v1/tickets.
func (a *API) makeTicket(w http.ResponseWriter, r *http.Request) error {
	var body ticketBody
	if err := a.jsonBody(w, r, &body); err != nil {
		return err
	}
	p := access.Of(r.Context())
	if forwarded(r) {
		return core.Errorf(core.CodeForbidden, "a ticket is made at the node that is to be asked")
	}
	if err := a.checkTicket(p, body.Path); err != nil {
		return err
	}
	text, made, err := a.tickets.give(p, body.Path)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return WriteJSON(w, http.StatusCreated, madeTicket{text, wire.Time(made.made.Add(ticketTTL).Truncate(time.Millisecond))})
}

// checkTicket checks that GET serves a path, and that p may ask for what is there.
func (a *API) checkTicket(p *access.Principal, path string) error {
	u, err := url.ParseRequestURI(path)
	if err != nil || u.EscapedPath() != path {
		return core.Errorf(core.CodeInvalidRequest, "path %q is not that of a request, such as /v1/events, without its query", core.Clip(path))
	}
	r := &http.Request{Method: http.MethodGet, URL: u}
	at, _ := a.mux.find(r)
	if at == nil {
		return core.Errorf(core.CodeNotFound, "there is nothing at %s", core.Clip(path))
	}
	route, err := at.of(r)
	if err != nil {
		return err
	}
	return p.Check(route.Needs, "")
}

// takeTicket returns whose ticket a request has in its URL, and the request without it; nil
// and r, if it has none. Anything else there that looks like a secret is refused: URLs are
// kept by proxies, histories and logs.
func (a *API) takeTicket(r *http.Request) (*http.Request, *access.Principal, error) {
	if r.URL.RawQuery == "" {
		return r, nil, nil
	}
	query := r.URL.Query()
	for name, values := range query {
		if isSecretName(name) || anySecret(values) {
			return nil, nil, core.Errorf(core.CodeUnauthenticated,
				"the URL has a secret, which others may have seen: send a key as Authorization: Bearer, or in hello, and have the one that was sent revoked")
		}
	}
	given := query["ticket"]
	switch {
	case len(given) == 0:
		return r, nil, nil
	case len(given) > 1, hasToken(r):
		return nil, nil, core.Errorf(core.CodeUnauthenticated, "the request has more than one token or ticket")
	}
	p, err := a.logins.Try(requests.AddressOf(r.RemoteAddr), func() (*access.Principal, error) {
		return a.redeem(given[0], r)
	})
	if err != nil {
		return nil, nil, err
	}
	query.Del("ticket")
	without := *r.URL
	without.RawQuery = query.Encode()
	r = r.WithContext(r.Context())
	r.URL = &without
	return r, p, nil
}

// secretNames are what clients of other servers call a secret in a URL, in small letters.
var secretNames = map[string]bool{
	"token": true, "accesstoken": true, "authtoken": true, "bearertoken": true, "bearer": true,
	"authorization": true, "auth": true, "apikey": true, "key": true, "secret": true,
	"password": true, "passwd": true, "jwt": true,
}

func isSecretName(name string) bool {
	return secretNames[strings.NewReplacer("-", "", "_", "", ".", "").Replace(strings.ToLower(name))]
}

// anySecret reports whether a value looks like a key: gyre_ID_SECRET. A stream may well have a
// name that begins with gyre_, but hardly one of that form and length.
func anySecret(values []string) bool {
	const least = 40
	for _, v := range values {
		if rest, ok := strings.CutPrefix(v, "gyre_"); ok && len(rest) >= least && strings.Contains(rest, "_") {
			return true
		}
	}
	return false
}
