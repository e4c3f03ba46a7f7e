package sdk_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// breakable is a listener whose connections can be cut.
type breakable struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func (l *breakable) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.mu.Lock()
		l.conns = append(l.conns, c)
		l.mu.Unlock()
	}
	return c, err
}

// kill ends a node as a crash does: nobody is told.
func (r *restarting) kill() {
	l := r.server.Listener.(*breakable)
	_ = l.Close()
	l.mu.Lock()
	for _, c := range l.conns {
		_ = c.Close()
	}
	l.mu.Unlock()
	gone, cut := context.WithCancel(context.Background())
	cut()
	r.stop(gone)
}

// several starts nodes of one log, and returns their addresses as --server takes them.
func several(t *testing.T, store *core.Store, n int) (nodes []*restarting, list string) {
	t.Helper()
	var addrs []string
	for range n {
		r := &restarting{t: t, store: store}
		r.start()
		nodes, addrs = append(nodes, r), append(addrs, r.addr)
	}
	return nodes, strings.Join(addrs, ",")
}

// places returns a check of where a client gets connected next.
func places(t *testing.T, o *sdk.Options) (at func(*restarting)) {
	places := make(chan string, 100)
	o.OnState = func(s sdk.State) {
		if s.Connected {
			places <- s.Address
		}
	}
	return func(want *restarting) {
		t.Helper()
		select {
		case place := <-places:
			if place != "http://"+want.addr {
				t.Errorf("it is connected to %s, want %s", place, want.addr)
			}
		case <-time.After(30 * time.Second):
			t.Errorf("it does not come to %s", want.addr)
		}
	}
}

// TestClientGoesToTheNextNode: calls, follows and requests over HTTP go on at another node
// when one crashes or shuts down, in order and without a repeat.
func TestClientGoesToTheNextNode(t *testing.T) {
	for name, o := range modes {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			store := newStore(t)
			nodes, list := several(t, store, 3)
			at := places(t, &o)
			c := dial(t, "127.0.0.1:1,"+list, o)
			at(nodes[0])
			follower, err := c.Follow(ctx, core.FollowRequest{Stream: core.All})
			if err != nil {
				t.Fatal(err)
			}
			defer follower.Close()
			const total = 300
			var appending sync.WaitGroup
			appending.Go(func() {
				for i := range total { // each expects the version that the one before it makes
					appending.Add(1)
					c.Submit(ctx, one("s", core.Expect(i), "1"), func(r core.Result, err error) {
						defer appending.Done()
						if err != nil || r.Appends[0].LastVersion != uint64(i+1) {
							t.Errorf("append %d: %+v, %v", i, r, err)
						}
					})
					if i%100 == 50 {
						if i == 50 {
							nodes[0].kill()
							at(nodes[1])
						} else if i == 150 {
							nodes[1].stop(ctx)
							at(nodes[2])
						}
						if _, err := c.Streams(ctx, core.StreamsRequest{}); err != nil {
							t.Errorf("the streams, at %d: %v", i, err)
						}
					}
				}
			})
			for seen := uint64(0); seen < total; {
				d, err := follower.Next(ctx, core.Limit{Events: 7, Bytes: 1 << 20})
				if err != nil {
					t.Fatal(err)
				}
				for e := range d.Events() {
					if seen++; e.Position != seen {
						t.Fatalf("event %d came at position %d", seen, e.Position)
					}
				}
			}
			appending.Wait()
			if head := store.State().Head; head != total {
				t.Errorf("the head is %d, want %d", head, total)
			}
			_ = c.Close()
			nodes[2].stop(ctx)
		})
	}
}

// TestClientGoesToTheNodesThatAreNamed: a client that knows one address learns others from
// its node, and goes there when that ends.
func TestClientGoesToTheNodesThatAreNamed(t *testing.T) {
	for name, end := range map[string]func(*restarting){
		"shut down": func(r *restarting) { r.stop(t.Context()) },
		"crash":     (*restarting).kill,
	} {
		t.Run(name, func(t *testing.T) {
			nodes, _ := several(t, newStore(t), 2)
			nodes[0].nodes = []string{nodes[1].addr}
			var o sdk.Options
			at := places(t, &o)
			c := dial(t, nodes[0].addr, o)
			at(nodes[0])
			end(nodes[0])
			at(nodes[1])
			if _, err := c.AppendTo(t.Context(), "s", core.NoStream, core.NewEvent{Type: "A", Data: []byte("1")}); err != nil {
				t.Error(err)
			}
			_ = c.Close()
			nodes[1].stop(t.Context())
		})
	}
}

