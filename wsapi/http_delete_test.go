package wsapi_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// D06–D09, D12–D15: over HTTP.
func TestHTTPDeletesStreams(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	const stream = "/v1/streams/a%2Fb"
	event := `[{"type":"A","data":1},{"type":"A","data":2}]`
	n.do("POST", stream+"/events", event, "Content-Type: application/json").want(t, 201)
	is := func(a answer, status int, code core.Code) {
		t.Helper()
		if got := a.want(t, status).fields(t)["code"]; got != string(code) {
			t.Errorf("%s %s: %v, want %s", a.Request.Method, a.Request.URL, got, code)
		}
	}
	is(n.do("DELETE", stream+"?expect=1", ""), 409, core.CodeWrongExpectedVersion)
	is(n.do("DELETE", stream, "", `If-Match: "`+n.store.State().Timeline()+`-1-1"`), 412, core.CodeWrongExpectedVersion)
	is(n.do("DELETE", "/v1/streams/none", ""), 404, core.CodeStreamNotFound)
	is(n.do("POST", stream+"/undelete", ""), 409, core.CodeStreamNotDeleted)
	for _, bad := range []string{"?hard=yes", "?hard=true&tombstone=true", "?soft=true", "?expect=x"} {
		n.do("DELETE", stream+bad, "").want(t, 400)
	}
	is(n.do("DELETE", "/v1/streams/$all", ""), 400, core.CodeReservedStreamName)

	tag := n.do("GET", stream+"/events", "").want(t, 200).Header.Get("ETag")
	if a := n.do("DELETE", stream, "", "If-Match: "+tag).want(t, 204); len(a.body) != 0 {
		t.Errorf("answered %s", a.body)
	}
	is(n.do("GET", stream+"/events", ""), 404, core.CodeStreamDeleted)
	n.do("HEAD", stream+"/events", "").want(t, 404)
	is(n.do("POST", stream+"/events", event, "Content-Type: application/json"), 404, core.CodeStreamDeleted)
	is(n.do("DELETE", stream, ""), 404, core.CodeStreamDeleted)
	is(n.do("POST", stream+"/undelete?expect=7", ""), 409, core.CodeWrongExpectedVersion)
	n.do("POST", stream+"/undelete?expect=2", "").want(t, 204)
	n.do("GET", stream+"/events", "").want(t, 200)

	n.do("DELETE", stream+"?hard=true&expect=2", "").want(t, 204)
	is(n.do("GET", stream+"/events", ""), 404, core.CodeStreamNotFound)
	n.do("POST", stream+"/events?expect=no_stream", event, "Content-Type: application/json").want(t, 201)
	n.do("DELETE", stream+"?tombstone=true", "").want(t, 204)
	is(n.do("GET", stream+"/events", ""), 410, core.CodeStreamTombstoned)
	is(n.do("POST", stream+"/events", event, "Content-Type: application/json"), 410, core.CodeStreamTombstoned)
}

// TestHTTPTransactionChangesStreams: all of it is written, or nothing.
func TestHTTPTransactionChangesStreams(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	put := func(stream string) {
		n.do("POST", "/v1/streams/"+stream+"/events", `{"type":"A","data":1}`, "Content-Type: application/json").want(t, 201)
	}
	put("a")
	put("b")
	const append = `"tx":[{"stream":"c","events":[{"id":"0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11","type":"A","data":1}]}]`
	a := n.do("POST", "/v1/transactions", `{`+append+`,"streams":[{"stream":"a","action":"delete","expect":1},{"stream":"b","action":"remove","expect":9}]}`, "Content-Type: application/json").want(t, 409)
	if f := a.fields(t); f["stream"] != "b" || f["element"] != 2. {
		t.Errorf("answered %s", a.body)
	}
	n.do("GET", "/v1/streams/c/events", "").want(t, 404)
	whole := `{` + append + `,"streams":[{"stream":"a","action":"delete","expect":1},{"stream":"b","action":"remove"}]}`
	n.do("POST", "/v1/transactions", whole, "Content-Type: application/json").want(t, 201)
	n.do("POST", "/v1/transactions", whole, "Content-Type: application/json").want(t, 200) // it has ids
	n.do("GET", "/v1/streams/c/events", "").want(t, 200)
	a = n.do("POST", "/v1/transactions", `{"streams":[{"stream":"a","action":"undelete"}]}`, "Content-Type: application/json").want(t, 201)
	if got := strings.TrimSpace(string(a.body)); got != `{"position":0,"count":0,"appends":[]}` {
		t.Errorf("answered %s", got)
	}
	for _, bad := range []string{`{"streams":[]}`, `{"streams":[{"stream":"a"}]}`, `{"streams":[{"stream":"a","action":"soft"}]}`, `{"streams":[{"action":"delete"}]}`, `{"streams":[{"stream":"c","action":"delete"}],` + append + `}`} {
		n.do("POST", "/v1/transactions", bad, "Content-Type: application/json").want(t, 400)
	}
}

