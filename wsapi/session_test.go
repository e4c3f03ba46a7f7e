package wsapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi"
)

// oneKey is an Authenticator that knows one token.
type oneKey struct {
	token string
	of    *access.Principal
}

func (k oneKey) Authenticate(token string) (*access.Principal, error) {
	if token != k.token {
		return nil, core.Errorf(core.CodeUnauthenticated, "not the key")
	}
	return k.of, nil
}

// page makes requests as a browser does for a page of an origin.
type page struct {
	url, origin, cookie, csrf string
}

func (p page) do(t *testing.T, method, path, body string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, p.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for name, value := range map[string]string{"Origin": p.origin, "Cookie": p.cookie, "Gyre-CSRF": p.csrf} {
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(text)
}

func TestSessionsOfPages(t *testing.T) {
	ends, end := context.WithCancelCause(t.Context())
	key := oneKey{"the key", access.Principal{Name: "k", Role: access.Admin}.Until(ends)}
	n := newNode(t, wsapi.Config{Access: key, AllowOrigins: []string{"https://app.example"}})
	p := page{url: n.http.URL, origin: n.http.URL}
	if answer, text := p.do(t, "GET", "/v1/session", ""); answer.StatusCode != http.StatusOK || strings.TrimSpace(text) != "{}" {
		t.Fatalf("without a session: %d %s", answer.StatusCode, text)
	}
	if answer, text := p.do(t, "POST", "/v1/session", `{"token":"another"}`); answer.StatusCode != http.StatusUnauthorized || len(answer.Cookies()) > 0 {
		t.Fatalf("a wrong key: %d %s", answer.StatusCode, text)
	}
	answer, text := p.do(t, "POST", "/v1/session", `{"token":"the key"}`)
	if answer.StatusCode != http.StatusCreated || len(answer.Cookies()) != 1 || strings.Contains(text, "the key") {
		t.Fatalf("log in: %d %s", answer.StatusCode, text)
	}
	c := answer.Cookies()[0]
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Domain != "" || c.Value == "the key" {
		t.Errorf("the cookie is %v", c)
	}
	var body struct{ CSRF string }
	if err := json.Unmarshal([]byte(text), &body); err != nil {
		t.Fatal(err)
	}
	p.cookie, p.csrf = c.Name+"="+c.Value, body.CSRF
	without, wrong, other, listed := p, p, p, p
	without.csrf, wrong.csrf, other.origin, listed.origin = "", "x", "https://evil.example", "https://app.example"
	const path, event = "/v1/streams/a/events", `{"type":"T","data":1}`
	for name, try := range map[string]struct {
		page
		method string
		want   int
	}{
		"a page of the node":               {p, "POST", http.StatusCreated},
		"that reads":                       {without, "GET", http.StatusOK},
		"without the CSRF token":           {without, "POST", http.StatusUnauthorized},
		"with another CSRF token":          {wrong, "POST", http.StatusUnauthorized},
		"a page of another origin":         {other, "POST", http.StatusForbidden},
		"that reads, of another origin":    {other, "GET", http.StatusForbidden},
		"a page of a listed origin":        {listed, "POST", http.StatusForbidden},
		"with a cookie that was not given": {page{p.url, p.origin, c.Name + "=x", p.csrf}, "GET", http.StatusUnauthorized},
		"with two cookies":                 {page{p.url, p.origin, p.cookie + "; " + c.Name + "=x", p.csrf}, "GET", http.StatusUnauthorized},
		"without a cookie":                 {page{p.url, p.origin, "", p.csrf}, "GET", http.StatusUnauthorized},
	} {
		if _, text := p.do(t, "POST", path, event); !strings.Contains(text, "version") {
			t.Fatal(text)
		}
		if answer, text := try.do(t, try.method, path, map[string]string{"POST": event}[try.method]); answer.StatusCode != try.want {
			t.Errorf("%s: %d %s, want %d", name, answer.StatusCode, text, try.want)
		}
	}
	if answer, text := without.do(t, "GET", "/v1/session", ""); answer.StatusCode != http.StatusOK || !strings.Contains(text, body.CSRF) {
		t.Errorf("the session is %d %s", answer.StatusCode, text)
	}
	socket := func(origin string) error {
		conn, answer, err := websocket.DefaultDialer.DialContext(t.Context(), "ws"+strings.TrimPrefix(n.http.URL, "http")+"/v1/ws",
			http.Header{"Origin": {origin}, "Cookie": {p.cookie}})
		if err == nil {
			_ = answer.Body.Close()
			err = conn.WriteMessage(websocket.TextMessage, []byte(`{"op":"hello","id":1}`))
			if _, text, readErr := conn.ReadMessage(); err == nil && (readErr != nil || !strings.Contains(string(text), `"role":"admin"`)) {
				t.Errorf("hello: %s, %v", text, readErr)
			}
			_ = conn.Close()
		}
		return err
	}
	if err := socket(n.http.URL); err != nil {
		t.Errorf("a WebSocket of the page: %v", err)
	}
	for _, origin := range []string{"https://evil.example", "https://app.example"} {
		if socket(origin) == nil {
			t.Errorf("a WebSocket of a page of %s was opened", origin)
		}
	}
	n.rebound(p.cookie, p.csrf)
	if answer, _ := p.do(t, "DELETE", "/v1/session", ""); answer.StatusCode != http.StatusNoContent {
		t.Errorf("log out: %d", answer.StatusCode)
	}
	if answer, _ := p.do(t, "GET", path, ""); answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("after it: %d", answer.StatusCode)
	}
	answer, _ = page{url: n.http.URL, origin: n.http.URL}.do(t, "POST", "/v1/session", `{"token":"the key"}`)
	p.cookie = answer.Cookies()[0].Name + "=" + answer.Cookies()[0].Value
	end(core.Errorf(core.CodeUnauthenticated, "revoked"))
	if answer, _ := p.do(t, "GET", path, ""); answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("after its key was revoked: %d", answer.StatusCode)
	}
}

