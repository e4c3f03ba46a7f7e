package api_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
)

const outOfFuel = "plugin out of fuel: raise the binding's fuel limit, or handle fewer events in a batch"

// poisoned is a node with a binding that has parked the second of three events: it has too little
// fuel for it. With enough, it handles it.
func (n *node) poisoned() {
	n.t.Helper()
	n.words("words", "1.0.0")
	var long strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&long, "w%d ", i)
	}
	n.append("a rose", long.String(), "is a rose")
	n.deployWords(1_000_000)
	n.until("words", "an event is parked", func(s *plugins.Status) bool { return s.Parked == 1 && s.Checkpoint == 3 })
}

func (n *node) deployWords(fuel int64) {
	n.t.Helper()
	d := plugins.Deploy{Version: "1.0.0", Grants: []string{"state"}, Limits: &plugins.Limits{Fuel: fuel}, OnError: &plugins.ErrorPolicy{Attempts: 1, MinMs: 1, MaxMs: 1}}
	if _, err := n.client.Plugins().Deploy(n.t.Context(), "words", d); err != nil {
		n.t.Fatal(err)
	}
}

// TestPoison goes through the workbench over HTTP, a socket and the client.
func TestPoison(t *testing.T) {
	n := newNode(t)
	n.poisoned()
	all, ctx := n.client.Plugins(), t.Context()
	page, err := all.Poisoned(ctx, "words", plugins.PoisonRequest{})
	if err != nil || len(page.Poison) != 1 || !page.End || page.Poison[0].Position != 2 || page.Poison[0].Type != "Said" || page.Poison[0].Stream != "in" {
		t.Fatalf("%+v, %v", page, err)
	}
	p, err := all.Poison(ctx, "words", 2)
	if err != nil || p.Event == nil || p.Event.Position != 2 || p.Reason != outOfFuel || p.Attempts != 1 || len(p.History) != 1 || p.Fuel < 1_000_000 || p.Seconds <= 0 {
		t.Errorf("%+v, %v", p, err)
	}
	if !strings.HasPrefix(p.Stack, "$") { // the module has no names
		t.Errorf("the stack is %q", p.Stack)
	}
	shown := n.do("GET", "/v1/plugins/words/poison/2", "")
	if !strings.Contains(shown.body, `"event":{"stream":"in"`) || shown.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s", shown.body)
	}
	s := n.dial()
	for op, want := range map[string]string{
		"plugin.poison": `"poison":[{`, "plugin.showPoison": `"history":[{`, "plugin.runPoison": `"fate":"parked"`,
	} {
		if m, err := json.Marshal(s.ask(op, `"binding":"words","position":2`)); op != "plugin.poison" && (err != nil || !strings.Contains(string(m), want)) {
			t.Errorf("%s: %s, %v", op, m, err)
		}
	}
	if m, err := json.Marshal(s.ask("plugin.poison", `"binding":"words","limit":1`)); err != nil || !strings.Contains(string(m), `"position":2`) {
		t.Errorf("%s, %v", m, err)
	}

	before := n.do("GET", "/v1/plugins/words/state", "").body
	ran, err := all.RunPoison(ctx, "words", 2, plugins.PoisonRun{})
	if err != nil || ran.Fate != plugins.Parked || ran.Reason != outOfFuel || ran.Tried.Parked != 1 || ran.Tried.Fuel < 1_000_000 || ran.Stack != p.Stack {
		t.Errorf("%+v, %v", ran, err)
	}
	retried, err := all.RetryPoison(ctx, "words", 2)
	if err != nil || retried.Outcome != plugins.ParkedAgain || retried.Attempts != 2 || retried.Reason != outOfFuel {
		t.Errorf("%+v, %v", retried, err)
	}
	n.deployWords(0)
	ran, err = all.RunPoison(ctx, "words", 2, plugins.PoisonRun{Version: "1.0.0"})
	if err != nil || ran.Fate != plugins.Acked || ran.Tried.State.Changed != 1 || len(ran.Steps.List) != 2 || ran.Steps.List[0].Do != plugins.DoLog || ran.Steps.List[1].Key != "words" {
		t.Errorf("%+v, %v", ran, err)
	}
	if after := n.do("GET", "/v1/plugins/words/state", "").body; after != before {
		t.Errorf("the state was\n%s\nand is\n%s", before, after)
	}
	retried, err = all.RetryPoison(ctx, "words", 2)
	if err != nil || retried.Outcome != plugins.HandledAgain {
		t.Errorf("%+v, %v", retried, err)
	}
	if after := n.do("GET", "/v1/plugins/words/state", "").body; after == before {
		t.Error("the replay has not changed the state")
	}
	if acts := n.audit.of("words/2"); len(acts) != 2 || acts[0] != "PluginPoisonRetried words/2" {
		t.Errorf("the audit has %v of %v", acts, n.audit.list)
	}
}

