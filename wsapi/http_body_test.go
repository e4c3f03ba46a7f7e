package wsapi_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/wsapi"
)

// pipes is a listener whose connections are in memory, so that a server can run in
// virtual time.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (p pipes) dial() net.Conn {
	client, server := net.Pipe()
	p <- server
	return client
}

// inVirtualTime runs f with a node that is reached through pipes.
func inVirtualTime(t *testing.T, f func(t *testing.T, api *wsapi.API, serve func(http.Handler) pipes)) {
	synctest.Test(t, func(t *testing.T) {
		store := core.NewStore(memory.New(), core.StoreConfig{})
		api, err := wsapi.New(wsapi.Config{Store: store, AllowOrigins: []string{"https://app.example"}})
		if err != nil {
			t.Fatal(err)
		}
		f(t, api, func(h http.Handler) pipes {
			p := make(pipes)
			server := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute}
			go func() { _ = server.Serve(p) }()
			t.Cleanup(func() { _ = server.Close() })
			return p
		})
		if err := api.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestEveryBodyHasADeadline sends requests whose bodies do not arrive, or a byte a
// second. Whatever the answer is, the connection is closed within 30 s.
func TestEveryBodyHasADeadline(t *testing.T) {
	requests := []string{
		"GET /livez", "HEAD /livez", "GET /", "GET /metrics", "GET /v1/server", "GET /v1/streams", "GET /v1/events", "HEAD /v1/events",
		"GET /v1/events\r\nAccept: text/event-stream", "GET /v1/events\r\nAccept: application/x-ndjson",
		"GET /v1/ws\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
		"GET /v1/nothing", "POST /v1/nothing", "DELETE /livez", "BREW /livez", "OPTIONS /v1/events", "GET /v1/events?x=1",
		"GET /livez\r\nHost: evil.example", "POST /v1/streams/s/events\r\nOrigin: https://evil.example",
		"OPTIONS /v1/streams/s/events\r\nOrigin: https://app.example",
		"POST /v1/streams/s/events", "POST /v1/streams/s/events\r\nContent-Type: image/png", "POST /v1/streams/s/events?expect=x",
		"POST /v1/transactions", "PUT /v1/subscriptions/s", "DELETE /v1/subscriptions/s", "POST /v1/subscriptions/s/pause",
	}
	for _, state := range []string{"serving", "draining", "starting"} {
		for _, request := range requests {
			for _, length := range []string{"Content-Length: 100", "Content-Length: 600000", "Transfer-Encoding: chunked"} {
				for _, dripping := range []bool{false, true} {
					inVirtualTime(t, func(t *testing.T, api *wsapi.API, serve func(http.Handler) pipes) {
						handler := http.Handler(api)
						switch state {
						case "draining":
							_ = api.Close(t.Context())
						case "starting":
							handler = wsapi.NewStarting(nil, nil)
						}
						line, headers, _ := strings.Cut(request, "\r\n")
						if !strings.Contains(headers, "Host:") {
							headers = strings.TrimSpace("Host: localhost\r\n" + headers)
						}
						took := closesWithin(t, serve(handler), line+" HTTP/1.1\r\n"+headers+"\r\n"+length+"\r\n\r\n", dripping)
						if took > 31*time.Second { // net/http waits a moment for the response to be read
							t.Errorf("%s: %q with %s (dripping: %t) is open after %s", state, request, length, dripping, took)
						}
					})
				}
			}
		}
	}
}

// closesWithin sends a request and perhaps a byte of its body each second, and reports
// how long the connection was open; two minutes are all that it waits.
func closesWithin(t *testing.T, p pipes, request string, dripping bool) time.Duration {
	c := p.dial()
	start := time.Now()
	if err := c.SetDeadline(start.Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := io.WriteString(c, request); err != nil || !dripping {
			return
		}
		text := strings.Repeat(" ", 1000)
		if strings.Contains(request, "chunked") {
			text = "3E8\r\n" + text
		}
		for i := range text {
			time.Sleep(time.Second)
			if _, err := io.WriteString(c, text[i:i+1]); err != nil {
				return
			}
		}
	}()
	_, _ = io.Copy(io.Discard, c) // ends with the connection, however it ends
	took := time.Since(start)
	_ = c.Close()
	<-done
	return took
}

// TestABodyThatNobodyWants arrives, and is ignored: the event stream that it came with
// lasts, and so does the connection.
func TestABodyThatNobodyWants(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, api *wsapi.API, serve func(http.Handler) pipes) {
		p := serve(api)
		c := p.dial()
		defer c.Close()
		answers := bufio.NewReader(c)
		for range 2 {
			go func() { fmt.Fprint(c, "GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello") }()
			res, err := http.ReadResponse(answers, nil)
			if err != nil || res.StatusCode != http.StatusOK {
				t.Fatalf("%v %v", res, err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			time.Sleep(time.Minute)
		}
		go func() {
			fmt.Fprint(c, "GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
		}()
		res, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		buf := make([]byte, 1024)
		for time.Since(start) < 5*time.Minute {
			if _, err := res.Body.Read(buf); err != nil {
				t.Fatalf("the stream ended after %s: %v", time.Since(start), err)
			}
		}
		_ = c.Close()
		c = p.dial()
		defer c.Close()
		go func() {
			fmt.Fprintf(c, "GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n%s", strings.Repeat("x", 100_000))
		}()
		if res, err = http.ReadResponse(bufio.NewReader(c), nil); err != nil || res.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("a large one: %v %v", res, err)
		}
	})
}
