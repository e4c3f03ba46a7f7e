package wsapi_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// otherNodes is a wsapi.Peers that knows every session.
type otherNodes struct {
	n       *node
	address string // of any session
}

func (*otherNodes) Admit(_ context.Context, h *wire.Handshake) (string, error) {
	if h.Cluster != "ring" {
		return "", core.Errorf(core.CodePeerDenied, "not of this ring")
	}
	return "proof", nil
}
func (*otherNodes) Known(uint64) bool                { return true }
func (o *otherNodes) Open(uint64) wsapi.Peer         { return &linkEnd{Owner: o.n.subs, store: o.n.store} }
func (o *otherNodes) Address(uint64) (string, error) { return o.address, nil }
func (o *otherNodes) Authenticate(string, *http.Request) (*access.Principal, error) {
	return nil, core.Errorf(core.CodeUnauthenticated, "no node calls here but by a link")
}

// linkEnd makes the Commits of a link in a Store.
type linkEnd struct {
	*subscriptions.Owner
	store   *core.Store
	running sync.WaitGroup
}

func (e *linkEnd) Submit(ctx context.Context, c core.Commit, done func(core.Result, error)) {
	c.Epoch = 0
	e.running.Add(1)
	e.store.Submit(ctx, c, func(r core.Result, err error) { done(r, err); e.running.Done() })
}
func (*linkEnd) Head(uint64)                                {}
func (*linkEnd) Forget(context.Context, uint64, bool) error { return nil }
func (e *linkEnd) Close()                                   { e.running.Wait() }

func newLinked(t *testing.T, limits wsapi.Limits) (*node, *gated) {
	g := &gated{Engine: memory.New(), begun: make(chan struct{}, 100), open: make(chan struct{})}
	others := &otherNodes{}
	others.n = newNode(t, wsapi.Config{Store: core.NewStore(g, core.StoreConfig{}), Limits: limits, Peers: others})
	t.Cleanup(g.release)
	return others.n, g
}

func callOf(generation, target uint64) http.Header {
	h := wire.Handshake{Protocol: wire.PeerProtocol, Cluster: "ring", From: 1, To: 2, Target: target, Generation: generation}
	return http.Header{wire.PeerHeader: {h.String()}}
}

// link makes a link of session 1.
func (n *node) link(generation uint64) *peer {
	n.t.Helper()
	d := websocket.Dialer{Subprotocols: []string{wire.Bin}}
	c, res, err := d.DialContext(n.t.Context(), "ws"+strings.TrimPrefix(n.http.URL, "http")+wire.LinkPath, callOf(generation, 0))
	if err != nil {
		n.t.Fatal(err, res)
	}
	n.t.Cleanup(func() { c.Close() })
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		n.t.Fatal(err)
	}
	if proof := res.Header.Get(wire.PeerHeader); proof != "proof" {
		n.t.Errorf("the handshake was answered with %q", proof)
	}
	return &peer{n.t, c}
}

func (n *node) greetedLink(generation uint64) *peer {
	n.t.Helper()
	p := n.link(generation)
	p.say(`{"op":"hello","id":1}`)
	if w := p.receive(); w["op"] != "welcome" {
		n.t.Fatalf("hello was answered %v", w)
	}
	return p
}

// forwardFrame is a Commit of one event on a link.
func forwardFrame(id uint64, event string, timeout time.Duration) []byte {
	return wire.AppendCommit(wire.AppendForward(nil, 7), &wire.CommitFrame{ID: id, Timeout: timeout, Commit: core.Commit{
		Appends: []core.Append{{Stream: "s", Expect: core.AnyVersion, Events: []core.NewEvent{{Type: event, Data: []byte("1")}}}},
	}})
}

// results waits for a RESULTS frame of one answer.
func (p *peer) results() wire.Result {
	p.t.Helper()
	for {
		kind, message, err := p.ReadMessage()
		if err != nil {
			p.t.Fatal(err)
		}
		if kind != websocket.BinaryMessage {
			if !strings.Contains(string(message), `"op":"ping"`) {
				p.t.Errorf("%s before the answer", message)
			}
			continue
		}
		frames := wire.NewFrames(message, wire.Uncompressed, 0)
		list, err := frames.Results(nil, 10)
		if err != nil || len(list) != 1 {
			p.t.Fatalf("%v, %v", list, err)
		}
		return list[0]
	}
}

// TestLinksAreForNodes: what only nodes may say ends a client's connection, and what only
// clients may say a link.
func TestLinksAreForNodes(t *testing.T) {
	n, g := newLinked(t, wsapi.Limits{})
	g.release()
	for name, frame := range map[string][]byte{"FORWARD": forwardFrame(2, "A", 0), "HEAD": wire.AppendHead(nil, 7)} {
		p := n.greeted(wire.Bin)
		p.send(frame)
		p.closed(name+" of a client", 4502)
	}
	if head := n.store.State().Head; head != 0 {
		t.Errorf("a client's FORWARD was written: head %d", head)
	}
	p := n.greetedLink(1)
	p.say(`{"op":"append","id":2,"stream":"s","events":[{"type":"A","data":1}]}`)
	p.refused("an append in JSON", 2, "unknown_op")
	p.say(`{"op":"read","id":3,"stream":"s"}`)
	p.refused("a read", 3, "unknown_op")
	p.say(`{"op":"subscribe","id":4,"sub":1,"stream":"$all"}`)
	p.refused("a follow", 4, "not_supported")
	p.send(forwardFrame(5, "A", 0))
	if r := p.results(); r.ID != 5 || r.Version != 1 {
		t.Errorf("%+v", r)
	}
	p.send(wire.AppendForward(nil, 7))
	p.closed("FORWARD without a Commit", 4502)
	p = n.greetedLink(2)
	p.send(wire.AppendCommit(nil, &wire.CommitFrame{ID: 6, Commit: core.Commit{Appends: []core.Append{{Stream: "s", Links: []core.ID{{1}}}}}}))
	p.closed("a Commit without an epoch", 4502)
}

