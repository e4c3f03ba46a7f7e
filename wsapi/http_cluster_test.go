package wsapi_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// echo is a Ring that answers with what it was asked.
type echo struct{ ordered chan string }

func (echo) Status(_ context.Context, node string) (ring.Status, error) {
	if node == "nobody" {
		return ring.Status{}, core.Errorf(core.CodeNotFound, "the ring has no node %q", node)
	}
	return ring.Status{Cluster: "of " + node}, nil
}

func (echo) Members(_ context.Context, node string) (ring.MemberList, error) {
	return ring.MemberList{Node: node, Members: []ring.Seen{}}, nil
}

func (echo) Views(_ context.Context, before uint64, limit int) ([]ring.View, error) {
	return []ring.View{{Epoch: before, Quorum: limit}}, nil
}

func (echo) WhereIs(_ context.Context, kind ring.Kind, name string) (ring.Whereabouts, error) {
	return ring.Whereabouts{Kind: kind, Name: name}, nil
}

func (echo) Owned(_ context.Context, node string, r ring.OwnedRequest) (ring.OwnedPage, error) {
	return ring.OwnedPage{Node: node, Owned: []ring.Owned{{Kind: r.Kind, Name: r.Prefix + r.Name + r.After}}, Next: "stream last"}, nil
}

func (e echo) Drain(_ context.Context, node string, on bool) error {
	e.ordered <- map[bool]string{true: "drain ", false: "undrain "}[on] + node
	return nil
}

func (e echo) Leave(_ context.Context, node string) error {
	e.ordered <- "leave " + node
	return nil
}

func TestClusterQuestions(t *testing.T) {
	e := echo{make(chan string, 1)}
	notReady := errors.New("no_quorum: 1 of 3 members is alive")
	n := newNode(t, wsapi.Config{Ring: e, NotReady: func() error { return notReady }})
	if a := n.do("GET", "/readyz", "").want(t, 503); !strings.Contains(string(a.body), notReady.Error()) {
		t.Errorf("readyz: %s", a.body)
	}
	for path, want := range map[string]string{
		"status?node=node2":               `"cluster":"of node2"`,
		"members":                         `{"node":"","health":0,"members":[]}`,
		"views":                           `"epoch":0,"members":[],"quorum":20`,
		"views?before=7&limit=3":          `"epoch":7,"members":[],"quorum":3`,
		"whereis?stream=order-1":          `{"kind":"stream","name":"order-1"`,
		"whereis?subscription=billing":    `{"kind":"subscription","name":"billing"`,
		"owned?kind=stream&prefix=a":      `"kind":"stream","name":"a"`,
		"owned?cursor=c3RyZWFtIGxhc3Q":    `"name":"stream last"`,
		"owned?node=node2&name=b&limit=1": `"cursor":"c3RyZWFtIGxhc3Q"`,
	} {
		if a := n.do("GET", "/v1/cluster/"+path, "").want(t, 200); !strings.Contains(string(a.body), want) {
			t.Errorf("%s: %s, want %s", path, a.body, want)
		}
	}
	n.do("GET", "/v1/cluster/status?node=nobody", "").want(t, 404)
	for _, bad := range []string{"views?before=0", "views?limit=1001", "whereis", "whereis?stream=a&subscription=b", "whereis?stream=%24all", "whereis?stream=%00",
		"whereis?subscription=%ff", "owned?kind=plugin", "owned?cursor=%3D", "owned?name=%00", "status?before=1", "status?node=a&node=b"} {
		n.do("GET", "/v1/cluster/"+bad, "").want(t, 400)
	}
	for _, order := range []string{"drain", "undrain", "leave"} {
		n.do("GET", "/v1/cluster/"+order, "").want(t, 405)
		n.do("POST", "/v1/cluster/"+order+"?node=node2", "").want(t, 204)
		if got := <-e.ordered; got != order+" node2" {
			t.Errorf("%s: %s", order, got)
		}
	}
	p := n.greeted(wire.JSON)
	p.say(`{"op":"cluster","id":1,"about":"owned","node":"node2","kind":"subscription","name":"b","limit":2}`)
	if text, err := json.Marshal(p.receive()); err != nil || !strings.Contains(string(text), `"name":"b"`) || !strings.Contains(string(text), `"node":"node2"`) {
		t.Errorf("op cluster: %s, %v", text, err)
	}
	p.say(`{"op":"cluster","id":2,"about":"views","limit":-1}`)
	p.refused("a limit", 2, "invalid_request")
	p.say(`{"op":"cluster","id":3,"about":"everything"}`)
	p.refused("a question", 3, "invalid_request")
}

