package wsapi_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// deadlines sends an append of one event to stream s with each protocol, whose deadline
// passes while steps are blocked, and returns the code it is answered.
func deadlines(n *node) map[string]func(event string) any {
	text, binary := n.greeted(wire.JSON), n.greeted(wire.Bin)
	id := 10
	code := func(p *peer) any {
		e, _ := p.receive()["error"].(map[string]any)
		return e["code"]
	}
	return map[string]func(string) any{
		"json": func(event string) any {
			id++
			text.say(fmt.Sprintf(`{"op":"append","id":%d,"timeoutMs":100,"stream":"s","events":[{"type":%q,"data":1}]}`, id, event))
			return code(text)
		},
		"binary": func(event string) any {
			id++
			binary.send(wire.AppendCommit(nil, &wire.CommitFrame{ID: uint64(id), Timeout: 100e6, Commit: core.Commit{
				Appends: []core.Append{{Stream: "s", Expect: core.AnyVersion, Events: []core.NewEvent{{Type: event, Data: []byte("1")}}}},
			}}))
			return code(binary)
		},
		"http": func(event string) any {
			return n.do("POST", "/v1/streams/s/events", fmt.Sprintf(`{"type":%q,"data":1}`, event), "Gyre-Timeout: 100").fields(n.t)["code"]
		},
	}
}

// TestDeadlinesAreTrue: what was answered timeout is never written, and what had begun is
// answered unknown_outcome.
func TestDeadlinesAreTrue(t *testing.T) {
	for _, first := range []string{"json", "binary", "http"} {
		t.Run(first, func(t *testing.T) {
			n, g := newGated(t, wsapi.Limits{})
			send := deadlines(n)
			if code := send[first]("Begun"); code != "unknown_outcome" {
				t.Errorf("begun: %v", code)
			}
			<-g.begun
			// Keep the committer's other worker busy, too.
			n.store.Submit(t.Context(), core.Commit{Appends: []core.Append{{
				Stream: "t", Expect: core.AnyVersion, Events: []core.NewEvent{{Type: "A", Data: []byte(`"longer"`)}},
			}}}, func(core.Result, error) {})
			<-g.begun
			for protocol, send := range send {
				if code := send("Withdrawn"); code != "timeout" {
					t.Errorf("%s, not begun: %v", protocol, code)
				}
			}
			// A definition is a Commit, too, however it is created.
			if a := n.do("PUT", "/v1/subscriptions/a", `{}`, "Gyre-Timeout: 100"); a.StatusCode != 504 {
				t.Errorf("PUT: %d %s", a.StatusCode, a.body)
			}
			p := n.greeted()
			p.say(`{"op":"subscribe","id":2,"sub":1,"timeoutMs":100,"subscription":"b","options":{}}`)
			p.refused("subscribe", 2, "timeout")
			p.say(`{"op":"append","id":3,"stream":"s","events":[{"type":"Canceled","data":1}]}
{"op":"cancel","id":3}`)
			p.refused("cancel", 3, "canceled")
			p.say(`{"op":"append","id":4,"stream":"s","events":[{"type":"Orphaned","data":1}]}
{"op":"ping","n":1}`)
			p.receive()
			_ = p.Close()
			n.untilMetric("gyre_ws_connections", 2)

			g.release()
			n.do("POST", "/v1/streams/s/events", `{"type":"Last","data":1}`).want(t, 201)
			if a := n.do("GET", "/v1/streams/s/events", "").want(t, 200); strings.Count(string(a.body), `"type"`) != 2 ||
				!strings.Contains(string(a.body), "Begun") || !strings.Contains(string(a.body), "Last") {
				t.Errorf("written: %s", a.body)
			}
			n.do("GET", "/v1/subscriptions/a", "").want(t, 404)
			n.do("GET", "/v1/subscriptions/b", "").want(t, 404)
		})
	}
}

// TestDeadlineOfAPause: the pause of a subscription is one Commit, which has begun.
func TestDeadlineOfAPause(t *testing.T) {
	n, g := newGated(t, wsapi.Limits{})
	go func() { <-g.begun; g.open <- struct{}{} }()
	n.do("PUT", "/v1/subscriptions/a", `{}`).want(t, 201)
	if code := n.do("POST", "/v1/subscriptions/a/pause", "", "Gyre-Timeout: 100").fields(t)["code"]; code != "unknown_outcome" {
		t.Errorf("pause: %v", code)
	}
	g.release()
	if f := n.do("POST", "/v1/subscriptions/a/pause", "").want(t, 200).fields(t); f["state"] != "paused" {
		t.Errorf("paused: %v", f)
	}
}

// untilMetric waits until one of the metrics has a value.
func (n *node) untilMetric(name string, value int) {
	n.t.Helper()
	line := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`)
	for late := time.Now().Add(20 * time.Second); time.Now().Before(late); {
		// A metric with labels is there from its first count on.
		m := line.FindSubmatch(n.do("GET", "/metrics", "").body)
		if m == nil {
			continue
		}
		if v, err := strconv.ParseFloat(string(m[1]), 64); err == nil && v == float64(value) {
			return
		}
	}
	n.t.Fatalf("%s does not become %d", name, value)
}

// continued is a Store whose log has an earlier timeline.
type continued struct{ *core.Store }

func (s continued) State() core.State {
	state := s.Store.State()
	state.Timelines = []core.Timeline{{Name: "before"}, {Name: "after"}}
	return state
}

// restored is one whose reads do not come back.
type restored struct{ continued }

func (restored) Read(ctx context.Context, _ core.ReadRequest) (core.Page, error) {
	<-ctx.Done()
	return core.Page{}, core.AsError(ctx.Err())
}

// TestPreconditionsHaveADeadline: an If-Match of an earlier timeline is looked up within
// the request's deadline.
func TestPreconditionsHaveADeadline(t *testing.T) {
	store := core.NewStore(memory.New(), core.StoreConfig{})
	defer store.Close()
	api, err := wsapi.New(wsapi.Config{Store: restored{continued{store}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	r := httptest.NewRequestWithContext(ctx, "POST", "http://localhost/v1/streams/s/events", strings.NewReader(`{"type":"A","data":1}`))
	r.Header.Set("If-Match", `"before-1-1"`)
	r.Header.Set("Gyre-Timeout", "10")
	w := httptest.NewRecorder()
	api.ServeHTTP(w, r)
	if ctx.Err() != nil || w.Code != 504 || !strings.Contains(w.Body.String(), `"timeout"`) {
		t.Errorf("%d %s, %v", w.Code, w.Body, ctx.Err())
	}
	if err := api.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
