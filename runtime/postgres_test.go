//go:build unix

package runtime_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
	"github.com/gyre-events/gyre/runtime"
)

// TestDatabaseComesAndGoes starts a node before its database, restarts the database
// under it, and asks it all the while.
func TestDatabaseComesAndGoes(t *testing.T) {
	server := pgtest.Private(t)
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	waits := make(messages, 100)
	config := runtime.Config{
		Listen: freeAddress(t), PostgresWait: time.Minute, Logger: slog.New(waits),
		Postgres: postgres.Config{URL: server.URL, RetryFor: 100 * time.Millisecond},
	}
	url := "http://" + config.Listen
	type started struct {
		node *runtime.Node
		err  error
	}
	comes := make(chan started, 1)
	go func() {
		node, err := runtime.Start(t.Context(), config)
		comes <- started{node, err}
	}()
	waits.await(t, "waiting for PostgreSQL")
	if status, _ := get(t, url+"/livez"); status != http.StatusOK {
		t.Errorf("livez while waiting: %d", status)
	}
	want := "starting: the node waits for its database (store_unavailable: PostgreSQL cannot be reached"
	if status, body := get(t, url+"/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, want) {
		t.Errorf("readyz while waiting: %d %s", status, body)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	s := <-comes
	if s.err != nil {
		t.Fatal(s.err)
	}
	node := s.node
	t.Cleanup(func() { stop(t, node) })
	untilReady(t, url, http.StatusOK, "ok")
	appendOne(t, node, 1)

	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	untilReady(t, url, http.StatusServiceUnavailable, "store_unavailable: ")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	// The first one may be sent on a connection that the server has left.
	if _, err := node.Store().Append(ctx, oneEvent(1)); !errors.Is(err, core.CodeUnknownOutcome) && !errors.Is(err, core.CodeStoreUnavailable) {
		t.Errorf("an append without a database: %v", err)
	}
	if _, err := node.Store().Append(ctx, oneEvent(1)); !errors.Is(err, core.CodeStoreUnavailable) {
		t.Errorf("an append without a database: %v", err)
	}
	if _, err := node.Store().Read(ctx, core.ReadRequest{Stream: "s"}); !errors.Is(err, core.CodeStoreUnavailable) {
		t.Errorf("a read without a database: %v", err)
	}

	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	untilReady(t, url, http.StatusOK, "ok")
	appendOne(t, node, 2)
}

// TestInterruptedWait ends the context of a start that waits.
func TestInterruptedWait(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	waits := make(messages, 100)
	go func() {
		<-waits
		cancel()
	}()
	_, err := runtime.Start(ctx, runtime.Config{
		Listen: "127.0.0.1:0", PostgresWait: time.Minute, Logger: slog.New(waits),
		Postgres: postgres.Config{URL: "postgres://127.0.0.1:1/x"},
	})
	if !errors.Is(err, core.CodeCanceled) {
		t.Errorf("a start whose context ended: %v", err)
	}
}

// messages is a slog.Handler.
type messages chan string

func (m messages) Enabled(context.Context, slog.Level) bool { return true }
func (m messages) WithAttrs([]slog.Attr) slog.Handler       { return m }
func (m messages) WithGroup(string) slog.Handler            { return m }
func (m messages) Handle(_ context.Context, r slog.Record) error {
	select {
	case m <- r.Message:
	default: // nobody wants to know any more
	}
	return nil
}

func (m messages) await(t *testing.T, want string) {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		select {
		case got := <-m:
			if got == want {
				return
			}
		case <-late:
			t.Fatalf("nobody logged %q", want)
		}
	}
}

// untilReady asks until the node answers like that.
func untilReady(t *testing.T, url string, status int, body string) {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		gotStatus, gotBody := get(t, url+"/readyz")
		if gotStatus == status && strings.Contains(gotBody, body) {
			return
		}
		select {
		case <-late:
			t.Fatalf("readyz still answers %d %s", gotStatus, gotBody)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func oneEvent(expect core.Expect) core.Commit {
	return core.Commit{Appends: []core.Append{{Stream: "s", Expect: expect, Events: []core.NewEvent{{ID: core.NewID(), Type: "T", Data: []byte("1")}}}}}
}

// appendOne appends to the stream, which is at version-1 then.
func appendOne(t *testing.T, node *runtime.Node, version uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := node.Store().Append(ctx, oneEvent(core.Expect(version-1))); err != nil {
		t.Fatal(err)
	}
	page, err := node.Store().Read(ctx, core.ReadRequest{Stream: "s"})
	if err != nil || page.Version != version {
		t.Fatalf("version %d, %v, want %d", page.Version, err, version)
	}
}

// TestNewerProcessOfANode: two processes with the id of one node do not both serve its
// store. The older one fails, and says why.
func TestNewerProcessOfANode(t *testing.T) {
	config := runtime.Config{Listen: "127.0.0.1:0", Node: "n1", Postgres: postgres.Config{URL: pgtest.Private(t).URL}}
	older := start(t, config)
	appendOne(t, older, 1)
	newer := start(t, config)
	if err := <-older.Failed(); !errors.Is(err, core.CodeNodeSuperseded) {
		t.Errorf("the older process fails with %v", err)
	}
	appendOne(t, newer, 2)
}
