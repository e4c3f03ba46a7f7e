package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/wasm/guests"
	"github.com/gyre-events/gyre/sdk"
)

// validator uploads a version of a validator.
func (n *node) validator(name, version string, module []byte) {
	n.t.Helper()
	text := fmt.Appendf(nil, `{"name":%q,"version":%q,"abi":"gyre_1","kind":"validate","subscription":{"stream":"order-*"}}`, name, version)
	if _, _, err := n.client.Plugins().Upload(n.t.Context(), sdk.Upload{Plugin: name, Version: version, Module: module, Manifest: text}); err != nil {
		n.t.Fatal(err)
	}
}

// TestValidator: a validator from its upload to its end, and what clients of each kind are told.
func TestValidator(t *testing.T) {
	n := newNode(t)
	all, ctx := n.client.Plugins(), t.Context()
	n.validator("totals", "1", guests.Orders)
	s, err := all.Deploy(ctx, "totals", plugins.Deploy{Version: "1"})
	if err != nil || s.State != plugins.Running || s.Kind != plugins.KindValidate || !slices.Equal(s.Input.Filter.Streams, []string{"order-*"}) || s.Limits.TimeMs != 10 {
		t.Fatalf("%+v, %v", s, err)
	}
	appends := map[string]func(stream, data string) error{
		"Go": func(stream, data string) error {
			_, err := n.client.Append(ctx, core.Commit{Appends: []core.Append{{Stream: stream, Expect: core.AnyVersion, Events: []core.NewEvent{{Type: "T", Data: []byte(data)}}}}})
			return err
		},
		"HTTP": func(stream, data string) error {
			return n.problem(n.do("POST", "/v1/streams/"+stream+"/events", `[{"type":"T","data":`+data+`}]`, "Content-Type", "application/json"))
		},
		"CloudEvents": func(stream, data string) error {
			return n.problem(n.do("POST", "/v1/streams/"+stream+"/events",
				`{"specversion":"1.0","id":"`+core.NewID().String()+`","source":"/s","type":"T","datacontenttype":"application/json","data":`+data+`}`, "Content-Type", "application/cloudevents+json"))
		},
		"WebSocket": func(stream, data string) error {
			m := n.dial().ask("append", fmt.Sprintf(`"stream":%q,"events":[{"type":"T","data":%s}]`, stream, data))
			if m["op"] == "ok" {
				return nil
			}
			e, _ := m["error"].(map[string]any)
			return core.Errorf(core.Code(fmt.Sprint(e["code"])), "%v", e["detail"])
		},
	}
	for how, do := range appends {
		if err := do("order-1", `{"total":5}`); err != nil {
			t.Errorf("%s, accepted: %v", how, err)
		}
		if err := do("other-1", `{"total":-5}`); err != nil {
			t.Errorf("%s, not judged: %v", how, err)
		}
		err := do("order-1", `{"total":-5}`)
		if want := `validator "totals" refuses event 0 of stream "order-1", T: the total is below 0`; !errors.Is(err, core.CodeAppendRefused) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s, refused: %v", how, err)
		}
	}
	want := uint64(len(appends))
	if s, err = all.Status(ctx, "totals"); err != nil || s.Totals.Batches != 2*want || s.Totals.Refused != want || s.Totals.Failures != 0 || s.Totals.Fuel == 0 {
		t.Errorf("%+v, %v", s.Totals, err)
	}
	n.words("words", "1.0.0")
	if _, err := all.Deploy(ctx, "words", plugins.Deploy{Version: "1.0.0", Grants: []string{"state"}}); err != nil {
		t.Fatal(err)
	}
	n.seesBothKinds()
	n.refusesOtherKind()
	n.endsValidator()
}

// problem is the error of an answer.
func (n *node) problem(a answer) error {
	if a.StatusCode < 300 {
		return nil
	}
	var p struct {
		Code   core.Code
		Detail string
		Stream string
	}
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		return err
	}
	if a.StatusCode != http.StatusUnprocessableEntity || p.Stream == "" {
		n.t.Errorf("the answer is %d %s", a.StatusCode, a.body)
	}
	return core.Errorf(p.Code, "%s", p.Detail)
}