// TestLinkAnswersAreOutcomes: at its deadline, or when it is canceled, a Commit that has not
// begun is withdrawn, and one that has is answered with its outcome.
func TestLinkAnswersAreOutcomes(t *testing.T) {
	n, g := newLinked(t, wsapi.Limits{})
	p := n.greetedLink(1)
	p.send(forwardFrame(2, "Begun", 50*time.Millisecond))
	<-g.begun
	p.send(forwardFrame(3, "Late", 50*time.Millisecond))
	p.refused("at its deadline", 3, "timeout")
	p.send(forwardFrame(4, "Canceled", 0))
	p.say(`{"op":"cancel","id":2}`)
	p.say(`{"op":"cancel","id":4}`)
	p.refused("canceled", 4, "canceled")
	g.release()
	if r := p.results(); r.ID != 2 || r.Version != 1 {
		t.Errorf("what had begun: %+v", r)
	}
	p.send(forwardFrame(5, "Next", 0))
	if r := p.results(); r.ID != 5 || r.Version != 2 {
		t.Errorf("something withdrawn was written: %+v", r)
	}
}

// TestLinksTakeNoPlaceOfClients, and the other way around.
func TestLinksTakeNoPlaceOfClients(t *testing.T) {
	n, _ := newLinked(t, wsapi.Limits{Connections: 1})
	n.greeted()
	n.greetedLink(1)
	if a := n.do("GET", "/v1/ws", "", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="); a.fields(t)["code"] != "too_many_connections" {
		t.Errorf("a second client: %s", a.body)
	}
}

// TestLinkHandshakesEnd: a caller that says nothing, before or after the handshake.
func TestLinkHandshakesEnd(t *testing.T) {
	n, _ := newLinked(t, wsapi.Limits{Hello: 50 * time.Millisecond, PingEvery: 50 * time.Millisecond, PingTimeout: 50 * time.Millisecond})
	n.link(1).closed("no hello", 4504)
	silent := n.greetedLink(2)
	silent.SetPingHandler(func(string) error { return nil })
	silent.closed("no pong", 4002)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", n.http.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n%s: ", wire.LinkPath, wire.PeerHeader)
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var timeout net.Error
	for err == nil {
		_, err = conn.Read(make([]byte, 1024))
	}
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Error("a handshake without an end was waited for")
	}
}

// TestLinkCloses: a node that shuts down answers what has begun, and takes no more.
func TestLinkCloses(t *testing.T) {
	n, g := newLinked(t, wsapi.Limits{})
	p := n.greetedLink(1)
	p.send(forwardFrame(2, "Begun", 0))
	<-g.begun
	closed := make(chan error, 1)
	go func() { closed <- n.api.Close(t.Context()) }()
	if m := p.receive(); m["op"] != "goaway" {
		t.Errorf("heard %v", m)
	}
	p.send(forwardFrame(3, "Later", 0))
	p.refused("while draining", 3, "shutting_down")
	g.release()
	if r := p.results(); r.ID != 2 {
		t.Errorf("%+v", r)
	}
	p.closed("drained", 4000)
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// TestLinkClosesWithoutStorage: a Commit that storage does not answer does not keep a node
// from shutting down.
func TestLinkClosesWithoutStorage(t *testing.T) {
	n, g := newLinked(t, wsapi.Limits{})
	p := n.greetedLink(1)
	p.send(forwardFrame(2, "Begun", 0))
	<-g.begun
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := n.api.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("closed with %v", err)
	}
}

func TestRelayHandshake(t *testing.T) {
	n, _ := newLinked(t, wsapi.Limits{})
	for _, c := range []struct {
		name       string
		generation uint64
		target     uint64
		upgrade    string
		code       string
	}{
		{"no target", 1, 0, wire.RelayProtocol, "peer_denied"},
		{"no upgrade", 1, 3, "websocket", "protocol_error"},
		{"to an address that nobody has", 1, 3, wire.RelayProtocol, "not_serving"},
		{"the same again", 1, 3, wire.RelayProtocol, "peer_denied"},
		{"a later one", 100, 3, wire.RelayProtocol, "not_serving"},
		{"one that it has overtaken", 99, 3, wire.RelayProtocol, "not_serving"},
		{"that again", 99, 3, wire.RelayProtocol, "peer_denied"},
		{"the last that is not too far behind", 37, 3, wire.RelayProtocol, "not_serving"},
		{"one that is too far behind", 36, 3, wire.RelayProtocol, "peer_denied"},
		{"one far ahead", 1000, 3, wire.RelayProtocol, "not_serving"},
		{"the one before, now too far behind", 100, 3, wire.RelayProtocol, "peer_denied"},
	} {
		a := n.do("GET", wire.RelayPath, "", wire.PeerHeader+": "+callOf(c.generation, c.target).Get(wire.PeerHeader), "Connection: Upgrade", "Upgrade: "+c.upgrade)
		if code := a.fields(t)["code"]; code != c.code {
			t.Errorf("%s: %v, want %s", c.name, code, c.code)
		}
	}
}
