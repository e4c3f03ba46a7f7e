package wsapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi"
)

const (
	snapshotsPath = "/v1/streams/s/snapshots"
	defaultPath   = snapshotsPath + "/default"
)

// isError checks that the answer is the problem of a code, and returns its fields.
func (a answer) isError(t testing.TB, code core.Code) map[string]any {
	t.Helper()
	f := a.want(t, code.Info().Status).fields(t)
	if f["code"] != string(code) {
		t.Errorf("%s %s: %s, want %s", a.Request.Method, a.Request.URL, a.body, code)
	}
	return f
}

// isJSON checks the status and the body.
func (a answer) isJSON(t testing.TB, status int, body string) {
	t.Helper()
	if text := strings.TrimSpace(string(a.want(t, status).body)); text != body {
		t.Errorf("%s %s: %s, want %s", a.Request.Method, a.Request.URL, text, body)
	}
}

// E01 to E05 over HTTP: what is recorded comes back as it was written.
func TestHTTPSnapshots(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	n.do("POST", "/v1/streams/s/events", `[{"type":"A","data":1},{"type":"B","data":2},{"type":"C","data":3}]`).want(t, 201)
	n.do("GET", defaultPath, "").isError(t, "snapshot_not_found")
	n.do("DELETE", defaultPath, "").want(t, 204)
	const state = `{"version":2,"type":"State","data":{"total":1.10},"metadata":{"by":"me"}}`
	n.do("PUT", defaultPath, state).isJSON(t, 201, `{"changed":true}`)
	n.do("PUT", defaultPath, state).isJSON(t, 200, `{"changed":false}`)
	a := n.do("GET", defaultPath, "").want(t, 200)
	if text := string(a.body); !strings.HasPrefix(text, `{"stream":"s","kind":"default","version":2,"type":"State","recorded":"2`) ||
		!strings.HasSuffix(text, `,"data":{"total":1.10},"metadata":{"by":"me"}}`+"\n") {
		t.Errorf("got %s", text)
	}
	n.do("PUT", snapshotsPath+"/"+url.PathEscape("a/b"), `{"version":3,"dataBase64":"AP8=","contentType":"image/png"}`).want(t, 201)
	a = n.do("GET", snapshotsPath+"/a%2Fb", "").want(t, 200)
	if text := string(a.body); !strings.HasSuffix(text, `"dataBase64":"AP8=","contentType":"image/png","metadata":{}}`+"\n") {
		t.Errorf("got %s", text)
	}
	f := n.do("PUT", defaultPath, `{"version":1,"data":1}`).isError(t, "snapshot_older")
	if f["actual"] != 2.0 || f["stream"] != "s" {
		t.Errorf("%v", f)
	}
	f = n.do("PUT", defaultPath, `{"version":4,"data":1}`).isError(t, "snapshot_ahead")
	if f["actual"] != 3.0 {
		t.Errorf("%v", f)
	}
	n.do("PUT", defaultPath+"?overwrite=true", `{"version":1,"data":null}`).want(t, 201)
	var list struct {
		Snapshots []struct {
			Kind           string
			Version, Bytes int
		}
		End bool
	}
	if err := json.Unmarshal(n.do("GET", snapshotsPath, "").want(t, 200).body, &list); err != nil || fmt.Sprint(list) != "{[{a/b 3 2} {default 1 4}] true}" {
		t.Errorf("%v, %v", list, err)
	}
	n.do("DELETE", defaultPath, "").isJSON(t, 200, `{"deleted":true}`)
	n.do("GET", defaultPath, "").isError(t, "snapshot_not_found")
}