// rebound makes requests with a session's cookie as a page does whose name leads to the node now.
func (n *node) rebound(cookie, csrf string) {
	n.t.Helper()
	for host, want := range map[string]string{"localhost": " 200 ", "evil.example": " 403 ", "evil.example:4973": " 403 ", "127.0.0.1.evil.example": " 403 "} {
		for _, request := range []string{"GET /v1/streams/a/events", "GET /v1/session", "GET /v1/server"} {
			conn := n.raw(request + " HTTP/1.1\r\nHost: " + host + "\r\nOrigin: http://" + host + "\r\nCookie: " + cookie + "\r\nGyre-CSRF: " + csrf + "\r\nConnection: close\r\n\r\n")
			text, err := io.ReadAll(conn)
			if line, _, _ := strings.Cut(string(text), "\r\n"); err != nil || !strings.Contains(line+" ", want) {
				n.t.Errorf("%s at %s: %s, %v, want%s", request, host, text, err, want)
			}
		}
	}
}

// TestCookiesBehindAProxy: where a proxy ends TLS, browsers send the cookie over TLS only.
func TestCookiesBehindAProxy(t *testing.T) {
	n := newNode(t, wsapi.Config{Access: testKeys()})
	for proto, secure := range map[string]bool{"": false, "http": false, "https": true, "HTTPS": true} {
		a := n.do("POST", "/v1/session", `{"token":"reader-key"}`, "Content-Type: application/json", "X-Forwarded-Proto: "+proto).want(t, 201)
		if cookie := a.Header.Get("Set-Cookie"); strings.Contains(cookie, "Secure") != secure {
			t.Errorf("X-Forwarded-Proto %q: %s", proto, cookie)
		}
	}
}

