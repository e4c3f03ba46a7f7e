package ws

import (
	"bufio"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/gyre-events/gyre/wsapi/requests"
)

// upgrading calls answered when the answer to a handshake has been written.
type upgrading struct {
	http.ResponseWriter
	answered func()
}

func (u *upgrading) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := u.ResponseWriter.(http.Hijacker).Hijack()
	return &upgradingConn{conn, sync.OnceFunc(u.answered)}, rw, err
}

type upgradingConn struct {
	net.Conn
	answered func()
}

func (c *upgradingConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.answered()
	return n, err
}

// TestCloseDuringHandshake: a connection that opens while the Server closes is closed like
// the others, not cut.
func TestCloseDuringHandshake(t *testing.T) {
	registry := prometheus.NewRegistry()
	memory, err := requests.NewMemory(1<<20, registry)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewServer(Config{Limits: requests.Limits{}.WithDefaults(), Memory: memory, Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := s.Accept(&upgrading{w, func() {
			go func() { closed <- s.Close(t.Context()) }()
			for !s.draining.Load() {
				runtime.Gosched()
			}
		}}, r, nil)
		if err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	conn, response, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(server.URL, "http"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	defer func() { _ = conn.Close() }()
	if _, text, err := conn.ReadMessage(); !websocket.IsCloseError(err, closeShutdown) {
		t.Errorf("heard %s, %v, want the close %d", text, err, closeShutdown)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}
