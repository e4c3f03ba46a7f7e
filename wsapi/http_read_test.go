package wsapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/wsapi"
)

const (
	jsonType   = "application/json"
	linesType  = "application/x-ndjson"
	eventsType = "text/event-stream"
	batchType  = "application/cloudevents-batch+json"
)

// Each representation has a validator of its own, and HEAD says what GET would.
func TestHTTPRepresentations(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	const path = "/v1/streams/s/events"
	n.do("POST", path, `[{"type":"A","data":1},{"type":"B","data":2},{"type":"C","data":3}]`).want(t, 201)
	for _, url := range []string{path, path + "?from=2&limit=1", "/v1/events?dir=backward&limit=2"} {
		tags := map[string]string{}
		for _, kind := range []string{jsonType, batchType, linesType} {
			a := n.do("GET", url, "", "Accept: "+kind).want(t, 200)
			if a.Header.Get("Content-Type") != kind || !slices.Contains(a.Header.Values("Vary"), "Accept") {
				t.Errorf("%s as %s: %v", url, kind, a.Header)
			}
			if tag := a.Header.Get("ETag"); tag != "" {
				tags[kind] = tag
			} else if a.Header.Get("Cache-Control") != "private, no-store" {
				t.Errorf("%s as %s can be stored, without an ETag: %v", url, kind, a.Header)
			}
			head := n.do("HEAD", url, "", "Accept: "+kind).want(t, 200)
			for _, name := range []string{"Content-Type", "ETag", "Cache-Control", "Vary", "Gyre-Version", "Gyre-Head"} {
				if got, want := head.Header.Values(name), a.Header.Values(name); !slices.Equal(got, want) {
					t.Errorf("HEAD %s as %s: %s is %q, of GET %q", url, kind, name, got, want)
				}
			}
		}
		for kind, tag := range tags {
			for other := range tags {
				status := http.StatusOK
				if kind == other {
					status = http.StatusNotModified
				}
				for _, method := range []string{"GET", "HEAD"} {
					n.do(method, url, "", "Accept: "+other, "If-None-Match: "+tag).want(t, status)
				}
			}
		}
		if len(tags) != 2 || tags[jsonType] == tags[batchType] {
			t.Errorf("%s has the tags %v", url, tags)
		}
	}
	for version, kind := range []string{3: jsonType, 4: batchType, 5: ""} {
		if kind != "" {
			tag := n.do("HEAD", path, "", "Accept: "+kind).want(t, 200).Header.Get("ETag")
			n.do("POST", path, `{"type":"D","data":4}`, "If-Match: "+tag).want(t, 201)
			n.do("POST", path, `{"type":"E","data":4}`, "If-Match: "+tag).want(t, 412)
			n.headIs(uint64(version + 1))
		}
	}
	log := n.store.State().Timeline()
	for _, tag := range []string{"-1-5-cloudevent", "-1-5-", "-1-5--cloudevents", "-1-cloudevents"} {
		if f := n.do("POST", path, `{"type":"A","data":1}`, `If-Match: "`+log+tag+`"`).want(t, 412).fields(t); f["code"] != "wrong_expected_version" {
			t.Errorf("%s: %v", tag, f)
		}
	}
	if f := n.do("POST", path, `{"type":"A","data":1}`, `If-Match: "other-1-5-cloudevents"`).want(t, 412).fields(t); f["code"] != "log_changed" {
		t.Errorf("another log's: %v", f)
	}
}

// HEAD takes the parameters that GET takes, and refuses those that it refuses.
func TestHTTPHeadRefusesWhatGetRefuses(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	n.do("POST", "/v1/streams/s/events", `{"type":"A","data":1}`).want(t, 201)
	for _, path := range []string{"/v1/streams/s/events", "/v1/events"} {
		for _, kind := range []string{jsonType, linesType, batchType, eventsType} {
			for _, query := range []string{"x=1", "limit=0", "limit=x", "from=-1", "dir=up", "limit=1001", "types=A", "cursor=x"} {
				if kind == linesType && query == "limit=1001" || kind == eventsType && query == "types=A" {
					continue
				}
				get := n.do("GET", path+"?"+query, "", "Accept: "+kind).want(t, 400)
				if head := n.do("HEAD", path+"?"+query, "", "Accept: "+kind); head.StatusCode != get.StatusCode {
					t.Errorf("%s?%s as %s: GET %d, HEAD %d", path, query, kind, get.StatusCode, head.StatusCode)
				}
			}
		}
		n.do("HEAD", path, "", "Accept: image/png").want(t, 406)
	}
	for _, kind := range []string{jsonType, linesType, batchType} {
		n.do("HEAD", "/v1/streams/none/events", "", "Accept: "+kind).want(t, 404)
	}
}

// A chain of next visits each event once, also where pages end because they are large,
// and nothing claims to be the page before.
func TestHTTPPagesChain(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	const path = "/v1/streams/s/events"
	for i := range 20 {
		n.do("POST", path, fmt.Sprintf(`{"type":"T%d","data":"%s"}`, i, strings.Repeat("x", 900_000))).want(t, 201)
	}
	for _, kind := range []string{jsonType, batchType} {
		for _, start := range []string{path, "/v1/events", path + "?dir=backward", "/v1/events?dir=backward", path + "?limit=3", "/v1/events?dir=backward&limit=7"} {
			var got []string
			for url := start; url != ""; {
				a := n.do("GET", url, "", "Accept: "+kind).want(t, 200)
				got = append(got, typesOf(t, a.body)...)
				url = ""
				for _, link := range a.Header.Values("Link") {
					address, rel, _ := strings.Cut(link, ">; ")
					if rel != `rel="next"` {
						t.Fatalf("%s: Link %s", start, link)
					}
					url = strings.TrimPrefix(address, "<")
				}
			}
			if strings.Contains(start, "backward") {
				slices.Reverse(got)
			}
			for i := range 20 {
				if len(got) != 20 || got[i] != fmt.Sprintf("T%d", i) {
					t.Fatalf("%s as %s has visited %v", start, kind, got)
				}
			}
		}
	}
}

// typesOf are the types of a page's events.
func typesOf(t *testing.T, body []byte) (types []string) {
	t.Helper()
	var events []struct{ Type string }
	if body[0] == '{' {
		page := struct{ Events any }{&events}
		if err := json.Unmarshal(body, &page); err != nil {
			t.Fatal(err)
		}
	} else if err := json.Unmarshal(body, &events); err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		types = append(types, e.Type)
	}
	return types
}
