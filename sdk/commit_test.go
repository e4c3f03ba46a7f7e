package sdk_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// TestCommitFramesAreSentAgain has nodes go under a Commit to several streams: one says
// that it shuts down, one is lost. The next gets the same frame, and its answer counts.
func TestCommitFramesAreSentAgain(t *testing.T) {
	var connections atomic.Int32
	got := make(chan []byte, 4)
	at := core.Appended{FirstVersion: 1, LastVersion: 1, FirstPosition: 1, LastPosition: 1}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		upgrader := websocket.Upgrader{Subprotocols: []string{wire.Bin}}
		c, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		say := func(kind int, message []byte) {
			if err := c.WriteMessage(kind, message); err != nil {
				t.Error(err)
			}
		}
		receive := func() (f wire.CommitFrame) {
			_, message, err := c.ReadMessage()
			if err != nil || message[0] != wire.FrameCommit {
				t.Errorf("%x, %v", message, err)
				return f
			}
			got <- message
			frames := wire.NewFrames(message, wire.Uncompressed, 0)
			if err := frames.Commit(&f); err != nil {
				t.Error(err)
			}
			return f
		}
		if _, _, err := c.ReadMessage(); err != nil {
			t.Error(err)
		}
		say(websocket.TextMessage, wire.Encode(nil, &wire.Welcome{ID: 1, Time: wire.Time(time.Now()), Limits: wire.Limits{Frame: 5 << 20, Inflight: 10}}))
		n := connections.Add(1)
		f := receive()
		switch n {
		case 1:
			say(websocket.TextMessage, wire.Encode(nil, &wire.Goaway{Reason: "shutdown", ReconnectInMs: 1}))
			say(websocket.TextMessage, wire.Encode(nil, &wire.Failure{ID: f.ID, Error: wire.NewError(core.Errorf(core.CodeShuttingDown, "the node goes"))}))
		case 3:
			say(websocket.BinaryMessage, wire.AppendCommitted(nil, f.ID, &core.Result{Appends: []core.Appended{at, at}, Duplicate: true}))
			say(websocket.BinaryMessage, wire.AppendCommitted(nil, receive().ID, &core.Result{Appends: []core.Appended{at}}))
			_, _, _ = c.ReadMessage() // until the client has gone
		}
	}))
	defer server.Close()
	client := dial(t, server.URL, sdk.Options{})
	defer client.Close()
	commit := one("a", core.AnyVersion, "1")
	commit.Appends = append(commit.Appends, one("b", core.AnyVersion, "2").Appends...)
	r, err := client.Append(t.Context(), commit)
	if err != nil || len(r.Appends) != 2 || r.Appends[1] != at || !r.Duplicate {
		t.Errorf("%+v, %v", r, err)
	}
	first := <-got
	for range 2 {
		if again := <-got; !bytes.Equal(again, first) {
			t.Errorf("%x was sent, and then %x", first, again)
		}
	}
	if _, err := client.Append(t.Context(), commit); !errors.Is(err, core.CodeProtocolError) {
		t.Errorf("answered for one element of two: %v", err)
	}
}
