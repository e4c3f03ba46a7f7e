package sdk_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/wire"
)

func TestClientReadsAndDeletesProgress(t *testing.T) {
	store := newStore(t)
	c := dial(t, serve(t, store, wsapi.Limits{}), sdk.Options{})
	if _, err := c.Append(t.Context(), one("a", core.AnyVersion, "1")); err != nil {
		t.Fatal(err)
	}
	none, err := c.Progress(t.Context(), "a/b")
	if !errors.Is(err, core.CodeNotFound) || none.From() != (core.From{Kind: core.AfterPosition}) {
		t.Errorf("before the first move: %+v, %v", none, err)
	}
	begun := time.Now().Add(-time.Second)
	for _, name := range []string{"a/b", "c", "ü"} {
		if _, err := c.Append(t.Context(), core.Commit{Progress: &core.Progress{Name: name, To: 1}}); err != nil {
			t.Fatal(err)
		}
	}
	info, err := c.Progress(t.Context(), "a/b")
	if err != nil || info.Name != "a/b" || info.Position != 1 || info.Log != store.State().Log || info.ID.IsZero() || info.Moved.Before(begun) {
		t.Errorf("%+v, %v", info, err)
	}
	page, err := c.ListProgress(t.Context(), core.ProgressRequest{After: "a/b", Limit: 1})
	if err != nil || page.End || len(page.Progress) != 1 || page.Progress[0].Name != "c" {
		t.Errorf("a page: %+v, %v", page, err)
	}
	page, err = c.ListProgress(t.Context(), core.ProgressRequest{Prefix: "a"})
	if err != nil || !page.End || len(page.Progress) != 1 || page.Progress[0] != info {
		t.Errorf("by prefix: %+v, %v", page, err)
	}
	if err := c.DeleteProgress(t.Context(), "a/b"); err != nil {
		t.Error(err)
	}
	if err := c.DeleteProgress(t.Context(), "a/b"); !errors.Is(err, core.CodeNotFound) {
		t.Errorf("deleted again: %v", err)
	}
}

// TestProgressNeedsAServerThatHasIt: an older server would make the append without it.
func TestProgressNeedsAServerThatHasIt(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		upgrader := websocket.Upgrader{Subprotocols: []string{wire.Bin}}
		socket, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer socket.Close()
		_, _, _ = socket.ReadMessage()
		welcome := wire.Welcome{ID: 1, Limits: wire.Limits{Frame: 5 << 20, Inflight: 10}, Features: []string{"tx"}}
		_ = socket.WriteMessage(websocket.TextMessage, wire.Encode(nil, &welcome))
		_, _, _ = socket.ReadMessage()
	}))
	defer server.Close()
	c := dial(t, server.URL, sdk.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := c.Append(ctx, core.Commit{Progress: &core.Progress{Name: "p", To: 1}}); !errors.Is(err, core.CodeNotSupported) {
		t.Errorf("%v, want not_supported", err)
	}
	_ = c.Close()
}
