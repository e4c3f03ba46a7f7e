package wsapi_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// selectable is a node with events of several streams, types, times and correlations.
func selectable(t *testing.T) *node {
	n := newNode(t, wsapi.Config{})
	for i := range 12 {
		path := "/v1/streams/" + []string{"order-1", "order-2", "file-a%2Fb"}[i%3] + "/events"
		n.do("POST", path, fmt.Sprintf(`{"type":"T%d","time":"2023-05-%02dT00:00:00Z","data":%d,"metadata":{"correlation_id":"c-%d"}}`, i%4, i+1, i, i%2)).want(t, 201)
	}
	return n
}

// numbersOf are the data of the events of a page, in lines or not.
func numbersOf(t *testing.T, a answer, lines bool) (numbers []int) {
	t.Helper()
	type event struct{ Data int }
	var page struct{ Events []event }
	text := string(a.body)
	if lines {
		all := strings.Split(strings.TrimSpace(text), "\n")
		text = `{"events":[` + strings.Join(all[:len(all)-1], ",") + `]}`
	}
	if err := json.Unmarshal([]byte(text), &page); err != nil {
		t.Fatalf("%s: %v", a.body, err)
	}
	for _, e := range page.Events {
		numbers = append(numbers, e.Data)
	}
	return numbers
}

func TestHTTPSelects(t *testing.T) {
	n := selectable(t)
	recorded := n.store.State()
	page, err := n.store.Read(t.Context(), core.ReadRequest{Stream: core.All, From: 5, Limit: core.Limit{Events: 1}})
	if err != nil || recorded.Head != 12 {
		t.Fatal(recorded, err)
	}
	fifth := url.QueryEscape(page.Slice()[0].Recorded.Format("2006-01-02T15:04:05.999999999Z07:00"))
	for query, want := range map[string][]int{
		"category=order":             {0, 1, 3, 4, 6, 7, 9, 10},
		"category=file&types=T0":     {8},
		"types=T0&types=T1":          {0, 1, 4, 5, 8, 9},
		"streams=*-2":                {1, 4, 7, 10},
		"since=2023-05-10T00:00:00Z": {9, 10, 11},
		"since=2023-05-03T00:00:00Z&until=2023-05-05T00:00:00%2B00:00": {2, 3},
		"correlation=c-1&category=order&dir=backward":                  {9, 7, 3, 1},
		"category=none":                                 nil,
		"from=" + fifth + "&category=file":              {5, 8, 11},
		"from=" + fifth + "&dir=backward&category=file": {2},
	} {
		if got := numbersOf(t, n.do("GET", "/v1/events?"+query, "").want(t, 200), false); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", query, got, want)
		}
		if got := numbersOf(t, n.do("GET", "/v1/events?"+query, "", "Accept: "+linesType).want(t, 200), true); !slices.Equal(got, want) {
			t.Errorf("%s in lines: %v, want %v", query, got, want)
		}
		n.do("GET", "/v1/events?"+query, "", "Accept: "+batchType).want(t, 200)
	}
	a := n.do("GET", "/v1/streams/order-1/events?types=T1", "").want(t, 200)
	if f := a.fields(t); f["scanned"] != 4.0 || f["end"] != true || f["next"] != 5.0 || !slices.Equal(numbersOf(t, a, false), []int{9}) {
		t.Errorf("of a stream: %s", a.body)
	}
}

// A chain of next stays within the selection.
func TestHTTPSelectedPagesChain(t *testing.T) {
	n := selectable(t)
	var got []int
	for at := "/v1/events?category=order&types=T*&since=2023-05-02T00:00:00Z&limit=3"; at != ""; {
		a := n.do("GET", at, "").want(t, 200)
		got, at = append(got, numbersOf(t, a, false)...), ""
		if link := a.Header.Get("Link"); link != "" {
			address, _, _ := strings.Cut(link, ">; ")
			at = strings.TrimPrefix(address, "<")
		}
	}
	if want := []int{1, 3, 4, 6, 7, 9, 10}; !slices.Equal(got, want) {
		t.Errorf("visited %v, want %v", got, want)
	}
}

