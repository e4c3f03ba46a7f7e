package runtime_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gyre-events/gyre/runtime"
)

// exchange sends one request over a connection of its own, and returns the answer's status
// and body; 0, if the node closes the connection without one.
func exchange(t *testing.T, node *runtime.Node, text string) (status int, body string) {
	t.Helper()
	conn := dialRaw(t, node)
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		return 0, ""
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, ""
	}
	defer res.Body.Close()
	content, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(content)
}

func dialRaw(t *testing.T, node *runtime.Node) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", node.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestConnectionsOfAnAddress fills an address's places with silent connections. Its next ones
// are told so, but for questions how the node is; a flood of them is closed.
func TestConnectionsOfAnAddress(t *testing.T) {
	node := start(t, runtime.Config{Engine: runtime.EngineMemory, Load: runtime.Load{MaxConnectionsPerAddress: 1}})
	ask := func(path string) (int, string) {
		t.Helper()
		return exchange(t, node, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 198.51.100.7\r\n\r\n")
	}
	places := make([]net.Conn, 32) // a loopback address has 32 times as many
	for i := range places {
		places[i] = dialRaw(t, node)
		if _, err := io.WriteString(places[i], "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := places[i].Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if status, body := ask("/v1/streams"); status != 503 || !strings.Contains(body, `"too_many_connections"`) {
		t.Errorf("one too many: %d %s", status, body)
	}
	if status, body := ask("/livez"); status != 200 {
		t.Errorf("livez: %d %s", status, body)
	}
	closed := 0
	for range 200 {
		conn, err := net.Dial("tcp", node.Addr())
		if err != nil {
			t.Fatal(err)
		}
		places = append(places, conn)
		t.Cleanup(func() { _ = conn.Close() })
	}
	for _, conn := range places[32+16:] {
		if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			closed++
		}
	}
	if closed != 200-16 {
		t.Errorf("%d of 200 were closed at once", closed)
	}
	for _, conn := range places {
		_ = conn.Close()
	}
	for { // the node sees the ends when it reads them
		if status, _ := ask("/v1/streams"); status == 200 {
			break
		}
	}
}

// TestTricklingHeaders: a client that sends its headers byte by byte is cut off in time, and
// others are served meanwhile.
func TestTricklingHeaders(t *testing.T) {
	t.Parallel()
	node := start(t, runtime.Config{Engine: runtime.EngineMemory})
	const clients = 20
	var trickling sync.WaitGroup
	for range clients {
		conn := dialRaw(t, node)
		if _, err := io.WriteString(conn, "GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Slow: "); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = io.Copy(io.Discard, conn)
		}()
		trickling.Go(func() {
			next := time.NewTicker(100 * time.Millisecond)
			defer next.Stop()
			for {
				select {
				case <-ended:
					return
				case <-next.C:
				}
				if _, err := io.WriteString(conn, "a"); err != nil {
					return
				}
			}
		})
	}
	if status, _ := exchange(t, node, "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"); status != 200 {
		t.Errorf("livez: %d", status)
	}
	trickling.Wait()
}

// lockedBuffer is a log that a node writes and a test reads.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Split(strings.TrimSuffix(l.b.String(), "\n"), "\n")
}

// TestLogLinesStayLines sends control characters to every place of a request that has text.
// None of them ends a line of the log or begins one.
func TestLogLinesStayLines(t *testing.T) {
	const forged = "time=2000-01-01T00:00:00Z level=ERROR msg=forged"
	forms := map[string]struct {
		handler func(io.Writer, *slog.HandlerOptions) slog.Handler
		isLine  func(string) bool
	}{
		"text": {
			func(w io.Writer, o *slog.HandlerOptions) slog.Handler { return slog.NewTextHandler(w, o) },
			func(line string) bool {
				return strings.HasPrefix(line, "time=") && !strings.HasPrefix(line, "time=2000")
			},
		},
		"json": {
			func(w io.Writer, o *slog.HandlerOptions) slog.Handler { return slog.NewJSONHandler(w, o) },
			func(line string) bool { return json.Valid([]byte(line)) },
		},
	}
	for name, form := range forms {
		t.Run(name, func(t *testing.T) {
			log := &lockedBuffer{}
			node := start(t, runtime.Config{Engine: runtime.EngineMemory, Logger: slog.New(form.handler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
			for _, c := range []string{"%0A", "%0D%0A", "%1B%5B2K%0D", "%E2%80%A8", "%00"} {
				text := c + strings.ReplaceAll(forged, " ", "%20")
				for _, path := range []string{"/" + text, "/v1/streams/" + text + "/events", "/v1/events/" + text, "/v1/subscriptions/" + text, "/v1/progress/" + text, "/v1/plugins/" + text, "/docs/errors/" + text, "/v1/server?" + text + "=1"} {
					for _, method := range []string{"GET", "POST", "DELETE"} {
						body := fmt.Sprintf(`[{"type":%q,"data":1}]`, "\n"+forged)
						exchange(t, node, method+" "+path+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: "+fmt.Sprint(len(body))+"\r\n\r\n"+body)
					}
				}
			}
			for _, raw := range []string{
				"GET /\x1b[2K\r" + forged + " HTTP/1.1\r\nHost: localhost\r\n\r\n",
				"\n" + forged + "\r\n\r\n",
				"GET / HTTP/1.1\r\nHost: local\x0b" + forged + "\r\n\r\n",
				"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: a\r" + forged + "\r\n\r\n",
				"GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://a\n " + forged + "\r\n\r\n",
				"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: \x1b\r\n\r\n",
				"GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: web\x1bsocket\r\n\r\n",
			} {
				exchange(t, node, raw)
			}
			node.Logger().Info("done")
			lines := log.lines()
			if len(lines) < 2 {
				t.Fatalf("the log is %q", lines)
			}
			for _, line := range lines {
				if !form.isLine(line) || strings.ContainsAny(line, "\r\x1b\x00\u2028") {
					t.Errorf("line %q", line)
				}
			}
		})
	}
}