// seesBothKinds lists validators beside other bindings.
func (n *node) seesBothKinds() {
	n.t.Helper()
	for limit, pages := range map[int]int{1: 2, 2: 1, 100: 1} {
		var names []string
		r := plugins.ListRequest{Limit: limit}
		for seen := 0; seen < pages; seen++ {
			page, err := n.client.Plugins().List(n.t.Context(), r)
			if err != nil || page.End != (seen == pages-1) {
				n.t.Fatalf("limit %d, page %d: %+v, %v", limit, seen, page, err)
			}
			for _, l := range page.Plugins {
				names = append(names, l.Name+" "+string(l.Binding.State))
				r.After = l.Name
			}
		}
		if want := []string{"totals running", "words running"}; len(names) != 2 || names[0] != want[0] || !strings.HasPrefix(names[1], "words ") {
			n.t.Errorf("limit %d: %q", limit, names)
		}
	}
}

// refusesOtherKind: a name is of one kind, and what a validator does not have is refused.
func (n *node) refusesOtherKind() {
	n.t.Helper()
	all, ctx, t := n.client.Plugins(), n.t.Context(), n.t
	for what, err := range map[string]error{
		"a handler's name": second(all.Deploy(ctx, "words", plugins.Deploy{Plugin: "totals", Version: "1"})),
		"its own name":     second(all.Deploy(ctx, "totals", plugins.Deploy{Plugin: "words", Version: "1.0.0"})),
	} {
		if !errors.Is(err, core.CodeInvalidRequest) {
			t.Errorf("%s: %v", what, err)
		}
	}
	n.refusesWhatHandlersHave()
	if err := all.DeleteVersion(ctx, "totals", "1"); !errors.Is(err, core.CodePluginInUse) || !strings.Contains(err.Error(), "totals") {
		t.Errorf("a version in force: %v", err)
	}
}

