package sdk

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// stalled is a session whose other side has answered the handshake and reads
// nothing more: what is written waits at once, as it does in a socket with full
// buffers. It may be used in a bubble of synctest.
func stalled(t *testing.T) *session {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { _ = theirs.Close() })
	go func() {
		r, err := http.ReadRequest(bufio.NewReader(theirs))
		if err != nil {
			t.Error(err)
			return
		}
		key := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		_, err = fmt.Fprintf(theirs, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Protocol: %s\r\nSec-WebSocket-Accept: %s\r\n\r\n", wire.Bin, base64.StdEncoding.EncodeToString(key[:]))
		if err != nil {
			t.Error(err)
		}
	}()
	dialer := websocket.Dialer{
		Subprotocols:   []string{wire.Bin},
		NetDialContext: func(context.Context, string, string) (net.Conn, error) { return ours, nil },
	}
	conn, _, err := dialer.DialContext(t.Context(), "ws://stalled/", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return newSession(conn)
}

// idle is a client without goroutines: it neither reads, nor connects again.
func idle() *Client {
	return &Client{
		calls: map[uint64]*call{}, subs: map[uint64]sub{}, closing: context.Background(),
		window: window{maxCount: 8, maxBytes: 8 << 20}, frameLimit: 8 << 20,
	}
}

func TestRequestsDoNotWaitForAStalledSocket(t *testing.T) {
	const deadline = 3 * time.Second
	for name, of := range map[string]struct {
		size  int
		limit time.Duration
	}{
		"small": {10, deadline + time.Second}, // written by the caller, until the call's deadline
		"large": {1 << 20, deadline},          // left to the writer
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := idle()
				c.attach(stalled(t))
				ctx, cancel := context.WithTimeout(t.Context(), deadline)
				defer cancel()
				begun := time.Now()
				_, err := c.Append(ctx, core.Commit{Appends: []core.Append{{
					Stream: "s", Expect: core.AnyVersion,
					Events: []core.NewEvent{{Type: "A", Format: core.Bytes, Data: make([]byte, of.size)}},
				}}})
				if !errors.Is(err, core.CodeUnknownOutcome) {
					t.Errorf("answered %v", err)
				}
				if took := time.Since(begun); took > of.limit {
					t.Errorf("returned after %s, want %s", took, of.limit)
				}
			})
		})
	}
}

func TestFollowWithoutADeadlineIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := idle()
		c.detach(core.Errorf(core.CodeUnavailable, "nobody is there"))
		_, err := c.Follow(context.Background(), core.FollowRequest{Stream: core.All})
		if !errors.Is(err, core.CodeTimeout) || !strings.Contains(err.Error(), "nobody is there") {
			t.Errorf("answered %v", err)
		}
	})
}
