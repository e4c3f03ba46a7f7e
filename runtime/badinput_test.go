//go:build unix

package runtime_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
	"github.com/gyre-events/gyre/runtime"
)

// engines are the Configs of a node on each engine.
func engines(t *testing.T) map[string]runtime.Config {
	return map[string]runtime.Config{
		runtime.EngineMemory:   {Engine: runtime.EngineMemory},
		runtime.EngineDisk:     {Engine: runtime.EngineDisk, Data: t.TempDir()},
		runtime.EnginePostgres: {Postgres: postgres.Config{URL: pgtest.Private(t).URL}},
	}
}

// TestBadInputIsRefusedOnEveryEngine sends text that no name can have to every place where
// a request has text. No engine sees it, so that all give the same answer.
func TestBadInputIsRefusedOnEveryEngine(t *testing.T) {
	const tail = "Accept: text/event-stream"
	requests := []struct{ method, path, body, header, code string }{
		{"GET", "/v1/streams?prefix=TEXT", "", "", "invalid_request"},
		{"GET", "/v1/streams?cursor=TEXT64", "", "", "invalid_cursor"},
		{"GET", "/v1/streams?cursor=TEXT", "", "", "invalid_cursor"},
		{"GET", "/v1/streams?limit=TEXT", "", "", "invalid_request"},
		{"GET", "/v1/subscriptions?prefix=TEXT", "", "", "invalid_request"},
		{"GET", "/v1/subscriptions?prefix=TEXT&transient=true", "", "", "invalid_request"},
		{"GET", "/v1/subscriptions?cursor=TEXT64", "", "", "invalid_cursor"},
		{"GET", "/v1/streams/TEXT/events", "", "", "invalid_stream_name"},
		{"GET", "/v1/streams/TEXT/events", "", tail, "invalid_stream_name"},
		{"POST", "/v1/streams/TEXT/events", `{"type":"A","data":1}`, "", "invalid_stream_name"},
		{"POST", "/v1/streams/s/events?expect=TEXT", `{"type":"A","data":1}`, "", "invalid_expected_version"},
		{"GET", "/v1/streams/s/events?from=TEXT", "", "", "invalid_request"},
		{"GET", "/v1/events?dir=TEXT", "", "", "invalid_request"},
		{"GET", "/v1/events?types=TEXT", "", tail, "invalid_filter"},
		{"GET", "/v1/events?streams=TEXT", "", tail, "invalid_filter"},
		{"GET", "/v1/events?cursor=TEXT", "", tail, "invalid_cursor"},
		{"GET", "/v1/events/TEXT", "", "", "invalid_event_id"},
		{"GET", "/v1/subscriptions/TEXT", "", "", "invalid_request"},
		{"PUT", "/v1/subscriptions/TEXT", "{}", "", "invalid_request"},
		{"DELETE", "/v1/subscriptions/TEXT", "", "", "invalid_request"},
		{"POST", "/v1/subscriptions/TEXT/fetch", "{}", "", "invalid_request"},
		{"POST", "/v1/subscriptions/TEXT/ack", `{"lease":1,"upTo":1}`, "", "invalid_request"},
		{"GET", "/v1/subscriptions/TEXT/parked", "", "", "invalid_request"},
		{"GET", "/v1/subscriptions/known/parked?after=TEXT", "", "", "invalid_request"},
		{"DELETE", "/v1/subscriptions/known/parked?types=TEXT", "", "", "invalid_filter"},
		{"DELETE", "/v1/subscriptions/known/parked?streams=TEXT", "", "", "invalid_filter"},
		{"DELETE", "/v1/subscriptions/known/parked?positions=TEXT", "", "", "invalid_request"},
		{"DELETE", "/v1/subscriptions/known/parked?ids=TEXT", "", "", "invalid_event_id"},
		{"PUT", "/v1/subscriptions/new", `{"stream":"JSON"}`, "", "invalid_stream_name"},
		{"PUT", "/v1/subscriptions/new", `{"filter":{"types":["JSON"]}}`, "", "invalid_filter"},
		{"PUT", "/v1/subscriptions/new", `{"partitionBy":"JSON"}`, "", "invalid_request"},
		{"PUT", "/v1/subscriptions/new", `{"partitionBy":"metadata.JSON"}`, "", "invalid_request"},
		{"PUT", "/v1/subscriptions/new", `{"filter":{"expr":"JSON"}}`, "", "invalid_expression"},
		{"POST", "/v1/subscriptions/known/fetch", `{"consumer":"JSON"}`, "", "invalid_request"},
		{"POST", "/v1/transactions", `{"tx":[{"stream":"s","events":[{"type":"A","data":1}]}],"checks":[{"stream":"JSON","expect":0}]}`, "", "invalid_stream_name"},
	}
	// Text as a query or path has it, as base64url, and as a string of JSON.
	texts := [][3]string{
		{"a%00", "YQA", `a\u0000`},
		{"%ff", "_w", "\xff"},
		{"a%C3", "YcM", "a\xc3"},
		{"%ED%A0%80", "7aCA", `\ud800`},
		{"a%0A", "YQo", `a\n`},
		{"a%C2%85", "YcKF", `a\u0085`},
	}
	for engine, config := range engines(t) {
		t.Run(engine, func(t *testing.T) {
			node := start(t, config)
			if status, body := send(t, "PUT", node.URL()+"/v1/subscriptions/known", "{}", ""); status != http.StatusCreated {
				t.Fatalf("%d %s", status, body)
			}
			for _, text := range texts {
				replace := strings.NewReplacer("TEXT64", text[1], "TEXT", text[0], "JSON", text[2])
				for _, r := range requests {
					status, body := send(t, r.method, node.URL()+replace.Replace(r.path), replace.Replace(r.body), r.header)
					var problem struct{ Code string }
					if err := json.Unmarshal([]byte(body), &problem); err != nil || status != http.StatusBadRequest {
						t.Errorf("%s %s %s: %d %s", r.method, replace.Replace(r.path), replace.Replace(r.body), status, body)
						continue
					}
					// Text in JSON that is not UTF-8 is refused as JSON.
					if problem.Code != r.code && (r.body == "" || problem.Code != "invalid_request") {
						t.Errorf("%s %s %s: %s, want %s", r.method, replace.Replace(r.path), replace.Replace(r.body), problem.Code, r.code)
					}
				}
			}
			if head := node.Store().State().Head; head != 0 {
				t.Errorf("the head is %d", head)
			}
		})
	}
}

// send sends a request and returns the status and the body of the response.
func send(t *testing.T, method, url, body, header string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if name, value, ok := strings.Cut(header, ": "); ok {
		r.Header.Set(name, value)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}