// TestSocketChangesStreams: in JSON, alone and beside appends, and refused.
func TestSocketChangesStreams(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	n.fill("a", 2, 1)
	n.fill("b", 1, 1)
	p := n.greeted("gyre.v1.json")
	for i, x := range []struct{ fields, code string }{
		{`"streams":[{"stream":"a","action":"delete","expect":1}]`, "wrong_expected_version"},
		{`"streams":[{"stream":"a","action":"delete","expect":2}]`, ""},
		{`"streams":[{"stream":"a","action":"undelete"},{"stream":"b","action":"tombstone"}],"tx":[{"stream":"c","events":[{"type":"T","data":1}]}]`, ""},
		{`"stream":"b","events":[{"type":"T","data":1}]`, "stream_tombstoned"},
		{`"stream":"d","events":[{"type":"T","data":1}],"streams":[{"stream":"a","action":"delete"}]`, "invalid_request"},
		{`"streams":[{"stream":"a","action":"hide"}]`, "invalid_request"},
	} {
		p.say(fmt.Sprintf(`{"op":"append","id":%d,%s}`, i+2, x.fields))
		r := p.replies(1)[0]
		if code, _ := r.err["code"].(string); code != x.code {
			t.Errorf("%s: %+v, want %q", x.fields, r, x.code)
		}
	}
}

// TestTagsOfIncarnations: a stream that was removed and made again has none of its old tags, even
// at the same version.
func TestTagsOfIncarnations(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	const path = "/v1/streams/a/events"
	post := func(header string, status int) answer {
		t.Helper()
		return n.do("POST", path, `{"type":"A","data":1}`, "Content-Type: application/json", header).want(t, status)
	}
	old := post("X: x", 201).Header.Get("ETag")
	n.do("GET", path, "", "If-None-Match: "+old).want(t, 304)
	n.do("DELETE", "/v1/streams/a?hard=true", "").want(t, 204)
	post("If-Match: "+old, 412)
	tag := post("If-None-Match: *", 201).Header.Get("ETag")
	if want := strings.Replace(old, "-1-1", "-2-1", 1); tag != want || n.do("GET", path, "").want(t, 200).Header.Get("ETag") != want || n.do("HEAD", path, "").Header.Get("ETag") != want {
		t.Errorf("the tag is %s, want %s", tag, want)
	}
	n.do("GET", path, "", "If-None-Match: "+old).want(t, 200)
	n.do("GET", path, "", "If-None-Match: "+tag).want(t, 304)
	post("If-Match: "+old, 412)
	n.do("DELETE", "/v1/streams/a", "", "If-Match: "+old).want(t, 412)
	post("If-Match: "+tag, 201)
}

// anewBefore is a Store in which stream a is removed and made again, at the same version, just
// before a Commit.
type anewBefore struct {
	*core.Store
	t *testing.T
}

func (s anewBefore) Append(ctx context.Context, c core.Commit) (core.Result, error) {
	s.anew()
	return s.Store.Append(ctx, c)
}

func (s anewBefore) anew() {
	s.t.Helper()
	event := core.NewEvent{Type: "A", Data: []byte("1")}
	for _, c := range []core.Commit{
		{Streams: []core.StreamOp{{Stream: "a", Expect: 1, Action: core.RemoveStream}}},
		{Appends: []core.Append{{Stream: "a", Expect: 0, Events: []core.NewEvent{event}}}},
	} {
		if _, err := s.Store.Append(s.t.Context(), c); err != nil {
			s.t.Fatal(err)
		}
	}
}

