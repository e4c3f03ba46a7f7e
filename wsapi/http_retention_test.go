package wsapi_test

import (
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi"
)

// has checks that the body has a part.
func (a answer) has(t testing.TB, part string) answer {
	t.Helper()
	if !strings.Contains(string(a.body), part) {
		t.Errorf("%s %s: %s lacks %s", a.Request.Method, a.Request.URL, a.body, part)
	}
	return a
}

const retentionPath = "/v1/streams/order-1/retention"

func TestRetention(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	for range 3 {
		n.do("POST", "/v1/streams/order-1/events", `{"type":"T","data":1}`).want(t, 201)
	}
	n.do("GET", retentionPath, "").want(t, 200).has(t, `{"stream":"order-1","revision":0}`)
	n.do("PUT", "/v1/retention/order", `{"maxCount":2,"maxAgeMs":3600000}`).want(t, 200).has(t, `{"category":"order","maxAgeMs":3600000,"maxCount":2,"revision":1}`)
	all := n.do("GET", "/v1/events", "").want(t, 200)
	n.do("PUT", retentionPath+"?expect=0", `{"maxCount":1}`).want(t, 200).has(t, `{"stream":"order-1","maxCount":1,"revision":1}`)
	n.do("PUT", retentionPath+"?expect=0", `{"maxCount":2}`).isError(t, "record_conflict")
	n.do("GET", "/v1/streams/order-1", "").want(t, 200).has(t, `"first":3,"count":1,`).has(t, `"retention":{"maxAgeMs":3600000,"maxCount":1}`)
	if page := n.do("GET", "/v1/events", "").want(t, 200); page.Header.Get("ETag") == all.Header.Get("ETag") {
		t.Errorf("%s is the ETag of two pages", page.Header.Get("ETag"))
	}
	n.do("GET", "/v1/retention", "").want(t, 200).has(t, `"policies":[{"category":"order","maxAgeMs":3600000,"maxCount":2,"revision":1},{"stream":"order-1","maxCount":1,"revision":1}],"end":true`)
	n.do("DELETE", retentionPath, "").want(t, 200).has(t, `{"stream":"order-1","revision":2}`)
	n.do("GET", "/v1/streams/order-1", "").want(t, 200).has(t, `"first":2,"count":2,`)
}

func TestBadRetention(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	n.do("POST", "/v1/streams/order-1/events", `{"type":"T","data":1}`).want(t, 201)
	for body, code := range map[string]core.Code{
		`{"maxAgeMs":-1}`: "invalid_retention", `{"maxAgeMs":0}`: "invalid_retention", `{"maxAgeMs":999}`: "invalid_retention", `{"maxAgeMs":9007199254740991}`: "invalid_retention",
		`{"maxCount":0}`: "invalid_retention", `{"truncateBefore":3}`: "invalid_retention", `{"truncateBefore":0}`: "invalid_retention",
		`{"maxAge":"30d"}`: "invalid_request", `{"maxCount":1.5}`: "invalid_request", `null`: "invalid_request", `{}`: "invalid_retention", `{"maxCount":null}`: "invalid_retention", `[]`: "invalid_request",
	} {
		n.do("PUT", retentionPath, body).isError(t, code)
	}
	n.do("PUT", "/v1/retention/order", `{"truncateBefore":1}`).isError(t, "invalid_retention")
	n.do("PUT", "/v1/retention/order-1", `{"maxCount":1}`).isError(t, "invalid_retention")
	n.do("PUT", "/v1/streams/$audit/retention", `{"maxCount":1}`).isError(t, "reserved_stream_name")
	n.do("GET", "/v1/streams/$audit/retention", "").want(t, 400).has(t, "reserved_stream_name").has(t, "whose streams have no retention")
	n.do("GET", "/v1/retention/$audit", "").want(t, 400).has(t, "reserved_stream_name").has(t, "whose streams have no retention")
	n.do("PUT", retentionPath+"?expect=x", `{"maxCount":1}`).isError(t, "invalid_expected_version")
	n.do("GET", retentionPath, "").want(t, 200).has(t, `{"stream":"order-1","revision":0}`)
	if text := string(n.do("GET", "/v1/retention", "").want(t, 200).body); !strings.Contains(text, `"policies":[]`) {
		t.Errorf("policies %s", text)
	}
}
