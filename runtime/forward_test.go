package runtime

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/cluster"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// reply is an HTTP response.
type reply struct {
	status int
	node   string
	body   []byte
}

func (r reply) code() core.Code {
	var e wire.Error
	_ = wire.Unmarshal(r.body, &e)
	return e.Code
}

// ask sends a request to a node.
func (n *peerNode) ask(t *testing.T, method, path, body string, headers ...string) reply {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, n.http.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	answer, err := n.http.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{answer.StatusCode, answer.Header.Get("Gyre-Node"), text}
}

// ownedBy returns a name that a node owns in the view of all.
func ownedBy(n *peerNode) string {
	for i := 0; ; i++ {
		name := "sub-" + strconv.Itoa(i)
		if owner, _ := n.ring.State().Owner(name); owner.Session == n.member.Session {
			return name
		}
	}
}

func TestForwarding(t *testing.T) {
	nodes := newPeerRing(t, 3, "")
	name := ownedBy(nodes[1])
	at := "/v1/subscriptions/" + name
	if a := nodes[0].ask(t, "PUT", at, `{"stream":"$all"}`); a.status != 201 || a.node != "node2" {
		t.Fatalf("put at another node: %d from %q, %s", a.status, a.node, a.body)
	}
	for _, n := range nodes {
		if a := n.ask(t, "GET", at, ""); a.status != 200 || a.node != "node2" || !bytes.Contains(a.body, []byte(name)) {
			t.Errorf("get at %s: %d from %q, %s", n.node, a.status, a.node, a.body)
		}
	}
	if _, err := nodes[0].subs.Info(t.Context(), name); !errors.Is(err, core.CodeSubscriptionNotFound) {
		t.Errorf("the node that was asked has it, too: %v", err)
	}
	if a := nodes[2].ask(t, "GET", "/v1/subscriptions/"+ownedBy(nodes[0]), ""); a.status != 404 || a.code() != core.CodeSubscriptionNotFound {
		t.Errorf("an error of the owner: %d, %s", a.status, a.body)
	} else if want := `"type":"` + nodes[2].http.URL + "/"; !bytes.Contains(a.body, []byte(want)) {
		t.Errorf("an error of the owner has no %s, which is where it was asked: %s", want, a.body)
	}
	<-submit(t.Context(), dialPeer(t, nodes[0], nodes[1], 1), commitTo("s", 2))
	a := nodes[2].ask(t, "POST", at+"/fetch", `{"max":1,"waitMs":5000}`)
	var fetched struct {
		Lease uint64 `json:"lease"`
	}
	if err := wire.Unmarshal(a.body, &fetched); err != nil || a.status != 200 || fetched.Lease == 0 {
		t.Fatalf("fetch: %d, %s", a.status, a.body)
	}
	ack := `{"lease":` + strconv.FormatUint(fetched.Lease, 10) + `,"upTo":1,"durable":true}`
	if a := nodes[0].ask(t, "POST", at+"/ack", ack); a.status != 204 || a.node != "node2" {
		t.Errorf("ack: %d, %s", a.status, a.body)
	}
	own := ownedBy(nodes[0])
	if a := nodes[0].ask(t, "PUT", "/v1/subscriptions/"+own, "{}"); a.status != 201 || a.node != "node1" {
		t.Errorf("put at the owner: %d from %q, %s", a.status, a.node, a.body)
	}
}

// TestForwardingThroughAnother: where the direct way is cut.
func TestForwardingThroughAnother(t *testing.T) {
	nodes := newPeerRing(t, 3, "key")
	nodes[0].cutOff(nodes[1])
	at := "/v1/subscriptions/" + ownedBy(nodes[1])
	for _, status := range []int{201, 200} {
		if a := nodes[0].ask(t, "PUT", at, `{"stream":"$all"}`); a.status != status || a.node != "node2" {
			t.Errorf("%d from %q, %s", a.status, a.node, a.body)
		}
	}
}

