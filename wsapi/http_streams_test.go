package wsapi_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// TestStreamLists: D01, D03, D04: lists and descriptions over HTTP and WebSocket.
func TestStreamLists(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	for i, name := range []string{"order-1", "cart-1", "order-2", "order-1"} {
		n.do("POST", "/v1/streams/"+name+"/events", fmt.Sprintf(`{"type":"T","data":%d}`, i), asJSON).want(t, 201)
	}
	p := n.greeted(wire.JSON)
	for i, c := range []struct{ query, message, names string }{
		{"sort=changed&desc=true", `"sort":"changed","desc":true`, "order-1 order-2 cart-1"},
		{"sort=created", `"sort":"created"`, "order-1 cart-1 order-2"},
		{"desc=true&prefix=order", `"desc":true,"prefix":"order"`, "order-2 order-1"},
		{"suffix=-1&match=*r*", `"suffix":"-1","match":"*r*"`, "cart-1 order-1"},
		{"names=order-2&names=none&names=$all", `"names":["order-2","none","$all"]`, "order-2 $all"},
	} {
		body := n.do("GET", "/v1/streams?"+c.query, "").want(t, 200).body
		if got := matches(string(body), `"name":"([^"]+)"`); got != c.names {
			t.Errorf("%s: %s, want %s", c.query, got, c.names)
		}
		p.say(fmt.Sprintf(`{"op":"streams","id":%d,%s}`, 10+i, c.message))
		if got := fmt.Sprint(p.receive()["streams"]); strings.Count(got, "name:") != len(strings.Fields(c.names)) {
			t.Errorf("%s: %s, want %s", c.message, got, c.names)
		}
	}
	first := n.do("GET", "/v1/streams?limit=1&totals=true&details=true", "").want(t, 200)
	if s := string(first.body); !strings.Contains(s, `"total":{"streams":3}`) || !strings.Contains(s, `"created":{"position":2,"recorded":"`) {
		t.Error(s)
	}
	next := n.do("GET", "/v1/streams?limit=1&cursor="+first.fields(t)["cursor"].(string), "").want(t, 200)
	if got := matches(string(next.body), `"name":"([^"]+)"`); got != "order-1" {
		t.Errorf("the second page has %s", got)
	}
	n.do("DELETE", "/v1/streams/never?tombstone=true", "").want(t, 204)
	n.do("DELETE", "/v1/streams/cart-1", "").want(t, 204)
	for state, want := range map[string]string{"live": "order-1 order-2", "deleted": "cart-1", "tombstoned": "never"} {
		if got := matches(string(n.do("GET", "/v1/streams?state="+state, "").want(t, 200).body), `"name":"([^"]+)"`); got != want {
			t.Errorf("%s: %s, want %s", state, got, want)
		}
		p.say(fmt.Sprintf(`{"op":"streams","id":20,"state":%q}`, state))
		if got := fmt.Sprint(p.receive()["streams"]); strings.Count(got, "state:"+state) != len(strings.Fields(want)) {
			t.Errorf("%s: %s, want %s", state, got, want)
		}
	}
	info := n.do("GET", "/v1/streams/order-1", "").want(t, 200).fields(t)
	if info["version"] != 2.0 || info["state"] != "live" || info["changed"].(map[string]any)["position"] != 4.0 {
		t.Errorf("%v", info)
	}
	p.say(`{"op":"stream","id":30,"stream":"none"}`)
	p.refused("no stream", 30, "stream_not_found")
	for query, code := range map[string]string{
		"sort=size": "invalid_request", "state=gone": "invalid_request", "state=": "invalid_request", "state=tombstoned&sort=created": "invalid_request", "desc=1": "invalid_request", "totals=false": "invalid_request", "names=a&prefix=b": "invalid_request",
		"match=%0A": "invalid_filter", "sort=changed&cursor=YQ": "invalid_cursor", "names=": "invalid_stream_name",
	} {
		if f := n.do("GET", "/v1/streams?"+query, "").want(t, 400).fields(t); f["code"] != code {
			t.Errorf("%s: %v, want %s", query, f["code"], code)
		}
	}
}
