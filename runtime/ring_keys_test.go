//go:build unix

package runtime_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/access/keys"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/internal/pgtest"
	"github.com/gyre-events/gyre/runtime"
	"github.com/gyre-events/gyre/sdk"
)

// TestRingKeys: a key that is made at one node works at every node, is checked at the node
// that is asked, and ends everywhere when it is revoked at another.
func TestRingKeys(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	var nodes []*runtime.Node
	for _, id := range []string{"one", "two", "three"} {
		nodes = append(nodes, member(t, server, store, id))
	}
	for _, n := range nodes {
		untilReady(t, n.URL(), http.StatusOK, "ok")
	}
	admin := protect(t, nodes)
	operator := newKey(t, nodes, admin, keys.Key{Role: access.Operator})
	reader := newKey(t, nodes, admin, keys.Key{Role: access.Reader, Streams: []string{"order-*"}})
	writer := newKey(t, nodes, admin, keys.Key{Role: access.Writer, Streams: []string{"order-*"}})
	steersAnywhere(t, nodes, operator, writer)
	fetchesWithin(t, nodes, admin, reader, writer)
	recordsWhatIsCreated(t, nodes, reader)
	answersWhatItFetched(t, nodes, reader, writer, admin)
	smuggledBetween(t, nodes, operator, reader)
	onlyFromNodes(t, nodes, operator)
	endsEverywhere(t, nodes, admin, reader)
}

