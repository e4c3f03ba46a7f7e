//go:build unix

package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/internal/pgtest"
	"github.com/gyre-events/gyre/runtime"
	"github.com/gyre-events/gyre/sdk"
)

// member starts a node of a ring.
func member(t *testing.T, server *pgtest.Server, store, id string) *runtime.Node {
	t.Helper()
	return start(t, runtime.Config{
		Node: id, Postgres: postgres.Config{URL: server.URL, Store: store},
		Ring: runtime.RingConfig{Enabled: true, Gossip: "127.0.0.1:0", Quorum: 2}, HardDeletes: true,
	})
}

func dial(t *testing.T, node *runtime.Node) *sdk.Client {
	t.Helper()
	client, err := sdk.Dial(t.Context(), node.URL(), sdk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// P01, P05, Q01, Q02, Q06: TestRing takes a ring from one node, which is none, to three
// and back.
func TestRing(t *testing.T) {
	server := pgtest.Shared(t)
	store := server.Store(t)
	one := member(t, server, store, "one")
	alone(t, one)

	// What waits below quorum is written when there is one.
	waits := make(chan error, 1)
	client := dial(t, one)
	go func() {
		_, err := client.Append(t.Context(), oneEvent(0))
		waits <- err
	}()
	two := member(t, server, store, "two")
	if err := <-waits; err != nil {
		t.Fatalf("an append that waited for a quorum: %v", err)
	}
	three := member(t, server, store, "three")
	for _, n := range []*runtime.Node{one, two, three} {
		untilReady(t, n.URL(), http.StatusOK, "ok")
	}
	spread(t, one, two, three)
	movesProgress(t, one, two, three)
	writesSystem(t, one, two, three)
	checksTags(t, one, two, three)
	metricsOfRing(t, one)
	statsOfRing(t, one)
	superseded(t, server, store, two)
	handsOver(t, one, three)
}

// alone is a node below quorum.
func alone(t *testing.T, node *runtime.Node) {
	untilReady(t, node.URL(), http.StatusServiceUnavailable, "no_quorum: the ring has no view yet: 1 alive (one), quorum is 2")
	if status, _ := get(t, node.URL()+"/livez"); status != http.StatusOK {
		t.Errorf("livez: %d", status)
	}
	client := dial(t, node)
	status, err := client.Cluster().Status(t.Context(), "")
	if err != nil || status.Serving || !strings.Contains(status.Reason, "quorum is 2") || status.Self.Node != "one" || status.View.Epoch != 0 {
		t.Errorf("status: %+v, %v", status, err)
	}
	if w, err := client.Cluster().WhereIs(t.Context(), ring.KindStream, "s"); err != nil || w.Owner != nil || w.Problem == "" {
		t.Errorf("whereis: %+v, %v", w, err)
	}
	// This client waits for the answer, however late it is.
	appended, body := request(t, http.MethodPost, node.URL()+"/v1/streams/s/events", `{"type":"T","data":1}`, 50*time.Millisecond)
	if appended != http.StatusServiceUnavailable || !strings.Contains(body, string(core.CodeNoNodeAvailable)) {
		t.Errorf("an append below quorum: %d %s", appended, body)
	}
	if _, body := get(t, node.URL()+"/metrics"); !strings.Contains(body, "\ngyre_cluster_serving 0\n") {
		t.Errorf("metrics do not say that the node does not serve")
	}
}

// spread appends to streams at every node, and asks all where they are.
func spread(t *testing.T, nodes ...*runtime.Node) {
	client := dial(t, nodes[0])
	definition := subscriptions.DefaultDefinition()
	if _, _, err := client.Subscriptions().Put(t.Context(), "billing", &definition); err != nil {
		t.Fatal(err)
	}
	w, err := client.Cluster().WhereIs(t.Context(), ring.KindSubscription, "billing")
	if err != nil || w.Owner == nil {
		t.Fatalf("whereis billing: %+v, %v", w, err)
	}
	for _, n := range nodes {
		_, body := get(t, n.URL()+"/metrics")
		if mine := strings.Contains(body, `gyre_subscription_parked{subscription="billing"}`); mine != (n.Addr() == w.Owner.Addr) {
			t.Errorf("%s has metrics of the subscription: %t, and the owner is %s", n.Addr(), mine, w.Owner.Addr)
		}
	}
	owners := map[string]int{}
	for i := range 12 {
		stream := fmt.Sprintf("spread-%d", i)
		client := dial(t, nodes[i%len(nodes)])
		c := core.Commit{Appends: []core.Append{{Stream: stream, Expect: core.NoStream, Events: []core.NewEvent{{Type: "T", Data: []byte("1")}}}}}
		result, err := client.Append(t.Context(), c)
		if err != nil {
			t.Fatalf("append to %s: %v", stream, err)
		}
		w, err := dial(t, nodes[(i+1)%len(nodes)]).Cluster().WhereIs(t.Context(), ring.KindStream, stream)
		if err != nil || w.Owner == nil || w.Open == nil || w.Open.Version != 1 {
			t.Fatalf("whereis %s: %+v, %v", stream, w, err)
		}
		if owners[w.Owner.Node]++; result.Node != w.Owner.Node {
			t.Errorf("%s is owned by %s, and %q answered the append", stream, w.Owner.Node, result.Node)
		}
	}
	if len(owners) != len(nodes) {
		t.Errorf("the streams are owned by %v", owners)
	}
	for node, n := range owners {
		page, err := dial(t, nodes[0]).Cluster().Owned(t.Context(), node, ring.OwnedRequest{Prefix: "spread-"})
		if err != nil || len(page.Owned) != n || page.Node != node {
			t.Errorf("%s lists %d of its %d streams, %v", node, len(page.Owned), n, err)
		}
	}
}

// metricsOfRing are there, and say what has happened.
func metricsOfRing(t *testing.T, node *runtime.Node) {
	_, body := get(t, node.URL()+"/metrics")
	for name, want := range map[string]string{
		"epoch": `[1-9]\d*`, "members": "3", "quorum": "2", "alive": "3", "serving": "1", "serves_seconds": `[0-3](\.\d+)?`, "slots": `\d{3,4}`,
		"gossip_health": `\d`, "waiting": "0", "unsettled": "0", "views_total": `[1-9]\d*`, "forwarded_total": `[1-9]\d*`, "stale_total": `\d+`,
		"not_serving_total": `\d+`, "in_doubt_total": "0", "resolved_total": "0", "relayed_links_total": "0",
		`provider_failing{provider="postgres"}`: "0", `provider_addresses{provider="postgres"}`: "2", `provider_failures_total{provider="postgres"}`: "0",
	} {
		if !regexp.MustCompile(`(?m)^gyre_cluster_` + regexp.QuoteMeta(name) + ` ` + want + `$`).MatchString(body) {
			t.Errorf("no gyre_cluster_%s %s in\n%s", name, want, strings.Join(regexp.MustCompile(`(?m)^gyre_cluster_.*$`).FindAllString(body, -1), "\n"))
		}
	}
}

// statsOfRing are those of any of its nodes, asked of one.
func statsOfRing(t *testing.T, node *runtime.Node) {
	t.Helper()
	client := dial(t, node)
	for ask, want := range map[string]string{"": "one", "one": "one", "two": "two"} {
		s, err := client.Stats(t.Context(), ask)
		if err != nil || s.Node != want || s.Store.Steps == 0 {
			t.Errorf("stats of node %q: %v, %+v", ask, err, s)
		}
		if c, err := client.Settings(t.Context(), ask); err != nil || c.Node != want {
			t.Errorf("settings of node %q: %v, %+v", ask, err, c)
		}
	}
	if _, err := client.Stats(t.Context(), "nobody"); !errors.Is(err, core.CodeNotFound) {
		t.Errorf("stats of nobody: %v", err)
	}
}

// superseded starts a second process with the id of a node: the first one fails.
func superseded(t *testing.T, server *pgtest.Server, store string, node *runtime.Node) {
	again := member(t, server, store, "two")
	if err := <-node.Failed(); !errors.Is(err, core.CodeNodeSuperseded) {
		t.Errorf("the older process: %v", err)
	}
	stop(t, node)
	untilReady(t, again.URL(), http.StatusOK, "ok")
}

// handsOver has a node leave under load: no call at the others fails.
func handsOver(t *testing.T, from, leaves *runtime.Node) {
	client := dial(t, from)
	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	load.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			c := core.Commit{Appends: []core.Append{{Stream: fmt.Sprintf("load-%d", i%20), Expect: core.AnyVersion, Events: []core.NewEvent{{Type: "T", Data: []byte("1")}}}}}
			if _, err := client.Append(t.Context(), c); err != nil {
				t.Errorf("an append while a node leaves: %v", err)
				return
			}
		}
	})
	if err := client.Cluster().Leave(t.Context(), "three"); err != nil {
		t.Fatalf("leave: %v", err)
	}
	<-leaves.Left()
	stop(t, leaves)
	cancel()
	load.Wait()
	status, err := client.Cluster().Status(t.Context(), "")
	if err != nil || len(status.View.Members) != 2 || !status.Serving {
		t.Errorf("status: %+v, %v", status, err)
	}
}
