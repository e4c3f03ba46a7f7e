package api_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
)

// TestDryRun goes through lines, server-sent events, a socket and the client. The binding's state,
// its log and its metrics are what they were.
func TestDryRun(t *testing.T) {
	n := newNode(t)
	n.words("words", "1.0.0")
	n.append("a rose is a rose", "is a rose")
	if _, err := n.client.Plugins().Deploy(t.Context(), "words", plugins.Deploy{Version: "1.0.0", Grants: []string{"state"}}); err != nil {
		t.Fatal(err)
	}
	n.handled("words")
	seen := func() string {
		return n.do("GET", "/v1/plugins/words", "").body + n.do("GET", "/v1/plugins/words/state", "").body + n.do("GET", "/v1/plugins/words/logs", "").body
	}
	before := seen()
	lines := n.do("POST", "/v1/plugins/words/dry-run", `{"show":3}`)
	last := strings.TrimSpace(lines.body[strings.LastIndexByte(strings.TrimSpace(lines.body), '\n')+1:])
	var m struct{ Result plugins.DryRunResult }
	if err := json.Unmarshal([]byte(last), &m); err != nil || lines.Header.Get("Content-Type") != "application/x-ndjson" {
		t.Fatalf("%v: %s", err, lines.body)
	}
	stored := m.Result.Tried.Stored
	if m.Result.Tried.Acked != 2 || stored.Added+stored.Changed+stored.Removed != 0 || m.Result.Tried.State.Added != 1 || m.Result.Tried.Logs.Count == 0 || m.Result.Tried.Fuel == 0 || m.Result.Tried.MemoryBytes == 0 {
		t.Errorf("%s", last)
	}
	events := n.do("POST", "/v1/plugins/words/dry-run", `{"count":1}`, "Accept", "text/event-stream")
	if events.Header.Get("Content-Type") != "text/event-stream" || !strings.Contains(events.body, `data: {"result":{"binding":"words","from":1,"to":1,"events":1,`) {
		t.Errorf("%s", events.body)
	}
	s := n.dial()
	if m := s.ask("plugin.dryRun", `"sub":1,"binding":"words","against":"1.0.0"`); m["op"] != "ok" {
		t.Fatalf("%v", m)
	}
	for m := s.receive(); m["result"] == nil; m = s.receive() {
		if m["op"] != "plugin.dryRun" || m["progress"] == nil {
			t.Fatalf("%v", m)
		}
	}
	if m := s.receive(); m["op"] != "end" || m["sub"] != 1.0 {
		t.Errorf("behind the result comes %v", m)
	}
	r, err := n.client.Plugins().DryRun(t.Context(), "words", plugins.DryRun{Version: "1.0.0", State: plugins.StoredState, From: 2}, nil)
	if err != nil || r.Tried.State.Changed != 1 || r.From != 2 || r.Events != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	if after := seen(); after != before {
		t.Errorf("it was\n%s\nand is\n%s", before, after)
	}
}

// TestDryRunRefusals: what is wrong is a problem, before anything is sent.
func TestDryRunRefusals(t *testing.T) {
	n := newNode(t)
	n.words("words", "1.0.0")
	for _, c := range []struct {
		body   string
		status int
		code   core.Code
	}{
		{`{"version":"1.0.0"}`, 400, core.CodeInvalidDryRunRange},
		{`{"version":"2.0.0"}`, 400, core.CodeInvalidDryRunRange},
		{`{"version":"1.0.0","count":-1}`, 400, core.CodeInvalidRequest},
		{`{"version":"1.0.0","state":"new"}`, 400, core.CodeInvalidRequest},
		{`{"version":"1.0.0","colour":"red"}`, 400, core.CodeInvalidRequest},
		{`{}`, 400, core.CodeInvalidDryRunRange},
	} {
		a := n.do("POST", "/v1/plugins/words/dry-run", c.body)
		if a.StatusCode != c.status || !strings.Contains(a.body, `"code":"`+string(c.code)+`"`) {
			t.Errorf("%s: %d %s", c.body, a.StatusCode, a.body)
		}
	}
	if a := n.do("POST", "/v1/plugins/words/dry-run", `{}`, "Accept", "image/png"); a.StatusCode != 406 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	s := n.dial()
	if m := s.ask("plugin.dryRun", `"sub":1,"binding":"words","show":-1`); m["op"] != "error" {
		t.Errorf("%v", m)
	}
	n.append("a rose")
	for body, code := range map[string]core.Code{`{}`: core.CodeInvalidRequest, `{"version":"2.0.0"}`: core.CodeVersionNotFound} {
		if a := n.do("POST", "/v1/plugins/words/dry-run", body); !strings.Contains(a.body, `"code":"`+string(code)+`"`) {
			t.Errorf("%s: %d %s", body, a.StatusCode, a.body)
		}
	}
}

