package api_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/wasm/guests"
	"github.com/gyre-events/gyre/sdk"
)

// manifest is that of guests.Words, which has none in it.
func manifest(name, version string) []byte {
	return fmt.Appendf(nil, `{"name":%q,"version":%q,"abi":"gyre_1","kind":"projection","description":"counts words","capabilities":["state"],
		"subscription":{"stream":"in"}}`, name, version)
}

// words uploads a version of a plugin that counts words.
func (n *node) words(name, version string) plugins.Version {
	n.t.Helper()
	v, created, err := n.client.Plugins().Upload(n.t.Context(), sdk.Upload{Plugin: name, Version: version, Module: guests.Words, Manifest: manifest(name, version)})
	if err != nil || !created {
		n.t.Fatalf("upload %s %s: created %t, %v", name, version, created, err)
	}
	return v
}

// A plugin from its upload to its end, by the Go client over HTTP.
func TestLife(t *testing.T) {
	n := newNode(t)
	all, ctx := n.client.Plugins(), t.Context()
	n.append("a rose is a rose")
	v := n.words("words", "1.0.0")
	if v.Plugin != "words" || v.Bytes != int64(len(guests.Words)) || len(v.SHA256) != 64 || v.Manifest.Description != "counts words" || v.Report.Functions == 0 {
		t.Errorf("uploaded %+v", v)
	}
	if _, created, err := all.Upload(ctx, sdk.Upload{Plugin: "words", Version: "1.0.0", Module: guests.Words, Manifest: manifest("words", "1.0.0")}); err != nil || created {
		t.Errorf("again: created %t, %v", created, err)
	}
	if module, err := all.Module(ctx, "words", "1.0.0"); err != nil || !slices.Equal(module, guests.Words) {
		t.Errorf("the module has %d bytes, %v", len(module), err)
	}
	s, err := all.Deploy(ctx, "words", plugins.Deploy{Version: "1.0.0", Grants: []string{"state"}})
	if err != nil || s.Name != "words" || s.SHA256 != v.SHA256 || s.Generation != 1 || !slices.Equal(s.Grants, []string{"state"}) || s.Limits != plugins.DefaultLimits() {
		t.Fatalf("deployed %+v, %v", s, err)
	}
	s = n.until("words", "it has handled the event", func(s *plugins.Status) bool { return s.Checkpoint == 1 && s.Totals.Events == 1 })
	if s.State != plugins.Running || s.Lag != 0 || s.StateBytes == 0 || s.MemoryBytes == 0 {
		t.Errorf("it is %+v", s)
	}
	n.seesState()
	n.seesLogs()
	n.changes(v)
	if err := all.Delete(ctx, "words"); err != nil {
		t.Fatal(err)
	}
	if _, err := all.Status(ctx, "words"); !errors.Is(err, core.CodeBindingNotFound) {
		t.Errorf("deleted: %v", err)
	}
	for _, version := range []string{"1.0.0", "2.0.0"} {
		if err := all.DeleteVersion(ctx, "words", version); err != nil {
			t.Errorf("%s: %v", version, err)
		}
	}
	if _, err := all.Version(ctx, "words", "1.0.0"); !errors.Is(err, core.CodePluginNotFound) {
		t.Errorf("deleted: %v", err)
	}
}

