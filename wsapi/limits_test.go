package wsapi_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/wsapi"
)

// TestWrongKeysOfAnAddress: after 20 of them the next wrong ones of that address are refused as
// too many, until some time has passed. A right key is never refused. Time is virtual.
func TestWrongKeysOfAnAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := core.NewStore(memory.New(), core.StoreConfig{})
		defer store.Close()
		api, err := wsapi.New(wsapi.Config{Store: store, Access: testKeys()})
		if err != nil {
			t.Fatal(err)
		}
		defer api.Close(t.Context())
		ask := func(from, path, key string) *httptest.ResponseRecorder {
			r := httptest.NewRequestWithContext(t.Context(), "GET", "http://localhost"+path, nil)
			r.RemoteAddr = from + ":1234"
			r.Header.Set("X-Forwarded-For", "198.51.100.7")
			if key != "" {
				r.Header.Set("Authorization", "Bearer "+key)
			}
			w := httptest.NewRecorder()
			api.ServeHTTP(w, r)
			return w
		}
		want := func(from, path, key string, status int) {
			t.Helper()
			if w := ask(from, path, key); w.Code != status || (status == 429) != (w.Header().Get("Retry-After") != "") {
				t.Errorf("%s of %s with %q: %d %v %s, want %d", path, from, key, w.Code, w.Header(), w.Body, status)
			}
		}
		ticket := func(from string) string {
			r := httptest.NewRequestWithContext(t.Context(), "POST", "http://localhost/v1/tickets", strings.NewReader(`{"path":"/v1/server"}`))
			r.RemoteAddr = from + ":1234"
			r.Header.Set("Authorization", "Bearer reader-key")
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			api.ServeHTTP(w, r)
			var made struct{ Ticket string }
			if err := json.Unmarshal(w.Body.Bytes(), &made); err != nil || w.Code != 201 {
				t.Errorf("a ticket: %d %s, %v", w.Code, w.Body, err)
			}
			return made.Ticket
		}
		exhaust := func(from func(n int) string, count int) {
			t.Helper()
			for n := range count {
				want(from(n), "/v1/server", "reader-key", 200)
				path, status := []string{"/v1/server", "/v1/events?ticket=X"}[n%2], 401
				key := []string{"wrong", ""}[n%2]
				want(from(n), path, key, status)
			}
		}
		exhaust(func(int) string { return "192.0.2.1" }, 20)
		for _, path := range []string{"/v1/server", "/v1/ws"} {
			want("192.0.2.1", path, "wrong", 429)
		}
		want("192.0.2.1", "/livez", "wrong", 200)
		want("192.0.2.1", "/v1/events?ticket=X", "", 429)
		want("192.0.2.1", "/v1/server", "", 401)
		want("[::ffff:192.0.2.1]", "/v1/server", "wrong", 429)
		want("192.0.2.1", "/v1/server", "reader-key", 200)
		want("192.0.2.1", "/v1/server?ticket="+ticket("192.0.2.1"), "", 200)
		want("192.0.2.2", "/v1/server", "wrong", 401)
		want("192.0.2.2", "/v1/server", "reader-key", 200)

		// One IPv6 site has one budget, and a loopback address a larger one.
		exhaust(func(n int) string { return fmt.Sprintf("[2001:db8:0:1::%x]", n) }, 20)
		want("[2001:db8:0:1:ffff::]", "/v1/server", "wrong", 429)
		want("[2001:db8:0:2::1]", "/v1/server", "wrong", 401)
		exhaust(func(int) string { return "127.0.0.1" }, 20*32)
		want("127.0.0.1", "/v1/server", "wrong", 429)
		want("[::1]", "/v1/server", "wrong", 401)

		// The answer says when the block ends, and what to do about the key.
		blocked := ask("192.0.2.1", "/v1/server", "wrong")
		if after := blocked.Header().Get("Retry-After"); after != "3" || !strings.Contains(blocked.Body.String(), `"fix":"Check the key`) {
			t.Errorf("an address that is blocked for 3 s may try again after %s s: %s", after, blocked.Body)
		}
		time.Sleep(time.Minute / 20)
		want("192.0.2.1", "/v1/server", "wrong", 401)
		want("192.0.2.1", "/v1/server", "wrong", 429)
		time.Sleep(time.Minute)
		exhaust(func(int) string { return "192.0.2.1" }, 20)
	})
}