// TestForwardingIsOneHop: a node does not send on what another has sent on.
func TestForwardingIsOneHop(t *testing.T) {
	nodes := newPeerRing(t, 2, "")
	at, header := "/v1/subscriptions/"+ownedBy(nodes[1]), http.Header{}
	if err := nodes[1].peers.authorize(access.Anyone(t.Context()), nodes[0].member, "GET", at, header); err != nil {
		t.Fatal(err)
	}
	a := nodes[0].ask(t, "GET", at, "", "Authorization: "+header.Get("Authorization"))
	if a.status != 503 || a.code() != core.CodeNotOwner || !bytes.Contains(a.body, []byte(`"epoch":2`)) {
		t.Errorf("%d, %s", a.status, a.body)
	}
}

// TestClientsAreNotNodes: a client that says that it is a node, or that one has sent its request on,
// is a client.
func TestClientsAreNotNodes(t *testing.T) {
	nodes := newPeerRing(t, 2, "")
	at := "/v1/subscriptions/" + ownedBy(nodes[1])
	says := []string{"Gyre-Forwarded: node2", "Gyre-Node: node1", "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https", "Forwarded: for=127.0.0.1"}
	if a := nodes[0].ask(t, "PUT", at, `{"stream":"$all"}`, says...); a.status != 201 || a.node != "node2" {
		t.Errorf("put: %d from %q, %s", a.status, a.node, a.body)
	}
	for _, path := range []string{at + "x/none", "/v1/events/none", "/v1/subscriptions/" + ownedBy(nodes[0])} {
		if a := nodes[0].ask(t, "GET", path, "", says...); a.status/100 != 4 || bytes.Contains(a.body, []byte("evil.example")) {
			t.Errorf("%s: %d, %s", path, a.status, a.body)
		}
	}
	for _, token := range []string{"gyre-node.", "gyre-node.e30.AAAA"} {
		if a := nodes[0].ask(t, "GET", at, "", append(says, "Authorization: Bearer "+token)...); a.status != 401 {
			t.Errorf("%s: %d, %s", token, a.status, a.body)
		}
	}
}

// TestForwardingFollowsTheOwner: a node that hears that the owner is another one loads the
// newer view, and tries again.
func TestForwardingFollowsTheOwner(t *testing.T) {
	nodes := newPeerRing(t, 2, "")
	name := ownedBy(nodes[1])
	newer := *nodes[0].ring.State()
	newer.View = &ring.View{Epoch: 3, Members: newer.View.Members[:1]}
	newer.Owners = newer.View.Owners()
	ahead := newer
	ahead.Self = nodes[1].member
	nodes[1].ring.set(ahead)
	learned := make(chan uint64, 10)
	nodes[0].ring.learn = func(epoch uint64) {
		learned <- epoch
		nodes[0].ring.set(newer)
	}
	if a := nodes[0].ask(t, "PUT", "/v1/subscriptions/"+name, `{"stream":"$all"}`); a.status != 201 || a.node != "node1" {
		t.Errorf("%d from %q, %s", a.status, a.node, a.body)
	}
	if epoch := <-learned; epoch != 3 {
		t.Errorf("learned of epoch %d", epoch)
	}
}

// TestForwardingWaits: below quorum, and while the owner cannot be reached, until the
// deadline.
func TestForwardingWaits(t *testing.T) {
	nodes := newPeerRing(t, 2, "")
	at := "/v1/subscriptions/" + ownedBy(nodes[1])
	nodes[1].proxy.close()
	if a := nodes[0].ask(t, "PUT", at, "{}", "Gyre-Timeout: 250"); a.code() != core.CodeNoNodeAvailable {
		t.Errorf("the owner is gone: %d, %s", a.status, a.body)
	}
	open := *nodes[0].ring.State()
	closed := open
	closed.Closed = core.Errorf(core.CodeNoNodeAvailable, "1 of 2 members is alive")
	nodes[0].ring.set(closed)
	if a := nodes[0].ask(t, "PUT", at, "{}", "Gyre-Timeout: 50"); a.code() != core.CodeNoNodeAvailable || !bytes.Contains(a.body, []byte("1 of 2")) {
		t.Errorf("below quorum: %d, %s", a.status, a.body)
	}
	answers := make(chan reply, 1)
	go func() { answers <- nodes[0].ask(t, "PUT", "/v1/subscriptions/"+ownedBy(nodes[0]), "{}") }()
	nodes[0].ring.set(open)
	if a := <-answers; a.status != 201 {
		t.Errorf("after quorum: %d, %s", a.status, a.body)
	}
}