// TestPoisonRefuses: what is not there, and what cannot be, is an error and changes nothing.
func TestPoisonRefuses(t *testing.T) {
	n := newNode(t)
	n.poisoned()
	all, ctx := n.client.Plugins(), t.Context()
	_, err := all.Poison(ctx, "words", 1)
	wants(t, "show one that is not parked", err, core.CodeEventNotParked)
	_, err = all.RunPoison(ctx, "words", 3, plugins.PoisonRun{})
	wants(t, "run one that is not parked", err, core.CodeEventNotParked)
	_, err = all.RetryPoison(ctx, "words", 99)
	wants(t, "retry one that is not parked", err, core.CodeEventNotParked)
	wants(t, "drop one that is not parked", all.DropPoison(ctx, "words", 1), core.CodeEventNotParked)
	_, err = all.RunPoison(ctx, "words", 2, plugins.PoisonRun{Version: "9.9.9"})
	wants(t, "run a version that is not there", err, core.CodeVersionNotFound)
	_, err = all.Poisoned(ctx, "none", plugins.PoisonRequest{})
	wants(t, "list a binding that is not there", err, core.CodeBindingNotFound)
	for _, path := range []string{"/v1/plugins/words/poison/0", "/v1/plugins/words/poison/x", "/v1/plugins/words/poison?limit=0", "/v1/plugins/words/poison?after=-1"} {
		if got := n.do("GET", path, ""); got.StatusCode != 400 {
			t.Errorf("GET %s: %d %s", path, got.StatusCode, got.body)
		}
	}
	if _, err := all.Pause(ctx, "words"); err != nil {
		t.Fatal(err)
	}
	retried, err := all.RetryPoison(ctx, "words", 2)
	if err != nil || retried.Outcome != plugins.StillWaiting || retried.Reason != "the binding is paused" {
		t.Errorf("%+v, %v", retried, err)
	}
	if _, err := all.Resume(ctx, "words"); err != nil {
		t.Fatal(err)
	}
	n.until("words", "it has failed again", func(s *plugins.Status) bool {
		p, err := all.Poison(ctx, "words", 2)
		return err == nil && p.Attempts == 2 && s.Parked == 1
	})
	wants(t, "drop", all.DropPoison(ctx, "words", 2), "")
	if page, err := all.Poisoned(ctx, "words", plugins.PoisonRequest{}); err != nil || len(page.Poison) != 0 {
		t.Errorf("%+v, %v", page, err)
	}
}

// TestPoisonIsForThoseGranted: it is for who may see the state, and is granted what the binding reads.
func TestPoisonIsForThoseGranted(t *testing.T) {
	who := principals{
		"root":       {Name: "root", Role: access.Admin},
		"author":     {Name: "a1", Role: access.PluginAuthor, Streams: []string{"*"}},
		"author-out": {Name: "a2", Role: access.PluginAuthor, Streams: []string{"other"}},
		"reader":     {Name: "r1", Role: access.Reader, Streams: []string{"*"}},
		"operator":   {Name: "o1", Role: access.Operator},
	}
	n := newNodeFor(t, who, "root")
	n.poisoned()
	ctx := t.Context()
	for token, code := range map[string]struct{ see, steer core.Code }{
		"author": {"", ""}, "author-out": {core.CodeForbidden, core.CodeForbidden}, "reader": {"", core.CodeForbidden}, "operator": {core.CodeForbidden, ""},
	} {
		all := n.as(token)
		_, err := all.Poisoned(ctx, "words", plugins.PoisonRequest{})
		wants(t, token+" lists", err, code.see)
		_, err = all.Poison(ctx, "words", 2)
		wants(t, token+" shows", err, code.see)
		_, err = all.RunPoison(ctx, "words", 2, plugins.PoisonRun{})
		wants(t, token+" runs", err, code.see)
		retried, err := all.RetryPoison(ctx, "words", 2)
		wants(t, token+" retries", err, code.steer)
		if shown := strings.Contains(retried.Reason, "fuel"); code.steer == "" && shown != (code.see == "") {
			t.Errorf("%s is told %q", token, retried.Reason)
		}
	}
}
