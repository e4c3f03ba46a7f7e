package wsapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

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
			for _, query := range []string{"x=1", "limit=0", "limit=x", "from=-1", "dir=up", "limit=1001", "types=", "category=a-1", "since=x", "cursor=x"} {
				if kind == linesType && query == "limit=1001" || kind == eventsType && query == "types=" {
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

// Where a page begins: from is inclusive, after exclusive, in the page's direction. Beyond an
// end of the stream there is an empty page, and no next before the first event.
func TestHTTPWherePagesBegin(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	const path, last = "/v1/streams/s/events", 3
	n.do("POST", path, `[{"type":"A","data":1},{"type":"B","data":2},{"type":"C","data":3}]`).want(t, 201)
	for query, c := range map[string]struct{ first, next uint64 }{ // first is 0 for an empty page
		"":                          {1, 2},
		"from=0":                    {1, 2},
		"from=1":                    {1, 2},
		"from=start":                {1, 2},
		"from=origin":               {1, 2},
		"from=2":                    {2, 3},
		"after=0":                   {1, 2},
		"after=1":                   {2, 3},
		"after=3":                   {0, 4},
		"from=end":                  {0, 4},
		"from=current":              {0, 4},
		"after=9007199254740991":    {0, 4},
		"dir=backward":              {last, 2},
		"dir=backward&from=end":     {last, 2},
		"dir=backward&from=current": {last, 2},
		"dir=backward&from=2":       {2, 1},
		"dir=backward&after=2":      {1, 0},
		"dir=backward&from=1":       {1, 0},
		"dir=backward&from=0":       {0, 0},
		"dir=backward&from=start":   {0, 0},
		"dir=backward&from=origin":  {0, 0},
		"dir=backward&after=0":      {0, 0},
		"dir=backward&after=1":      {0, 0},
	} {
		for _, path := range []string{path, "/v1/events"} {
			var page struct {
				Events []struct{ Position uint64 }
				Next   *uint64
				End    bool
			}
			url := path + "?" + query + "&limit=1"
			a := n.do("GET", url, "").want(t, 200)
			if err := json.Unmarshal(a.body, &page); err != nil {
				t.Fatal(err)
			}
			var first uint64
			if len(page.Events) > 0 {
				first = page.Events[0].Position
			}
			if first != c.first || (page.Next != nil) != (c.next > 0) || page.Next != nil && *page.Next != c.next ||
				page.End != (c.next == 0 || c.next > last) || (a.Header.Get("Link") == "") != page.End {
				t.Errorf("%s: %v %s, want %v", url, a.Header, a.body, c)
			}
			// The same in lines, without a limit.
			lines := strings.Split(string(n.do("GET", path+"?"+query, "", "Accept: "+linesType).want(t, 200).body), "\n")
			if first == 0 != strings.HasPrefix(lines[0], `{"$end":{`) || strings.Contains(query, "backward") == strings.Contains(lines[len(lines)-2], `"next"`) {
				t.Errorf("%s in lines: %q", url, lines)
			}
		}
	}
	for _, query := range []string{"from=1&after=1", "from=x", "after=x", "after=-1", "from=END", "from=1.x", "from=2026-11-23", "after=end"} {
		n.do("GET", path+"?"+query, "").want(t, 400)
	}
	for _, query := range []string{"", "?from=end", "?dir=backward&from=0"} {
		n.do("GET", "/v1/streams/none/events"+query, "").want(t, 404)
	}
}

// The first event of an event stream, by where it begins.
func TestHTTPWhereEventStreamsBegin(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	const path = "/v1/streams/s/events"
	n.do("POST", path, `[{"type":"A","data":1},{"type":"B,b","data":2},{"type":"C","data":3}]`).want(t, 201)
	first := n.do("GET", path+"?limit=1", "").want(t, 200).fields(t)["events"].([]any)[0].(map[string]any)
	for query, want := range map[string]string{
		"":                                   "A",
		"from=0":                             "A",
		"from=1":                             "A",
		"from=start":                         "A",
		"from=origin":                        "A",
		"from=2":                             "B,b",
		"after=0":                            "A",
		"after=2":                            "C",
		"from=2020-01-01t00:00:00z":          "A",
		"from=" + first["recorded"].(string): "A",
		"cursor=" + n.store.State().Cursor(1).String(): "B,b",
		"from=" + n.store.State().Cursor(1).String():   "B,b",
		"from=end":                            "",
		"from=current":                        "",
		"after=3":                             "",
		"from=2100-01-01T00:00:00Z":           "",
		"types=B%2Cb":                         "B,b", // a comma is one of a type's characters
		"types=B,b":                           "B,b",
		"types=C&types=B*":                    "B,b",
		"types=C&types=D&streams=x&streams=s": "C",
	} {
		for _, path := range []string{path, "/v1/events"} {
			if got := n.firstOfStream(path + "?" + query); got != want {
				t.Errorf("%s?%s begins with %q, want %q", path, query, got, want)
			}
		}
	}
	for _, query := range []string{"from=1&after=1", "after=1&cursor=x", "from=x", "after=x", "types=", "from=1&from=2"} {
		n.do("GET", path+"?"+query, "", "Accept: "+eventsType).want(t, 400)
	}
}

// firstOfStream is the type of the first event of an event stream, or "" if it is live
// before there is one.
func (n *node) firstOfStream(path string) string {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", n.http.URL+path, http.NoBody)
	if err != nil {
		n.t.Fatal(err)
	}
	r.Header.Set("Accept", eventsType)
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		n.t.Fatal(err)
	}
	defer res.Body.Close()
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		var data struct{ Type, State string }
		text, ok := strings.CutPrefix(lines.Text(), "data: ")
		if ok && json.Unmarshal([]byte(text), &data) == nil && (data.Type != "" || data.State == "live") {
			return data.Type
		}
	}
	n.t.Fatalf("%s ended", path)
	return ""
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
