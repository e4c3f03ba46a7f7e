package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
)

// events opens server-sent events, and returns what reads the next one: its id and its data.
func (n *node) events(path string, headers ...string) (next func() (id string, m plugins.WatchMessage), stop func()) {
	n.t.Helper()
	ctx, cancel := context.WithCancel(n.t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", n.url+path, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(r)
	if err != nil {
		n.t.Fatal(err)
	}
	if res.Header.Get("Content-Type") != "text/event-stream" {
		n.t.Fatalf("%s: %v", path, res.Header)
	}
	lines := bufio.NewScanner(res.Body)
	next = func() (id string, m plugins.WatchMessage) {
		n.t.Helper()
		for id = "none"; lines.Scan(); {
			line := lines.Text()
			if at, ok := strings.CutPrefix(line, "id: "); ok {
				id = at
			}
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				if err := json.Unmarshal([]byte(data), &m); err != nil {
					n.t.Fatalf("%s: %v", data, err)
				}
				return id, m
			}
		}
		n.t.Fatalf("the events have ended: %v", lines.Err())
		return
	}
	return next, func() {
		cancel()
		_ = res.Body.Close()
	}
}

// TestWatch goes through server-sent events, a socket and the client.
func TestWatch(t *testing.T) {
	n := newNode(t)
	n.words("words", "1.0.0")
	n.append("a rose")
	if _, err := n.client.Plugins().Deploy(t.Context(), "words", plugins.Deploy{Version: "1.0.0", Grants: []string{"state"}}); err != nil {
		t.Fatal(err)
	}
	n.handled("words")
	const path = "/v1/plugins/words/state?prefix=w&watch"
	next, stop := n.events(path)
	if id, m := next(); m.Kind != plugins.WatchState || !m.Reset || len(m.Entries) != 1 || m.Entries[0].Key != "words" || id != "" {
		t.Errorf("id %q, %+v", id, m)
	}
	id, m := next()
	if m.Kind != plugins.WatchLive || len(m.Positions) != 1 || m.Positions[0] != 1 || id != m.Cursor {
		t.Errorf("id %q, %+v", id, m)
	}
	stop()
	n.append("is a rose")
	n.handled("words")
	next, stop = n.events(path, "Last-Event-ID", id)
	if id, m = next(); m.Kind != plugins.WatchChange || m.Position != 2 || len(m.Entries) != 1 || !strings.HasPrefix(string(m.Entries[0].Value), "a 1\nis 1") || id != m.Cursor {
		t.Errorf("id %q, %+v", id, m)
	}
	stop()

	s := n.dial()
	if m := s.ask("plugin.watch", `"sub":1,"binding":"words","cursor":"`+id+`"`); m["op"] != "error" {
		t.Errorf("a cursor of another prefix: %v", m)
	}
	if m := s.ask("plugin.watch", `"sub":1,"binding":"words","prefix":"w","cursor":"`+id+`"`); m["op"] != "ok" {
		t.Fatalf("%v", m)
	}
	n.append("rose")
	if m := s.receive(); m["op"] != "plugin.watch" || m["sub"] != 1.0 || m["kind"] != "change" || m["position"] != 3.0 {
		t.Errorf("%v", m)
	}
	if m := s.ask("unsubscribe", `"sub":1`); m["op"] != "ok" {
		t.Errorf("%v", m)
	}

	kinds := ""
	for m, err := range n.client.Plugins().Watch(t.Context(), "words", plugins.WatchRequest{Lane: plugins.OnlyLane}) {
		if err != nil {
			t.Fatal(err)
		}
		if kinds += string(m.Kind) + " "; m.Kind == plugins.WatchLive {
			n.append("more")
		}
		if m.Kind == plugins.WatchChange {
			break
		}
	}
	if kinds != "state live change " {
		t.Errorf("the client has %q", kinds)
	}
	for _, err := range n.client.Plugins().Watch(t.Context(), "none", plugins.WatchRequest{}) {
		wants(t, "a watch of nothing", err, core.CodeBindingNotFound)
	}
	for query, code := range map[string]core.Code{
		"watch&after=a": core.CodeInvalidRequest, "watch&limit=1": core.CodeInvalidRequest, "watch&atLeast=1": core.CodeInvalidRequest,
		"watch&cursor=x": core.CodeInvalidCursor, "cursor=" + id: core.CodeInvalidRequest, "watch&lane=2": core.CodeInvalidRequest,
		"watch&prefix=" + strings.Repeat("p", 513): core.CodeInvalidRequest,
	} {
		if a := n.do("GET", "/v1/plugins/words/state?"+query, ""); !strings.Contains(a.body, `"code":"`+string(code)+`"`) {
			t.Errorf("%.30s: %s", query, a.body)
		}
	}
	if a := n.do("GET", path, "", "Accept", "text/html"); a.StatusCode != http.StatusNotAcceptable {
		t.Errorf("%s", a.body)
	}
}

