package wsapi

import (
	"crypto/rand"
	"crypto/sha256"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
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

// tickets are the tickets of a node that were not used yet. Each stands for a key in the URL
// of one request, for clients that can send no header. It is safe for concurrent use.
type tickets struct {
	mu   sync.Mutex
	open map[ticketHash]ticket
}

// ticketHash is the SHA-256 of a ticket's text. What a look-up takes says nothing of the text.
type ticketHash [sha256.Size]byte

type ticket struct {
	maker   *access.Principal
	path    string // of the request, as it is escaped there
	expires time.Time
}

// issue returns a new ticket of p for a path, and when it expires.
func (t *tickets) issue(p *access.Principal, path string) (text string, expires time.Time, err error) {
	now := time.Now()
	expires = now.Add(ticketTTL)
	text = rand.Text()
	t.mu.Lock()
	defer t.mu.Unlock()
	own := 0
	maps.DeleteFunc(t.open, func(_ ticketHash, other ticket) bool {
		expired := !now.Before(other.expires)
		if !expired && other.maker.Name == p.Name {
			own++
		}
		return expired
	})
	switch {
	case own >= maxOwnTickets:
		return "", expires, core.Errorf(core.CodeOverloaded, "%s has %d tickets that were not used yet", p.Name, own)
	case len(t.open) >= maxTickets:
		return "", expires, core.Errorf(core.CodeOverloaded, "the node has %d tickets that were not used yet", len(t.open))
	}
	if t.open == nil {
		t.open = map[ticketHash]ticket{}
	}
	t.open[sha256.Sum256([]byte(text))] = ticket{p, path, expires}
	return text, expires, nil
}

// redeem returns whose ticket it is, if it is good for a request. It is no more afterwards.
func (t *tickets) redeem(text string, r *http.Request) (*access.Principal, error) {
	hash := ticketHash(sha256.Sum256([]byte(text)))
	t.mu.Lock()
	defer t.mu.Unlock()
	found, ok := t.open[hash]
	delete(t.open, hash)
	switch {
	case !ok || !time.Now().Before(found.expires):
		return nil, core.Errorf(core.CodeUnauthenticated, "this node has no such ticket: one is good for %s, once, at the node that made it", ticketTTL)
	case r.Method != http.MethodGet || r.URL.EscapedPath() != found.path:
		return nil, core.Errorf(core.CodeUnauthenticated, "the ticket is for GET %s", clip(found.path))
	}
	return found.maker, nil
}

// makeTicket is POST /v1/tickets.
func (a *API) makeTicket(w http.ResponseWriter, r *http.Request) error {
	var body ticketBody
	if err := a.jsonBody(w, r, &body); err != nil {
		return err
	}
	p := access.Of(r.Context())
	if p.Via != "" {
		return core.Errorf(core.CodeForbidden, "a ticket is made at the node that is to be asked")
	}
	if err := a.checkTicket(p, body.Path); err != nil {
		return err
	}
	text, expires, err := a.tickets.issue(p, body.Path)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return WriteJSON(w, http.StatusCreated, madeTicket{text, wire.Time(expires.Truncate(time.Millisecond))})
}

// checkTicket checks that GET serves a path, and that p may ask for what is there.
func (a *API) checkTicket(p *access.Principal, path string) error {
	u, err := url.ParseRequestURI(path)
	if err != nil || u.EscapedPath() != path {
		return core.Errorf(core.CodeInvalidRequest, "path %q is not that of a request, such as /v1/events, without its query", clip(path))
	}
	r := &http.Request{Method: http.MethodGet, URL: u}
	at, _ := a.mux.find(r)
	if at == nil {
		return core.Errorf(core.CodeNotFound, "there is nothing at %s", clip(path))
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
		return a.tickets.redeem(given[0], r)
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