// A version can be deployed to many bindings at once.
func TestDeploysOfOneVersion(t *testing.T) {
	n := newNode(t)
	n.words("words", "1.0.0")
	results := make(chan error)
	const bindings = 8
	for i := range bindings {
		go func() {
			_, err := n.client.Plugins().Deploy(t.Context(), fmt.Sprint("words-", i), plugins.Deploy{Plugin: "words", Version: "1.0.0", Grants: []string{"state"}})
			results <- err
		}()
	}
	for range bindings {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

// A binding that is deployed again right after its deletion has a log of its own.
func TestDeployAfterDelete(t *testing.T) {
	n := newNode(t)
	all, ctx := n.client.Plugins(), t.Context()
	n.append("a rose is a rose")
	n.words("words", "1.0.0")
	d := plugins.Deploy{Version: "1.0.0", Grants: []string{"state"}}
	for generation := uint64(1); generation < 5; generation++ {
		if s, err := all.Deploy(ctx, "words", d); err != nil || s.Generation != generation {
			t.Fatalf("%+v, %v", s, err)
		}
		n.handled("words")
		page := n.untilLogged("words", generation)
		if len(page.Lines) != 1 || page.Lines[0].Generation != generation {
			t.Errorf("the log of generation %d is %+v", generation, page.Lines)
		}
		if err := all.Delete(ctx, "words"); err != nil {
			t.Fatal(err)
		}
	}
}

// untilLogged reads the log of a binding until it has a line of a generation.
func (n *node) untilLogged(binding string, generation uint64) (page plugins.LogsPage) {
	n.t.Helper()
	for by := time.Now().Add(waitLimit); time.Now().Before(by); {
		var err error
		if page, err = n.client.Plugins().Logs(n.t.Context(), binding, plugins.LogsRequest{Wait: time.Second}); err != nil {
			n.t.Fatal(err)
		}
		if l := page.Lines; len(l) > 0 && l[len(l)-1].Generation == generation {
			return page
		}
	}
	n.t.Fatalf("the log is %+v", page.Lines)
	return page
}

// seesState: the words are "a", "rose", "is" and "words".
func (n *node) seesState() {
	n.t.Helper()
	all, ctx, t := n.client.Plugins(), n.t.Context(), n.t
	for _, lane := range []int{plugins.OnlyLane, 0} {
		if value, err := all.Value(ctx, "words", plugins.KeyRequest{Lane: lane, Key: "words"}); err != nil || !strings.HasPrefix(string(value.Value), "a 2\nrose 2\n") {
			t.Errorf("lane %d: %+v, %v", lane, value, err)
		}
	}
	if a := n.do("GET", "/v1/plugins/words/state/words", ""); a.Header.Get("Content-Type") != "application/octet-stream" || !strings.HasPrefix(a.body, "a 2\n") {
		t.Errorf("%v: %q", a.Header, a.body)
	}
	page, err := all.State(ctx, "words", plugins.StateRequest{Lane: plugins.OnlyLane, Prefix: "wo"})
	if err != nil || len(page.Entries) != 1 || page.Entries[0].Key != "words" || !strings.HasPrefix(string(page.Entries[0].Value), "a 2\n") || !page.End {
		t.Errorf("%+v, %v", page, err)
	}
	for _, r := range []plugins.StateRequest{{Prefix: "x"}, {After: "words"}} {
		if page, err := all.State(ctx, "words", r); err != nil || len(page.Entries) != 0 || !page.End {
			t.Errorf("%+v: %+v, %v", r, page, err)
		}
	}
	for _, key := range []string{"none", "", ".", "..", "a/b"} {
		if _, err := all.Value(ctx, "words", plugins.KeyRequest{Lane: plugins.OnlyLane, Key: key}); !errors.Is(err, core.CodeStateNotFound) {
			t.Errorf("key %q: %v", key, err)
		}
	}
	if _, err := all.Value(ctx, "words", plugins.KeyRequest{Lane: 1, Key: "words"}); !errors.Is(err, core.CodeInvalidRequest) {
		t.Errorf("lane 1: %v", err)
	}
}

// seesLogs: one line of a batch of one event.
func (n *node) seesLogs() {
	n.t.Helper()
	all, ctx, t := n.client.Plugins(), n.t.Context(), n.t
	page, err := all.Logs(ctx, "words", plugins.LogsRequest{Wait: waitLimit / 3})
	if err != nil || len(page.Lines) != 1 || page.Lines[0].Text != "1 events, 4 words" || page.Lines[0].Level != "info" || page.Lines[0].Version != "1.0.0" || !page.End {
		t.Fatalf("%+v, %v", page, err)
	}
	line := page.Lines[0]
	if later, err := all.Logs(ctx, "words", plugins.LogsRequest{After: page.Next}); err != nil || len(later.Lines) != 0 || later.Next != page.Next {
		t.Errorf("%+v, %v", later, err)
	}
	var decoded plugins.LogLine
	if a := n.do("GET", "/v1/plugins/words/logs?last=1", "", "Accept", "application/x-ndjson"); json.Unmarshal([]byte(a.body), &decoded) != nil || decoded != line {
		t.Errorf("%q", a.body)
	}
	if a := n.do("GET", "/v1/plugins/words/logs", "", "Accept", "text/plain"); a.body != line.String()+"\n" {
		t.Errorf("%q", a.body)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url+"/v1/plugins/words/logs", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	n.append("more", "and more")
	var data []string
	for lines := bufio.NewScanner(res.Body); len(data) < 2 && lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			data = append(data, text)
		}
	}
	if len(data) < 2 || !strings.Contains(data[0], `"1 events, 4 words"`) || !strings.Contains(data[1], `"seq":2`) {
		t.Errorf("the event stream sends %q", data)
	}
}

// changes pauses, upgrades, rolls back and rebuilds.
func (n *node) changes(v plugins.Version) {
	n.t.Helper()
	all, ctx, t := n.client.Plugins(), n.t.Context(), n.t
	n.handled("words")
	if s, err := all.Pause(ctx, "words"); err != nil || s.State != plugins.Paused || !s.Paused {
		t.Fatalf("paused: %+v, %v", s, err)
	}
	n.append("while it is paused")
	if s, err := all.Resume(ctx, "words"); err != nil || s.State == plugins.Paused || s.Paused {
		t.Fatalf("resumed: %+v, %v", s, err)
	}
	n.handled("words")
	n.words("words", "2.0.0")
	s, err := all.Deploy(ctx, "words", plugins.Deploy{Version: "2.0.0", Config: json.RawMessage(`{"n":1}`)})
	if err != nil || s.Version != "2.0.0" || s.Previous == "" || s.Generation != 1 || string(s.Config) != `{"n":1}` || !slices.Equal(s.Grants, []string{"state"}) {
		t.Fatalf("upgraded: %+v, %v", s, err)
	}
	if err := all.DeleteVersion(ctx, "words", "1.0.0"); !errors.Is(err, core.CodePluginInUse) || !strings.Contains(err.Error(), "words") {
		t.Errorf("a version to go back to: %v", err)
	}
	if s.Rollback == nil || s.Rollback.To != plugins.ToVersion || s.Rollback.Version != "1.0.0" {
		t.Errorf("a rollback would go to %+v", s.Rollback)
	}
	if s, err := all.Rollback(ctx, "words", plugins.Rollback{To: plugins.ToVersion}); err != nil || s.Version != "1.0.0" {
		t.Fatalf("rolled back: %+v, %v", s, err)
	}
	n.append("after the rollback")
	n.until("words", "it has version 1.0.0 and handled all", func(s *plugins.Status) bool { return s.Lag == 0 })
	n.rebuilds()
	list, err := all.List(ctx, plugins.ListRequest{})
	if err != nil || len(list.Plugins) != 1 || list.Plugins[0].Version != "2.0.0" || list.Plugins[0].Binding.Version != "1.0.0" || !list.End {
		t.Errorf("listed %+v, %v", list, err)
	}
	versions, err := all.Versions(ctx, "words", plugins.ListRequest{Limit: 1})
	if err != nil || len(versions.Versions) != 1 || versions.Versions[0].Version != "1.0.0" || versions.End {
		t.Errorf("%+v, %v", versions, err)
	}
	versions, err = all.Versions(ctx, "words", plugins.ListRequest{After: "1.0.0"})
	if err != nil || len(versions.Versions) != 1 || versions.Versions[0].Version != "2.0.0" {
		t.Errorf("%+v, %v", versions, err)
	}
}

// rebuilds rebuilds with another version, drops that, rebuilds again, switches, and goes back and
// forth. In the end generation 3 is live, of version 1.0.0, and there is no other.
func (n *node) rebuilds() {
	n.t.Helper()
	all, ctx, t := n.client.Plugins(), n.t.Context(), n.t
	s, err := all.Rebuild(ctx, "words", plugins.Rebuild{Version: "2.0.0", Hold: true})
	if err != nil || s.Generation != 1 || s.Beside == nil || s.Beside.Generation != 2 || s.Beside.Version != "2.0.0" || !s.Beside.Hold {
		t.Fatalf("rebuilding: %+v, %v", s, err)
	}
	if _, err := all.Rebuild(ctx, "words", plugins.Rebuild{}); !errors.Is(err, core.CodeRebuildUnderWay) {
		t.Errorf("a second rebuild: %v", err)
	}
	if s, err = all.CancelRebuild(ctx, "words"); err != nil || s.Beside != nil {
		t.Errorf("canceled: %+v, %v", s, err)
	}
	if _, err := all.Switch(ctx, "words"); !errors.Is(err, core.CodeNoRebuild) {
		t.Errorf("a switch to nothing: %v", err)
	}
	if _, err = all.Rebuild(ctx, "words", plugins.Rebuild{Hold: true}); err != nil {
		t.Fatal(err)
	}
	n.until("words", "it has caught up", func(s *plugins.Status) bool { return s.Beside.Percent == 100 })
	if s, err = all.Switch(ctx, "words"); err != nil || s.Generation != 3 || s.Before == nil || s.Before.Generation != 1 {
		t.Fatalf("switched: %+v, %v", s, err)
	}
	for _, generation := range []uint64{1, 3} {
		if s, err = all.Rollback(ctx, "words", plugins.Rollback{To: plugins.ToGeneration}); err != nil || s.Generation != generation {
			t.Fatalf("rolled back: %+v, %v", s, err)
		}
	}
	if s, err = all.DropBefore(ctx, "words"); err != nil || s.Before != nil {
		t.Fatalf("dropped: %+v, %v", s, err)
	}
	n.handled("words")
}

// The list has plugins and bindings of all names, page by page.
func TestList(t *testing.T) {
	n := newNode(t)
	all, ctx := n.client.Plugins(), t.Context()
	for _, name := range []string{"a", "a-b", "a.b", "c"} {
		n.words(name, "1.0.0")
	}
	for binding, plugin := range map[string]string{"a": "a", "a-a": "a", "b": "c", "d": "c"} {
		if _, err := all.Deploy(ctx, binding, plugins.Deploy{Plugin: plugin, Version: "1.0.0"}); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"a:true", "a-a:true", "a-b:false", "a.b:false", "b:true", "c:false", "d:true"}
	for limit := 1; limit <= len(want)+1; limit++ {
		var got []string
		for r := (plugins.ListRequest{Limit: limit}); ; {
			page, err := all.List(ctx, r)
			if err != nil || len(page.Plugins) > limit || len(page.Plugins) == 0 && !page.End {
				t.Fatal(page, err)
			}
			for _, l := range page.Plugins {
				got, r.After = append(got, fmt.Sprintf("%s:%t", l.Name, l.Binding != nil)), l.Name
			}
			if page.End {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("pages of %d: %v, want %v", limit, got, want)
		}
	}
	page, err := all.List(ctx, plugins.ListRequest{Prefix: "a-"})
	if err != nil || len(page.Plugins) != 2 || !page.End {
		t.Errorf("%+v, %v", page, err)
	}
}

// A binding whose record cannot be read is listed with the reason, and can be deleted. It hides no other.
func TestListBroken(t *testing.T) {
	n := newNode(t)
	all, ctx := n.client.Plugins(), t.Context()
	n.words("words", "1.0.0")
	if _, err := all.Deploy(ctx, "words", plugins.Deploy{Version: "1.0.0"}); err != nil {
		t.Fatal(err)
	}
	bad := core.RecordOp{Table: plugins.BindingsTable, Key: "bad", Expect: core.AnyVersion, Value: []byte("{")}
	if _, err := n.store.Append(ctx, core.Commit{Records: []core.RecordOp{bad}}); err != nil {
		t.Fatal(err)
	}
	page, err := all.List(ctx, plugins.ListRequest{})
	if err != nil || len(page.Plugins) != 2 || page.Plugins[1].Binding == nil {
		t.Fatalf("%+v, %v", page, err)
	}
	if b := page.Plugins[0].Binding; b == nil || b.Name != "bad" || b.State != plugins.Broken || !strings.Contains(b.Reason, "gyre plugin rm bad") {
		t.Errorf("%+v", b)
	}
	if err := all.Delete(ctx, "bad"); err != nil {
		t.Fatal(err)
	}
	if page, err = all.List(ctx, plugins.ListRequest{}); err != nil || len(page.Plugins) != 1 {
		t.Errorf("deleted: %+v, %v", page, err)
	}
}

// The same over a WebSocket.
func TestOps(t *testing.T) {
	n := newNode(t)
	n.append("a rose is a rose")
	n.words("words", "1.0.0")
	s := n.dial()
	for _, c := range []struct {
		op, fields, field string
		want              any
	}{
		{"plugin.deploy", `"binding":"words","version":"1.0.0","grants":["state"]`, "version", "1.0.0"},
		{"plugin.info", `"binding":"words"`, "binding", "words"},
		{"plugin.list", `"prefix":"w"`, "end", true},
		{"plugin.versions", `"plugin":"words","prefix":"2"`, "end", true},
		{"plugin.version", `"plugin":"words","version":"1.0.0"`, "plugin", "words"},
		{"plugin.pause", `"binding":"words"`, "state", "paused"},
		{"plugin.resume", `"binding":"words"`, "binding", "words"},
		{"plugin.rebuild", `"binding":"words","from":"start"`, "binding", "words"}, // of either generation
		{"plugin.abi", "", "maxModuleBytes", float64(plugins.MaxModuleBytes)},
	} {
		if m := s.ask(c.op, c.fields); m["op"] != "ok" || m[c.field] != c.want {
			t.Errorf("%s is answered %v", c.op, m)
		}
		switch c.op {
		case "plugin.deploy":
			n.handled("words") // so that each generation logs one line: a pause can interrupt a batch
		case "plugin.rebuild":
			n.until("words", "it is rebuilt", func(s *plugins.Status) bool { return s.Generation == 2 })
		}
	}
	n.handled("words")
	if m := s.ask("plugin.state", `"binding":"words","key":"words"`); m["key"] != "words" || m["valueBase64"] == nil {
		t.Errorf("answered %v", m)
	}
	if m := s.ask("plugin.state", `"binding":"words","prefix":"w","lane":0`); len(m["entries"].([]any)) != 1 || m["end"] != true {
		t.Errorf("answered %v", m)
	}
	if m := s.ask("plugin.logs", `"sub":1,"binding":"words"`); m["op"] != "ok" {
		t.Fatalf("answered %v", m)
	}
	for generation := 1.0; generation < 3; generation++ {
		m := s.receive()
		if m["op"] != "plugin.logs" || m["sub"] != 1.0 || m["generation"] != generation || m["text"] != "1 events, 4 words" {
			t.Errorf("a line of generation %v is %v", generation, m)
		}
	}
	if m := s.ask("unsubscribe", `"sub":1`); m["op"] != "ok" {
		t.Errorf("answered %v", m)
	}
	for op, c := range map[string][2]string{
		"plugin.info":          {`"binding":"none"`, "binding_not_found"},
		"plugin.rollback":      {`"binding":"words","to":"version"`, "nothing_before"},
		"plugin.switch":        {`"binding":"words"`, "no_rebuild"},
		"plugin.endShadow":     {`"binding":"words"`, "shadow_not_found"},
		"plugin.differences":   {`"binding":"words","limit":5`, "shadow_not_found"},
		"plugin.shadow":        {`"binding":"words","version":"9"`, "version_not_found"},
		"plugin.cancelRebuild": {`"binding":"words"`, "no_rebuild"},
		"plugin.dropBefore":    {`"binding":"none"`, "binding_not_found"},
		"plugin.rebuild":       {`"binding":"words","version":"9"`, "version_not_found"},
		"plugin.deploy":        {`"binding":"words","version":"9"`, "version_not_found"},
		"plugin.state":         {`"binding":"words","key":"none"`, "state_not_found"},
		"plugin.logs":          {`"sub":2,"binding":"none"`, "binding_not_found"},
		"plugin.version":       {`"plugin":"none","version":"1"`, "plugin_not_found"},
		"plugin.deleteVersion": {`"plugin":"words","version":"1.0.0"`, "plugin_in_use"},
		"plugin.pause":         {``, "invalid_request"},
	} {
		if m := s.ask(op, c[0]); m["op"] != "error" || m["error"].(map[string]any)["code"] != c[1] {
			t.Errorf("%s is answered %v, want %s", op, m, c[1])
		}
	}
	if m := s.ask("plugin.delete", `"binding":"words"`); m["op"] != "ok" {
		t.Errorf("answered %v", m)
	}
}

// What is refused has a code, and changes nothing.
func TestBadRequests(t *testing.T) {
	n := newNode(t)
	n.words("words", "1.0.0")
	if _, err := n.client.Plugins().Deploy(t.Context(), "words", plugins.Deploy{Version: "1.0.0"}); err != nil {
		t.Fatal(err)
	}
	n.until("words", "it runs", func(s *plugins.Status) bool { return s.State == plugins.Running })
	before := n.do("GET", "/v1/plugins", "").body
	path := "/v1/plugins/words/versions/2.0.0"
	json, wasm := []string{"Content-Type", "application/json"}, []string{"Content-Type", "application/wasm"}
	parts := func(text string) (string, []string) {
		return strings.ReplaceAll(text, "\n", "\r\n"), []string{"Content-Type", "multipart/form-data; boundary=x"}
	}
	alone, form := parts("--x\nContent-Disposition: form-data; name=\"module\"\n\nx\n--x--\n")
	cut, _ := parts("--x\nContent-Disposition: form-data; name=\"manifest\"\n\n{}")
	long, _ := parts("--x\nContent-Disposition: form-data; name=\"manifest\"\n\n" + strings.Repeat(" ", 65<<10) + "\n--x--\n")
	for _, c := range []struct {
		method, path, body string
		headers            []string
		status             int
		code               string
	}{
		{"PUT", path, "not a module", wasm, 400, "invalid_module"},
		{"PUT", path, "\x00asm\x01\x00\x00\x00", wasm, 400, "invalid_manifest"},
		{"PUT", path, string(guests.Words[:100]), wasm, 400, "invalid_module"},
		{"PUT", path, string(guests.Words), wasm, 400, "invalid_manifest"},
		{"PUT", path, "{}", json, 415, "unsupported_media_type"},
		{"PUT", path, alone, form, 400, "invalid_request"},
		{"PUT", path, cut, form, 400, "invalid_request"},
		{"PUT", path, long, form, 400, "invalid_manifest"},
		{"POST", "/v1/plugins/words/deploy", `{"version":"2.0.0"}`, json, 404, "version_not_found"},
		{"POST", "/v1/plugins/words/deploy", `{"plugin":"none","version":"1.0.0"}`, json, 404, "plugin_not_found"},
		{"POST", "/v1/plugins/words/deploy", `{"grants":["files"]}`, json, 400, "invalid_request"},
		{"POST", "/v1/plugins/words/deploy", `{"grants":["append:*"]}`, json, 400, "invalid_request"},
		{"POST", "/v1/plugins/words/deploy", `{"lanes":4}`, json, 400, "invalid_request"},
		{"POST", "/v1/plugins/words/deploy", `{"config":1}`, json, 400, "invalid_plugin_config"},
		{"POST", "/v1/plugins/words/deploy", `{"limits":{"timeMs":999999}}`, json, 400, "invalid_request"},
		{"POST", "/v1/plugins/words/deploy", `{"colour":"red"}`, json, 400, "invalid_request"},
		{"POST", "/v1/plugins/Bad/deploy", `{"plugin":"words","version":"1.0.0"}`, json, 400, "invalid_request"},
		{"POST", "/v1/plugins/new/deploy", `{}`, json, 400, "invalid_request"},
		{"POST", "/v1/plugins/words/rebuild", `{"from":"yesterday"}`, json, 400, "invalid_cursor"},
		{"POST", "/v1/plugins/words/rebuild", `{"version":"2.0.0"}`, json, 404, "version_not_found"},
		{"POST", "/v1/plugins/words/shadow", `{"version":"1.0.0"}`, json, 400, "invalid_request"},
		{"POST", "/v1/plugins/words/shadow", `{"version":"9.0.0"}`, json, 404, "version_not_found"},
		{"POST", "/v1/plugins/none/shadow", `{"version":"1.0.0"}`, json, 404, "binding_not_found"},
		{"GET", "/v1/plugins/words/shadow", ``, nil, 404, "shadow_not_found"},
		{"GET", "/v1/plugins/words/shadow?limit=1001", ``, nil, 400, "invalid_request"},
		{"DELETE", "/v1/plugins/words/shadow", ``, nil, 404, "shadow_not_found"},
		{"POST", "/v1/plugins/words/rollback", ``, nil, 409, "nothing_before"},
		{"POST", "/v1/plugins/words/rollback", `{"to":"yesterday"}`, json, 400, "invalid_request"},
		{"POST", "/v1/plugins/words/rollback", `{"to":"generation"}`, json, 409, "nothing_before"},
		{"POST", "/v1/plugins/words/switch", ``, nil, 409, "no_rebuild"},
		{"DELETE", "/v1/plugins/words/rebuild", ``, nil, 409, "no_rebuild"},
		{"DELETE", "/v1/plugins/words/before", ``, nil, 409, "nothing_before"},
		{"POST", "/v1/plugins/none/pause", ``, nil, 404, "binding_not_found"},
		{"DELETE", "/v1/plugins/none", ``, nil, 404, "binding_not_found"},
		{"DELETE", "/v1/plugins/words/versions/1.0.0", ``, nil, 409, "plugin_in_use"},
		{"DELETE", "/v1/plugins/words/versions/3", ``, nil, 404, "version_not_found"},
		{"GET", "/v1/plugins/none/versions", ``, nil, 404, "plugin_not_found"},
		{"GET", "/v1/plugins/none/versions/1/module", ``, nil, 404, "plugin_not_found"},
		{"GET", "/v1/plugins/none/logs", ``, nil, 404, "binding_not_found"},
		{"GET", "/v1/plugins/words/logs?last=x", ``, nil, 400, "invalid_request"},
		{"GET", "/v1/plugins/words/logs", ``, []string{"Accept", "image/png"}, 406, "not_acceptable"},
		{"GET", "/v1/plugins/words/logs", ``, []string{"Accept", "text/event-stream", "Last-Event-ID", "x"}, 400, "invalid_cursor"},
		{"GET", "/v1/plugins/words/state?lane=64", ``, nil, 400, "invalid_request"},
		{"GET", "/v1/plugins/words/state?limit=0", ``, nil, 400, "invalid_request"},
		{"GET", "/v1/plugins/words/state/none", ``, nil, 404, "state_not_found"},
		{"GET", "/v1/plugins/none/state/x", ``, nil, 404, "binding_not_found"},
		{"GET", "/v1/plugins?cursor=!", ``, nil, 400, "invalid_cursor"},
	} {
		a := n.do(c.method, c.path, c.body, c.headers...)
		if a.StatusCode != c.status || !strings.Contains(a.body, `"code":"`+c.code+`"`) {
			t.Errorf("%s %s %.60q: %d %s, want %d %s", c.method, c.path, c.body, a.StatusCode, a.body, c.status, c.code)
		}
	}
	if after := n.do("GET", "/v1/plugins", "").body; after != before {
		t.Errorf("it was\n%s\nand is\n%s", before, after)
	}
	if _, _, err := n.client.Plugins().Upload(t.Context(), sdk.Upload{
		Plugin: "words", Version: "1.0.0", Module: guests.Totals, Manifest: manifest("words", "1.0.0"),
	}); !errors.Is(err, core.CodeVersionExists) {
		t.Errorf("other bytes: %v", err)
	}
}

// Lanes have state of their own.
func TestLanes(t *testing.T) {
	n := newNode(t)
	n.words("words", "1.0.0")
	if _, err := n.client.Plugins().Deploy(t.Context(), "words", plugins.Deploy{
		Version: "1.0.0", Grants: []string{"state"}, Lanes: 4, Input: &plugins.Input{PartitionBy: "expr:data.words"},
	}); err != nil {
		t.Fatal(err)
	}
	n.append("one", "two", "three", "four", "five", "six", "seven", "eight")
	n.handled("words")
	if a := n.do("GET", "/v1/plugins/words/state/words", ""); a.StatusCode != 400 || !strings.Contains(a.body, "lane") {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	found := 0
	for lane := range 4 {
		page, err := n.client.Plugins().State(t.Context(), "words", plugins.StateRequest{Lane: lane})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Entries {
			if found++; e.Lane != lane {
				t.Errorf("%+v is in lane %d", e, lane)
			}
		}
	}
	if found < 2 {
		t.Errorf("%d lanes have state", found)
	}
}
