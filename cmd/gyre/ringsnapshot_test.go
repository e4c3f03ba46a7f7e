//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/sdk"
)

// TestRingSnapshotsSoak: a snapshot that was recorded at one node is read at the others at once, and
// a policy that was put at one is obeyed by the others at once. A snapshot is never older than one
// that was acknowledged, while the owner of its stream stops. With GYRE_SOAK=1 owners are killed with
// SIGKILL, too, 10 times.
func TestRingSnapshotsSoak(t *testing.T) {
	t.Parallel() // it waits, most of the time
	r := &snapshotRing{t: t, nodes: startRolling(t)}
	for _, n := range r.nodes {
		client, err := sdk.Dial(t.Context(), "http://"+n.listen, sdk.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
		r.clients = append(r.clients, client)
	}
	for at := range r.nodes {
		r.recordedAtOnce(at)
		r.obeyed(at)
	}
	moves := []syscall.Signal{syscall.SIGTERM}
	if os.Getenv("GYRE_SOAK") != "" {
		moves = slices.Repeat([]syscall.Signal{syscall.SIGTERM, syscall.SIGKILL}, 10)
	}
	for i, signal := range moves {
		r.moveOwner(fmt.Sprint("moves-", i), signal)
	}
}

// snapshotRing is a ring with a client at each node.
type snapshotRing struct {
	t       *testing.T
	nodes   []*ringNode
	clients []*sdk.Client

	known *snapshotStream // the stream whose owner changes
}

// recordedAtOnce records snapshots at a node, and loads each at the others when it is answered.
func (r *snapshotRing) recordedAtOnce(at int) {
	r.t.Helper()
	for i := range 8 {
		stream := fmt.Sprintf("read-%d-%d", at, i)
		if _, err := r.clients[at].AppendTo(r.t.Context(), stream, core.NoStream, numbered(1, 2)...); err != nil {
			r.t.Fatal(err)
		}
		for version := uint64(1); version <= 2; version++ {
			if _, err := r.clients[at].RecordSnapshot(r.t.Context(), snapshotAt(stream, version)); err != nil {
				r.t.Fatal(err)
			}
			for n, client := range r.clients {
				l, err := client.Load(r.t.Context(), core.LoadRequest{Stream: stream})
				if err != nil || l.Snapshot == nil || l.Snapshot.Version != version || l.Count != int(2-version) {
					r.t.Errorf("node %d, of what node %d has recorded at version %d: %+v, %v", n+1, at+1, version, l, err)
				}
			}
		}
	}
}

func numbered(from, to int) (events []core.NewEvent) {
	for n := from; n <= to; n++ {
		events = append(events, core.NewEvent{ID: core.NewID(), Type: "T", Data: fmt.Append(nil, n)})
	}
	return events
}

// obeyed puts policies at a node, and reads at all when these are answered.
func (r *snapshotRing) obeyed(at int) {
	r.t.Helper()
	const events, kept = 10, 3
	for i := range 4 {
		stream := fmt.Sprintf("expires-%d-%d", at, i)
		if _, err := r.clients[at].AppendTo(r.t.Context(), stream, core.NoStream, numbered(1, events)...); err != nil {
			r.t.Fatal(err)
		}
		put := core.RetentionPut{Target: core.RetentionTarget{Stream: stream}, Retention: core.Retention{MaxCount: kept}, Expect: core.AnyVersion}
		if _, err := r.clients[at].SetRetention(r.t.Context(), put); err != nil {
			r.t.Fatal(err)
		}
		for node, client := range r.clients {
			page, err := client.Read(r.t.Context(), core.ReadRequest{Stream: stream})
			if err != nil || page.Count != kept || page.Version != events {
				r.t.Errorf("node %d, of what expires since node %d was asked: %d events, version %d, %v", node+1, at+1, page.Count, page.Version, err)
			}
		}
	}
}

// moveOwner ends the owner of a stream, while snapshots of that are recorded and read at the other
// nodes, until they have gone on without it.
func (r *snapshotRing) moveOwner(stream string, signal syscall.Signal) {
	r.t.Helper()
	const enough = 5 // snapshots
	r.known = &snapshotStream{}
	w, err := r.clients[0].Cluster().WhereIs(r.t.Context(), ring.KindStream, stream)
	if err != nil || w.Owner == nil {
		r.t.Fatalf("nobody owns %s: %v", stream, err)
	}
	owner := slices.IndexFunc(r.nodes, func(n *ringNode) bool { return slices.Contains(n.args, w.Owner.Node) })
	ctx, cancel := context.WithTimeout(r.t.Context(), ringLatest)
	defer cancel()
	var rounds atomic.Int64
	ended := make(chan error, 1)
	go func() { ended <- r.recordAndRead(ctx, stream, owner, &rounds) }()
	await := func(more int64) {
		from := rounds.Load()
		err := until(ringLatest, func() error {
			select {
			case err := <-ended:
				r.t.Fatal(signal, err)
			default:
			}
			if n := rounds.Load(); n < from+more {
				return fmt.Errorf("after %s of the owner %d more snapshots were recorded", signal, n-from)
			}
			return nil
		})
		if err != nil {
			r.t.Fatal(err)
		}
	}
	await(enough)
	if _, err := r.nodes[owner].now.end(signal); err != nil {
		r.t.Fatal(err)
	}
	await(enough)
	r.nodes[owner].start()
	r.nodes[owner].ready()
	await(enough)
	cancel()
	if err := <-ended; err != nil {
		r.t.Error(err)
	}
}

// recordAndRead appends, records a snapshot at one node and loads it at another, in turns, but for
// one node that may end. The error is nil when ctx has ended.
func (r *snapshotRing) recordAndRead(ctx context.Context, stream string, without int, rounds *atomic.Int64) error {
	a, b := r.clients[(without+1)%ringNodes], r.clients[(without+2)%ringNodes]
	var since []error // the last success
	for n := 0; ; n++ {
		at, err := r.load(ctx, a, stream)
		if err == nil {
			err = r.appendAndRecord(ctx, a, stream, at, n%2 == 0)
		}
		if err == nil {
			_, err = r.load(ctx, b, stream)
		}
		switch known := core.AsError(err); {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			rounds.Add(1)
			since = nil
		case slices.ContainsFunc(since, isUnknown) && known.Code == core.CodeWrongExpectedVersion:
		case !known.Info().Retryable && known.Code != core.CodeUnknownOutcome:
			return errors.Join(append(since, err)...)
		default:
			since = append(since, err)
		}
		a, b = b, a
	}
}

// isUnknown reports whether what failed may be done still, later.
func isUnknown(err error) bool { return errors.Is(err, core.CodeUnknownOutcome) }

func (r *snapshotRing) appendAndRecord(ctx context.Context, client *sdk.Client, stream string, at uint64, together bool) error {
	c := core.Commit{Appends: []core.Append{{Stream: stream, Expect: core.Expect(at), Events: numbered(1, 1)}}}
	put := snapshotAt(stream, at+1)
	if together {
		if _, err := client.AppendWithSnapshots(ctx, c, []core.SnapshotPut{put}); err != nil {
			return err
		}
	} else {
		if _, err := client.Append(ctx, c); err != nil {
			return err
		}
		if _, err := client.RecordSnapshot(ctx, put); err != nil {
			return err
		}
	}
	r.known.reached(at + 1)
	r.known.took(at + 1)
	return nil
}

// load loads the stream, and returns its version.
func (r *snapshotRing) load(ctx context.Context, client *sdk.Client, stream string) (version uint64, err error) {
	l, err := client.Load(ctx, core.LoadRequest{Stream: stream, Limit: core.Limit{Events: core.MaxReadEvents}})
	switch known, snapshot := r.known.now(); {
	case errors.Is(err, core.CodeStreamNotFound) && known == 0:
		return 0, nil
	case err != nil:
		return 0, err
	case l.Version < known || snapshot > 0 && (l.Snapshot == nil || l.Snapshot.Version < snapshot):
		return 0, fmt.Errorf("version %d with snapshot %+v, after version %d with one of %d", l.Version, l.Snapshot, known, snapshot)
	}
	return l.Version, nil
}