// TestWrongKeysInHello: those of hello and of refresh count, too.
func TestWrongKeysInHello(t *testing.T) {
	n := newNode(t, wsapi.Config{Access: testKeys(), Limits: wsapi.Limits{WrongKeys: 1}})
	open := n.connect()
	open.say(`{"op":"hello","id":1,"auth":{"token":"reader-key"}}`)
	if m := open.receive(); m["op"] != "welcome" {
		t.Fatalf("hello was answered %v", m)
	}
	for id := range 16 {
		open.say(fmt.Sprintf(`{"op":"refresh","id":%d,"token":"wrong"}`, id+2))
		open.refused("refresh", float64(id+2), "unauthenticated")
		p := n.connect()
		p.say(`{"op":"hello","id":1,"auth":{"token":"wrong"}}`)
		p.refused("hello", 0, "unauthenticated")
		p.closed("hello", 4500)
	}
	open.say(`{"op":"refresh","id":98,"token":"wrong"}`)
	open.refused("refresh", 98, "too_many_wrong_keys")
	p := n.connect()
	p.say(`{"op":"hello","id":1,"auth":{"token":"wrong"}}`)
	p.refused("hello", 0, "too_many_wrong_keys")
	p.closed("hello", 4004) // come back
	n.do("POST", "/v1/session", `{"token":"wrong"}`, "Content-Type: application/json").want(t, 429)
	_, res, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(n.http.URL, "http")+"/v1/ws", http.Header{"Authorization": {"Bearer wrong"}})
	if err == nil || res.StatusCode != 429 || res.Header.Get("Retry-After") == "" {
		t.Errorf("a handshake: %v, %v", res, err)
	}
	open.say(`{"op":"refresh","id":99,"token":"reader-key"}`)
	if m := open.receive(); m["op"] != "ok" {
		t.Errorf("a right key: %v", m)
	}
	p = n.connect()
	p.say(`{"op":"hello","id":1,"auth":{"token":"reader-key"}}`)
	if m := p.receive(); m["op"] != "welcome" {
		t.Errorf("a right key: %v", m)
	}
	n.do("POST", "/v1/session", `{"token":"reader-key"}`, "Content-Type: application/json").want(t, 201)
}

// TestConnectionsWithoutHello: an address may have some that have not said it.
func TestConnectionsWithoutHello(t *testing.T) {
	n := newNode(t, wsapi.Config{Limits: wsapi.Limits{Handshakes: 1, Hello: time.Minute}})
	var silent []*peer
	for range 32 {
		silent = append(silent, n.connect())
	}
	refused := func() {
		t.Helper()
		_, res, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(n.http.URL, "http")+"/v1/ws", http.Header{"X-Forwarded-For": {"198.51.100.7"}})
		if err == nil || res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
			t.Fatalf("a handshake: %v, %v", res, err)
		}
		if body, err := io.ReadAll(res.Body); err != nil || !strings.Contains(string(body), "too_many_connections") {
			t.Errorf("it was answered %s, %v", body, err)
		}
	}
	refused()
	silent[0].say(`{"op":"hello","id":1}`)
	if m := silent[0].receive(); m["op"] != "welcome" {
		t.Errorf("hello was answered %v", m)
	}
	silent = append(silent, n.connect())
	refused()
	silent[1].say(`{"op":"ping"}`)
	silent[1].refused("ping", 0, "hello_required")
	silent[1].closed("ping", 4504)
	n.untilMetric(`gyre_ws_close_total{code="4504"}`, 1)
	n.connect()
	silent[2].say(`{"op":"hello","id":1}`)
	if m := silent[2].receive(); m["op"] != "welcome" {
		t.Errorf("hello was answered %v", m)
	}
}

// TestLogInsAreSmall: the body of a log-in is read before anybody knows who sent it.
func TestLogInsAreSmall(t *testing.T) {
	n := newNode(t, wsapi.Config{Access: testKeys()})
	for _, length := range []int64{-1, 1 << 20} {
		body := &endless{}
		r := httptest.NewRequestWithContext(t.Context(), "POST", "http://localhost/v1/session", body)
		r.Header.Set("Content-Type", "application/json")
		r.ContentLength = length
		w := &firstWrite{ResponseRecorder: httptest.NewRecorder(), body: body}
		n.api.ServeHTTP(w, r)
		if w.Code != 413 || w.read > 8<<10 {
			t.Errorf("a body of %d bytes: %d %s, after %d of them", length, w.Code, w.Body, w.read)
		}
	}
}

// endless is a body that counts what is read of it.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '['
	}
	e.read += len(p)
	return len(p), nil
}

// TestBodiesOfStrangers: nothing is made of the body of a request without a key. Some of it is
// discarded after the answer, for clients that read none before they have sent all.
func TestBodiesOfStrangers(t *testing.T) {
	n := newNode(t, wsapi.Config{Access: testKeys()})
	for _, path := range []string{"/v1/streams/order-1/events", "/v1/transactions", "/v1/tickets", "/v1/subscriptions/s/fetch"} {
		for _, encoding := range []string{"", "gzip", "zstd"} {
			body := &endless{}
			w := &firstWrite{ResponseRecorder: httptest.NewRecorder(), body: body}
			r := httptest.NewRequestWithContext(t.Context(), "POST", "http://localhost"+path, body)
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Content-Encoding", encoding)
			n.api.ServeHTTP(w, r)
			if w.Code != 401 || w.read != 0 {
				t.Errorf("%s %s: %d, after %d bytes of the body", path, encoding, w.Code, w.read)
			}
			if body.read > 512<<10 {
				t.Errorf("%s %s: %d bytes were read", path, encoding, body.read)
			}
		}
	}
}

// firstWrite notes how much of a body was read when its answer began.
type firstWrite struct {
	*httptest.ResponseRecorder
	body *endless
	read int
}

func (w *firstWrite) WriteHeader(status int) {
	w.read = w.body.read
	w.ResponseRecorder.WriteHeader(status)
}
