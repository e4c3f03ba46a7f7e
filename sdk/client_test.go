package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func one(stream string, x core.Expect, data string) core.Commit {
	return core.Commit{Appends: []core.Append{{Stream: stream, Expect: x, Events: []core.NewEvent{{Type: "A", Data: []byte(data)}}}}}
}

// modes are the two protocols.
var modes = map[string]sdk.Options{"bin": {}, "json": {JSON: true}}

func TestSubmitKeepsTheOrder(t *testing.T) {
	for name, o := range modes {
		t.Run(name, func(t *testing.T) {
			c := dial(t, serve(t, newStore(t), wsapi.Limits{}), o)
			var done sync.WaitGroup
			for i := range 1000 {
				done.Add(1)
				// Each expects the version that the one before it makes.
				c.Submit(t.Context(), one("s", core.Expect(i), "1"), func(r core.Result, err error) {
					defer done.Done()
					if err != nil || r.Appends[0].LastVersion != uint64(i+1) || r.Appends[0].FirstVersion != uint64(i+1) {
						t.Errorf("append %d: %+v, %v", i, r, err)
					}
				})
			}
			done.Wait()
		})
	}
}

func TestTransactionsAndTheirErrors(t *testing.T) {
	for name, o := range modes {
		t.Run(name, func(t *testing.T) {
			c := dial(t, serve(t, newStore(t), wsapi.Limits{}), o)
			commit := one("a", core.NoStream, "1")
			commit.Appends = append(commit.Appends, one("b", core.AnyVersion, "2").Appends...)
			commit.Checks = []core.Check{{Stream: "c", Expect: core.NoStream}}
			r, err := c.Append(t.Context(), commit)
			if err != nil || len(r.Appends) != 2 || r.Appends[1] != (core.Appended{FirstVersion: 1, LastVersion: 1, FirstPosition: 2, LastPosition: 2}) || r.Position != 2 || commit.Appends[0].Events[0].ID != (core.ID{}) {
				t.Fatalf("%+v, %v; the caller's ids %v", r, err, commit.Appends[0].Events[0].ID)
			}
			_, err = c.Append(t.Context(), commit)
			var e *core.Error
			if !errors.As(err, &e) || e.Code != core.CodeWrongExpectedVersion || *e.Actual != 1 || *e.Expected != core.NoStream || *e.Element != 0 || e.Stream != "a" {
				t.Errorf("%+v", err)
			}
			anew := one("a", 1, "3")
			anew.Appends[0].Incarnation = 1
			if _, err := c.Append(t.Context(), anew); !errors.Is(err, core.CodeNotSupported) {
				t.Errorf("an incarnation: %v", err)
			}
			commit.Records = []core.RecordOp{{Table: "t", Key: "k", Expect: core.AnyVersion, Value: []byte("v")}}
			if _, err := c.Append(t.Context(), commit); !errors.Is(err, core.CodeNotSupported) {
				t.Errorf("records: %v", err)
			}
		})
	}
}