// A page with a snapshot begins after it, and has no ETag: the snapshot may change while the
// stream does not.
func TestHTTPLoad(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	const path = "/v1/streams/s/events?snapshot=default"
	n.do("GET", path, "").isError(t, "stream_not_found")
	n.do("POST", "/v1/streams/s/events", `[{"type":"A","data":1},{"type":"B","data":2},{"type":"C","data":3}]`).want(t, 201)
	load := func(query string) (l struct {
		Snapshot *struct {
			Version int
			Data    any
		}
		Events []struct{ Version int }
		Next   int
		End    bool
	}) {
		t.Helper()
		a := n.do("GET", path+query, "").want(t, 200)
		if a.Header.Get("ETag") != "" || a.Header.Get("Cache-Control") != "private, no-store" || a.Header.Get("Gyre-Version") != "3" {
			t.Errorf("%v", a.Header)
		}
		if err := json.Unmarshal(a.body, &l); err != nil {
			t.Fatal(err)
		}
		if (a.Header.Get("Link") == "") != l.End {
			t.Errorf("end %v, link %q", l.End, a.Header.Get("Link"))
		}
		return l
	}
	if l := load(""); l.Snapshot != nil || len(l.Events) != 3 || !l.End {
		t.Errorf("%+v", l)
	}
	n.do("PUT", defaultPath, `{"version":1,"data":{"a":1}}`).want(t, 201)
	if l := load(""); l.Snapshot == nil || l.Snapshot.Version != 1 || len(l.Events) != 2 || l.Events[0].Version != 2 || l.Next != 4 || !l.End {
		t.Errorf("%+v", l)
	}
	if l := load("&limit=1"); l.Snapshot == nil || len(l.Events) != 1 || l.Events[0].Version != 2 || l.Next != 3 || l.End {
		t.Errorf("%+v", l)
	}
	n.do("HEAD", path, "").want(t, 200)
	for _, query := range []string{"&from=1", "&after=1", "&dir=forward", "&system=true", "&limit=0", "&limit=1001", "&x=1", "&snapshot=x"} {
		n.do("GET", path+query, "").isError(t, "invalid_request")
	}
	n.do("GET", "/v1/streams/s/events?snapshot=$x", "").isError(t, "invalid_snapshot")
	n.do("GET", "/v1/events?snapshot=default", "").isError(t, "invalid_request")
	for _, kind := range []string{linesType, batchType, eventsType} {
		n.do("GET", path, "", "Accept: "+kind).isError(t, "invalid_request")
	}
}

// A transaction records snapshots with the events that they are made of.
func TestHTTPTransactionWithSnapshots(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	const events = `{"tx":[{"stream":"s","expect":0,"events":[{"id":"0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11","type":"A","data":1}]}],"snapshots":[{"stream":"s","version":%d,"data":1}]}`
	n.do("POST", "/v1/transactions", fmt.Sprintf(events, 2)).isError(t, "snapshot_ahead")
	n.do("GET", "/v1/streams/s/events", "").isError(t, "stream_not_found")
	n.do("POST", "/v1/transactions", fmt.Sprintf(events, 1)).want(t, 201)
	n.do("POST", "/v1/transactions", fmt.Sprintf(events, 1)).want(t, 200)
	if s, err := core.ReadSnapshot(context.Background(), n.store, "s", ""); err != nil || s.Version != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	for _, body := range []string{
		`{"snapshots":[{"stream":"s","version":1}]}`, `{"snapshots":[{"stream":"s","version":1,"data":1,"dataBase64":"AA=="}]}`,
	} {
		n.do("POST", "/v1/transactions", body).isError(t, "invalid_data")
	}
	many := strings.Repeat(`{"stream":"s","version":1,"data":1},`, core.MaxCommitSnapshots)
	if f := n.do("POST", "/v1/transactions", `{"snapshots":[`+many+`{"stream":"s","version":1,"data":1}]}`).isError(t, "commit_too_large"); f["limit"] != float64(core.MaxCommitSnapshots) {
		t.Errorf("%v", f)
	}
	n.do("POST", "/v1/transactions", `{"progress":{"name":"p","from":0,"to":1},"snapshots":[{"stream":"s","version":1,"data":2}]}`).isError(t, "invalid_request")
	n.do("POST", "/v1/transactions", `{"snapshots":[{"stream":"s","version":1,"data":2}]}`).want(t, 201)
}