// TestForwardingInDoubt: a change that was sent and not answered may have been made.
func TestForwardingInDoubt(t *testing.T) {
	nodes := newPeerRing(t, 2, "")
	at := "/v1/subscriptions/" + ownedBy(nodes[1])
	heal := nodes[1].proxy.cut()
	defer heal()
	if a := nodes[0].ask(t, "POST", at+"/pause", "", "Gyre-Timeout: 50"); a.code() != core.CodeUnknownOutcome {
		t.Errorf("a change: %d, %s", a.status, a.body)
	}
	if a := nodes[0].ask(t, "GET", at, "", "Gyre-Timeout: 50"); a.code() != core.CodeNoNodeAvailable {
		t.Errorf("a question: %d, %s", a.status, a.body)
	}
}

// TestForwardingRetriesWhatWasNotTaken: a node that shuts down, or is not ready, takes
// nothing.
func TestForwardingRetriesWhatWasNotTaken(t *testing.T) {
	nodes := newPeerRing(t, 2, "")
	state := nodes[0].ring.State()
	if err := nodes[1].api.Close(context.Background()); err != nil {
		t.Error(err)
	}
	name := ownedBy(nodes[1])
	answers := make(chan reply, 1)
	go func() { answers <- nodes[0].ask(t, "PUT", "/v1/subscriptions/"+name, "{}") }()
	view := &ring.View{Epoch: 3, Members: state.View.Members[:1]}
	nodes[0].ring.set(cluster.State{Self: nodes[0].member, View: view, Owners: view.Owners(), Standing: state.Standing, ServesUntil: state.ServesUntil})
	if a := <-answers; a.status != 201 || a.node != "node1" {
		t.Errorf("%d from %q, %s", a.status, a.node, a.body)
	}
}

// TestForwardingUntilTheCallerIsKnown: a node that has begun its session a moment ago is known
// to the owner after the owner's next beat. Until then the owner takes nothing from it.
func TestForwardingUntilTheCallerIsKnown(t *testing.T) {
	nodes := newPeerRing(t, 2, "")
	at := "/v1/subscriptions/" + ownedBy(nodes[1])
	known := *nodes[1].ring.State()
	nodes[1].without(nodes[0])
	if a := nodes[0].ask(t, "PUT", at, "{}", "Gyre-Timeout: 250"); a.code() != core.CodeNoNodeAvailable {
		t.Errorf("the caller is not known: %d, %s", a.status, a.body)
	}
	nodes[1].ring.set(known)
	if a := nodes[0].ask(t, "PUT", at, "{}"); a.status != 201 || a.node != "node2" {
		t.Errorf("%d from %q, %s", a.status, a.node, a.body)
	}
}

// TestRefusals: what an owner has not taken is told from its answers; so is what it does not
// know the outcome of, for the audit.
func TestRefusals(t *testing.T) {
	for code, want := range map[core.Code]core.Code{
		core.CodeNotOwner: core.CodeNotOwner, core.CodeNotServing: core.CodeNotServing, core.CodeStaleEpoch: core.CodeStaleEpoch,
		core.CodeShuttingDown: core.CodeNotServing, core.CodeStarting: core.CodeNotServing,
		core.CodeUnknownOutcome: core.CodeUnknownOutcome, core.CodeOverloaded: "",
	} {
		body, err := wire.Marshal(wire.NewError(core.Errorf(code, "says the owner")))
		if err != nil {
			t.Fatal(err)
		}
		answer := &http.Response{StatusCode: http.StatusServiceUnavailable, Body: io.NopCloser(bytes.NewReader(body))}
		err = refusal(answer)
		if want == "" && err != nil || want != "" && !errors.Is(err, want) {
			t.Errorf("%s: %v, want %q", code, err, want)
		}
		if passed, _ := io.ReadAll(answer.Body); want == "" && !bytes.Equal(passed, body) {
			t.Errorf("%s: %s is passed on", code, passed)
		}
	}
}