// owner is a Ring whose node owns names.
type owner struct {
	echo
	owned []ring.Owned
}

func (o owner) WhereIs(_ context.Context, kind ring.Kind, name string) (ring.Whereabouts, error) {
	return ring.Whereabouts{Kind: kind, Name: name, Open: &ring.Owned{Kind: kind, Name: name}}, nil
}

func (o owner) Owned(_ context.Context, _ string, r ring.OwnedRequest) (page ring.OwnedPage, err error) {
	page.Streams = len(o.owned)
	for i := range o.owned {
		switch {
		case o.owned[i].Key() <= r.After:
		case len(page.Owned) < 2: // pages are short here, whatever the limit
			page.Owned = append(page.Owned, o.owned[i])
		default:
			page.Next = page.Owned[1].Key()
		}
	}
	return page, nil
}

// TestOwnedNamesAreForWhoMayUseThem: what a node owns is listed to an operator as far as it may
// read the stream, or steer the subscription.
func TestOwnedNamesAreForWhoMayUseThem(t *testing.T) {
	var o owner
	for _, name := range []string{"$audit", "billing-1", "billing-2", "order-1", "order-2", "order-3", "secret-1", "secret-2"} {
		o.owned = append(o.owned, ring.Owned{Kind: ring.KindStream, Name: name})
	}
	for _, name := range []string{"mine", "theirs"} {
		o.owned = append(o.owned, ring.Owned{Kind: ring.KindSubscription, Name: name})
	}
	n := newNode(t, wsapi.Config{Ring: o, Access: keys{
		"root":     {Name: "root", Role: access.Admin},
		"operator": {Name: "o", Role: access.Operator, Streams: []string{"order-*"}, Names: []string{"mine"}},
		"blind":    {Name: "b", Role: access.Operator, Names: []string{}},
	}})
	list := func(token string, limit int) (names []string) {
		for cursor := ""; ; {
			query := fmt.Sprintf("?limit=%d", limit)
			if cursor != "" {
				query += "&cursor=" + cursor
				if text, err := base64.RawURLEncoding.DecodeString(cursor); err != nil || !slices.Contains(names, strings.Fields(string(text))[1]) {
					t.Errorf("%s, limit %d: the cursor %q names what is not shown", token, limit, text)
				}
			}
			var page ring.OwnedPage
			if err := json.Unmarshal(n.do("GET", "/v1/cluster/owned"+query, "", "Authorization: Bearer "+token).want(t, 200).body, &page); err != nil {
				t.Fatal(err)
			}
			if page.Streams != len(o.owned) {
				t.Errorf("%s counts %d", token, page.Streams)
			}
			for i := range page.Owned {
				names = append(names, page.Owned[i].Name)
			}
			if cursor = page.Next; cursor == "" {
				return names
			}
		}
	}
	for token, want := range map[string]string{"root": "$audit billing-1 billing-2 order-1 order-2 order-3 secret-1 secret-2 mine theirs", "operator": "order-1 order-2 order-3 mine", "blind": ""} {
		for _, limit := range []int{1, 2, 3, 100} {
			if got := strings.Join(list(token, limit), " "); got != want {
				t.Errorf("%s, limit %d: %s, want %s", token, limit, got, want)
			}
		}
	}
	for query, shown := range map[string]bool{"stream=order-1": true, "stream=billing-1": false, "subscription=mine": true, "subscription=theirs": false} {
		answer := n.do("GET", "/v1/cluster/whereis?"+query, "", "Authorization: Bearer operator").want(t, 200)
		if got := strings.Contains(string(answer.body), `"open"`); got != shown {
			t.Errorf("%s: %s", query, answer.body)
		}
	}
}

func TestNoCluster(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	n.do("GET", "/readyz", "").want(t, 200)
	for _, r := range []string{"GET status", "GET members", "GET views", "GET whereis?stream=a", "GET owned", "POST drain", "POST undrain", "POST leave"} {
		method, path, _ := strings.Cut(r, " ")
		if f := n.do(method, "/v1/cluster/"+path, "").want(t, 501).fields(t); f["code"] != "not_supported" || !strings.Contains(f["detail"].(string), "gyre serve --cluster") {
			t.Errorf("%s: %v", r, f)
		}
	}
	p := n.greeted(wire.JSON)
	p.say(`{"op":"cluster","id":1,"about":"status"}`)
	p.refused("no ring", 1, "not_supported")
}