func TestDialTriesEveryAddress(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	refusing := httptest.NewServer(http.NotFoundHandler())
	defer refusing.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err = sdk.Dial(ctx, refusing.URL+", 127.0.0.1:1,"+silent.Addr().String(), sdk.Options{})
	if !errors.Is(err, core.CodeUnavailable) {
		t.Errorf("%v", err)
	}
	for _, a := range []string{refusing.URL, "http://127.0.0.1:1", silent.Addr().String()} {
		if !strings.Contains(err.Error(), a) {
			t.Errorf("%v does not say what is wrong with %s", err, a)
		}
	}
	ctx, cancel = context.WithTimeout(t.Context(), 2*time.Second) // half of it for the silent one
	defer cancel()
	c, err := sdk.Dial(ctx, silent.Addr().String()+","+serve(t, newStore(t), wsapi.Limits{}), sdk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	for _, bad := range []string{"a:1,", ",", "a:1,,b:1", "a:1;b:1 c"} {
		if _, err := sdk.Dial(t.Context(), bad, sdk.Options{}); !errors.Is(err, core.CodeInvalidConfig) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// scripted is a server that does what a test says, after the welcome, with the connections
// in turn.
func scripted(t *testing.T, act ...func(*scriptedConn)) string {
	t.Helper()
	return scriptedWith(t, func(int) []string { return []string{"deletes", "progress"} }, act...)
}

// scriptedWith is scripted with the features of each connection, from 1.
func scriptedWith(t *testing.T, features func(connection int) []string, act ...func(*scriptedConn)) string {
	t.Helper()
	var connections atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		upgrader := websocket.Upgrader{Subprotocols: []string{wire.Bin, wire.JSON}}
		socket, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer socket.Close()
		_ = socket.SetReadDeadline(time.Now().Add(30 * time.Second))
		c := &scriptedConn{t, socket}
		if _, _, err := socket.ReadMessage(); err != nil {
			t.Error(err)
		}
		n := int(connections.Add(1))
		c.say(&wire.Welcome{ID: 1, Time: wire.Time(time.Now()), Limits: wire.Limits{Frame: 5 << 20, Inflight: 10}, Features: features(n)})
		if n <= len(act) {
			act[n-1](c)
		} else {
			t.Errorf("there is a connection %d", n)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// two is a Commit to two streams: a COMMIT frame.
func two() core.Commit {
	commit := one("a", core.AnyVersion, "1")
	commit.Appends = append(commit.Appends, one("b", core.AnyVersion, "2").Appends...)
	return commit
}

type scriptedConn struct {
	t      *testing.T
	socket *websocket.Conn
}

func (c *scriptedConn) say(m wire.Message) {
	if err := c.socket.WriteMessage(websocket.TextMessage, wire.Encode(nil, m)); err != nil {
		c.t.Error(err)
	}
}

// commit receives a COMMIT, and returns its id.
func (c *scriptedConn) commit() uint64 {
	_, message, err := c.socket.ReadMessage()
	if err != nil || message[0] != wire.FrameCommit {
		c.t.Errorf("%x, %v", message, err)
		return 0
	}
	var f wire.CommitFrame
	frames := wire.NewFrames(message, wire.Uncompressed, 0)
	if err := frames.Commit(&f); err != nil {
		c.t.Error(err)
	}
	return f.ID
}

func (c *scriptedConn) refuse(id uint64, err error) {
	c.say(&wire.Failure{ID: id, Error: wire.NewError(err)})
}

// left waits for the client's goodbye. Nothing comes before it.
func (c *scriptedConn) left() {
	if _, message, err := c.socket.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
		c.t.Errorf("the client does not leave: %s, %v", message, err)
	}
}

// TestRefusalOfAnAppendThatWasSentAgain: when an append is sent again, the first try may
// still be written. Only a refusal that holds for both tries is told as it is (RING R9).
func TestRefusalOfAnAppendThatWasSentAgain(t *testing.T) {
	versions := func(expected core.Expect, actual uint64) error {
		e := core.Errorf(core.CodeWrongExpectedVersion, "as it is")
		e.Expected, e.Actual = &expected, &actual
		return e
	}
	moves := func(expected core.Expect, actual uint64) error {
		e := core.Errorf(core.CodeProgressConflict, "as it is")
		e.Expected, e.Actual = &expected, &actual
		return e
	}
	for name, of := range map[string]struct {
		refusal error
		final   bool
	}{
		"behind the progress":   {moves(3, 4), true},
		"ahead of the progress": {moves(3, 2), false},
		"behind the stream":     {versions(3, 4), true},
		"ahead of the stream":   {versions(3, 2), false},
		"no stream":             {versions(core.NoStream, 1), true},
		"stream exists":         {versions(core.StreamExists, 0), false},
		"duplicate event":       {core.Errorf(core.CodeDuplicateEvent, "elsewhere"), true},
		"unknown event":         {core.Errorf(core.CodeEventNotFound, "of a link"), false},
		"no quorum":             {core.Errorf(core.CodeNoNodeAvailable, "none"), false},
		"overloaded":            {core.Errorf(core.CodeOverloaded, "too much"), false},
	} {
		t.Run(name, func(t *testing.T) {
			code := core.AsError(of.refusal).Code
			c := dial(t, scripted(t,
				func(c *scriptedConn) { c.commit() }, // and the connection breaks
				func(c *scriptedConn) {
					c.refuse(c.commit(), of.refusal)
					c.refuse(c.commit(), of.refusal) // of the second, which was sent once
					c.refuse(c.commit(), core.Errorf(core.CodeShuttingDown, "not taken"))
				},
				func(c *scriptedConn) {
					c.refuse(c.commit(), of.refusal)
					c.left()
				},
			), sdk.Options{})
			want := code
			if !of.final {
				want = core.CodeUnknownOutcome
			}
			for _, which := range []string{"sent again", "sent once", "not taken at first"} {
				answered := make(chan error, 1)
				c.Submit(t.Context(), two(), func(_ core.Result, err error) { answered <- err })
				err := <-answered
				if e := core.AsError(err); e.Code != want || !strings.Contains(e.Error(), string(code)) {
					t.Errorf("%s: %v, want %s", which, err, want)
				}
				want = code
			}
			_ = c.Close()
		})
	}
}

// TestMoveThatWasSentAgain: that a progress has gone on may be by the first try, if that had
// no event to be known by.
func TestMoveThatWasSentAgain(t *testing.T) {
	from, actual := core.Expect(3), uint64(5)
	passed := core.Errorf(core.CodeProgressConflict, "as it is")
	passed.Expected, passed.Actual = &from, &actual
	c := dial(t, scripted(t,
		func(c *scriptedConn) { c.commit() }, // and the connection breaks
		func(c *scriptedConn) { c.refuse(c.commit(), passed); c.left() },
	), sdk.Options{})
	_, err := c.Append(t.Context(), core.Commit{Progress: &core.Progress{Name: "p", From: 3, To: 4}})
	if !errors.Is(err, core.CodeUnknownOutcome) || !strings.Contains(err.Error(), "progress_conflict") {
		t.Errorf("%v, want unknown_outcome", err)
	}
	_ = c.Close()
}

// TestClientLeavesANodeThatShutsDown once it owes no answer, and does not wait for the node
// to close the connection. What was not taken is sent to the next node, behind nothing.
func TestClientLeavesANodeThatShutsDown(t *testing.T) {
	at := core.Appended{FirstVersion: 1, LastVersion: 1, FirstPosition: 1, LastPosition: 1}
	done := func(c *scriptedConn, id uint64) {
		if err := c.socket.WriteMessage(websocket.BinaryMessage, wire.AppendCommitted(nil, id, &core.Result{Appends: []core.Appended{at, at}})); err != nil {
			t.Error(err)
		}
	}
	var second uint64
	next := scripted(t, func(c *scriptedConn) {
		if id := c.commit(); id != second {
			t.Errorf("append %d was sent, want %d", id, second)
		}
		done(c, second)
		c.left()
	})
	c := dial(t, scripted(t, func(c *scriptedConn) {
		first := c.commit()
		c.say(&wire.Goaway{Reason: "shutdown", ReconnectInMs: 1, Nodes: []string{strings.TrimPrefix(next, "http://")}})
		second = c.commit() // the client stays: an answer is owed
		c.refuse(second, core.Errorf(core.CodeShuttingDown, "not taken"))
		done(c, first)
		c.left() // without being asked again
	}), sdk.Options{})
	answers := make(chan error, 2)
	for range 2 {
		c.Submit(t.Context(), two(), func(_ core.Result, err error) { answers <- err })
	}
	for range 2 {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	_ = c.Close()
}

// TestRequestsOverHTTPAskTheNextNode, a change only where the first has done nothing.
func TestRequestsOverHTTPAskTheNextNode(t *testing.T) {
	api, err := wsapi.New(wsapi.Config{Store: newStore(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close(t.Context())
	var behavior atomic.Pointer[http.HandlerFunc]
	var second atomic.Int32
	serve := func(answer http.HandlerFunc) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v1/ws" {
				api.ServeHTTP(w, r)
				return
			}
			answer(w, r)
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	list := serve(func(w http.ResponseWriter, r *http.Request) { (*behavior.Load())(w, r) }) + "," +
		serve(func(w http.ResponseWriter, _ *http.Request) { second.Add(1); _, _ = w.Write([]byte("{}")) })
	c := dial(t, list, sdk.Options{})
	problem := func(code core.Code) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			text, _ := wire.Marshal(wire.NewError(core.Errorf(code, "by the first")))
			w.WriteHeader(code.Info().Status)
			_, _ = w.Write(text)
		}
	}
	for name, of := range map[string]struct {
		first        http.HandlerFunc
		read, change core.Code // "" is that the second answers
	}{
		"no quorum":      {problem(core.CodeNoNodeAvailable), "", ""},
		"shutting down":  {problem(core.CodeShuttingDown), "", ""},
		"starting":       {problem(core.CodeStarting), "", ""},
		"store closed":   {problem(core.CodeStoreClosed), "", core.CodeStoreClosed},
		"unknown":        {problem(core.CodeUnknownOutcome), "", core.CodeUnknownOutcome},
		"not found":      {problem(core.CodeSubscriptionNotFound), core.CodeSubscriptionNotFound, core.CodeSubscriptionNotFound},
		"a proxy's page": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, "", core.CodeUnavailable},
		"cut off":        {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "", core.CodeUnknownOutcome},
	} {
		t.Run(name, func(t *testing.T) {
			behavior.Store(&of.first)
			_, err := c.Subscriptions().Info(t.Context(), "s")
			check := func(what string, err error, want core.Code) {
				t.Helper()
				asked := second.Swap(0) == 1
				if asked != (want == "") || want == "" && err != nil || want != "" && !errors.Is(err, want) {
					t.Errorf("%s: %v, the second was asked: %v; want %q", what, err, asked, want)
				}
			}
			check("read", err, of.read)
			check("change", c.Subscriptions().Pause(t.Context(), "s"), of.change)
		})
	}
}

// TestHandlersFinishBeforeOthersBegin: a node that shuts down lets its consumers finish what
// they handle. Their answers count, and what they have not begun goes to others, in order.
func TestHandlersFinishBeforeOthersBegin(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	store := newStore(t)
	owner, err := subscriptions.New(subscriptions.Config{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close(context.Background())
	nodes := []*restarting{{t: t, store: store, subscriptions: owner}, {t: t, store: store, subscriptions: owner}}
	d := subscriptions.DefaultDefinition()
	d.ConcurrencyLimit, d.PartitionBy = 2, "stream"
	type handling struct {
		at      string
		version uint64
		finish  chan struct{}
	}
	handled := make(chan handling)
	for i, n := range nodes {
		n.start()
		c := dial(t, n.addr, sdk.Options{})
		s, err := c.Subscribe(ctx, "billing", sdk.SubscribeOptions{Definition: &d})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_ = s.Consume(ctx, func(_ context.Context, d sdk.Delivery) error {
				h := handling{nodes[i].addr, d.Version, make(chan struct{})}
				handled <- h
				<-h.finish
				return nil
			})
		}()
	}
	const total = 4
	for range total {
		if _, err := store.Append(ctx, one("s", core.AnyVersion, "1")); err != nil {
			t.Fatal(err)
		}
	}
	first := <-handled // the others of its key wait behind it, sent to the same client
	stopping := slices.IndexFunc(nodes, func(n *restarting) bool { return n.addr == first.at })
	var stopped sync.WaitGroup
	stopped.Go(func() { nodes[stopping].stop(ctx) })
	for { // until the node has begun to shut down
		c, err := sdk.Dial(ctx, first.at, sdk.Options{})
		if err != nil {
			break
		}
		_ = c.Close()
	}
	close(first.finish)
	for version := uint64(2); version <= total; version++ {
		next := <-handled
		if next.version != version {
			t.Errorf("version %d came at %s, want %d", next.version, next.at, version)
		}
		close(next.finish)
	}
	stopped.Wait()
	nodes[1-stopping].stop(ctx)
}

// TestConsumerBeginsNothingAtANodeThatShutsDown: it acks the event that it handles, leaves
// the one behind it to others, and then leaves the node.
func TestConsumerBeginsNothingAtANodeThatShutsDown(t *testing.T) {
	begun, away, left := make(chan struct{}), make(chan struct{}), make(chan struct{})
	event := `{"stream":"s","version":%d,"position":%[1]d,"id":"00000000-0000-7000-8000-00000000000%[1]d","type":"A",` +
		`"time":"2026-11-23T10:00:00Z","recorded":"2026-11-23T10:00:00Z","data":1,"metadata":{},"attempt":1}`
	c := dial(t, scripted(t, func(c *scriptedConn) {
		receive := func(op string) (m struct {
			ID, Sub   uint64
			Positions []uint64
		}) {
			_, text, err := c.socket.ReadMessage()
			if err != nil || !strings.Contains(string(text), `"op":"`+op+`"`) || json.Unmarshal(text, &m) != nil {
				t.Errorf("%s, %v, want %s", text, err, op)
			}
			return m
		}
		joined := receive("subscribe")
		c.say(&wire.OK{ID: joined.ID, Sub: joined.Sub, Head: 2, State: "catchup"})
		events := fmt.Sprintf(`{"op":"events","sub":%d,"events":[%s,%s],"cursor":"k3f9.0"}`, joined.Sub, fmt.Sprintf(event, 1), fmt.Sprintf(event, 2))
		if err := c.socket.WriteMessage(websocket.TextMessage, []byte(events)); err != nil {
			t.Error(err)
		}
		<-begun
		c.say(&wire.Goaway{Reason: "shutdown", ReconnectInMs: 1})
		c.say(&wire.Ping{N: 1})
		receive("pong") // it has taken the goaway in
		close(away)
		ack := receive("ack")
		if !slices.Equal(ack.Positions, []uint64{1}) {
			t.Errorf("%v are acked", ack.Positions)
		}
		c.say(&wire.OK{ID: ack.ID})
		c.left()
		close(left)
	}, func(c *scriptedConn) {
		for err := error(nil); err == nil; {
			_, _, err = c.socket.ReadMessage()
		}
	}), sdk.Options{JSON: true})
	s, err := c.Subscribe(t.Context(), "billing", sdk.SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() {
		ended <- s.Consume(t.Context(), func(_ context.Context, d sdk.Delivery) error {
			if d.Position != 1 {
				t.Errorf("event %d is handled", d.Position)
				return nil
			}
			close(begun)
			<-away
			return nil
		})
	}()
	<-left
	_ = c.Close()
	if err := <-ended; !errors.Is(err, core.CodeCanceled) {
		t.Error(err)
	}
}