// TestDryRunIsForWhoSeesState: who runs a version sees what it makes of events.
func TestDryRunIsForWhoSeesState(t *testing.T) {
	n := newNodeFor(t, principals{
		"root":         {Name: "root", Role: access.Admin},
		"operator":     {Name: "o1", Role: access.Operator},
		"operator-all": {Name: "o3", Role: access.Operator, Streams: []string{"*"}},
		"writer-all":   {Name: "w1", Role: access.Writer, Streams: []string{"*"}},
		"reader-in":    {Name: "r1", Role: access.Reader, Streams: []string{"in"}},
		"reader-all":   {Name: "r2", Role: access.Reader, Streams: []string{"*"}},
		"author-all":   {Name: "a2", Role: access.PluginAuthor, Streams: []string{"*"}},
	}, "root")
	n.append("a rose is a rose")
	n.words("words", "1.0.0")
	for token, want := range map[string]core.Code{
		"root": "", "operator": core.CodeForbidden, "operator-all": "", "writer-all": core.CodeForbidden, "reader-in": core.CodeForbidden, "reader-all": "", "author-all": "",
	} {
		_, err := n.as(token).DryRun(t.Context(), "words", plugins.DryRun{Version: "1.0.0"}, nil)
		wants(t, token, err, want)
		s := n.dialAs(token)
		m := s.ask("plugin.dryRun", `"sub":1,"binding":"words","version":"1.0.0"`)
		for m["op"] == "ok" || m["progress"] != nil {
			m = s.receive()
		}
		if got := m["result"] != nil; got != (want == "") {
			t.Errorf("%s over a socket: %v", token, m)
		}
	}
}

// TestShadow goes through the client: what a version in the shadow does otherwise is for who sees
// the state, and to start one is to deploy.
func TestShadow(t *testing.T) {
	n := newNodeFor(t, principals{
		"root":         {Name: "root", Role: access.Admin},
		"operator-in":  {Name: "o1", Role: access.Operator, Streams: []string{"in"}},
		"operator-all": {Name: "o3", Role: access.Operator, Streams: []string{"*"}},
		"reader-all":   {Name: "r2", Role: access.Reader, Streams: []string{"*"}},
		"author-all":   {Name: "a2", Role: access.PluginAuthor, Streams: []string{"*"}},
	}, "root")
	n.words("words", "1.0.0")
	n.words("words", "2.0.0")
	if _, err := n.client.Plugins().Deploy(t.Context(), "words", plugins.Deploy{Version: "1.0.0", Grants: []string{"state"}}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		token            string
		start, look, end core.Code
	}{
		{"reader-all", core.CodeForbidden, "", core.CodeForbidden},
		{"operator-in", core.CodeForbidden, core.CodeForbidden, ""},
		{"operator-all", "", "", ""},
		{"author-all", "", "", ""},
	} {
		all := n.as(c.token)
		_, err := all.Shadow(t.Context(), "words", "2.0.0")
		wants(t, c.token+" starts it", err, c.start)
		if _, err := n.client.Plugins().Shadow(t.Context(), "words", "2.0.0"); err != nil {
			t.Fatal(err)
		}
		_, err = all.Differences(t.Context(), "words", plugins.ShadowRequest{Limit: 10})
		wants(t, c.token+" sees it", err, c.look)
		_, err = all.EndShadow(t.Context(), "words")
		wants(t, c.token+" ends it", err, c.end)
	}
	if _, err := n.client.Plugins().Shadow(t.Context(), "words", "2.0.0"); err != nil {
		t.Fatal(err)
	}
	if err := n.client.Plugins().DeleteVersion(t.Context(), "words", "2.0.0"); err == nil {
		t.Error("the version in the shadow was deleted")
	}
	for s := (plugins.Status{}); s.Shadow == nil || s.Shadow.Events == 0; {
		n.append("a rose is a rose")
		s = n.handled("words")
	}
	report, err := n.client.Plugins().Differences(t.Context(), "words", plugins.ShadowRequest{})
	if err != nil || report.Shadow.Differ != 0 || report.Shadow.Fuel == 0 || report.Version != "1.0.0" {
		t.Errorf("%+v, %v", report, err)
	}
	s, err := n.client.Plugins().Switch(t.Context(), "words")
	if err != nil || s.Version != "2.0.0" || s.Shadow != nil {
		t.Errorf("%+v, %v", s, err)
	}
}
