package wsapi

import (
	"crypto/rand"
	"crypto/subtle"
	"net/http"
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

// session is one log-in of a web page: it logs in with a key once, and has a cookie from then on
// that no script can read. Its principal ends with it, and so does what was opened with it.
type session struct {
	principal *access.Principal
	csrf      string
	expires   time.Time
	end       func()
}

// newSessions returns the sessions of a node, by their cookies.
func newSessions() *secrets[*session] {
	return &secrets[*session]{
		kind: "sessions", ttl: sessionTTL, most: maxSessions, mostOwn: maxOwnSessions, displace: true,
		ended: func(s *session) { s.end() },
	}
}

// errSessionOver is the error of a session that there is no more.
func errSessionOver() error {
	return core.Errorf(core.CodeUnauthenticated, "the session is over: log in again")
}

// beginSession opens a session, and returns the value of its cookie.
func (a *API) beginSession(p *access.Principal) (text string, s *session, err error) {
	s = &session{csrf: rand.Text(), expires: time.Now().Add(sessionTTL)}
	s.principal, s.end = p.Within(s.expires, errSessionOver())
	text, _, err = a.sessions.give(s.principal, s)
	return text, s, err
}

// sessionOf returns the session of a request; nil if it has none. The error is unauthenticated.
func (a *API) sessionOf(r *http.Request) (*session, error) {
	cookies := r.CookiesNamed(sessionCookie)
	if len(cookies) == 0 {
		return nil, nil
	}
	found := a.sessions.find(cookies[0].Value)
	if found == nil || len(cookies) > 1 {
		return nil, errSessionOver()
	}
	return found.what, nil
}

// endSession closes the session of a request.
func (a *API) endSession(r *http.Request) {
	for _, c := range r.CookiesNamed(sessionCookie) {
		a.sessions.take(c.Value)
	}
}

// checkPage refuses a request with a session's cookie that another page may have made: one
// from another origin, and one that changes something without the session's CSRF token. A
// WebSocket changes things, and can send no header: for it the origin is enough.
func (s *session) checkPage(r *http.Request, socket bool) error {
	if origin := r.Header.Get("Origin"); origin != "" && !isOwn(origin, r) || socket && origin == "" {
		return core.Errorf(core.CodeOriginNotAllowed, "a session is for pages of this node, and origin %q is another", core.Clip(origin))
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return core.Errorf(core.CodeOriginNotAllowed, "a session is for pages of this node, and the request comes from a %s one", core.Clip(site))
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
	a.endSession(r)
	text, s, err := a.beginSession(p)
	if err != nil {
		return err
	}
	a.setCookie(w, r, text, int(sessionTTL.Seconds()))
	return answerSession(w, http.StatusCreated, s)
}

// seeSession is GET /v1/session: a page that is loaded finds out whom it is for, and its CSRF
// token. Without a session it is for who has no key, if that is anybody.
func (a *API) seeSession(w http.ResponseWriter, r *http.Request) error {
	s, err := a.sessionOf(r)
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
	if s, err := a.sessionOf(r); err == nil && s != nil {
		if err := s.checkPage(r, false); err != nil {
			return err
		}
	}
	a.endSession(r)
	a.setCookie(w, r, "", -1)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func answerSession(w http.ResponseWriter, status int, s *session) error {
	w.Header().Set("Cache-Control", "no-store")
	return WriteJSON(w, status, sessionBody{ws.PrincipalOf(s.principal), s.csrf, wire.Time(s.expires.UTC().Truncate(time.Second))})
}

// setCookie sets the cookie of a session, for this host only. Where the page came over TLS it
// is never sent without.
func (a *API) setCookie(w http.ResponseWriter, r *http.Request, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: sessionCookie, Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: cameOverTLS(r),
	})
}
