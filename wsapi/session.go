package wsapi

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/requests"
	"github.com/gyre-events/gyre/wsapi/wire"
	"github.com/gyre-events/gyre/wsapi/ws"
)

const (
	// sessionTTL is how long a session lasts after its log-in.
	sessionTTL = 12 * time.Hour
	// maxSessions bounds the sessions of a node; the oldest ends when another one begins.
	maxSessions = 4096
	// maxOwnSessions bounds those of one principal, in the same way.
	maxOwnSessions = 64
	// maxLogin bounds the body of a log-in, which is read before anybody knows who sent it.
	maxLogin = 4 << 10

	// sessionCookie is the name of the cookie, and csrfHeader that of the header which a
	// page has to send with every request that changes something.
	sessionCookie = "gyre_session"
	csrfHeader    = "Gyre-CSRF"
)

// sessions are the log-ins of web pages at a node. A page logs in with a key once, and has a
// cookie from then on that no script can read. It is safe for concurrent use.
type sessions struct {
	mu   sync.Mutex
	open map[ticketHash]*session
}

// session is one log-in.
type session struct {
	principal *access.Principal
	csrf      string
	began     time.Time
}

// over reports whether a session has ended.
func (s *session) over(now time.Time) bool {
	return !now.Before(s.began.Add(sessionTTL)) || s.principal.Check(access.Connect, "") != nil
}

// begin opens a session, and returns the value of its cookie.
func (ss *sessions) begin(p *access.Principal) (text string, s *session) {
	now := time.Now()
	text, s = rand.Text(), &session{p, rand.Text(), now}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	maps.DeleteFunc(ss.open, func(_ ticketHash, other *session) bool { return other.over(now) })
	if own := ss.ofPrincipal(p); len(own) >= maxOwnSessions {
		delete(ss.open, oldest(own))
	} else if len(ss.open) >= maxSessions {
		delete(ss.open, oldest(ss.open))
	}
	if ss.open == nil {
		ss.open = map[ticketHash]*session{}
	}
	ss.open[sha256.Sum256([]byte(text))] = s
	return text, s
}

// ofPrincipal are the sessions of a principal. mu is held.
func (ss *sessions) ofPrincipal(p *access.Principal) map[ticketHash]*session {
	own := map[ticketHash]*session{}
	for hash, s := range ss.open {
		if s.principal.Name == p.Name {
			own[hash] = s
		}
	}
	return own
}

func oldest(among map[ticketHash]*session) (oldest ticketHash) {
	var began time.Time
	for hash, s := range among {
		if began.IsZero() || s.began.Before(began) {
			oldest, began = hash, s.began
		}
	}
	return oldest
}

// of returns the session of a request; nil if it has none. The error is unauthenticated.
func (ss *sessions) of(r *http.Request) (*session, error) {
	cookies := r.CookiesNamed(sessionCookie)
	if len(cookies) == 0 {
		return nil, nil
	}
	ss.mu.Lock()
	s := ss.open[sha256.Sum256([]byte(cookies[0].Value))]
	ss.mu.Unlock()
	if s == nil || len(cookies) > 1 || s.over(time.Now()) {
		return nil, core.Errorf(core.CodeUnauthenticated, "the session is over: log in again")
	}
	return s, nil
}

// end closes the session of a request.
func (ss *sessions) end(r *http.Request) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for _, c := range r.CookiesNamed(sessionCookie) {
		delete(ss.open, sha256.Sum256([]byte(c.Value)))
	}
}

// checkPage refuses a request with a session's cookie that another page may have made: one
// from another origin, and one that changes something without the session's CSRF token. A
// WebSocket changes things, and can send no header: for it the origin is enough.
func (s *session) checkPage(r *http.Request, socket bool) error {
	if origin := r.Header.Get("Origin"); origin != "" && !isOwn(origin, r) || socket && origin == "" {
		return core.Errorf(core.CodeOriginNotAllowed, "a session is for pages of this node, and origin %q is another", clip(origin))
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return core.Errorf(core.CodeOriginNotAllowed, "a session is for pages of this node, and the request comes from a %s one", clip(site))
	}
	if socket || r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil
	}
	if subtle.ConstantTimeCompare([]byte(r.Header.Get(csrfHeader)), []byte(s.csrf)) != 1 {
		return core.Errorf(core.CodeUnauthenticated, "the request has not the header %s of its session, which GET /v1/session answers", csrfHeader)
	}
	return nil
}

// sessionBody is a session as its page sees it.
type sessionBody struct {
	Principal *wire.Principal `json:"principal"`
	CSRF      string          `json:"csrf"` // to be sent in the header Gyre-CSRF
	ExpiresAt wire.Time       `json:"expiresAt"`
}

// logIn is POST /v1/session: the key is in the body, since a page has no other way to send it
// that leaves no trace.
func (a *API) logIn(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Token string `json:"token"`
	}
	if r.ContentLength > maxLogin {
		return bodyTooLarge(maxLogin)
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxLogin)
	if err := a.jsonBody(w, r, &body); err != nil {
		return err
	}
	if wire.IsNodeToken(body.Token) {
		return core.Errorf(core.CodeUnauthenticated, "a node begins no session")
	}
	p, err := a.logins.Authenticate(requests.AddressOf(r.RemoteAddr), body.Token)
	if err != nil {
		return err
	}
	a.sessions.end(r)
	text, s := a.sessions.begin(p)
	a.setCookie(w, r, text, int(sessionTTL.Seconds()))
	return answerSession(w, http.StatusCreated, s)
}

// seeSession is GET /v1/session: a page that is loaded finds out whom it is for, and its CSRF
// token. Without a session it is for who has no key, if that is anybody.
func (a *API) seeSession(w http.ResponseWriter, r *http.Request) error {
	s, err := a.sessions.of(r)
	if err == nil && s != nil {
		if err := s.checkPage(r, false); err != nil {
			return err
		}
		return answerSession(w, http.StatusOK, s)
	}
	var none struct {
		Principal *wire.Principal `json:"principal,omitempty"`
	}
	if p, err := a.logins.Authenticate(requests.AddressOf(r.RemoteAddr), ""); err == nil {
		none.Principal = ws.PrincipalOf(p)
	}
	w.Header().Set("Cache-Control", "no-store")
	return WriteJSON(w, http.StatusOK, none)
}

// logOut is DELETE /v1/session.
func (a *API) logOut(w http.ResponseWriter, r *http.Request) error {
	if s, err := a.sessions.of(r); err == nil && s != nil {
		if err := s.checkPage(r, false); err != nil {
			return err
		}
	}
	a.sessions.end(r)
	a.setCookie(w, r, "", -1)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func answerSession(w http.ResponseWriter, status int, s *session) error {
	w.Header().Set("Cache-Control", "no-store")
	return WriteJSON(w, status, sessionBody{ws.PrincipalOf(s.principal), s.csrf, wire.Time(s.began.Add(sessionTTL).UTC().Truncate(time.Second))})
}

// setCookie sets the cookie of a session, for this host only. Where the page came over TLS it
// is never sent without.
func (a *API) setCookie(w http.ResponseWriter, r *http.Request, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: sessionCookie, Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: cameOverTLS(r),
	})
}