// TestRingAdminKeyFile: all nodes of a new ring may start with the key of an admin at once.
func TestRingAdminKeyFile(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	file, token := keyFile(t)
	nodes := make([]*runtime.Node, 3)
	var starting sync.WaitGroup
	for i := range nodes {
		starting.Go(func() {
			var err error
			nodes[i], err = runtime.Start(t.Context(), runtime.Config{
				Listen: "127.0.0.1:0", Node: string(rune('a' + i)), Postgres: postgres.Config{URL: server.URL, Store: store},
				Ring:  runtime.RingConfig{Enabled: true, Gossip: "127.0.0.1:0", Quorum: 2},
				Admin: runtime.AdminConfig{KeyFile: file},
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	starting.Wait()
	for _, n := range nodes {
		if n == nil {
			continue
		}
		t.Cleanup(func() { stop(t, n) })
		if p, err := n.Keys().Authenticate(token); err != nil || p.Role != access.Admin || len(n.Keys().List()) != 1 {
			t.Errorf("%v, %v", p, err)
		}
	}
}

// protect makes the first key at one node, and waits until all ask for it.
func protect(t *testing.T, nodes []*runtime.Node) (admin string) {
	t.Helper()
	_, admin, err := nodes[0].Keys().Init(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		for status := 0; status != http.StatusUnauthorized; {
			status, _ = as(t, "", "GET", n.URL()+"/v1/streams", "")
		}
	}
	return admin
}

// newKey makes a key at one node. Every other takes it at once.
func newKey(t *testing.T, nodes []*runtime.Node, admin string, want keys.Key) (token string) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"role": want.Role, "streams": want.Streams})
	if err != nil {
		t.Fatal(err)
	}
	status, text := as(t, admin, "POST", nodes[1].URL()+"/v1/keys", string(body))
	var made struct{ Token string }
	if err := json.Unmarshal(text, &made); err != nil || status != http.StatusCreated {
		t.Fatalf("%d %s, %v", status, text, err)
	}
	for _, n := range nodes {
		if status, text := as(t, made.Token, "GET", n.URL()+"/v1/principal", ""); status != http.StatusOK {
			t.Fatalf("a new key: %d %s", status, text)
		}
	}
	return made.Token
}

// as makes a request with a token.
func as(t *testing.T, token, method, url, body string) (status int, text []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if text, err = io.ReadAll(answer.Body); err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, text
}

// steersAnywhere: a request that another node serves is that of its principal, and is in the
// audit once.
func steersAnywhere(t *testing.T, nodes []*runtime.Node, operator, writer string) {
	for i, n := range nodes {
		at := n.URL() + "/v1/subscriptions/steered" + string(rune('a'+i))
		if status, text := as(t, operator, "PUT", at, `{"stream":"order-1"}`); status != http.StatusCreated {
			t.Fatalf("put: %d %s", status, text)
		}
		for _, other := range nodes {
			at := strings.Replace(at, n.URL(), other.URL(), 1)
			if status, text := as(t, operator, "POST", at+"/pause", ""); status != http.StatusOK {
				t.Errorf("pause: %d %s", status, text)
			}
			if status, text := as(t, writer, "POST", at+"/resume", ""); status != http.StatusForbidden {
				t.Errorf("a writer resumes: %d %s", status, text)
			}
			if status, text := as(t, "", "POST", at+"/resume", ""); status != http.StatusUnauthorized {
				t.Errorf("nobody resumes: %d %s", status, text)
			}
		}
	}
	page, err := nodes[0].Store().Read(t.Context(), core.ReadRequest{Stream: keys.Audit, Limit: core.Limit{Events: 1000}})
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for e := range page.Events() {
		count[e.Type]++
	}
	if count["SubscriptionDefined"] != 3 || count["SubscriptionPaused"] != 9 || count["SubscriptionResumed"] != 0 {
		t.Errorf("the audit has %v", count)
	}
}

// fetchesWithin: the owner of a subscription holds a principal of another node to its patterns.
func fetchesWithin(t *testing.T, nodes []*runtime.Node, admin, reader, writer string) {
	for _, stream := range []string{"order-1", "billing-1"} {
		if status, text := as(t, admin, "POST", nodes[0].URL()+"/v1/streams/"+stream+"/events", `{"type":"T","data":1}`); status != http.StatusCreated {
			t.Fatalf("append: %d %s", status, text)
		}
	}
	for _, n := range nodes {
		for name, c := range map[string]struct {
			token, definition string
			want              int
		}{
			"within":  {reader, `{"stream":"$all","filter":{"streams":["order-*"]}}`, http.StatusOK},
			"beyond":  {reader, `{"stream":"$all"}`, http.StatusForbidden},
			"writers": {writer, `{"stream":"$all","filter":{"streams":["order-*"]}}`, http.StatusForbidden},
		} {
			status, text := as(t, c.token, "POST", n.URL()+"/v1/subscriptions/"+name+n.Addr()+"/fetch", `{"options":`+c.definition+`,"waitMs":10000}`)
			if status != c.want || strings.Contains(string(text), "billing-1") || c.want == http.StatusOK && !strings.Contains(string(text), `"order-1"`) {
				t.Errorf("%s: %d %s, want %d", name, status, text, c.want)
			}
		}
	}
}

// recordsWhatIsCreated: a subscription that is created by consuming it, over either protocol and at
// any node, is in the audit once, with who did it. Later consumers are not.
func recordsWhatIsCreated(t *testing.T, nodes []*runtime.Node, reader string) {
	p, err := nodes[0].Keys().Authenticate(reader)
	if err != nil {
		t.Fatal(err)
	}
	d := subscriptions.DefaultDefinition()
	d.Stream = "order-1"
	want := map[string]int{}
	for i, n := range nodes {
		for _, name := range []string{fmt.Sprint("fetched-at-", i), fmt.Sprint("joined-at-", i)} {
			want[name] = 1
			for _, other := range []*runtime.Node{n, nodes[(i+1)%len(nodes)]} {
				if strings.HasPrefix(name, "fetched") {
					if status, text := as(t, reader, "POST", other.URL()+"/v1/subscriptions/"+name+"/fetch", `{"options":{"stream":"order-1","concurrencyLimit":9}}`); status != http.StatusOK {
						t.Fatalf("fetch: %d %s", status, text)
					}
					continue
				}
				client, err := sdk.Dial(t.Context(), other.URL(), sdk.Options{Token: reader})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := client.Subscribe(t.Context(), name, sdk.SubscribeOptions{Definition: &d}); err != nil {
					t.Fatal(err)
				}
				if err := client.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	}
	page, err := nodes[0].Store().Read(t.Context(), core.ReadRequest{Stream: keys.Audit, Limit: core.Limit{Events: 1000}})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for e := range page.Events() {
		var act keys.Act
		if err := json.Unmarshal(e.Data, &act); err != nil {
			t.Fatal(err)
		}
		if e.Type == "SubscriptionDefined" && strings.Contains(act.Target, "-at-") && act.By == p.Name && act.Role == string(p.Role) {
			got[act.Target]++
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("the audit has %v, want %v", got, want)
	}
}

// answersWhatItFetched: a lease belongs to the key that fetched, at whichever nodes it is used.
func answersWhatItFetched(t *testing.T, nodes []*runtime.Node, reader, writer, admin string) {
	for i := range nodes {
		at := func(n int, what string) string {
			return nodes[(i+n)%len(nodes)].URL() + "/v1/subscriptions/leased-" + string(rune('a'+i)) + "/" + what
		}
		status, text := as(t, reader, "POST", at(0, "fetch"), `{"options":{"stream":"order-1"},"max":1,"waitMs":10000}`)
		var fetched struct {
			Lease  uint64
			Events []struct{ Position uint64 }
		}
		if err := json.Unmarshal(text, &fetched); err != nil || status != http.StatusOK || len(fetched.Events) != 1 {
			t.Fatalf("fetch: %d %s, %v", status, text, err)
		}
		lease, position := fetched.Lease, fetched.Events[0].Position
		for what, body := range map[string]string{
			"nack":   fmt.Sprintf(`{"lease":%d,"positions":[%d],"action":"park"}`, lease, position),
			"extend": fmt.Sprintf(`{"lease":%d,"positions":[%d],"ms":60000}`, lease, position),
			"ack":    fmt.Sprintf(`{"lease":%d,"positions":[%d]}`, lease, position),
		} {
			for _, other := range []string{writer, admin} {
				if status, text := as(t, other, "POST", at(1, what), body); status != http.StatusConflict || !strings.Contains(string(text), "lease_lost") {
					t.Errorf("%s by another key: %d %s", what, status, text)
				}
			}
		}
		if status, text := as(t, reader, "POST", at(2, "ack"), fmt.Sprintf(`{"lease":%d,"positions":[%d]}`, lease, position)); status != http.StatusNoContent {
			t.Errorf("ack by the key that fetched: %d %s", status, text)
		}
	}
}

// onlyFromNodes: what only nodes say of a request changes nothing when a client says it.
func onlyFromNodes(t *testing.T, nodes []*runtime.Node, operator string) {
	for _, token := range []string{"gyre-node.", "gyre-node.e30.AAAA", "gyre-node." + operator} {
		if status, text := as(t, token, "GET", nodes[0].URL()+"/v1/streams", ""); status != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", token, status, text)
		}
	}
}

// endsEverywhere: a follow at one node ends when its key is revoked at another.
func endsEverywhere(t *testing.T, nodes []*runtime.Node, admin, reader string) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", nodes[2].URL()+"/v1/events?from=start", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	r.Header.Set("Authorization", "Bearer "+reader)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() && !strings.Contains(lines.Text(), "order-1") {
	}
	p, err := nodes[2].Keys().Authenticate(reader)
	if err != nil {
		t.Fatal(err)
	}
	if status, text := as(t, admin, "DELETE", nodes[1].URL()+"/v1/keys/"+p.Name, ""); status != http.StatusNoContent {
		t.Fatalf("revoke: %d %s", status, text)
	}
	for lines.Scan() {
	}
	if ctx.Err() != nil {
		t.Error("the follow goes on")
	}
	for _, n := range nodes {
		for err := error(nil); err == nil; {
			_, err = n.Keys().Authenticate(reader)
		}
	}
	if !slices.ContainsFunc(nodes[0].Keys().List(), func(k keys.Key) bool { return k.Role == access.Operator }) {
		t.Error("another key is gone, too")
	}
}
