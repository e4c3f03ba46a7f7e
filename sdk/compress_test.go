package sdk_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi"
)

// TestCompress reads and follows the same with compression and without, and compares
// what came over the network.
func TestCompress(t *testing.T) {
	store := newStore(t)
	api, err := wsapi.New(wsapi.Config{Store: store})
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
	const events = 3000
	c := core.Commit{Appends: []core.Append{{Stream: "s", Expect: core.AnyVersion}}}
	for range events {
		c.Appends[0].Events = append(c.Appends[0].Events, core.NewEvent{Type: "OrderPlaced", Data: []byte(`{"note":"` + strings.Repeat("nothing new ", 30) + `"}`)})
	}
	if _, err := store.Append(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	take := func(o sdk.Options) (raw []byte, sent int64) {
		before := counted.sent.Load()
		client := dial(t, "http://"+l.Addr().String(), o)
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

// countingListener counts what its connections send.
type countingListener struct {
	net.Listener
	sent atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &countingConn{Conn: c, sent: &l.sent}, nil
}

type countingConn struct {
	net.Conn
	sent *atomic.Int64
}

func (c *countingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.sent.Add(int64(n))
	return n, err
}