func TestLookUps(t *testing.T) {
	store := newStore(t)
	c := dial(t, serve(t, store, wsapi.Limits{}), sdk.Options{})
	id := core.NewID()
	commit := one("a/ü", core.AnyVersion, "1.10")
	commit.Appends[0].Events[0].ID = id
	commit.Appends = append(commit.Appends, one("b", core.AnyVersion, "2").Appends...)
	if _, err := c.Append(t.Context(), commit); err != nil {
		t.Fatal(err)
	}
	e, err := c.Event(t.Context(), id)
	if err != nil || e.Stream != "a/ü" || string(e.Data) != "1.10" {
		t.Errorf("%+v, %v", e, err)
	}
	if _, err := c.Event(t.Context(), core.NewID()); !errors.Is(err, core.CodeEventNotFound) {
		t.Errorf("an unknown event: %v", err)
	}
	page, err := c.Streams(t.Context(), core.StreamsRequest{Limit: 1})
	if err != nil || page.End || len(page.Streams) != 1 || page.Streams[0] != (core.StreamInfo{Name: "a/ü", Version: 1, First: 1}) {
		t.Errorf("%+v, %v", page, err)
	}
	page, err = c.Streams(t.Context(), core.StreamsRequest{After: "a/ü"})
	if err != nil || !page.End || len(page.Streams) != 1 || page.Streams[0].Name != "b" {
		t.Errorf("%+v, %v", page, err)
	}
	all := core.StreamsRequest{Prefix: "", Suffix: "b", Pattern: "*", Sort: core.ByChanged, Descending: true, Details: true, Totals: true}
	page, err = c.Streams(t.Context(), all)
	if err != nil || len(page.Streams) != 1 || page.Streams[0].Changed.Position != 2 || *page.Total != (core.StreamsTotal{Streams: 1}) {
		t.Errorf("%+v, %v", page, err)
	}
	named := core.StreamsRequest{Names: []string{"b", core.All, "none", "a/ü"}, Details: true, Limit: 1}
	page, err = c.Streams(t.Context(), named)
	if err != nil || len(page.Streams) != 3 || page.Streams[1].Version != 2 || page.Streams[2].Created.Position != 1 {
		t.Errorf("%+v, %v", page, err)
	}
	one, err := c.Stream(t.Context(), "a/ü")
	if err != nil || one != page.Streams[2] || one.Created.Recorded.IsZero() {
		t.Errorf("%+v, %v", one, err)
	}
	if _, err := c.Stream(t.Context(), "none"); !errors.Is(err, core.CodeStreamNotFound) {
		t.Errorf("no stream: %v", err)
	}
	info, err := c.Server(t.Context())
	if err != nil || info.Node != "n1" || info.Head != 2 || info.Log != store.State().Log {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestAddresses(t *testing.T) {
	url := serve(t, newStore(t), wsapi.Limits{})
	host := url[len("http://"):]
	_, port, err := net.SplitHostPort(host)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []string{url, url + "/", "ws://" + host, host, ":" + port} {
		if _, err := dial(t, a, sdk.Options{}).Server(t.Context()); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
	for a, code := range map[string]core.Code{"": core.CodeInvalidConfig, "ftp://x": core.CodeInvalidConfig, "http://": core.CodeInvalidConfig,
		"http://a?b": core.CodeInvalidConfig, "127.0.0.1:1": core.CodeUnavailable, url + "/nowhere": core.CodeNotFound} {
		if _, err := sdk.Dial(t.Context(), a, sdk.Options{}); !errors.Is(err, code) {
			t.Errorf("%q: %v, want %s", a, err, code)
		}
	}
}

// restarting is a node whose API and listener can be replaced, on the same address
// and with the same log.
type restarting struct {
	t     testing.TB
	store *core.Store
	// subscriptions are what it serves of named ones; nil is none.
	subscriptions access.Guarded
	nodes         []string // the others that it names
	addr          string
	api           *wsapi.API
	server        *httptest.Server
}

func (r *restarting) start() {
	r.t.Helper()
	api, err := wsapi.New(wsapi.Config{Store: r.store, Subscriptions: r.subscriptions, Nodes: func() []string { return r.nodes }})
	if err != nil {
		r.t.Fatal(err)
	}
	if r.addr == "" {
		r.addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.addr = l.Addr().String()
	r.api = api
	r.server = &httptest.Server{Listener: &breakable{Listener: l}, Config: &http.Server{Handler: api}}
	r.server.Start()
}

func (r *restarting) stop(ctx context.Context) {
	_ = r.api.Close(ctx)
	r.server.Close()
}

func TestClientOutlivesItsServer(t *testing.T) {
	for name, o := range modes {
		t.Run(name, func(t *testing.T) {
			r := &restarting{t: t, store: newStore(t)}
			r.start()
			states := make(chan sdk.State, 100)
			o.OnState = func(s sdk.State) { states <- s }
			c := dial(t, r.addr, o)
			follower, err := c.Follow(t.Context(), core.FollowRequest{Stream: core.All})
			if err != nil {
				t.Fatal(err)
			}
			defer follower.Close()

			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			// reconnected waits until the client says that it lost the
			// connection, and then that it is back.
			reconnected := func() {
				for lost := false; ; {
					select {
					case s := <-states:
						if s.Connected && lost {
							return
						}
						lost = lost || !s.Connected
					case <-ctx.Done():
						t.Fatal("the client does not come back")
					}
				}
			}
			const total = 300
			var appending sync.WaitGroup
			appending.Go(func() {
				for i := 0; i < total; i += 3 { // one event, then one for each of two streams
					commit := one("s", core.AnyVersion, fmt.Sprint(i+1))
					commit.Appends = append(commit.Appends, one("t", core.AnyVersion, fmt.Sprint(i+2)).Appends...)
					for _, commit := range []core.Commit{one("s", core.AnyVersion, fmt.Sprint(i)), commit} {
						if r, err := c.Append(ctx, commit); err != nil || len(r.Appends) != len(commit.Appends) {
							t.Errorf("append %d: %+v, %v", i, r, err)
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
					if seen++; e.Position != seen || string(e.Data) != fmt.Sprint(seen-1) {
						t.Fatalf("event %d came at position %d with %s", seen, e.Position, e.Data)
					}
					switch seen {
					case 50, 150: // in peace
						r.stop(ctx)
						r.start()
						reconnected()
					case 100, 200: // or not
						gone, cut := context.WithCancel(ctx)
						cut()
						r.stop(gone)
						r.start()
						reconnected()
					}
				}
			}
			appending.Wait()
			if head := r.store.State().Head; head != total {
				t.Errorf("the head is %d, want %d: something was written twice or not at all", head, total)
			}
			_ = c.Close()
			r.stop(ctx)
		})
	}
}

func TestCursorOfAnotherLogEndsTheFollow(t *testing.T) {
	r := &restarting{t: t, store: newStore(t)}
	r.start()
	c := dial(t, r.addr, sdk.Options{})
	if _, err := c.Append(t.Context(), one("s", core.AnyVersion, "1")); err != nil {
		t.Fatal(err)
	}
	follower, err := c.Follow(t.Context(), core.FollowRequest{Stream: "s"})
	if err != nil {
		t.Fatal(err)
	}
	if d, err := follower.Next(t.Context(), core.Limit{Events: 1, Bytes: 1}); err != nil || d.Count != 1 {
		t.Fatalf("%+v, %v", d, err)
	}
	r.stop(t.Context())
	r.store = newStore(t)
	r.start()
	defer func() { _ = c.Close(); r.stop(context.Background()) }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		if _, err = follower.Next(ctx, core.Limit{Events: 1, Bytes: 1}); err != nil {
			break
		}
	}
	if !errors.Is(err, core.CodeLogChanged) {
		t.Errorf("the follow ended with %v", err)
	}
}

func TestCallsEndWithTheirContext(t *testing.T) {
	r := &restarting{t: t, store: newStore(t)}
	r.start()
	lost := make(chan struct{})
	lose := sync.OnceFunc(func() { close(lost) })
	c := dial(t, r.addr, sdk.Options{OnState: func(s sdk.State) {
		if !s.Connected {
			lose()
		}
	}})
	r.stop(t.Context())
	<-lost
	soon := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	// Each says that it did not wait for an answer, but for a connection.
	const why = "there is no connection: "
	if _, err := c.Append(soon(), one("s", core.AnyVersion, "1")); !errors.Is(err, core.CodeUnknownOutcome) || !strings.Contains(err.Error(), why) {
		t.Errorf("append: %v", err)
	}
	if _, err := c.Read(soon(), core.ReadRequest{Stream: "s"}); !errors.Is(err, core.CodeTimeout) || !strings.Contains(err.Error(), why) {
		t.Errorf("read: %v", err)
	}
	if _, err := c.Follow(soon(), core.FollowRequest{Stream: "s"}); !errors.Is(err, core.CodeTimeout) || !strings.Contains(err.Error(), why) {
		t.Errorf("follow: %v", err)
	}
	if _, err := c.Server(t.Context()); !errors.Is(err, core.CodeUnavailable) {
		t.Errorf("server: %v", err)
	}
	waiting := make(chan error, 1)
	go func() {
		_, err := c.Append(t.Context(), one("s", core.AnyVersion, "1"))
		waiting <- err
	}()
	_ = c.Close()
	if err := <-waiting; !errors.Is(err, core.CodeUnknownOutcome) && !errors.Is(err, core.CodeCanceled) {
		t.Errorf("append at Close: %v", err)
	}
	if _, err := c.Read(t.Context(), core.ReadRequest{Stream: "s"}); !errors.Is(err, core.CodeCanceled) {
		t.Errorf("read after Close: %v", err)
	}
}

// heldEngine holds Commits until it is let go.
type heldEngine struct {
	core.Engine
	begun, release chan struct{}
}

func (e *heldEngine) Commit(ctx context.Context, group []*core.Commit) core.Step {
	e.begun <- struct{}{}
	<-e.release
	return e.Engine.Commit(ctx, group)
}

// TestOnce: a client that connects once ends with its connection, and says of each thing
// that was under way what became of it.
func TestOnce(t *testing.T) {
	engine := &heldEngine{memory.New(), make(chan struct{}, 1), make(chan struct{})}
	store := core.NewStore(engine, core.StoreConfig{})
	n := &restarting{t: t, store: store}
	n.start()
	var states []sdk.State
	ended := make(chan struct{})
	c := dial(t, n.addr, sdk.Options{Once: true, OnState: func(s sdk.State) {
		if states = append(states, s); !s.Connected {
			close(ended)
		}
	}})
	follower, err := c.Follow(t.Context(), core.FollowRequest{Stream: core.All})
	if err != nil {
		t.Fatal(err)
	}
	defer follower.Close()
	outcome := make(chan error, 1)
	c.Submit(t.Context(), one("s", core.AnyVersion, "1"), func(_ core.Result, err error) { outcome <- err })
	<-engine.begun
	n.server.CloseClientConnections()
	gone, cut := context.WithCancel(t.Context())
	cut()
	n.stop(gone) // in the middle of the append
	if err := <-outcome; !errors.Is(err, core.CodeUnknownOutcome) {
		t.Errorf("the append in flight: %v, want unknown_outcome", err)
	}
	<-ended
	n.start()
	for err = nil; err == nil; { // the first may say that it is live
		_, err = follower.Next(t.Context(), core.Limit{Events: 1, Bytes: 1})
	}
	if !errors.Is(err, core.CodeUnavailable) {
		t.Errorf("the follow: %v, want unavailable", err)
	}
	if _, err := c.AppendTo(t.Context(), "s", core.AnyVersion, core.NewEvent{Type: "T", Data: []byte("1")}); !errors.Is(err, core.CodeUnavailable) {
		t.Errorf("an append afterwards: %v, want unavailable", err)
	}
	close(engine.release)
	_ = c.Close()
	if len(states) != 2 || !states[0].Connected || states[1].Connected || states[1].Err == nil {
		t.Errorf("states %+v, want connected and then lost, with a reason", states)
	}
	n.stop(t.Context())
	if err := store.Close(); err != nil {
		t.Error(err)
	}
}

// TestDialEndsWithItsContext: whoever gives up does not wait for a server that
// accepts and then says nothing, at whatever stage it falls silent.
func TestDialEndsWithItsContext(t *testing.T) {
	upgrader := websocket.Upgrader{Subprotocols: []string{wire.Bin}}
	for name, upgrade := range map[string]bool{"before the upgrade": false, "before welcome": true} {
		t.Run(name, func(t *testing.T) {
			ctx, giveUp := context.WithCancel(t.Context())
			defer giveUp()
			silent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !upgrade {
					giveUp()
					<-r.Context().Done()
					return
				}
				conn, err := upgrader.Upgrade(w, r, nil)
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				if _, _, err = conn.ReadMessage(); err != nil {
					t.Errorf("no hello: %v", err)
				}
				giveUp()
				_, _, _ = conn.ReadMessage()
			}))
			defer silent.Close()
			if _, err := sdk.Dial(ctx, silent.URL, sdk.Options{}); !errors.Is(err, core.CodeCanceled) {
				t.Errorf("dialed until %v", err)
			}
		})
	}
}

func TestStalledFollowIsBounded(t *testing.T) {
	store := newStore(t)
	c := dial(t, serve(t, store, wsapi.Limits{}), sdk.Options{})
	stalled, err := c.Follow(t.Context(), core.FollowRequest{Stream: core.All})
	if err != nil {
		t.Fatal(err)
	}
	defer stalled.Close()
	const total = 20_000 // of 1 KiB: ten times what the credit allows
	data := make([]byte, 1024)
	for range total / 1000 {
		commit := core.Commit{Appends: []core.Append{{Stream: "s", Expect: core.AnyVersion}}}
		for range 1000 {
			commit.Appends[0].Events = append(commit.Appends[0].Events, core.NewEvent{Type: "A", Format: core.Bytes, Data: data})
		}
		if _, err := c.Append(t.Context(), commit); err != nil {
			t.Fatal(err)
		}
	}
	seen := 0
	for e, err := range core.FollowEvents(t.Context(), c, core.FollowRequest{Stream: core.All}) {
		if err != nil {
			t.Fatal(err)
		}
		if seen++; e.Position == total {
			break
		}
	}
	if seen != total {
		t.Errorf("the other follow saw %d of %d", seen, total)
	}
	for next := uint64(1); next <= total; {
		d, err := stalled.Next(t.Context(), core.Limit{Events: 100, Bytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		for e := range d.Events() {
			if e.Position != next {
				t.Fatalf("position %d, want %d", e.Position, next)
			}
			next++
		}
	}
}