// TestTagsAreCheckedInTheCommit: a tag of a stream that is removed and made again while the request
// is under way, at the same version, is refused, and nothing is written.
func TestTagsAreCheckedInTheCommit(t *testing.T) {
	store := core.NewStore(memory.New(), core.StoreConfig{})
	t.Cleanup(func() { _ = store.Close() })
	n := newNode(t, wsapi.Config{Store: anewBefore{store, t}})
	b, err := store.Append(t.Context(), core.Commit{Appends: []core.Append{
		{Stream: "a", Events: []core.NewEvent{{Type: "A", Data: []byte("1")}}},
		{Stream: "b", Events: []core.NewEvent{{ID: core.ID{1}, Type: "A", Data: []byte("1")}}},
	}})
	if err != nil {
		t.Fatal(b, err)
	}
	for _, r := range [][3]string{
		{"POST", "/v1/streams/a/events", `{"type":"A","data":1}`},
		{"POST", "/v1/streams/a/links", `{"links":["` + core.ID{1}.String() + `"]}`},
		{"DELETE", "/v1/streams/a", ""},
		{"DELETE", "/v1/streams/a?hard=true", ""},
		{"DELETE", "/v1/streams/a?tombstone=true", ""},
	} {
		tag := n.do("GET", "/v1/streams/a/events", "").want(t, 200).Header.Get("ETag")
		a := n.do(r[0], r[1], r[2], "If-Match: "+tag).want(t, 412)
		if f := a.fields(t); f["code"] != string(core.CodeWrongExpectedVersion) || f["stream"] != "a" || f["element"] != 0. {
			t.Errorf("%s %s: %s", r[0], r[1], a.body)
		}
		if version := n.do("GET", "/v1/streams/a/events", "").want(t, 200).Header.Get("Gyre-Version"); version != "1" {
			t.Errorf("%s %s: the stream is at version %s", r[0], r[1], version)
		}
	}
	n.do("POST", "/v1/streams/a/events", `{"type":"A","data":1}`, `If-Match: "`+store.State().Timeline()+`-0-1"`).want(t, 412) // there is no such incarnation
}

// What was changed as a whole is counted, over HTTP and over a WebSocket, and what was refused or
// known before is not.
func TestChangesAreCounted(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	event := `{"type":"A","data":1}`
	for _, stream := range []string{"a", "b"} {
		n.do("POST", "/v1/streams/"+stream+"/events", event).want(t, 201)
	}
	n.do("DELETE", "/v1/streams/a", "").want(t, 204)
	n.do("DELETE", "/v1/streams/a", "").want(t, 404)
	n.do("POST", "/v1/streams/a/undelete", "").want(t, 204)
	p := n.greeted(wire.JSON)
	p.say(`{"op":"append","id":2,"streams":[{"stream":"a","action":"remove"},{"stream":"c","action":"tombstone"}]}`)
	if m := p.receive(); m["op"] != "ok" {
		t.Fatal(m)
	}
	transaction := `{"tx":[{"stream":"b","events":[{"id":"` + core.NewID().String() + `","type":"A","data":2}]}],"snapshots":[{"stream":"b","version":2,"data":1}]}`
	n.do("POST", "/v1/transactions", transaction).want(t, 201)
	n.do("POST", "/v1/transactions", transaction).want(t, 200)
	n.do("PUT", "/v1/streams/b/snapshots/k", `{"version":1,"data":1}`).want(t, 201)
	n.do("PUT", "/v1/streams/b/snapshots/k", `{"version":1,"data":1}`).want(t, 200)
	n.do("DELETE", "/v1/streams/b/snapshots/k", "").want(t, 200)
	n.do("DELETE", "/v1/streams/b/snapshots/k", "").want(t, 204)
	metrics := string(n.do("GET", "/metrics", "").want(t, 200).body)
	for metric, counts := range map[string]map[string]int{
		"gyre_stream_changes_total":   {"delete": 1, "undelete": 1, "remove": 1, "tombstone": 1},
		"gyre_snapshot_changes_total": {"record": 2, "delete": 1},
	} {
		for action, count := range counts {
			if line := fmt.Sprintf("%s{action=%q} %d\n", metric, action, count); !strings.Contains(metrics, line) {
				t.Errorf("/metrics has no %s", line)
			}
		}
	}
}

// D10: a fetch gets nothing of a deleted stream that was read ahead of its deletion, and all of it
// when the stream is back.
func TestFetchOfDeletedStream(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	n.feed(10, 2) // s-1 has 2, 4, 6, 8 and 10
	f := n.fetch("s", `{"max":2,"options":{"stream":"s-1"}}`)
	if f.String() != "[{2 1} {4 1}]" {
		t.Fatalf("%+v", f)
	}
	n.do("DELETE", "/v1/streams/s-1", "").want(t, 204)
	n.do("POST", "/v1/subscriptions/s/ack", fmt.Sprintf(`{"lease":%d,"upTo":4}`, f.Lease), asJSON).want(t, 204)
	if f = n.fetch("s", `{"waitMs":100}`); f.Lease != 0 || len(f.Events) > 0 {
		t.Errorf("of the deleted stream %+v", f)
	}
	n.do("POST", "/v1/streams/s-1/undelete", "").want(t, 204)
	if f = n.fetch("s", `{"waitMs":10000}`); f.String() != "[{6 1} {8 1} {10 1}]" {
		t.Errorf("of the undeleted stream %+v", f)
	}
}
