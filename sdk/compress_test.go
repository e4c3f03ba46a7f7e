package sdk_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// TestCompress reads and follows the same with compression and without, and compares
// what came over the network.
// countedNode serves a store, and counts what goes over its network.
func countedNode(t *testing.T, store *core.Store, limits wsapi.Limits) *countingListener {
	api, err := wsapi.New(wsapi.Config{Store: store, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	counted := &countingListener{Listener: l}
	server := &http.Server{Handler: api}
	served := make(chan error, 1)
	go func() { served <- server.Serve(counted) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := api.Close(ctx); err != nil {
			t.Error(err)
		}
		_ = server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return counted
}

func (l *countingListener) url() string { return "http://" + l.Addr().String() }

// note is an event of about 400 bytes.
func note() core.NewEvent {
	return core.NewEvent{Type: "OrderPlaced", Data: []byte(`{"note":"` + strings.Repeat("nothing new ", 30) + `"}`)}
}

func TestCompress(t *testing.T) {
	store := newStore(t)
	counted := countedNode(t, store, wsapi.Limits{})
	const events = 3000
	c := core.Commit{Appends: []core.Append{{Stream: "s", Expect: core.AnyVersion}}}
	for range events {
		c.Appends[0].Events = append(c.Appends[0].Events, note())
	}
	if _, err := store.Append(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	take := func(o sdk.Options) (raw []byte, sent int64) {
		before := counted.sent.Load()
		client := dial(t, counted.url(), o)
		for from := uint64(1); from <= events; {
			page, err := client.Read(t.Context(), core.ReadRequest{Stream: "s", From: from, Limit: core.Limit{Events: 1000}})
			if err != nil {
				t.Fatal(err)
			}
			for e := range page.Events() {
				raw = append(raw, e.Raw...)
			}
			from = page.Next
		}
		n := 0
		for e, err := range core.FollowEvents(t.Context(), client, core.FollowRequest{Stream: "s"}) {
			if err != nil {
				t.Fatal(err)
			}
			raw = append(raw, e.Raw...)
			if n++; n == events {
				break
			}
		}
		if err := client.Close(); err != nil {
			t.Fatal(err)
		}
		return raw, counted.sent.Load() - before
	}
	plain, plainBytes := take(sdk.Options{})
	compressed, compressedBytes := take(sdk.Options{Compress: true})
	if !bytes.Equal(plain, compressed) {
		t.Errorf("%d bytes of events, and %d with compression", len(plain), len(compressed))
	}
	if compressedBytes > plainBytes/5 {
		t.Errorf("%d bytes came, and %d with compression", plainBytes, compressedBytes)
	}
}

// TestCompressAppends appends the same with compression and without. Frames that are
// joined to one message stay within what the node takes, however small they have become.
func TestCompressAppends(t *testing.T) {
	store := newStore(t)
	counted := countedNode(t, store, wsapi.Limits{Frame: 300 << 10})
	const appends, each = 40, 100
	send := func(stream string, o sdk.Options) (received int64) {
		client := dial(t, counted.url(), o)
		defer client.Close()
		before := counted.received.Load()
		var left sync.WaitGroup
		left.Add(appends)
		for i := range appends {
			c := core.Commit{Appends: []core.Append{{Stream: stream, Expect: core.Expect(i * each)}}}
			for range each {
				c.Appends[0].Events = append(c.Appends[0].Events, note())
			}
			if i%2 == 1 { // to several streams at once
				c.Appends = append(c.Appends, core.Append{Stream: stream + "-too", Expect: core.AnyVersion, Events: []core.NewEvent{note()}})
			}
			client.Submit(t.Context(), c, func(_ core.Result, err error) {
				if err != nil {
					t.Error(err)
				}
				left.Done()
			})
		}
		left.Wait()
		return counted.received.Load() - before
	}
	plain, compressed := send("plain", sdk.Options{}), send("compressed", sdk.Options{Compress: true})
	if plain < appends*each*int64(len(note().Data)) || compressed > plain/10 {
		t.Errorf("%d bytes were sent, and %d with compression", plain, compressed)
	}
	for _, stream := range []string{"plain", "compressed"} {
		for e, err := range core.ReadAll(t.Context(), store, core.ReadRequest{Stream: stream}) {
			if err != nil || !bytes.Equal(e.Data, note().Data) {
				t.Fatalf("%s@%d is %s, %v", stream, e.Version, e.Data, err)
			}
		}
	}
}

// TestCompressIsAgreedAnew has a client connect to nodes of different ages, one after
// another: each is sent what it has agreed to.
func TestCompressIsAgreedAnew(t *testing.T) {
	const none = wire.Uncompressed
	agreedAnew(t, []string{"zstd", "", "deflate-raw", "zstd", "br"}, []wire.Codec{wire.Zstd, none, none, wire.Zstd, none})
	agreedAnew(t, []string{"deflate-raw", "zstd", "deflate-raw"}, []wire.Codec{wire.Deflate, none, wire.Deflate})
	agreedAnew(t, []string{"", "zstd"}, []wire.Codec{none, none})
}

// agreedAnew sends an append to nodes that say how they compress, and go; the last one
// answers. want is how each gets it.
func agreedAnew(t *testing.T, nodes []string, want []wire.Codec) {
	got := make(chan wire.Codec, len(nodes))
	var connections atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		upgrader := websocket.Upgrader{Subprotocols: []string{wire.Bin}}
		c, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		if _, hello, err := c.ReadMessage(); err != nil || !bytes.Contains(hello, []byte(`"compress":["zstd","deflate-raw"]`)) {
			t.Errorf("hello is %s, %v", hello, err)
		}
		n := int(connections.Add(1))
		name := nodes[n-1]
		limits := wire.Limits{Frame: 5 << 20, Inflight: 10}
		if err := c.WriteMessage(websocket.TextMessage, wire.Encode(nil, &wire.Welcome{ID: 1, Time: wire.Time(time.Now()), Limits: limits, Compress: name})); err != nil {
			t.Error(err)
		}
		_, message, err := c.ReadMessage()
		if err != nil || len(message) < 2 || message[0] != wire.FrameAppend {
			t.Errorf("%d bytes, %v", len(message), err)
			return
		}
		codec := wire.Codec(message[1] & 3)
		frames := wire.NewFrames(message, codec, 1<<20)
		var a wire.CommitFrame
		if err := frames.Commit(&a); err != nil || len(a.Commit.Appends[0].Events) != 100 {
			t.Errorf("%+v, %v", a, err)
		}
		got <- codec
		if n == len(nodes) { // the others go without an answer
			_ = c.WriteMessage(websocket.TextMessage, wire.Encode(nil, &wire.OK{ID: a.ID, Version: 100, Position: 100, Count: 100}))
			_, _, _ = c.ReadMessage() // until the client has gone
		}
	}))
	defer server.Close()
	client := dial(t, server.URL, sdk.Options{Compress: true})
	defer client.Close()
	c := core.Commit{Appends: []core.Append{{Stream: "s", Expect: core.AnyVersion}}}
	for range 100 {
		c.Appends[0].Events = append(c.Appends[0].Events, note())
	}
	if _, err := client.Append(t.Context(), c); err != nil {
		t.Error(err)
	}
	for i, codec := range want {
		if it := <-got; it != codec {
			t.Errorf("to the node that says %q went %q, want %q", nodes[i], it, codec)
		}
	}
}

// countingListener counts what its connections send and receive.
type countingListener struct {
	net.Listener
	sent, received atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &countingConn{Conn: c, to: l}, nil
}

type countingConn struct {
	net.Conn
	to *countingListener
}

func (c *countingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.to.sent.Add(int64(n))
	return n, err
}

func (c *countingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.to.received.Add(int64(n))
	return n, err
}
