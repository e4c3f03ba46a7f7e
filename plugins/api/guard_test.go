package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/wasm/guests"
	"github.com/gyre-events/gyre/sdk"
)

// principals are those of tokens.
type principals map[string]*access.Principal

// Authenticate is access.Authenticator.Authenticate.
func (p principals) Authenticate(token string) (*access.Principal, error) {
	if who := p[token]; who != nil {
		return who, nil
	}
	return nil, core.Errorf(core.CodeUnauthenticated, "no such key")
}

// as is a client with a token.
func (n *node) as(token string) sdk.Plugins {
	n.t.Helper()
	client, err := sdk.Dial(n.t.Context(), n.url, sdk.Options{Token: token})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		if err := client.Close(); err != nil {
			n.t.Error(err)
		}
	})
	return client.Plugins()
}

// wants checks that an error has a code; "" is none.
func wants(t *testing.T, what string, err error, code core.Code) {
	t.Helper()
	if code == "" && err != nil || code != "" && !errors.Is(err, code) {
		t.Errorf("%s: %v, want %q", what, err, code)
	}
}

// TestWhatABindingMadeOfEvents: its logs, its state and the reasons of its failures are for who is
// granted what it reads. Its config is for who may steer it.
func TestWhatABindingMadeOfEvents(t *testing.T) {
	who := principals{
		"root":             {Name: "root", Role: access.Admin},
		"operator":         {Name: "o1", Role: access.Operator},
		"operator-in":      {Name: "o2", Role: access.Operator, Streams: []string{"in"}},
		"operator-all":     {Name: "o3", Role: access.Operator, Streams: []string{"*"}},
		"operator-another": {Name: "o4", Role: access.Operator, Streams: []string{"*"}, Names: []string{"another"}},
		"reader-all":       {Name: "r1", Role: access.Reader, Streams: []string{"*"}},
		"author-in":        {Name: "a1", Role: access.PluginAuthor, Streams: []string{"in"}},
		"author-all":       {Name: "a2", Role: access.PluginAuthor, Streams: []string{"*"}},
	}
	n := newNodeFor(t, who, "root")
	n.append("a rose is a rose")
	n.words("words", "1.0.0")
	const secret = "a-secret-of-the-config"
	if _, err := n.client.Plugins().Deploy(t.Context(), "words", plugins.Deploy{Version: "1.0.0", Grants: []string{"state"}, Config: []byte(`{"x":"` + secret + `"}`)}); err != nil {
		t.Fatal(err)
	}
	n.handled("words")
	for _, c := range []struct {
		token                string
		logs, state, pause   core.Code
		seesConfig, mayBeSee bool
	}{
		{"root", "", "", "", true, true},
		{"operator", core.CodeForbidden, core.CodeForbidden, "", true, true},
		{"operator-in", core.CodeForbidden, core.CodeForbidden, "", true, true}, // "in" may have links to others
		{"operator-all", "", "", "", true, true},
		{"operator-another", "", "", core.CodeForbidden, false, true},
		{"reader-all", core.CodeForbidden, "", core.CodeForbidden, false, false},
		{"author-in", core.CodeForbidden, core.CodeForbidden, core.CodeForbidden, false, true},
		{"author-all", "", "", "", true, true},
	} {
		all := n.as(c.token)
		_, err := all.Logs(t.Context(), "words", plugins.LogsRequest{})
		wants(t, c.token+" reads the logs", err, c.logs)
		_, err = all.State(t.Context(), "words", plugins.StateRequest{Lane: plugins.OnlyLane})
		wants(t, c.token+" reads the state", err, c.state)
		stream := n.do("GET", "/v1/plugins/words/logs", "", "Authorization", "Bearer "+c.token, "Accept", "text/plain")
		if (stream.StatusCode == 200) != (c.logs == "") {
			t.Errorf("%s reads the logs as text: %d", c.token, stream.StatusCode)
		}
		for _, path := range []string{"/v1/plugins/words", "/v1/plugins"} {
			seen := n.do("GET", path, "", "Authorization", "Bearer "+c.token)
			if (seen.StatusCode == 200) != c.mayBeSee || strings.Contains(seen.body, secret) != c.seesConfig {
				t.Errorf("%s sees %s: %d %s", c.token, path, seen.StatusCode, seen.body)
			}
		}
		_, err = all.Pause(t.Context(), "words")
		wants(t, c.token+" pauses", err, c.pause)
	}

	// What is not granted any more may be in the state.
	for _, grants := range [][]string{{"state", "secret:KEY"}, {"state"}} {
		if _, err := n.client.Plugins().Deploy(t.Context(), "words", plugins.Deploy{Grants: grants, AllowMissingSecrets: true}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := n.as("operator-all").State(t.Context(), "words", plugins.StateRequest{Lane: plugins.OnlyLane})
	wants(t, "a key that is not granted what the state may be made of", err, core.CodeForbidden)
	if _, err := n.client.Plugins().Rebuild(t.Context(), "words", plugins.Rebuild{}); err != nil {
		t.Fatal(err)
	}
	n.until("words", "is rebuilt", func(s *plugins.Status) bool { return s.Generation == 2 && s.Beside == nil })
	_, err = n.as("operator-all").State(t.Context(), "words", plugins.StateRequest{Lane: plugins.OnlyLane})
	wants(t, "a key that sees the state of the next generation", err, "")
	n.followsLogsWithin(map[string]core.Code{"operator": core.CodeForbidden, "operator-all": "", "author-in": core.CodeForbidden})
}

// followsLogsWithin opens the sub plugin.logs.
func (n *node) followsLogsWithin(want map[string]core.Code) {
	for token, code := range want {
		s := n.dialAs(token)
		if m := s.ask("plugin.logs", `"sub":1,"binding":"words"`); code == "" && m["op"] != "ok" || code != "" && !strings.Contains(fmt.Sprint(m), string(code)) {
			n.t.Errorf("%s follows the logs: %v", token, m)
		}
	}
}

// TestNamesOfPlugins: a key with names changes the plugins and bindings of those, and no others.
func TestNamesOfPlugins(t *testing.T) {
	who := principals{
		"root":   {Name: "root", Role: access.Admin},
		"author": {Name: "a1", Role: access.PluginAuthor, Streams: []string{"*"}, Names: []string{"mine-*"}},
		"ops":    {Name: "o1", Role: access.Operator, Streams: []string{"*"}, Names: []string{"mine-*"}},
	}
	n := newNodeFor(t, who, "root")
	ctx := t.Context()
	n.words("theirs", "1.0.0")
	grants := []string{"state"}
	if _, err := n.client.Plugins().Deploy(ctx, "theirs", plugins.Deploy{Version: "1.0.0", Grants: grants}); err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{"author", "ops"} {
		all := n.as(token)
		upload := func(name string) error {
			_, _, err := all.Upload(ctx, sdk.Upload{Plugin: name, Version: "2.0.0", Module: guests.Words, Manifest: manifest(name, "2.0.0")})
			return err
		}
		deploy := func(name, plugin, version string) error {
			_, err := all.Deploy(ctx, name, plugins.Deploy{Plugin: plugin, Version: version, Grants: grants})
			return err
		}
		controls := map[string]func(string) error{
			"pause":    func(name string) error { _, err := all.Pause(ctx, name); return err },
			"resume":   func(name string) error { _, err := all.Resume(ctx, name); return err },
			"rebuild":  func(name string) error { _, err := all.Rebuild(ctx, name, plugins.Rebuild{}); return err },
			"rollback": func(name string) error { _, err := all.Rollback(ctx, name, plugins.Rollback{}); return err },
			"switch":   func(name string) error { _, err := all.Switch(ctx, name); return err },
			"cancel":   func(name string) error { _, err := all.CancelRebuild(ctx, name); return err },
			"drop":     func(name string) error { _, err := all.DropBefore(ctx, name); return err },
			"delete":   func(name string) error { return all.Delete(ctx, name) },
		}
		wants(t, token+" uploads theirs", upload("theirs"), core.CodeForbidden)
		wants(t, token+" deletes a version of theirs", all.DeleteVersion(ctx, "theirs", "1.0.0"), core.CodeForbidden)
		wants(t, token+" deploys theirs", deploy("theirs", "", "1.0.0"), core.CodeForbidden)
		for what, do := range controls {
			wants(t, token+" does "+what+" to theirs", do("theirs"), core.CodeForbidden)
		}
		wants(t, token+" uploads its own", upload("mine-a"), "")
		wants(t, token+" deploys its own", deploy("mine-a", "", "2.0.0"), "")
		wants(t, token+" deploys theirs as its own", deploy("mine-b", "theirs", "1.0.0"), "")
		for _, what := range []string{"pause", "resume", "rebuild", "delete"} {
			wants(t, token+" does "+what+" to its own", controls[what]("mine-a"), "")
		}
		wants(t, token+" deletes its own", controls["delete"]("mine-b"), "")
		wants(t, token+" deletes its own version", all.DeleteVersion(ctx, "mine-a", "2.0.0"), "")
	}
}

// TestDeployOverWhatWasGrantedMore: a binding goes on with its state when it is deployed again, so
// that needs what it was granted before, too.
func TestDeployOverWhatWasGrantedMore(t *testing.T) {
	who := principals{
		"root":   {Name: "root", Role: access.Admin},
		"author": {Name: "a1", Role: access.PluginAuthor, Streams: []string{"in"}},
	}
	n := newNodeFor(t, who, "root")
	n.words("words", "1.0.0")
	d := plugins.Deploy{Plugin: "words", Version: "1.0.0", Grants: []string{"state", "streams.read:billing-*"}}
	d.Input = &plugins.Input{Stream: "in", Filter: subscriptions.Filter{Streams: []string{"in"}}}
	if _, err := n.client.Plugins().Deploy(t.Context(), "wide", d); err != nil {
		t.Fatal(err)
	}
	d.Grants = []string{"state"}
	_, err := n.as("author").Deploy(t.Context(), "wide", d)
	wants(t, "over the state of more", err, core.CodeForbidden)
	_, err = n.as("author").Deploy(t.Context(), "narrow", d)
	wants(t, "a binding of its own", err, "")
}

// TestRollbackToWhatWasGrantedMore: a generation that was granted more has state that it made of that,
// so it comes back only for who is granted as much. A rebuild with another version is a deploy.
func TestRollbackToWhatWasGrantedMore(t *testing.T) {
	who := principals{
		"root":   {Name: "root", Role: access.Admin},
		"author": {Name: "a1", Role: access.PluginAuthor, Streams: []string{"in"}},
	}
	n := newNodeFor(t, who, "root")
	n.words("words", "1.0.0")
	root, author, ctx := n.client.Plugins(), n.as("author"), t.Context()
	d := plugins.Deploy{Plugin: "words", Version: "1.0.0", Grants: []string{"state", "streams.read:billing-*"}}
	d.Input = &plugins.Input{Stream: "in", Filter: subscriptions.Filter{Streams: []string{"in"}}}
	if _, err := root.Deploy(ctx, "wide", d); err != nil {
		t.Fatal(err)
	}
	_, err := author.Rebuild(ctx, "wide", plugins.Rebuild{Version: "1.0.0"})
	wants(t, "a rebuild of what is granted more", err, core.CodeForbidden)
	if _, err := root.Rebuild(ctx, "wide", plugins.Rebuild{}); err != nil {
		t.Fatal(err)
	}
	n.until("wide", "it is rebuilt", func(s *plugins.Status) bool { return s.Generation == 2 })
	if _, err := root.Deploy(ctx, "wide", plugins.Deploy{Grants: []string{"state"}}); err != nil {
		t.Fatal(err)
	}
	_, err = author.Rollback(ctx, "wide", plugins.Rollback{To: plugins.ToGeneration})
	wants(t, "back to what was granted more", err, core.CodeForbidden)
	s, err := root.Rollback(ctx, "wide", plugins.Rollback{To: plugins.ToGeneration})
	if err != nil || s.Generation != 1 || !slices.Equal(s.Grants, []string{"state"}) {
		t.Errorf("a rollback gives grants back: %+v, %v", s, err)
	}
}

// TestReasonsOfParkedEvents: a plugin may write what it has read into the reason for which it parks
// an event. That is for who is granted what the plugin reads.
func TestReasonsOfParkedEvents(t *testing.T) {
	who := principals{
		"root":   {Name: "root", Role: access.Admin},
		"events": {Name: "o1", Role: access.Operator, Streams: []string{"in"}},
		"both":   {Name: "o2", Role: access.Operator, Streams: []string{"in", "billing-*"}},
	}
	n := newNodeFor(t, who, "root")
	n.words("words", "1.0.0")
	d := plugins.Deploy{Version: "1.0.0", Grants: []string{"streams.read:billing-*"}, OnError: &plugins.ErrorPolicy{Attempts: 1, Then: plugins.ThenPark}, Limits: &plugins.Limits{Fuel: 10_000}}
	d.Input = &plugins.Input{Stream: "in", Filter: subscriptions.Filter{Streams: []string{"in"}}}
	if _, err := n.client.Plugins().Deploy(t.Context(), "words", d); err != nil {
		t.Fatal(err)
	}
	n.append(strings.Repeat("a rose ", 1000)) // more than its fuel is for
	n.until("words", "it has parked the event", func(s *plugins.Status) bool { return s.Parked == 1 })
	for token, sees := range map[string]bool{"root": true, "events": false, "both": true} {
		var page struct {
			Parked []struct {
				Reason   string
				Failures []struct{ Reason string }
				Event    json.RawMessage
			}
		}
		answer := n.do("GET", "/v1/subscriptions/words/parked", "", "Authorization", "Bearer "+token)
		if err := json.Unmarshal([]byte(answer.body), &page); err != nil || len(page.Parked) != 1 || page.Parked[0].Event == nil {
			t.Fatalf("%s: %s, %v", token, answer.body, err)
		}
		if p := page.Parked[0]; (p.Reason != "") != sees || (len(p.Failures) > 0) != sees {
			t.Errorf("%s sees %s", token, answer.body)
		}
	}
}

// TestUploadsOfTheSameAreNoActs: the audit has an upload once, however often it is sent.
func TestUploadsOfTheSameAreNoActs(t *testing.T) {
	n := newNode(t)
	n.words("words", "1.0.0")
	again := sdk.Upload{Plugin: "words", Version: "1.0.0", Module: guests.Words, Manifest: manifest("words", "1.0.0")}
	if _, created, err := n.client.Plugins().Upload(t.Context(), again); err != nil || created {
		t.Fatalf("created %t, %v", created, err)
	}
	n.audit.mu.Lock()
	defer n.audit.mu.Unlock()
	if want := []string{"PluginUploaded words/1.0.0"}; !slices.Equal(n.audit.list, want) {
		t.Errorf("the audit has %q, want %q", n.audit.list, want)
	}
}

// TestLogsEndWithTheKey: an event stream of logs says why it ends.
func TestLogsEndWithTheKey(t *testing.T) {
	ends, end := context.WithCancelCause(t.Context())
	n := newNodeFor(t, principals{
		"root": {Name: "root", Role: access.Admin},
		"k":    access.Principal{Name: "k", Role: access.Operator, Streams: []string{"*"}}.Until(ends),
	}, "root")
	n.words("words", "1.0.0")
	if _, err := n.client.Plugins().Deploy(t.Context(), "words", plugins.Deploy{Version: "1.0.0", Grants: []string{"state"}}); err != nil {
		t.Fatal(err)
	}
	n.append("a rose")
	r, err := http.NewRequestWithContext(t.Context(), "GET", n.url+"/v1/plugins/words/logs", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer k")
	r.Header.Set("Accept", "text/event-stream")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text := bufio.NewReader(answer.Body)
	for line := ""; !strings.HasPrefix(line, "data: "); {
		if line, err = text.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	end(core.Errorf(core.CodeUnauthenticated, "the key was revoked"))
	rest, err := io.ReadAll(text)
	if err != nil || !strings.Contains(string(rest), `event: end`) || !strings.Contains(string(rest), `"unauthenticated"`) {
		t.Errorf("it ended with %q, %v", rest, err)
	}
}
