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
// second. There is an answer, and the connection is closed within 30 s.
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
						took, answer := closesWithin(t, serve(handler), line+" HTTP/1.1\r\n"+headers+"\r\n"+length+"\r\n\r\n", dripping)
						if took > 31*time.Second { // net/http waits a moment for the response to be read
							t.Errorf("%s: %q with %s (dripping: %t) is open after %s", state, request, length, dripping, took)
						}
						if !strings.HasPrefix(answer, "HTTP/1.1 ") {
							t.Errorf("%s: %q with %s (dripping: %t) is answered %q", state, request, length, dripping, answer)
						}
					})
				}
			}
		}
	}
}

// closesWithin sends a request and perhaps a byte of its body each second, and reports
// how long the connection was open, and what came; two minutes are all that it waits.
func closesWithin(t *testing.T, p pipes, request string, dripping bool) (took time.Duration, answer string) {
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
	text, _ := io.ReadAll(c) // ends with the connection, however it ends
	took = time.Since(start)
	_ = c.Close()
	<-done
	return took, string(text)
}

// TestEarnedAnswersDoNotWait: what does not depend on the body is answered at once.
func TestEarnedAnswersDoNotWait(t *testing.T) {
	for request, status := range map[string]int{
		"DELETE /nope HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 10\r\n\r\n":                                        403,
		"DELETE /nope HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n":                                           404,
		"POST /v1/nothing HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab":                        404,
		"POST /v1/streams/s/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 7000000\r\n\r\n{":                        413,
		"POST /v1/streams/s/events HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 7000000\r\n\r\n": 413,
	} {
		inVirtualTime(t, func(t *testing.T, api *wsapi.API, serve func(http.Handler) pipes) {
			start := time.Now()
			c := serve(api).dial()
			defer c.Close()
			go func() { _, _ = io.WriteString(c, request) }()
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil || res.StatusCode != status || !res.Close {
				t.Fatalf("%q: %v %v, want %d", request, res, err, status)
			}
			if text, err := io.ReadAll(res.Body); err != nil || !strings.Contains(string(text), `"code"`) || time.Since(start) > 0 {
				t.Errorf("%q: %q %v after %s", request, text, err, time.Since(start))
			}
			_, _ = io.Copy(io.Discard, c) // until the server closes it, with the body's deadline
		})
	}
}

// TestTheRestOfABodyIsRead: a client that reads nothing before it has sent its body sees the
// answer to one that is too large.
func TestTheRestOfABodyIsRead(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	address := n.http.Listener.Addr().String()
	body := strings.Repeat("x", 1<<20)
	for _, headers := range []string{"Content-Length: 33554432\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n2000000\r\n"} {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST /v1/streams/s/events HTTP/1.1\r\nHost: %s\r\n%s", address, headers)
		for range 32 {
			if _, err := io.WriteString(c, body); err != nil {
				t.Fatalf("%q: %v", headers, err)
			}
		}
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || res.StatusCode != http.StatusRequestEntityTooLarge {
			t.Fatalf("%q: %v %v", headers, res, err)
		}
		_ = res.Body.Close()
	}
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
