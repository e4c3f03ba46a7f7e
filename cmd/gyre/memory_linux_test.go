package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
)

// greedy is a node with a memory limit, and how many clients try to fill its memory.
type greedy struct {
	limitMiB                   int
	messages, followers, posts int
	lasts                      time.Duration // for how long they go on when they have what they get
}

// TestMemoryOfConnections: clients that send messages without an end, and followers that
// never read, take a bounded part of a node's memory, and another client is served.
func TestMemoryOfConnections(t *testing.T) {
	greedy{limitMiB: 256, messages: 80, followers: 400, posts: 80, lasts: time.Second}.run(t)
}

// TestSoakMemoryOfConnections is the same at full size, with GYRE_SOAK=1.
func TestSoakMemoryOfConnections(t *testing.T) {
	if os.Getenv("GYRE_SOAK") != "" {
		greedy{limitMiB: 1024, messages: 400, followers: 5000, posts: 400, lasts: 20 * time.Second}.run(t)
	}
}

func (g greedy) run(t *testing.T) {
	message := make([]byte, 5<<20-1)
	for _, attack := range []struct {
		name    string
		clients int
		attack  func(*testing.T, *process, int)
	}{
		{"messages", g.messages, func(t *testing.T, node *process, _ int) {
			c := dialGreedy(t, node, "gyre.v1.bin")
			frame := binary.BigEndian.AppendUint64([]byte{0x82, 0x80 | 127}, 5<<20)
			go func() { // the node stops reading, and ends with the connection
				_, _ = c.Write(append(frame, 0, 0, 0, 0))
				_, _ = c.Write(message)
			}()
		}},
		{"followers", g.followers, func(t *testing.T, node *process, i int) {
			c := dialGreedy(t, node, []string{"gyre.v1.json", "gyre.v1.bin"}[i%2])
			writeText(t, c, `{"op":"subscribe","id":2,"sub":1,"stream":"$all"}`)
		}},
		{"posts", g.posts, func(t *testing.T, node *process, _ int) {
			c := dialRaw(t, node)
			go func() {
				_, _ = fmt.Fprintf(c, "POST /v1/streams/s/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", 5<<20)
				_, _ = c.Write(message)
			}()
		}},
	} {
		t.Run(attack.name, func(t *testing.T) {
			dir := t.TempDir()
			env := append(os.Environ(), fmt.Sprintf("GOMEMLIMIT=%dMiB", g.limitMiB))
			node, err := serveWith(plainProgram(t, "gyre"), dir, env, filepath.Join(dir, "node.log"), "--engine", "memory")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _, _ = node.end(9) }()
			fillNode(t, node)
			for i := range attack.clients {
				attack.attack(t, node, i)
			}
			for end := time.Now().Add(time.Minute); ; {
				serveAnother(t, node)
				used := metric(t, node, "gyre_connection_memory_bytes")
				if limit := metric(t, node, "gyre_connection_memory_limit_bytes"); used > 0.9*limit {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("%v bytes are used after a minute", used)
				}
			}
			for end := time.Now().Add(g.lasts); time.Now().Before(end); {
				serveAnother(t, node)
			}
			peak := peakMiB(t, node)
			t.Logf("%d clients: %d of %d MiB", attack.clients, peak, g.limitMiB)
			if most := g.limitMiB * 12 / 10; peak > most {
				t.Errorf("%d clients take %d MiB, at most %d are allowed", attack.clients, peak, most)
			}
		})
	}
}

// fillNode appends 4 MiB of events.
func fillNode(t *testing.T, node *process) {
	client, err := sdk.Dial(t.Context(), node.url, sdk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for range 16 {
		var events []core.NewEvent
		for range 256 {
			events = append(events, core.NewEvent{Type: "T", Format: core.Bytes, Data: make([]byte, 1<<10)})
		}
		if _, err := client.Append(t.Context(), core.Commit{Appends: []core.Append{{Stream: "s", Expect: core.AnyVersion, Events: events}}}); err != nil {
			t.Fatal(err)
		}
	}
}

// serveAnother appends and reads as somebody else.
func serveAnother(t *testing.T, node *process) {
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	client, err := sdk.Dial(ctx, node.url, sdk.Options{})
	if err != nil {
		t.Fatalf("another client: %v", err)
	}
	defer client.Close()
	c := core.Commit{Appends: []core.Append{{Stream: "other", Expect: core.AnyVersion, Events: []core.NewEvent{{Type: "T", Data: []byte("1")}}}}}
	if _, err := client.Append(ctx, c); err != nil {
		t.Fatalf("another client's append: %v", err)
	}
	if page, err := client.Read(ctx, core.ReadRequest{Stream: "s", Limit: core.Limit{Events: 100}}); err != nil || page.Count == 0 {
		t.Fatalf("another client's read: %d events, %v", page.Count, err)
	}
	res, err := (&http.Client{Timeout: 8 * time.Second}).Post(node.url+"/v1/streams/other/events", "application/json", strings.NewReader(`{"type":"T","data":1}`))
	if err != nil {
		t.Fatalf("another client's POST: %v", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		t.Fatalf("another client's POST: %s", res.Status)
	}
}

func dialRaw(t *testing.T, node *process) net.Conn {
	c, err := net.Dial("tcp", strings.TrimPrefix(node.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	return c
}

// dialGreedy is a WebSocket connection that has been welcomed.
func dialGreedy(t *testing.T, node *process, protocol string) net.Conn {
	c := dialRaw(t, node)
	if _, err := fmt.Fprintf(c, "GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: %s\r\n\r\n", protocol); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReaderSize(c, 16), nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("handshake: %v, %v", res, err)
	}
	writeText(t, c, `{"op":"hello","id":1}`)
	if _, err := c.Read(make([]byte, 2)); err != nil {
		t.Fatal(err)
	}
	return c
}

// writeText writes a short text message.
func writeText(t *testing.T, c net.Conn, text string) {
	if _, err := io.WriteString(c, string([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0})+text); err != nil {
		t.Fatal(err)
	}
}

// peakMiB is the most memory that the node has had.
func peakMiB(t *testing.T, node *process) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", node.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(text)
	if m == nil {
		t.Fatal("no VmHWM")
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n >> 10
}
