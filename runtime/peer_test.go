package runtime

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gyre-events/gyre/cluster"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/core/subscriptions/expression"
	"github.com/gyre-events/gyre/runtime/certs"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// fixedRing is a cluster.Ring whose State the test sets.
type fixedRing struct {
	mu    sync.Mutex
	state *cluster.State
	next  chan struct{}
	learn func(epoch uint64) // may be nil
}

func (r *fixedRing) State() *cluster.State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

func (r *fixedRing) set(s cluster.State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next != nil {
		close(r.next)
	}
	r.next = make(chan struct{})
	s.Changed = r.next
	r.state = &s
}

func (r *fixedRing) Learn(epoch uint64) {
	if r.learn != nil {
		r.learn(epoch)
	}
}
func (*fixedRing) Renew(uint64)   {}
func (*fixedRing) Refused(uint64) {}

// peerNode is what links need of a node: an API, a Store and a peers, without a ring that
// lives.
type peerNode struct {
	*peers
	ring   *fixedRing
	node   string
	member ring.Member
	store  *core.Store
	subs   *subscriptions.Owner
	api    *wsapi.API
	http   *httptest.Server
	proxy  *cuttable

	mu    sync.Mutex
	ends  []*storeEnd
	hold  chan struct{} // answers wait for it, if it is not nil
	held  chan struct{} // gets a value for each that waits
	epoch []uint64
	heads []uint64
	// forgets are the calls of Forget that were answered, by what they asked for.
	forgets []bool
}

// admit waits for the gate.
func (n *peerNode) admit(ctx context.Context) error {
	for {
		s := n.ring.State()
		why := s.Serves(time.Now())
		if why == nil {
			return nil
		}
		select {
		case <-s.Changed:
		case <-ctx.Done():
			return why
		}
	}
}

// storeEnd is a cluster.Incoming that makes every Commit in a Store.
type storeEnd struct {
	*subscriptions.Owner
	node    *peerNode
	running sync.WaitGroup
	closed  bool // protected by node.mu
}

func (e *storeEnd) Submit(ctx context.Context, c core.Commit, done func(core.Result, error)) {
	e.node.mu.Lock()
	e.node.epoch = append(e.node.epoch, c.Epoch)
	hold := e.node.hold
	if e.closed {
		panic("a Commit after Close")
	}
	e.node.mu.Unlock()
	c.Epoch = 0
	e.running.Add(1)
	e.node.store.Submit(ctx, c, func(r core.Result, err error) {
		go func() {
			defer e.running.Done()
			if hold != nil {
				e.node.held <- struct{}{}
				<-hold
			}
			done(r, err)
		}()
	})
}

func (e *storeEnd) Head(position uint64) {
	e.node.mu.Lock()
	defer e.node.mu.Unlock()
	e.node.heads = append(e.node.heads, position)
}

// Forget answers as a node does that knows epoch 5.
func (e *storeEnd) Forget(_ context.Context, epoch uint64, received bool) error {
	e.node.mu.Lock()
	defer e.node.mu.Unlock()
	if epoch < 5 {
		return core.NewStaleEpoch(epoch, 5)
	}
	e.node.forgets = append(e.node.forgets, received)
	return nil
}

func (e *storeEnd) Close() {
	e.node.mu.Lock()
	e.closed = true
	e.node.mu.Unlock()
	e.running.Wait()
}

// newPeerRing makes nodes of sessions 1, 2, … that know each other.
func newPeerRing(t testing.TB, count int, key string) []*peerNode {
	t.Helper()
	return newPeerRingOver(t, count, key, nil)
}

