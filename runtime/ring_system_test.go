//go:build unix

package runtime_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/runtime"
)

// writesSystem has all nodes of a ring append to a stream of the system at once, with records
// beside, and reads it at each.
func writesSystem(t *testing.T, nodes ...*runtime.Node) {
	t.Helper()
	const audit, each = "$audit", 20
	follows := make([]core.Follower, len(nodes))
	var running sync.WaitGroup
	for i, n := range nodes {
		f, err := dial(t, n).Follow(t.Context(), core.FollowRequest{Stream: audit})
		if err != nil {
			t.Fatal(err)
		}
		follows[i] = f
		for k := range each {
			running.Go(func() {
				c := systemAppend(audit)
				c.Records = []core.RecordOp{{Table: "system_test", Key: fmt.Sprintf("%d-%d", i, k), Expect: core.NoStream, Value: []byte("{}")}}
				if r, err := n.Log().Append(t.Context(), c); err != nil || r.Node != "" {
					t.Errorf("append at %s: %+v, %v", n.Addr(), r, err)
				}
			})
		}
	}
	running.Wait()
	for i, n := range nodes {
		seen := uint64(0)
		for seen < uint64(len(nodes)*each) {
			d, err := follows[i].Next(t.Context(), core.Limit{Events: 100, Bytes: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			for e := range d.Events() {
				if seen++; e.Version != seen {
					t.Fatalf("%s: version %d comes after %d", n.Addr(), e.Version, seen-1)
				}
			}
		}
		_ = follows[i].Close()
		systemAt(t, n, audit, seen)
	}
}

// systemAt reads a stream of the system at a node, and $all with and without it. Nobody
// else writes it.
func systemAt(t *testing.T, n *runtime.Node, stream string, version uint64) {
	t.Helper()
	client := dial(t, n)
	page, err := client.Read(t.Context(), core.ReadRequest{Stream: stream, Limit: core.Limit{Events: 1000}})
	if err != nil || page.Version != version || page.Count != int(version) {
		t.Errorf("%s: version %d, %d events, %v, want %d", n.Addr(), page.Version, page.Count, err, version)
	}
	for _, system := range []bool{false, true} {
		found := 0
		for e, err := range core.ReadAll(t.Context(), client, core.ReadRequest{Stream: core.All, System: system}) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Stream == stream {
				found++
			}
		}
		if want := map[bool]int{true: int(version)}[system]; found != want {
			t.Errorf("%s: $all, with the system's streams: %t, has %d events, want %d", n.Addr(), system, found, want)
		}
	}
	if _, err = client.Append(t.Context(), systemAppend(stream)); !errors.Is(err, core.CodeReservedStreamName) {
		t.Errorf("%s: a client's append: %v", n.Addr(), err)
	}
	both := systemAppend(stream)
	both.Appends = append(both.Appends, oneEvent(0).Appends...)
	if _, err = n.Log().Append(t.Context(), both); !errors.Is(err, core.CodeNotSupported) {
		t.Errorf("%s: an append to %s and to a stream that has an owner: %v", n.Addr(), stream, err)
	}
}

// systemAppend appends one event to a stream of the system.
func systemAppend(stream string) core.Commit {
	c := oneEvent(core.AnyVersion)
	c.Appends[0].Stream, c.System = stream, true
	return c
}