// TestAWatchEndsWithWhatItMaySee: one whose principal is not granted what the binding reads is
// refused, and one that is not any more ends.
func TestAWatchEndsWithWhatItMaySee(t *testing.T) {
	who := principals{
		"admin":  {Name: "admin", Role: access.Admin},
		"reader": {Name: "reader", Role: access.Reader, Streams: []string{"*"}},
		"other":  {Name: "other", Role: access.Reader, Streams: []string{"order-*"}},
	}
	n := newNodeFor(t, who, "admin")
	n.words("words", "1.0.0")
	deploy := func(grants ...string) {
		if _, err := n.client.Plugins().Deploy(t.Context(), "words", plugins.Deploy{Version: "1.0.0", Grants: grants, AllowMissingSecrets: true}); err != nil {
			t.Fatal(err)
		}
	}
	deploy("state")
	for _, err := range n.as("other").Watch(t.Context(), "words", plugins.WatchRequest{}) {
		wants(t, "a watch of what the key is not granted", err, core.CodeForbidden)
	}
	var ended error
	for m, err := range n.as("reader").Watch(t.Context(), "words", plugins.WatchRequest{}) {
		if ended = err; err != nil {
			break
		}
		if m.Kind == plugins.WatchLive {
			deploy("state", "secret:key")
		}
	}
	wants(t, "a watch of a binding that is granted more by now", ended, core.CodeForbidden)
}

// TestQueriesOverTheAPI: a module without the export answers none; what is asked is checked.
func TestQueriesOverTheAPI(t *testing.T) {
	n := newNode(t)
	n.words("words", "1.0.0")
	if _, err := n.client.Plugins().Deploy(t.Context(), "words", plugins.Deploy{Version: "1.0.0", Grants: []string{"state"}}); err != nil {
		t.Fatal(err)
	}
	n.append("a rose")
	_, err := n.client.Plugins().Query(t.Context(), "words", plugins.Query{Lane: plugins.OnlyLane, Text: []byte("?")})
	wants(t, "a query", err, core.CodeNoQuery)
	if m := n.dial().ask("plugin.query", `"binding":"words","query":"?"`); m["op"] != "error" || m["error"].(map[string]any)["code"] != "no_query" {
		t.Errorf("%v", m)
	}
	if a := n.do("POST", "/v1/plugins/words/query", strings.Repeat("x", 64<<10+1)); a.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	e, err := n.client.Plugins().Value(t.Context(), "words", plugins.KeyRequest{Lane: plugins.OnlyLane, Key: "words", AtLeast: 1})
	if err != nil || e.Position != 1 || !strings.HasPrefix(string(e.Value), "a 1\n") {
		t.Errorf("%+v, %v", e, err)
	}
	if m := n.dial().ask("plugin.state", `"binding":"words","key":"words","atLeast":1`); m["position"] != 1.0 {
		t.Errorf("%v", m)
	}
	if a := n.do("GET", "/v1/plugins/words/state?atLeast=99", "", "Gyre-Timeout", "100"); a.StatusCode != http.StatusGatewayTimeout || !strings.Contains(a.body, "up to position 1,") {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}
