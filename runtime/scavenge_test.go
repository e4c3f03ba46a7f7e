package runtime_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/internal/pgtest"
	"github.com/gyre-events/gyre/runtime"
	"github.com/gyre-events/gyre/scavenge"
	"github.com/gyre-events/gyre/sdk"
)

// TestRingScavenge: one scavenge runs in a ring. The other node sees it, stops it, and goes on.
func TestRingScavenge(t *testing.T) {
	server := pgtest.Shared(t)
	store := server.Store(t)
	nodes := []*runtime.Node{member(t, server, store, "one"), member(t, server, store, "two")}
	for _, n := range nodes {
		untilReady(t, n.URL(), http.StatusOK, "ok")
	}
	one, two := dial(t, nodes[0]), dial(t, nodes[1])
	const events = 4000
	for range events / 1000 {
		a := core.Append{Stream: "a", Expect: core.AnyVersion}
		for range 1000 {
			a.Events = append(a.Events, core.NewEvent{ID: core.NewID(), Type: "T", Data: []byte("1")})
		}
		if _, err := one.Append(t.Context(), core.Commit{Appends: []core.Append{a}}); err != nil {
			t.Fatal(err)
		}
	}
	put := core.RetentionPut{Target: core.RetentionTarget{Stream: "a"}, Retention: core.Retention{MaxCount: 10}, Expect: core.AnyVersion}
	if _, _, err := core.SetRetention(t.Context(), nodes[0].Log().(core.SnapshotStore), put); err != nil {
		t.Fatal(err)
	}
	if s, err := one.StartScavenge(t.Context(), scavenge.Request{BytesPerSecond: 1}); err != nil || s.State != scavenge.Running {
		t.Fatalf("%+v, %v", s, err)
	}
	if s, err := two.StartScavenge(t.Context(), scavenge.Request{}); !errors.Is(err, core.CodeScavengeRunning) {
		t.Errorf("beside it: %+v, %v", s, err)
	}
	if s, err := two.StopScavenge(t.Context()); err != nil || s.State != scavenge.Stopping || s.Node != "one" {
		t.Errorf("stopped at the other node: %+v, %v", s, err)
	}
	if s := untilScavenged(t, two); s.State != scavenge.Stopped {
		t.Errorf("%+v, want it stopped", s)
	}
	if _, err := two.StartScavenge(t.Context(), scavenge.Request{}); err != nil {
		t.Fatal(err)
	}
	if s := untilScavenged(t, one); s.State != scavenge.Done || s.Node != "two" || s.Resumed != 1 || s.Events != events-10 {
		t.Errorf("%+v, want %d events gone", s, events-10)
	}
	page, err := two.Read(t.Context(), core.ReadRequest{Stream: "a"})
	if err != nil || page.Count != 10 || page.Version != events {
		t.Errorf("%d events are left, version %d, %v", page.Count, page.Version, err)
	}
}

// untilScavenged waits until no scavenge runs.
func untilScavenged(t *testing.T, client *sdk.Client) scavenge.Status {
	t.Helper()
	late := time.After(time.Minute)
	for {
		s, err := client.Scavenge(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if s.State.Ended() {
			return s
		}
		select {
		case <-late:
			t.Fatalf("it runs on: %+v", s)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
