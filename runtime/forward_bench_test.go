package runtime

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/cluster"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi"
)

// BenchmarkForward appends one event after another at the node that owns the stream, and at
// another one. What is between them is the cost of a link.
func BenchmarkForward(b *testing.B) {
	log := memory.NewLog()
	view := &ring.View{Epoch: 2}
	standing := &ring.Standing{Epoch: 2}
	rings, servers := make([]*fixedRing, 2), make([]*httptest.Server, 2)
	for i := range rings {
		rings[i] = &fixedRing{}
		rings[i].set(cluster.State{})
		store := core.NewStore(log.Open(), core.StoreConfig{})
		p := &peers{ring: rings[i], cluster: "test"}
		router := cluster.NewRouter(cluster.RouterConfig{Ring: rings[i], Store: store, Dialer: p})
		p.open = func(session uint64) cluster.Incoming { return router.Incoming(session) }
		api, err := wsapi.New(wsapi.Config{Store: router, Peers: p})
		if err != nil {
			b.Fatal(err)
		}
		servers[i] = httptest.NewServer(api)
		b.Cleanup(func() {
			_ = api.Close(b.Context())
			router.Close(b.Context())
			servers[i].Close()
			_ = store.Close()
		})
		m := ring.Member{Session: uint64(i + 1), Node: "node" + strconv.Itoa(i+1), Addr: servers[i].Listener.Addr().String()}
		view.Members = append(view.Members, m)
		standing.Sessions = append(standing.Sessions, ring.Session{Member: m, Secret: [32]byte{byte(i)}})
	}
	if err := log.AdvanceEpoch(1); err != nil {
		b.Fatal(err)
	}
	for i, r := range rings {
		r.set(cluster.State{Self: view.Members[i], View: view, Owners: view.Owners(), Standing: standing, ServesUntil: time.Now().Add(time.Hour)})
	}
	stream := ""
	for i := 0; stream == ""; i++ {
		if owner, _ := rings[0].State().Owner(strconv.Itoa(i)); owner.Session == 2 {
			stream = strconv.Itoa(i)
		}
	}
	for i, name := range []string{"another", "owner"} {
		b.Run(name, func(b *testing.B) {
			client, err := sdk.Dial(b.Context(), servers[i].URL, sdk.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer client.Close()
			var took []time.Duration
			b.ReportAllocs()
			for b.Loop() {
				began := time.Now()
				if _, err := client.AppendTo(b.Context(), stream, core.AnyVersion, core.NewEvent{Type: "A", Data: []byte("1")}); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}

// BenchmarkForwardRequest asks for a subscription at the node that owns it, and at another one.
// What is between them is the cost of a request that is sent on, with its token.
func BenchmarkForwardRequest(b *testing.B) {
	nodes := newPeerRing(b, 2, "the key")
	at := "/v1/subscriptions/" + ownedBy(nodes[1])
	put, err := http.NewRequestWithContext(b.Context(), http.MethodPut, nodes[1].http.URL+at, strings.NewReader("{}"))
	if err != nil {
		b.Fatal(err)
	}
	put.Header.Set("Content-Type", "application/json")
	made, err := http.DefaultClient.Do(put)
	if err != nil {
		b.Fatal(err)
	}
	_ = made.Body.Close()
	for i, name := range []string{"another", "owner"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				answer, err := http.Get(nodes[i].http.URL + at)
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, answer.Body)
				if _ = answer.Body.Close(); answer.StatusCode != http.StatusOK {
					b.Fatal(answer.Status)
				}
			}
		})
	}
}