// No page of a selection has the tag of another one, or of all events, and If-Match of an
// append takes none of them.
func TestHTTPSelectionsHaveTagsOfTheirOwn(t *testing.T) {
	n := selectable(t)
	const path = "/v1/streams/order-1/events"
	tags := map[string]string{}
	for _, query := range []string{"", "?types=T1", "?types=T2", "?category=order", "?since=2023-05-02T00:00:00Z", "?until=2023-05-02T00:00:00Z", "?correlation=c-1"} {
		for _, kind := range []string{jsonType, batchType} {
			tag := n.do("GET", path+query, "", "Accept: "+kind).want(t, 200).Header.Get("ETag")
			if other, known := tags[tag]; known || tag == "" {
				t.Errorf("%q and %q as %s have the tag %s", query, other, kind, tag)
			}
			tags[tag] = query
			n.do("GET", path+query, "", "Accept: "+kind, "If-None-Match: "+tag).want(t, 304)
			n.do("HEAD", path+query, "", "Accept: "+kind, "If-None-Match: "+tag).want(t, 304)
			if query != "" {
				n.do("POST", path, `{"type":"A","data":1}`, "If-Match: "+tag).want(t, 412)
			}
		}
	}
	n.headIs(12)
}

func TestHTTPRefusesBadSelections(t *testing.T) {
	n := selectable(t)
	for query, code := range map[string]string{
		"category=order-1": "invalid_filter",
		"since=yesterday":  "invalid_filter",
		"since=2023-05-02": "invalid_filter",
		"since=2023-05-02T00:00:00Z&until=2023-05-01T00:00:00Z": "invalid_filter",
		"correlation=" + strings.Repeat("x", 129):               "invalid_filter",
		"types=":                     "invalid_filter",
		"streams=":                   "invalid_filter",
		"category=":                  "invalid_filter",
		"correlation=":               "invalid_filter",
		"since=":                     "invalid_filter",
		"until=":                     "invalid_filter",
		"since=0001-01-01T00:00:00Z": "invalid_filter",
		"until=0001-01-01T00:00:00Z": "invalid_filter",
		"from=0001-01-01T00:00:00Z":  "invalid_request",
		"from=":                      "invalid_request",
		"category=a&category=b":      "invalid_request",
	} {
		if f := n.do("GET", "/v1/events?"+query, "").want(t, 400).fields(t); f["code"] != code {
			t.Errorf("%s: %v, want %s", query, f, code)
		}
	}
	n.do("GET", "/v1/events?category=a", "", "Accept: "+eventsType).want(t, 400)
	if f := n.do("GET", "/v1/events?from=2026-12-01", "").want(t, 400).fields(t); !strings.Contains(fmt.Sprint(f["detail"]), "a time of RFC 3339 with a zone") {
		t.Errorf("from a day: %v", f)
	}
	if got := numbersOf(t, n.do("GET", "/v1/events?dir=backward&from=0", "").want(t, 200), false); len(got) > 0 {
		t.Errorf("backward from 0: %v", got)
	}
	if got := numbersOf(t, n.do("GET", "/v1/events?until=1500-01-01T00:00:00Z", "").want(t, 200), false); len(got) > 0 {
		t.Errorf("until a time before all events: %v", got)
	}
	p := n.greeted(wire.JSON)
	for field, code := range map[string]string{
		`"category":""`:                     "invalid_filter",
		`"correlation":""`:                  "invalid_filter",
		`"since":""`:                        "invalid_filter",
		`"until":"0001-01-01T00:00:00Z"`:    "invalid_filter",
		`"fromTime":""`:                     "invalid_cursor",
		`"fromTime":"0001-01-01T00:00:00Z"`: "invalid_cursor",
	} {
		p.say(`{"op":"read","id":2,"stream":"$all",` + field + `}`)
		p.refused(field, 2, code)
	}
}

// An empty list of names is not all streams.
func TestOpsRefuseEmptyLists(t *testing.T) {
	p := selectable(t).greeted(wire.JSON)
	for _, names := range []string{`[]`, `null`} {
		p.say(`{"op":"streams","id":2,"names":` + names + `}`)
		p.refused("names "+names, 2, "invalid_request")
	}
}
