package runtime_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/access/keys"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/runtime"
	"github.com/gyre-events/gyre/sdk"
)

// D12: without the setting a node removes nothing, however it is asked, and says so.
func TestHardDeletesAreOff(t *testing.T) {
	for _, on := range []bool{false, true} {
		n := start(t, runtime.Config{Engine: runtime.EngineMemory, HardDeletes: on})
		c, err := sdk.Dial(t.Context(), n.URL(), sdk.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, stream := range []string{"a", "b", "c"} {
			if _, err := c.AppendTo(t.Context(), stream, core.NoStream, core.NewEvent{Type: "T", Data: []byte("1")}); err != nil {
				t.Fatal(err)
			}
		}
		_, err = c.Append(t.Context(), core.Commit{
			Appends: []core.Append{{Stream: "d", Expect: core.AnyVersion, Events: []core.NewEvent{{Type: "T", Data: []byte("1")}}}},
			Streams: []core.StreamOp{{Stream: "c", Expect: 1}, {Stream: "a", Expect: 1, Action: core.RemoveStream}},
		})
		if on != (err == nil) || !on && !errors.Is(err, core.CodeHardDeletesOff) {
			t.Errorf("hard deletes %v: %v", on, err)
		}
		if !on {
			if e := core.AsError(err); e.Stream != "a" || e.Element == nil || *e.Element != 2 {
				t.Errorf("%+v", e)
			}
		}
		status, text := as(t, "", "DELETE", n.URL()+"/v1/streams/b?tombstone=true", "")
		if want := map[bool]int{false: http.StatusForbidden, true: http.StatusNoContent}[on]; status != want {
			t.Errorf("hard deletes %v: %d %s", on, status, text)
		}
		if head := n.Store().State().Head; !on && head != 3 {
			t.Errorf("the head is %d, want 3", head)
		}
		_, text = as(t, "", "GET", n.URL()+"/v1/server", "")
		var server struct{ Features []string }
		if err := json.Unmarshal(text, &server); err != nil || slices.Contains(server.Features, "hard-deletes") != on || !slices.Contains(server.Features, "deletes") {
			t.Errorf("hard deletes %v: features %v, %v", on, server.Features, err)
		}
	}
}

// TestSnapshotsAreRemovedWithTheirEvents: whichever way the events are removed, nothing of their
// snapshots is left.
func TestSnapshotsAreRemovedWithTheirEvents(t *testing.T) {
	n := start(t, runtime.Config{Engine: runtime.EngineMemory, HardDeletes: true})
	c, err := sdk.Dial(t.Context(), n.URL(), sdk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	record := func(stream string) {
		t.Helper()
		commit := core.Commit{Appends: []core.Append{{Stream: stream, Expect: core.NoStream, Events: []core.NewEvent{{Type: "T", Data: []byte("1")}}}}}
		put := core.SnapshotPut{Snapshot: core.Snapshot{Stream: stream, Version: 1, Data: []byte(`"secret"`)}}
		if _, err := c.AppendWithSnapshots(t.Context(), commit, []core.SnapshotPut{put}); err != nil {
			t.Fatal(err)
		}
	}
	for _, stream := range []string{"a", "b", "c", "kept"} {
		record(stream)
	}
	for _, x := range []struct {
		method, path, body string
		status             int
	}{
		{"DELETE", "/v1/streams/a?hard=true", "", http.StatusNoContent},
		{"POST", "/v1/transactions", `{"streams":[{"stream":"b","action":"tombstone"},{"stream":"kept","action":"delete"}]}`, http.StatusCreated},
	} {
		if status, text := as(t, "", x.method, n.URL()+x.path, x.body); status != x.status {
			t.Errorf("%s %s: %d %s", x.method, x.path, status, text)
		}
	}
	if _, err := c.Append(t.Context(), core.Commit{Streams: []core.StreamOp{{Stream: "c", Expect: 1, Action: core.RemoveStream}}}); err != nil {
		t.Error(err)
	}
	records, err := n.Store().Records(t.Context(), core.RecordsRequest{Table: core.SnapshotsTable})
	if err != nil {
		t.Fatal(err)
	}
	for i := range records {
		stream := core.SnapshotStream(records[i].Key)
		if has := bytes.Contains(records[i].Value, []byte("secret")); has != (stream == "kept") {
			t.Errorf("the snapshot of %q has data: %v", stream, has)
		}
	}
	if len(records) != 4 {
		t.Errorf("%d records, want 4", len(records))
	}
	record("a") // the next incarnation
	if s, err := c.ReadSnapshot(t.Context(), "a", ""); err != nil || s.Version != 1 {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestAuditOfStreams: what was done to streams over HTTP and over a connection, and nothing that
// was refused or written before.
func TestAuditOfStreams(t *testing.T) {
	n := newMatrixNode(t)
	for _, x := range []struct{ token, method, path, body string }{
		{"operator+", "DELETE", "/v1/streams/order-1?expect=7", ""},
		{"writer-", "DELETE", "/v1/streams/order-1", ""},
		{"writer+", "DELETE", "/v1/streams/order-1?hard=true", ""},
		{"writer+", "DELETE", "/v1/streams/order-1?expect=1", ""},
		{"operator+", "POST", "/v1/streams/order-1/undelete", ""},
		{"admin", "POST", "/v1/transactions", `{"streams":[{"stream":"order-1","action":"remove"},{"stream":"order-2","action":"tombstone"}]}`},
	} {
		as(t, n.tokens[x.token], x.method, n.URL()+x.path, x.body)
	}
	c := n.dial(t)
	c.say(t, `{"op":"hello","id":1,"auth":{"token":"`+n.tokens["admin"]+`"}}`)
	c.say(t, `{"op":"append","id":2,"streams":[{"stream":"order-3","action":"tombstone"}]}`)
	again := `{"op":"append","id":3,"tx":[{"stream":"new","events":[{"id":"0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11","type":"T","data":1}]}],"streams":[{"stream":"order-4","action":"tombstone"}]}`
	c.say(t, again)
	c.say(t, again)
	_ = c.Close()
	page, err := n.Store().Read(t.Context(), core.ReadRequest{Stream: keys.Audit, Limit: core.Limit{Events: 1000}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for e := range page.Events() {
		var act struct {
			keys.Act
			Detail struct{ Expect string } `json:"detail"`
		}
		if err := json.Unmarshal(e.Data, &act); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(e.Type, "Stream") {
			got = append(got, strings.Join([]string{e.Type, act.Target, act.Role, act.Detail.Expect}, " "))
		}
	}
	want := []string{
		"StreamDeleted order-1 " + string(access.Writer) + " 1", "StreamUndeleted order-1 operator any",
		"StreamRemoved order-1 admin any", "StreamTombstoned order-2 admin any", "StreamTombstoned order-3 admin any", "StreamTombstoned order-4 admin any",
	}
	slices.Sort(got[min(2, len(got)):]) // those of one commit are in no order
	if !slices.Equal(got, want) {
		t.Errorf("the audit has\n%s, want\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestParkedLeaveBeforeTheAnswer: when events are removed, what was parked of them, with its
// reason, is gone when that is answered.
func TestParkedLeaveBeforeTheAnswer(t *testing.T) {
	n := start(t, runtime.Config{Engine: runtime.EngineMemory, HardDeletes: true})
	for _, x := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "/v1/streams/a/events", `{"type":"T","data":1}`, http.StatusCreated},
		{"PUT", "/v1/subscriptions/s", `{"retry":{"max":1}}`, http.StatusCreated},
	} {
		if status, text := as(t, "", x.method, n.URL()+x.path, x.body); status != x.status {
			t.Fatalf("%s %s: %d %s", x.method, x.path, status, text)
		}
	}
	status, text := as(t, "", "POST", n.URL()+"/v1/subscriptions/s/fetch", `{"max":1}`)
	var fetched struct {
		Lease uint64 `json:"lease"`
	}
	if err := json.Unmarshal([]byte(text), &fetched); status != http.StatusOK || err != nil || fetched.Lease == 0 {
		t.Fatalf("fetch: %d %s, %v", status, text, err)
	}
	nack := fmt.Sprintf(`{"lease":%d,"positions":[1],"action":"park","reason":"secret"}`, fetched.Lease)
	if status, text := as(t, "", "POST", n.URL()+"/v1/subscriptions/s/nack", nack); status >= 300 {
		t.Fatalf("nack: %d %s", status, text)
	}
	if status, text := as(t, "", "DELETE", n.URL()+"/v1/streams/a?hard=true", ""); status != http.StatusNoContent {
		t.Fatalf("delete: %d %s", status, text)
	}
	records, err := n.Store().Records(t.Context(), core.RecordsRequest{Table: "subscription_parked"})
	if err != nil || len(records) > 0 {
		t.Errorf("%d records of parked events are left, %v", len(records), err)
	}
}