// newPeerRingOver is newPeerRing with TLS, if set is not nil.
func newPeerRingOver(t testing.TB, count int, key string, set *certs.Set) []*peerNode {
	t.Helper()
	var nodes []*peerNode
	var standing ring.Standing
	view := ring.View{Epoch: 2}
	for i := range count {
		n := &peerNode{ring: &fixedRing{}, held: make(chan struct{}, 100), node: fmt.Sprintf("node%d", i+1)}
		n.peers = &peers{ring: n.ring, cluster: "test", key: []byte(key), certs: set, logger: slog.New(slog.DiscardHandler), open: func(uint64) cluster.Incoming {
			end := &storeEnd{Owner: n.subs, node: n}
			n.mu.Lock()
			defer n.mu.Unlock()
			n.ends = append(n.ends, end)
			return end
		}}
		n.start(t)
		n.member = ring.Member{Session: uint64(i + 1), Node: n.node, Addr: n.proxy.addr()}
		view.Members = append(view.Members, n.member)
		standing.Sessions = append(standing.Sessions, ring.Session{Member: n.member, Secret: [32]byte{byte(i + 1)}})
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		n.ring.set(cluster.State{Self: n.member, View: &view, Owners: view.Owners(), Standing: &standing, ServesUntil: time.Now().Add(time.Hour)})
	}
	return nodes
}

func (n *peerNode) start(t testing.TB) {
	n.store = core.NewStore(memory.New(), core.StoreConfig{})
	var err error
	if n.subs, err = subscriptions.New(subscriptions.Config{Store: n.store, Compile: expression.NewCompiler().Compile}); err != nil {
		t.Fatal(err)
	}
	owners := newOwners(n.ring, n.admit, n.peers, slog.New(slog.DiscardHandler))
	n.api, err = wsapi.New(wsapi.Config{Store: n.store, Subscriptions: n.subs, Peers: n.peers, Owners: owners, Node: n.node})
	if err != nil {
		t.Fatal(err)
	}
	n.http = httptest.NewUnstartedServer(n.api)
	if n.certs != nil {
		n.http.Listener = tls.NewListener(n.http.Listener, n.certs.Server())
	}
	n.http.Start()
	if n.certs != nil {
		n.http.URL = "https" + strings.TrimPrefix(n.http.URL, "http")
		n.http.Client().Transport = &http.Transport{TLSClientConfig: n.certs.Client(), DisableKeepAlives: true}
	}
	n.proxy = newCuttable(t, n.http.Listener.Addr().String())
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := n.api.Close(ctx); err != nil {
			t.Errorf("close the API: %v", err)
		}
		owners.close()
		n.proxy.close()
		n.http.Close()
		if err := n.subs.Close(ctx); err != nil {
			t.Errorf("close the subscriptions: %v", err)
		}
		_ = n.store.Close()
	})
}

// cuttable is an address in front of a node whose network can be cut: bytes are held
// back, and new connections are not answered.
type cuttable struct {
	listener net.Listener
	to       string
	running  sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
	gate  chan struct{} // closed while the network works
}

func newCuttable(t testing.TB, to string) *cuttable {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cuttable{listener: l, to: to, conns: map[net.Conn]bool{}, gate: make(chan struct{})}
	close(c.gate)
	c.running.Go(c.accept)
	return c
}

func (c *cuttable) addr() string { return c.listener.Addr().String() }

func (c *cuttable) accept() {
	for {
		in, err := c.listener.Accept()
		if err != nil {
			return
		}
		out, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", c.to)
		if err != nil {
			_ = in.Close()
			continue
		}
		c.mu.Lock()
		c.conns[in], c.conns[out] = true, true
		c.mu.Unlock()
		c.running.Go(func() { c.pipe(in, out) })
		c.running.Go(func() { c.pipe(out, in) })
	}
}

func (c *cuttable) pipe(to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		c.mu.Lock()
		gate := c.gate
		c.mu.Unlock()
		<-gate
		if _, werr := to.Write(buffer[:n]); err != nil || werr != nil {
			_ = to.Close()
			_ = from.Close()
			return
		}
	}
}

