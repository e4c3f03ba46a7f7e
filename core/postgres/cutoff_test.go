package postgres_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
)

// slowNet is a way to a server that can hold everything up: what was sent arrives when it
// is let go, long after the sender has given up.
type slowNet struct {
	listener net.Listener
	server   string
	running  sync.WaitGroup

	mu     sync.Mutex // protects the fields below
	open   chan struct{}
	newest chan struct{} // new connections wait for this, and older ones for open
}

// via puts a slowNet before a server, and returns it with the URL.
func via(t *testing.T, serverURL string) (*slowNet, string) {
	t.Helper()
	u, err := url.Parse(serverURL)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &slowNet{listener: l, server: u.Host, open: make(chan struct{}), newest: make(chan struct{})}
	close(n.open)
	close(n.newest)
	n.running.Go(n.accept)
	t.Cleanup(func() {
		l.Close()
		n.running.Wait()
	})
	u.Host = l.Addr().String()
	return n, u.String()
}

// hold holds up what is sent on connections that are there, and keeps new ones waiting.
func (n *slowNet) hold() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.open, n.newest = make(chan struct{}), make(chan struct{})
}

// letNewIn lets new connections through.
func (n *slowNet) letNewIn() { close(n.gate(true)) }

// letGo lets through what was held up.
func (n *slowNet) letGo() { close(n.gate(false)) }

func (n *slowNet) gate(newest bool) chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if newest {
		return n.newest
	}
	return n.open
}

func (n *slowNet) accept() {
	for {
		client, err := n.listener.Accept()
		if err != nil {
			return
		}
		n.running.Go(func() { n.serve(client) })
	}
}

// serve carries bytes to the server and back. The server's end outlives the client's while
// bytes are held up.
func (n *slowNet) serve(client net.Conn) {
	defer client.Close()
	<-n.gate(true)
	server, err := net.Dial("tcp", n.server)
	if err != nil {
		return
	}
	defer server.Close()
	n.running.Go(func() {
		_, _ = io.Copy(client, server)
		client.Close()
	})
	older := n.gate(false)
	buf := make([]byte, 64<<10)
	for {
		size, err := client.Read(buf)
		if size > 0 {
			if now := n.gate(false); now != older {
				<-now
			}
			if _, err := server.Write(buf[:size]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// TestLateCommit: a Commit that was answered unknown_outcome, and reaches the server late,
// is not written after a later one of the same stream, whose answer the caller had.
func TestLateCommit(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	slow, url := via(t, server.URL)
	store := server.Store(t)
	if err := postgres.Migrate(t.Context(), postgres.Config{URL: server.URL, Store: store}); err != nil { // in more than a second, if need be
		t.Fatal(err)
	}
	engine := openStore(t, postgres.Config{URL: url, Store: store, CallTimeout: time.Second, RetryFor: 50 * time.Millisecond})
	appendSoon(t, engine, "a")
	slow.hold()
	late := &core.Commit{Appends: []core.Append{{Stream: "a", Expect: core.AnyVersion, Events: benchEvents(1)}}}
	if o := engine.Commit(t.Context(), []*core.Commit{late}).Outcomes[0]; !errors.Is(o.Err, core.CodeUnknownOutcome) {
		t.Fatalf("while nothing arrives: %+v", o)
	}
	slow.letNewIn()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var o core.Outcome
	every(ctx, 10*time.Millisecond, func() {
		if o = appendTo(engine, "a", core.AnyVersion, 1); o.Err == nil {
			cancel()
		}
	})
	if o.Err != nil {
		t.Fatal(o.Err)
	}
	slow.letGo()
	waitFor(t, server, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name LIKE 'gyre/"+store+"/%' AND state <> 'idle' AND query LIKE '%commit_group%')")
	if o := appendTo(engine, "a", core.AnyVersion, 1); o.Err != nil || o.Result.Appends[0].LastVersion != 3 {
		t.Errorf("the next append: %+v; want version 3", o)
	}
	if _, err := engine.Event(t.Context(), late.Appends[0].Events[0].ID); !errors.Is(err, core.CodeEventNotFound) {
		t.Errorf("the late event: %v", err)
	}
}
