package wsapi_test

import (
	"bufio"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi"
)

// TestHTTPSystem reads a log that the node has written events of the system to, in every
// representation.
func TestHTTPSystem(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	for _, stream := range []string{"$audit", "a", "$audit", "b", "$other"} {
		c := core.Commit{System: true, Appends: []core.Append{{Stream: stream, Expect: core.AnyVersion, Events: []core.NewEvent{{Type: "T", Data: []byte("1")}}}}}
		if _, err := n.store.Append(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	const without, with = "a b", "$audit a $audit b $other"
	for _, c := range []struct{ path, want string }{
		{"/v1/events", without},
		{"/v1/events?system=true", with},
		{"/v1/streams/$all/events?system=true", with},
		{"/v1/events?dir=backward", "b a"},
		{"/v1/events?dir=backward&system=true", "$other b $audit a $audit"},
		{"/v1/streams/$audit/events", "$audit $audit"},
		{"/v1/streams/$audit/events?from=2", "$audit"},
		{"/v1/streams/a/events?system=true", "a"},
	} {
		for accept, stream := range map[string]string{"application/json": `"stream":"([^"]+)"`, "application/x-ndjson": `"stream":"([^"]+)"`, "application/cloudevents-batch+json": `"source":"/streams/([^"]+)"`} {
			body := string(n.do("GET", c.path, "", "Accept: "+accept).want(t, 200).body)
			if got := strings.ReplaceAll(matches(body, stream), "%24", "$"); got != c.want {
				t.Errorf("%s as %s: %s, want %s", c.path, accept, got, c.want)
			}
		}
	}
	for query, want := range map[string]string{"": without, "&system=true": with} {
		if got := matches(untilLive(t, n.http.URL+"/v1/events?from=start"+query), `"stream":"([^"]+)"`); got != want {
			t.Errorf("an event stream with %q: %s, want %s", query, got, want)
		}
	}
	if next := n.do("GET", "/v1/events?system=true&limit=1", "").want(t, 200).Header.Get("Link"); next != `</v1/events?from=2&limit=1&system=true>; rel="next"` {
		t.Errorf("the next page is %s", next)
	}
	for path, want := range map[string]string{"/v1/streams": "a b", "/v1/streams?system=true": "$audit $other a b", "/v1/streams?system=true&prefix=$": "$audit $other"} {
		if got := matches(string(n.do("GET", path, "").want(t, 200).body), `"name":"([^"]+)"`); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

// untilLive is an event stream up to where it is live.
func untilLive(t *testing.T, url string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var text strings.Builder
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if strings.Contains(lines.Text(), `"state":"live"`) {
			return text.String()
		}
		text.WriteString(lines.Text())
	}
	t.Fatalf("the stream ended: %s", &text)
	return ""
}

// matches are what a pattern's first group matches.
func matches(text, pattern string) string {
	var found []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found = append(found, m[1])
	}
	return strings.Join(found, " ")
}
