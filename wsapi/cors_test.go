package wsapi_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/wsapi"
)

// overloaded is a store that refuses follows.
type overloaded struct{ *core.Store }

func (o overloaded) Follow(context.Context, core.FollowRequest) (core.Follower, error) {
	return nil, core.Errorf(core.CodeOverloaded, "too much to do")
}

// An EventSource comes back only after a response of status 200. What may pass is told to
// it so, what will not is not.
func TestEventSourceComesBack(t *testing.T) {
	const origin = "Origin: https://app.example"
	config := wsapi.Config{AllowOrigins: []string{"https://app.example"}}
	draining := newNode(t, config)
	if err := draining.api.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	store := core.NewStore(memory.New(), core.StoreConfig{})
	defer store.Close()
	config.Store = overloaded{store}
	busy := newNode(t, config)
	starting := newNode(t, config)
	starting.http.Config.Handler = wsapi.NewStarting(nil, config.AllowOrigins)
	for code, n := range map[string]*node{"starting": starting, "shutting_down": draining, "overloaded": busy} {
		for _, path := range []string{"/v1/events", "/v1/streams/s/events"} {
			a := n.do("GET", path, "", "Accept: text/event-stream", origin).want(t, 200)
			if text := string(a.body); !strings.HasPrefix(text, "retry: 1000\n\nevent: end\ndata: {\"code\":\""+code+`"`) || !strings.HasSuffix(text, "}\n\n") ||
				a.Header.Get("Content-Type") != "text/event-stream" || a.Header.Get("Cache-Control") != "no-store" ||
				a.Header.Get("Access-Control-Allow-Origin") != "https://app.example" {
				t.Errorf("%s: %v %q", code, a.Header, text)
			}
			if code == "overloaded" {
				continue // only follows are refused
			}
			for _, accept := range []string{"*/*", "application/json", "text/event-stream;q=0.5, */*"} {
				if a := n.do("GET", path, "", "Accept: "+accept).want(t, 503); a.fields(t)["code"] != code {
					t.Errorf("%s as %s: %s", code, accept, a.body)
				}
			}
		}
	}
	n := newNode(t, wsapi.Config{})
	n.do("GET", "/v1/events?cursor=other.1", "", "Accept: text/event-stream").want(t, 409)
	n.do("GET", "/v1/events?cursor=x", "", "Accept: text/event-stream").want(t, 400)
}

// Pages of a listed origin may send every header, and read every one.
func TestCORS(t *testing.T) {
	const origin = "https://app.example"
	n := newNode(t, wsapi.Config{AllowOrigins: []string{origin}})
	starting := newNode(t, wsapi.Config{})
	starting.http.Config.Handler = wsapi.NewStarting(nil, []string{origin})
	for _, n := range []*node{n, starting} {
		a := n.do("OPTIONS", "/v1/streams/s/events", "", "Origin: "+origin, "Access-Control-Request-Method: POST",
			"Access-Control-Request-Headers: ce-id,ce-comexampleext, content-type,, b ad,gyre-timeout,x\x80").want(t, 204)
		if got := a.Header.Get("Access-Control-Allow-Headers"); got != "ce-id, ce-comexampleext, content-type, gyre-timeout" {
			t.Errorf("allowed headers %q", got)
		}
		if m := a.Header.Get("Access-Control-Allow-Methods"); m != "*" && !strings.Contains(m, "POST") || a.Header.Get("Access-Control-Allow-Origin") != origin {
			t.Errorf("preflight: %v", a.Header)
		}
		a = n.do("OPTIONS", "/v1/streams/s/events", "", "Origin: https://evil.example", "Access-Control-Request-Headers: ce-id").want(t, 204)
		for name := range a.Header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("another origin is sent %s: %s", name, a.Header.Get(name))
			}
		}
	}
	a := n.do("GET", "/v1/events", "", "Origin: "+origin).want(t, 200)
	if a.Header.Get("Access-Control-Allow-Origin") != origin || a.Header.Get("Access-Control-Expose-Headers") != "*" {
		t.Errorf("page: %v", a.Header)
	}
	// A response to nobody in particular may be cached, and found again by a page.
	for _, a := range []answer{n.do("GET", "/v1/events", ""), n.do("GET", "/openapi.json", ""), n.do("GET", "/v1/nothing", "")} {
		if !slices.Contains(a.Header.Values("Vary"), "Origin") {
			t.Errorf("%s: Vary %q", a.Request.URL, a.Header.Values("Vary"))
		}
	}
}

// A page's own origin has the scheme, too.
func TestOriginsHaveAScheme(t *testing.T) {
	store := core.NewStore(memory.New(), core.StoreConfig{})
	defer store.Close()
	api, err := wsapi.New(wsapi.Config{Store: store, AllowHosts: []string{"gyre.example"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = api.Close(t.Context()) }()
	for _, c := range []struct {
		url, origin, forwarded string
		refused                bool
	}{
		{"http://gyre.example", "http://gyre.example", "", false},
		{"http://gyre.example", "https://gyre.example", "", false}, // a proxy has taken TLS away
		{"http://gyre.example", "https://gyre.example", "https", false},
		{"http://gyre.example", "http://gyre.example", "https", true},
		{"https://gyre.example", "https://gyre.example", "", false},
		{"https://gyre.example", "http://gyre.example", "", true},
		{"http://gyre.example", "ftp://gyre.example", "", true},
		{"http://gyre.example", "null", "", true},
	} {
		r := httptest.NewRequest(http.MethodDelete, c.url+"/v1/nothing", http.NoBody)
		r.Header.Set("Origin", c.origin)
		r.Header.Set("X-Forwarded-Proto", c.forwarded)
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		if refused := w.Code == http.StatusForbidden; refused != c.refused {
			t.Errorf("%+v: %d %s", c, w.Code, w.Body)
		}
	}
}
