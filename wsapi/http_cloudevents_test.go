package wsapi_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/wsapi"
)

const (
	structured = "Content-Type: application/cloudevents+json"
	batched    = "Content-Type: application/cloudevents-batch+json; charset=utf-8"
	asBatch    = "Accept: application/cloudevents-batch+json"
)

func TestHTTPCloudEvents(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	const path = "/v1/streams/a%2Fb/events"
	binary := []string{"Content-Type: text/plain", "ce-specversion: 1.0", "ce-id: 1", "ce-source: /till", "ce-type: Scanned", "ce-subject: caf%C3%A9"}
	a := n.do("POST", path, "4011200296908", binary...).want(t, 201)
	if string(a.body) != `{"version":1,"position":1,"count":1}`+"\n" || a.Header.Get("Location") != path+"?from=1&limit=1" {
		t.Errorf("answered %s, %v", a.body, a.Header)
	}
	if f := n.do("POST", path, "4011200296908", binary...).want(t, 200).fields(t); f["duplicate"] != true {
		t.Errorf("a second time: %v", f)
	}
	one := `{"specversion":"1.0","id":"0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11","source":"/streams/a%2Fb","type":"Placed","time":"2026-11-23T10:00:00Z","correlationid":"c","data":{"total":1.50}}`
	n.do("POST", path+"?expect=1", one, structured).want(t, 201)
	n.do("POST", path, `[`+strings.Replace(one, "4d11", "4d12", 1)+`,{"specversion":"1.0","id":"9","source":"x","type":"Sent"}]`, batched, "If-Match: *").want(t, 201)
	n.headIs(4)

	page := n.do("GET", path+"?from=2&limit=2", "", asBatch).want(t, 200)
	var events []map[string]any
	if err := json.Unmarshal(page.body, &events); err != nil || page.Header.Get("Content-Type") != "application/cloudevents-batch+json" {
		t.Fatalf("%s: %v: %s", page.Header.Get("Content-Type"), err, page.body)
	}
	if want := `<` + path + `?from=4&limit=2>; rel="next"`; page.Header.Get("Link") != want {
		t.Errorf("Link %s, want %s", page.Header.Get("Link"), want)
	}
	if e := events[0]; len(events) != 2 || e["id"] != "0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11" || e["sequence"] != "0000000000000002" ||
		e["source"] != "/streams/a%2Fb" || e["subject"] != "a/b" || e["correlationid"] != "c" {
		t.Errorf("%s", page.body)
	}
	if !strings.Contains(string(page.body), `"data":{"total":1.50}`) {
		t.Errorf("%s", page.body)
	}
	n.do("GET", path, "", asBatch, "If-None-Match: "+page.Header.Get("ETag")).want(t, 304)
	n.do("HEAD", path, "", asBatch).want(t, 200)
	n.do("GET", "/v1/streams/none/events", "", asBatch).want(t, 404)
	last := n.do("GET", "/v1/events?dir=backward&limit=1", "", asBatch).want(t, 200)
	if text := string(last.body); !strings.HasPrefix(text, `[{"specversion":"1.0","id":"9","source":"x","subject":"a/b","type":"Sent",`) {
		t.Errorf("the last of all is %s", text)
	}
	// What was read can be appended elsewhere, once.
	other := newNode(t, wsapi.Config{})
	all := n.do("GET", path, "", asBatch).want(t, 200).body
	other.do("POST", path, string(all), batched).want(t, 201)
	other.do("POST", path, string(all), batched).want(t, 200)
	ids := func(n *node) (list []any) {
		for _, e := range n.do("GET", path, "").want(t, 200).fields(t)["events"].([]any) {
			e := e.(map[string]any)
			delete(e, "recorded")
			if e["id"] != "0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11" && e["id"] != "0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d12" {
				delete(e, "time") // they had none: it is when they were recorded
			}
			list = append(list, e)
		}
		return list
	}
	if one, two := ids(n), ids(other); encode(t, one) != encode(t, two) {
		t.Errorf("%s\nwent as %s\nand is there\n%s", encode(t, one), all, encode(t, two))
	}
}