// refusesWhatHandlersHave: of all that is about events that were handled, a validator has nothing.
func (n *node) refusesWhatHandlersHave() {
	n.t.Helper()
	s := n.dial()
	for i, c := range []struct{ method, below, op, fields, what string }{
		{"POST", "/rebuild", "plugin.rebuild", "", "generations: deploy another version, and it judges what is appended from then on"},
		{"DELETE", "/rebuild", "plugin.cancelRebuild", "", "generations"},
		{"POST", "/switch", "plugin.switch", "", "generations"},
		{"DELETE", "/before", "plugin.dropBefore", "", "generations"},
		{"POST", "/rollback", "plugin.rollback", `"to":"generation"`, "generations"},
		{"POST", "/shadow", "plugin.shadow", `"version":"1"`, "shadow: it judges what is appended"},
		{"DELETE", "/shadow", "plugin.endShadow", "", "shadow"},
		{"GET", "/shadow", "plugin.differences", "", "shadow"},
		{"POST", "/dry-run", "plugin.dryRun", "", "dry runs: it judges what is appended, and no stored events"},
		{"GET", "/poison", "plugin.poison", "", "parked events"},
		{"GET", "/poison/1", "plugin.showPoison", `"position":1`, "parked events"},
		{"POST", "/poison/1/run", "plugin.runPoison", `"position":1`, "parked events"},
		{"POST", "/poison/1/retry", "plugin.retryPoison", `"position":1`, "parked events"},
		{"DELETE", "/poison/1", "plugin.dropPoison", `"position":1`, "parked events"},
		{"GET", "/state", "plugin.state", "", "state"},
		{"GET", "/state?atLeast=1", "plugin.state", `"atLeast":1`, "state"},
		{"GET", "/state/k", "plugin.state", `"key":"k"`, "state"},
		{"GET", "/state?watch", "plugin.watch", "", "state"},
		{"POST", "/query", "plugin.query", `"query":"q"`, "state"},
	} {
		body := ""
		if c.method == "POST" && !strings.HasSuffix(c.op, "Poison") && c.op != "plugin.switch" {
			body = "{" + c.fields + "}"
		}
		want := `binding \"totals\" is a validator, which has no ` + c.what + `"`
		if a := n.do(c.method, "/v1/plugins/totals"+c.below, body); a.StatusCode != http.StatusBadRequest || !strings.Contains(a.body, want) {
			n.t.Errorf("%s %s: %d %s", c.method, c.below, a.StatusCode, a.body)
		}
		fields := `"binding":"totals"`
		if c.fields != "" {
			fields += "," + c.fields
		}
		if c.op == "plugin.dryRun" || c.op == "plugin.watch" {
			fields += fmt.Sprint(`,"sub":`, i)
		}
		m := s.ask(c.op, fields)
		if m["op"] == "ok" { // a sub that is refused when it is under way
			m = s.receive()
		}
		if text, err := json.Marshal(m["error"]); err != nil || !strings.Contains(string(text), want) {
			n.t.Errorf("%s: %v, %v", c.op, m, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// endsValidator pauses a validator, has it fail, reads its log, and deletes it.
func (n *node) endsValidator() {
	n.t.Helper()
	all, ctx, t := n.client.Plugins(), n.t.Context(), n.t
	refused := func(typ string) error {
		c := core.Commit{Appends: []core.Append{{Stream: "order-2", Expect: core.AnyVersion, Events: []core.NewEvent{{Type: typ, Data: []byte(`{"total":-1}`)}}}}}
		return second(n.client.Append(ctx, c))
	}
	if s, err := all.Pause(ctx, "totals"); err != nil || s.State != plugins.Paused || refused("T") != nil {
		t.Errorf("paused: %+v, %v", s, err)
	}
	if _, err := all.Resume(ctx, "totals"); err != nil || !errors.Is(refused("T"), core.CodeAppendRefused) {
		t.Errorf("resumed: %v", err)
	}
	n.validator("totals", "2", guests.Unfit)
	if s, err := all.Deploy(ctx, "totals", plugins.Deploy{Version: "2"}); err != nil || s.Previous != "1" {
		t.Fatalf("%+v, %v", s, err)
	}
	for typ, want := range map[string]string{
		"Loop": "timed out", "Trap": "crashed", "Outside": "out of bounds", "Claim": "out of bounds", "Fail": "no more",
		"Return": "returned -1", "Action": "answered 77", "Retry": "answered 1",
	} {
		if err := refused(typ); !errors.Is(err, core.CodeValidatorFailed) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", typ, err)
		}
	}
	if err := refused("Park"); !errors.Is(err, core.CodeAppendRefused) || !strings.HasSuffix(err.Error(), "bad event") {
		t.Error(err)
	}
	if page := n.untilLogged("totals", 1); !strings.Contains(page.Lines[0].Text, "an append was refused: validator") {
		t.Errorf("%+v", page.Lines)
	}
	if s, err := all.Rollback(ctx, "totals", plugins.Rollback{}); err != nil || s.Version != "1" || refused("Trap") == nil {
		t.Errorf("%+v, %v", s, err)
	}
	if err := all.Delete(ctx, "totals"); err != nil || refused("T") != nil {
		t.Errorf("deleted: %v", err)
	}
	if page, err := all.Logs(ctx, "totals", plugins.LogsRequest{}); !errors.Is(err, core.CodeBindingNotFound) && len(page.Lines) != 0 {
		t.Errorf("its log: %+v, %v", page, err)
	}
}

// TestNamesAreOfOneKind: of two deploys at once, of a validator and of another binding under one
// name, one is made.
func TestNamesAreOfOneKind(t *testing.T) {
	n := newNode(t)
	n.validator("totals", "1", guests.Orders)
	n.words("words", "1.0.0")
	all := n.client.Plugins()
	for i := range 10 {
		name := fmt.Sprint("both-", i)
		results := make(chan error, 2)
		for _, d := range []plugins.Deploy{{Plugin: "totals", Version: "1"}, {Plugin: "words", Version: "1.0.0"}} {
			go func() { results <- second(all.Deploy(t.Context(), name, d)) }()
		}
		failed := 0
		for range 2 {
			if err := <-results; err != nil {
				failed++
				if !errors.Is(err, core.CodeRecordConflict) && !errors.Is(err, core.CodeInvalidRequest) {
					t.Error(err)
				}
			}
		}
		page, err := all.List(t.Context(), plugins.ListRequest{Prefix: name})
		if err != nil || failed != 1 || len(page.Plugins) != 1 {
			t.Errorf("%d failed, and there are %+v, %v", failed, page.Plugins, err)
		}
	}
}

// TestALoopStallsNoConnection: on the connection that has sent what loops, and is cut at its
// budget, appends to other streams are answered meanwhile, and those behind it afterwards.
func TestALoopStallsNoConnection(t *testing.T) {
	n := newNode(t)
	n.validator("totals", "1", guests.Unfit)
	if _, err := n.client.Plugins().Deploy(t.Context(), "totals", plugins.Deploy{Version: "1", Limits: &plugins.Limits{TimeMs: 300, Fuel: plugins.MaxLimits().Fuel}}); err != nil {
		t.Fatal(err)
	}
	s := n.dial()
	for i, event := range []string{"order-1 Loop", "order-1 None", "other None", "order-2 None", "other None"} {
		stream, typ, _ := strings.Cut(event, " ")
		text := fmt.Sprintf(`{"op":"append","id":%d,"stream":%q,"events":[{"type":%q,"data":1}]}`, 101+i, stream, typ)
		if err := s.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	var order []string
	for range 5 {
		m := s.receive()
		order = append(order, fmt.Sprint(m["id"], " ", m["op"]))
	}
	if got := order[3:]; !slices.Equal(got, []string{"101 error", "102 ok"}) && !slices.Equal(got, []string{"102 ok", "101 error"}) {
		t.Errorf("answered %q", order)
	}
}

// TestWhoMayValidate: a validator can refuse everybody's appends and sees their data. It is for keys
// that deploy plugins and are granted to read what it judges, before and after a change.
func TestWhoMayValidate(t *testing.T) {
	who := principals{
		"root":         {Name: "root", Role: access.Admin},
		"author-order": {Name: "a1", Role: access.PluginAuthor, Streams: []string{"order-*"}},
		"author-all":   {Name: "a2", Role: access.PluginAuthor, Streams: []string{"*"}},
		"writer":       {Name: "w1", Role: access.Writer, Streams: []string{"*"}},
		"operator":     {Name: "o1", Role: access.Operator},
	}
	n := newNodeFor(t, who, "root")
	ctx := t.Context()
	n.validator("totals", "1", guests.Orders)
	deploy := func(token string, streams ...string) error {
		in := &plugins.Input{}
		in.Filter.Streams = streams
		return second(n.as(token).Deploy(ctx, "totals", plugins.Deploy{Version: "1", Input: in}))
	}
	wants(t, "a writer deploys", deploy("writer", "order-*"), core.CodeForbidden)
	wants(t, "an operator deploys", deploy("operator", "order-*"), core.CodeForbidden)
	wants(t, "an author deploys beyond its grant", deploy("author-order", "order-*", "basket-*"), core.CodeForbidden)
	wants(t, "an author deploys", deploy("author-order", "order-*"), "")
	wants(t, "another widens it", deploy("author-all", "*"), "")
	wants(t, "the first narrows what it may not read", deploy("author-order", "order-*"), core.CodeForbidden)
	wants(t, "the first pauses it", second(n.as("author-order").Pause(ctx, "totals")), core.CodeForbidden)
	wants(t, "an operator pauses it", second(n.as("operator").Pause(ctx, "totals")), "")
	wants(t, "an operator reads its log", second(n.as("operator").Logs(ctx, "totals", plugins.LogsRequest{})), core.CodeForbidden)
	if acts := n.audit.of("totals"); !slices.Contains(acts, "PluginDeployed totals") || !slices.Contains(acts, "PluginPaused totals") {
		t.Errorf("the audit has %q", acts)
	}
}