// TestWhatASessionOpenedEndsWithIt: by a log-out, WebSockets and event streams of the session end,
// and those of the key go on.
func TestWhatASessionOpenedEndsWithIt(t *testing.T) {
	n := newNode(t, wsapi.Config{Access: oneKey{"the key", &access.Principal{Name: "k", Role: access.Admin}}})
	p := page{url: n.http.URL, origin: n.http.URL}
	answer, text := p.do(t, "POST", "/v1/session", `{"token":"the key"}`)
	var body struct{ CSRF string }
	if err := json.Unmarshal([]byte(text), &body); err != nil || len(answer.Cookies()) != 1 {
		t.Fatalf("log in: %d %s", answer.StatusCode, text)
	}
	p.cookie, p.csrf = answer.Cookies()[0].Name+"="+answer.Cookies()[0].Value, body.CSRF
	ofSession := http.Header{"Origin": {p.origin}, "Cookie": {p.cookie}}
	ofKey := http.Header{"Authorization": {"Bearer the key"}}
	sockets := map[bool]*websocket.Conn{true: n.socketOf(ofSession), false: n.socketOf(ofKey)}
	streams := map[bool]*bufio.Reader{true: n.streamOf(ofSession), false: n.streamOf(ofKey)}
	if answer, text := p.do(t, "DELETE", "/v1/session", ""); answer.StatusCode != http.StatusNoContent {
		t.Fatalf("log out: %d %s", answer.StatusCode, text)
	}
	_, _, err := sockets[true].ReadMessage()
	for ; err == nil; _, _, err = sockets[true].ReadMessage() {
	}
	if !websocket.IsCloseError(err, 4003) {
		t.Errorf("the WebSocket of the session ended with %v", err)
	}
	rest, err := io.ReadAll(streams[true])
	if err != nil || !strings.Contains(string(rest), "event: end\ndata: {\"code\":\"unauthenticated\"") {
		t.Errorf("the event stream of the session ended with %q, %v", rest, err)
	}
	n.do("POST", "/v1/streams/a/events", `{"type":"T","data":1}`, "Authorization: Bearer the key", asJSON).want(t, 201)
	for line := ""; !strings.HasPrefix(line, "data: {\"stream\":\"a\""); {
		if line, err = streams[false].ReadString('\n'); err != nil {
			t.Fatalf("the event stream of the key ended: %v", err)
		}
	}
	if err := sockets[false].WriteMessage(websocket.TextMessage, []byte(`{"op":"ping","id":2}`)); err != nil {
		t.Errorf("the WebSocket of the key ended: %v", err)
	}
	if _, text, err := sockets[false].ReadMessage(); err != nil || !strings.Contains(string(text), "pong") {
		t.Errorf("the WebSocket of the key says %s, %v", text, err)
	}
}

// socketOf opens a WebSocket and says hello.
func (n *node) socketOf(h http.Header) *websocket.Conn {
	n.t.Helper()
	conn, answer, err := websocket.DefaultDialer.DialContext(n.t.Context(), "ws"+strings.TrimPrefix(n.http.URL, "http")+"/v1/ws", h)
	if err != nil {
		n.t.Fatal(err)
	}
	_ = answer.Body.Close()
	n.t.Cleanup(func() { _ = conn.Close() })
	if err := conn.WriteMessage(websocket.TextMessage, []byte(`{"op":"hello","id":1}`)); err != nil {
		n.t.Fatal(err)
	}
	if _, text, err := conn.ReadMessage(); err != nil || !strings.Contains(string(text), `"welcome"`) {
		n.t.Fatalf("hello: %s, %v", text, err)
	}
	return conn
}

// streamOf opens an event stream of $all, and returns what comes after its first line.
func (n *node) streamOf(h http.Header) *bufio.Reader {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), time.Minute)
	n.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", n.http.URL+"/v1/events", nil)
	if err != nil {
		n.t.Fatal(err)
	}
	r.Header = h.Clone()
	r.Header.Set("Accept", "text/event-stream")
	answer, err := http.DefaultClient.Do(r)
	if err != nil || answer.StatusCode != http.StatusOK {
		n.t.Fatalf("%+v, %v", answer, err)
	}
	n.t.Cleanup(func() { _ = answer.Body.Close() })
	text := bufio.NewReader(answer.Body)
	if _, err := text.ReadString('\n'); err != nil {
		n.t.Fatal(err)
	}
	return text
}