// One id from two sources is two events; each is found when it is sent again, and read as
// it was sent, in every mode.
func TestHTTPCloudEventsAreIdentifiedBySourceAndID(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	const path, id = "/v1/streams/s/events", "0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11"
	for _, status := range []int{201, 200} {
		for _, source := range []string{"/a", "/b"} {
			n.do("POST", path, `{"specversion":"1.0","id":"`+id+`","source":"`+source+`","type":"T"}`, structured).want(t, status)
		}
		n.do("POST", path, "", "ce-specversion: 1.0", "ce-id: "+id, "ce-source: /c", "ce-type: T").want(t, status)
		n.do("POST", path, `[{"specversion":"1.0","id":"`+id+`","source":"/d","type":"T"},{"specversion":"1.0","id":"`+id+`","source":"/e","type":"T"}]`, batched).want(t, status)
	}
	n.do("POST", path, `{"specversion":"1.0","id":"`+id+`","source":"/c","type":"T"}`, structured).want(t, 200)
	n.headIs(5)
	var events []struct{ ID, Source string }
	if err := json.Unmarshal(n.do("GET", path, "", asBatch).want(t, 200).body, &events); err != nil {
		t.Fatal(err)
	}
	for i, source := range []string{"/a", "/b", "/c", "/d", "/e"} {
		if len(events) != 5 || events[i].ID != id || events[i].Source != source {
			t.Fatalf("read %+v", events)
		}
	}
}

func encode(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestHTTPCloudEventsRefused sends what is not understood: nothing is written.
func TestHTTPCloudEventsRefused(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	const good = `{"specversion":"1.0","id":"1","source":"x","type":"T"}`
	for name, c := range map[string]struct {
		body    string
		headers []string
		status  int
		code    string
	}{
		"a batch as one":              {`[` + good + `]`, []string{structured}, 400, "invalid_request"},
		"one as a batch":              {good, []string{batched}, 400, "invalid_request"},
		"an empty batch":              {`[]`, []string{batched}, 400, "empty_append"},
		"a batch with a bad one":      {`[` + good + `,{"specversion":"1.0","id":"2","source":"x"}]`, []string{batched}, 400, "invalid_request"},
		"a batch with one twice":      {`[` + good + `,` + good + `]`, []string{batched}, 409, "duplicate_event"},
		"not JSON":                    {`{`, []string{structured}, 400, "invalid_request"},
		"an array of plain objects":   {`[` + good + `]`, []string{"Content-Type: application/json"}, 400, "invalid_request"},
		"another charset":             {good, []string{structured + "; charset=latin1"}, 415, "unsupported_media_type"},
		"another format":              {good, []string{"Content-Type: application/cloudevents+avro", "ce-id: 1"}, 415, "unsupported_media_type"},
		"binary without the required": {`1`, []string{"ce-id: 1"}, 400, "invalid_request"},
		"binary that is not encoded":  {`1`, []string{"ce-specversion: 1.0", "ce-id: 1", "ce-source: %", "ce-type: T"}, 400, "invalid_request"},
		"binary that is not JSON":     {`{`, []string{"ce-specversion: 1.0", "ce-id: 1", "ce-source: x", "ce-type: T", "Content-Type: application/json"}, 400, "invalid_data"},
		"a long type":                 {strings.Replace(good, `"T"`, `"`+strings.Repeat("T", 257)+`"`, 1), []string{structured}, 400, "invalid_event_type"},
		"a large event":               {`{"data":"` + strings.Repeat("x", 1<<20) + `",` + good[1:], []string{structured}, 413, "event_too_large"},
	} {
		a := n.do("POST", "/v1/streams/s/events", c.body, c.headers...).want(t, c.status)
		if f := a.fields(t); f["code"] != c.code {
			t.Errorf("%s: %s", name, a.body)
		}
	}
	a := n.do("POST", "/v1/transactions", good, structured).want(t, 415)
	if f := a.fields(t); f["code"] != "unsupported_media_type" {
		t.Errorf("a transaction: %s", a.body)
	}
	n.headIs(0)
}