// cut holds all bytes back until the returned function is called.
func (c *cuttable) cut() (heal func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	gate := make(chan struct{})
	c.gate = gate
	return sync.OnceFunc(func() { close(gate) })
}

func (c *cuttable) close() {
	_ = c.listener.Close()
	c.mu.Lock()
	for conn := range c.conns {
		_ = conn.Close()
	}
	c.mu.Unlock()
	c.running.Wait()
}

func commitTo(stream string, epoch uint64) core.Commit {
	return core.Commit{Epoch: epoch, Appends: []core.Append{{Stream: stream, Expect: core.AnyVersion, Events: []core.NewEvent{{ID: core.NewID(), Type: "A", Data: []byte("1")}}}}}
}

type outcome struct {
	core.Result
	err error
}

// submit sends a Commit on a link.
func submit(ctx context.Context, l cluster.Link, c core.Commit) <-chan outcome {
	answers := make(chan outcome, 1)
	l.Submit(ctx, c, func(r core.Result, err error) { answers <- outcome{r, err} })
	l.Flush()
	return answers
}

func dialPeer(t testing.TB, from, to *peerNode, generation uint64) cluster.Link {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	l, err := from.Dial(ctx, to.member, generation)
	if err != nil {
		t.Fatalf("dial %s from %s: %v", to.member.Node, from.member.Node, err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestLinkCarriesCommits(t *testing.T) {
	nodes := newPeerRing(t, 2, "key")
	l := dialPeer(t, nodes[0], nodes[1], 1)
	for i := range uint64(3) {
		if a := <-submit(t.Context(), l, commitTo("s", 7+i)); a.err != nil || a.Appends[0].LastVersion != i+1 {
			t.Fatalf("%+v", a)
		}
	}
	many := commitTo("a", 7)
	many.Appends = append(many.Appends, commitTo("b", 7).Appends...)
	many.Checks = []core.Check{{Stream: "s", Expect: 3}}
	if a := <-submit(t.Context(), l, many); a.err != nil || len(a.Appends) != 2 {
		t.Errorf("%+v", a)
	}
	if a := <-submit(t.Context(), l, many); a.err != nil || !a.Duplicate {
		t.Errorf("the same again: %+v", a)
	}
	late := commitTo("s", 7)
	late.Appends[0].Expect = 1
	if a := <-submit(t.Context(), l, late); !errors.Is(a.err, core.CodeWrongExpectedVersion) || errors.Is(a.err, cluster.ErrBroken) {
		t.Errorf("%+v", a)
	}
	withRecord := core.Commit{Epoch: 7, Records: []core.RecordOp{{Table: "t", Key: "k", Expect: core.AnyVersion, Value: []byte("v")}}}
	if a := <-submit(t.Context(), l, withRecord); !errors.Is(a.err, core.CodeNotSupported) {
		t.Errorf("a record: %+v", a)
	}
	l.Head(12)
	<-submit(t.Context(), l, commitTo("s", 9)) // comes after the hint
	nodes[1].mu.Lock()
	defer nodes[1].mu.Unlock()
	if got := fmt.Sprint(nodes[1].epoch, nodes[1].heads); got != "[7 8 9 7 7 7 9] [12]" {
		t.Errorf("the owner has seen epochs and heads %s", got)
	}
}

// TestLinkForgets: both kinds of Forget arrive, and the refusal with its epoch.
func TestLinkForgets(t *testing.T) {
	nodes := newPeerRing(t, 2, "")
	l := dialPeer(t, nodes[0], nodes[1], 1)
	for _, received := range []bool{false, true} {
		if err := l.Forget(t.Context(), 5, received); err != nil {
			t.Errorf("received %t: %v", received, err)
		}
	}
	err := l.Forget(t.Context(), 4, false)
	if !errors.Is(err, core.CodeStaleEpoch) || core.AsError(err).Epoch != 5 {
		t.Errorf("under an earlier epoch: %v", err)
	}
	nodes[1].mu.Lock()
	defer nodes[1].mu.Unlock()
	if got := fmt.Sprint(nodes[1].forgets); got != "[false true]" {
		t.Errorf("the other node has answered %s", got)
	}
}

// TestLinkFlushesBeforeItWaits: Commits that wait for room on a link have those sent that
// take it.
func TestLinkFlushesBeforeItWaits(t *testing.T) {
	nodes := newPeerRing(t, 2, "")
	l := dialPeer(t, nodes[0], nodes[1], 1)
	answers := make(chan error, 40) // more than there is room for
	for range cap(answers) {
		c := commitTo("s", 2)
		c.Appends[0].Events[0].Format, c.Appends[0].Events[0].Data = core.Bytes, make([]byte, core.MaxEventBytes)
		l.Submit(t.Context(), c, func(_ core.Result, err error) { answers <- err })
	}
	l.Flush()
	for range cap(answers) {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
}

func TestLinkCarriesSubscriptions(t *testing.T) {
	nodes := newPeerRing(t, 2, "")
	l := dialPeer(t, nodes[0], nodes[1], 1)
	<-submit(t.Context(), l, commitTo("s", 2))
	d := subscriptions.DefaultDefinition()
	sub, err := subscriptions.JoinWaiting(t.Context(), l, subscriptions.JoinRequest{
		Name: "audit", Definition: &d, Credit: delivery.Credit{Events: delivery.Unlimited, Bytes: delivery.Unlimited},
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := sub.Next(t.Context(), core.Limit{Events: 10, Bytes: 1 << 20})
	for err == nil && got.Count == 0 {
		got, err = sub.Next(t.Context(), core.Limit{Events: 10, Bytes: 1 << 20})
	}
	if err != nil || got.Count != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	if err := subscriptions.Do(t.Context(), sub, subscriptions.Answer{Kind: subscriptions.Ack, Positions: []uint64{got.Last}, Durable: true}); err != nil {
		t.Error(err)
	}
	_ = l.Close()
	for err == nil {
		_, err = sub.Next(t.Context(), core.Limit{Events: 10, Bytes: 1 << 20})
	}
	if !errors.Is(err, cluster.ErrBroken) {
		t.Errorf("a lease on a broken link ends with %v", err)
	}
}

// TestLinkBreaks: calls without an answer end with ErrBroken, and those that were answered
// unknown_outcome do not.
func TestLinkBreaks(t *testing.T) {
	nodes := newPeerRing(t, 2, "")
	l := dialPeer(t, nodes[0], nodes[1], 1)
	nodes[1].mu.Lock()
	hold := make(chan struct{})
	nodes[1].hold = hold
	nodes[1].mu.Unlock()
	answer := submit(t.Context(), l, commitTo("s", 2))
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if a := <-answer; !errors.Is(a.err, cluster.ErrBroken) || !errors.Is(a.err, core.CodeUnknownOutcome) {
		t.Errorf("%+v", a)
	}
	<-l.Broken()
	if a := <-submit(t.Context(), l, commitTo("s", 2)); !errors.Is(a.err, cluster.ErrBroken) {
		t.Errorf("after the end: %+v", a)
	}
	if _, err := l.Join(t.Context(), subscriptions.JoinRequest{Name: "audit"}); !errors.Is(err, cluster.ErrBroken) {
		t.Errorf("a join after the end: %v", err)
	}
	close(hold)
}

// late is a context whose deadline has passed, and which does not end.
type late struct{ context.Context }

func (late) Deadline() (time.Time, bool) { return time.Now().Add(-time.Hour), true }

// TestLinkOutlivesLateCommits: a Commit whose deadline has passed is answered, and the next
// goes on.
func TestLinkOutlivesLateCommits(t *testing.T) {
	nodes := newPeerRing(t, 2, "")
	l := dialPeer(t, nodes[0], nodes[1], 1)
	if a := <-submit(late{t.Context()}, l, commitTo("s", 2)); errors.Is(a.err, cluster.ErrBroken) {
		t.Errorf("%+v", a)
	}
	if a := <-submit(t.Context(), l, commitTo("s", 2)); a.err != nil {
		t.Errorf("%+v", a)
	}
}

// L11: a network that swallows everything breaks the link, and with it every call on it.
func TestLinkNoticesSilence(t *testing.T) {
	nodes := newPeerRing(t, 2, "")
	l := dialPeer(t, nodes[0], nodes[1], 1)
	heal := nodes[1].proxy.cut()
	defer heal()
	answer := submit(t.Context(), l, commitTo("s", 2))
	select {
	case a := <-answer:
		if !errors.Is(a.err, cluster.ErrBroken) {
			t.Errorf("%+v", a)
		}
	case <-time.After(10 * time.Second): // it takes 1.5
		t.Fatal("a silent link holds its Commits up")
	}
	<-l.Broken()
}

// TestLinkTakesOver: a new link is there only when nothing of the older ones can begin any
// more, and all that had begun is answered.
func TestLinkTakesOver(t *testing.T) {
	nodes := newPeerRing(t, 2, "")
	first := dialPeer(t, nodes[0], nodes[1], 1)
	hold := make(chan struct{})
	nodes[1].mu.Lock()
	nodes[1].hold = hold
	nodes[1].mu.Unlock()
	begun := submit(t.Context(), first, commitTo("s", 2))
	<-nodes[1].held // it is in the log
	dialed := make(chan error, 1)
	go func() {
		l, err := nodes[0].Dial(t.Context(), nodes[1].member, 2)
		if err == nil {
			defer l.Close()
		}
		dialed <- err
	}()
	<-first.Broken()
	if a := <-begun; !errors.Is(a.err, cluster.ErrBroken) {
		t.Errorf("%+v", a)
	}
	select {
	case err := <-dialed:
		t.Fatalf("link 2 was answered (%v) while a Commit of link 1 was under way", err)
	case <-time.After(100 * time.Millisecond): // it must not happen at all
	}
	close(hold)
	if err := <-dialed; err != nil {
		t.Errorf("link 2: %v", err)
	}
	if _, err := nodes[0].Dial(t.Context(), nodes[1].member, 1); !errors.Is(err, core.CodePeerDenied) {
		t.Errorf("link 1 again: %v", err)
	}
}

func TestLinkThroughAnother(t *testing.T) {
	nodes := newPeerRing(t, 3, "key")
	unreachable := nodes[0].cutOff(nodes[1])
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	l, err := nodes[0].Dial(ctx, unreachable, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a := <-submit(ctx, l, commitTo("s", 2)); a.err != nil {
		t.Errorf("%+v", a)
	}
	if nodes[1].store.State().Head != 1 {
		t.Error("the Commit did not get to node 2")
	}
	if err := nodes[2].api.Close(ctx); err != nil { // node 3 goes
		t.Error(err)
	}
	<-l.Broken()
}

// cutOff has a node fail to connect to another one at its address, which others still reach.
func (n *peerNode) cutOff(other *peerNode) ring.Member {
	m := other.member
	m.Addr = "127.0.0.1:99999"
	state := *n.ring.State()
	view := *state.View
	view.Members = slices.Clone(view.Members)
	view.Members[m.Session-1] = m
	state.View, state.Owners = &view, view.Owners()
	n.ring.set(state)
	return m
}

func TestDialRefused(t *testing.T) {
	nodes := newPeerRing(t, 2, "")
	nodes[1].proxy.close()
	if _, err := nodes[0].Dial(t.Context(), nodes[1].member, 1); !errors.Is(err, cluster.ErrRefused) {
		t.Errorf("nothing listens: %v", err)
	}
}

// TestPeerDenied: nobody passes for a node without reading the storage.
func TestPeerDenied(t *testing.T) {
	nodes := newPeerRing(t, 3, "key")
	dialPeer(t, nodes[0], nodes[1], 1)
	good := wire.Handshake{Protocol: wire.PeerProtocol, Cluster: "test", From: 1, To: 2, Generation: 1000}
	key := wire.PeerKey{Secret: [32]byte{1}, Ring: []byte("key")}
	replayed := good
	replayed.Generation = 1 * attempts
	signed := func(h wire.Handshake, k wire.PeerKey) string { h.Sign(&k); return h.String() }
	with := func(change func(*wire.Handshake)) string {
		h := good
		change(&h)
		return signed(h, key)
	}
	for name, c := range map[string]struct {
		header string
		code   core.Code
	}{
		"no handshake":          {"", core.CodePeerDenied},
		"no MAC":                {good.String(), core.CodePeerDenied},
		"another secret":        {signed(good, wire.PeerKey{Secret: [32]byte{9}, Ring: []byte("key")}), core.CodePeerDenied},
		"another cluster key":   {signed(good, wire.PeerKey{Secret: [32]byte{1}}), core.CodePeerDenied},
		"the secret of to":      {signed(good, wire.PeerKey{Secret: [32]byte{2}, Ring: []byte("key")}), core.CodePeerDenied},
		"a replay":              {signed(replayed, key), core.CodePeerDenied},
		"another session":       {with(func(h *wire.Handshake) { h.To = 3 }), core.CodeNotServing},
		"an unknown session":    {with(func(h *wire.Handshake) { h.From = 9 }), core.CodePeerDenied},
		"another ring":          {with(func(h *wire.Handshake) { h.Cluster = "other" }), core.CodeClusterMismatch},
		"a later protocol":      {with(func(h *wire.Handshake) { h.Protocol = 2 }), core.CodeClusterMismatch},
		"a relay's, for a link": {with(func(h *wire.Handshake) { h.Target = 1 }), core.CodePeerDenied},
	} {
		_, err := sdk.Dial(t.Context(), "http://"+nodes[1].member.Addr, sdk.Options{Peer: &sdk.Peer{
			Header: http.Header{wire.PeerHeader: {c.header}}, Dial: nodes[0].direct(nodes[1].member.Addr),
			Verify: func(http.Header) error { return nil }, Broken: cluster.ErrBroken,
		}})
		if !errors.Is(err, c.code) {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
}

// TestPeerProvesItself: a process that listens at the address of a node, and cannot read
// the storage, is not taken for it.
func TestPeerProvesItself(t *testing.T) {
	nodes := newPeerRing(t, 2, "")
	state := *nodes[1].ring.State()
	standing := *state.Standing
	standing.Sessions = []ring.Session{standing.Sessions[0], {Member: nodes[1].member, Secret: [32]byte{77}}}
	state.Standing = &standing
	nodes[1].ring.set(state)
	if _, err := nodes[0].Dial(t.Context(), nodes[1].member, 1); !errors.Is(err, core.CodePeerDenied) || !strings.Contains(err.Error(), "not session 2") {
		t.Errorf("a node with another secret: %v", err)
	}
}

// TestPeerIsKnownAfterTheNextBeat: a session that the called node has not heard of yet.
func TestPeerIsKnownAfterTheNextBeat(t *testing.T) {
	nodes := newPeerRing(t, 2, "")
	state := *nodes[1].ring.State()
	before := state
	before.Standing = &ring.Standing{Sessions: state.Standing.Sessions[1:]}
	nodes[1].ring.set(before)
	dialed := make(chan error, 1)
	go func() {
		l, err := nodes[0].Dial(t.Context(), nodes[1].member, 1)
		if err == nil {
			defer l.Close()
		}
		dialed <- err
	}()
	nodes[1].ring.set(state)
	if err := <-dialed; err != nil {
		t.Error(err)
	}
}
