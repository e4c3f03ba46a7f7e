package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
)

const (
	snapshotStreams = 3
	// snapshotCheckWithin is more than it takes to look at all of them.
	snapshotCheckWithin = 30 * time.Second
)

// TestCrashSnapshots kills a node with SIGKILL while snapshots are recorded beside appends, some with
// them in one Commit, round after round on the same log. Each is whole then, of a version that the
// stream has reached, and not older than one that was acknowledged. 60 rounds with GYRE_SOAK=1.
func TestCrashSnapshots(t *testing.T) {
	t.Parallel()
	crashSnapshots(t, newCrasher(t.TempDir()))
}

func crashSnapshots(t *testing.T, on *crasher) {
	rounds := 3
	if os.Getenv("GYRE_SOAK") != "" {
		rounds = 60
	}
	c := &snapshotCrasher{crasher: on, known: make([]snapshotStream, snapshotStreams)}
	for round := range rounds {
		c.round(t)
		if t.Failed() {
			t.Fatalf("in round %d of %d", round+1, rounds)
		}
	}
	t.Logf("%d rounds, %d snapshots were recorded", rounds, c.recorded)
}

// snapshotCrasher keeps what one log has to have.
type snapshotCrasher struct {
	*crasher
	known []snapshotStream

	recorded int // snapshots
}

// snapshotStream is what was acknowledged of a stream.
type snapshotStream struct {
	mu                sync.Mutex // protects the fields below
	version, snapshot uint64
	recorded          int
}

// reached notes that the stream has a version.
func (s *snapshotStream) reached(version uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version = max(s.version, version)
}

// took notes that a snapshot of a version was recorded.
func (s *snapshotStream) took(version uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snapshot = max(s.snapshot, version)
	s.recorded++
}

// now is the versions of the stream and of its snapshot.
func (s *snapshotStream) now() (version, snapshot uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version, s.snapshot
}

func (c *snapshotCrasher) round(t *testing.T) {
	node := c.start(t)
	client := c.dial(t, node)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var working sync.WaitGroup
	for i := range c.known {
		s, stream := &c.known[i], fmt.Sprint("account-", i)
		working.Go(func() { appendAndRecord(ctx, client, stream, s) })
		working.Go(func() { recordBeside(ctx, client, stream, s) })
	}
	<-time.NewTimer(rand.N(maxKillDelay)).C
	c.end(t, node, syscall.SIGKILL, -1)
	cancel() // the client would wait for the node to come back
	working.Wait()
	_ = client.Close() // the node is gone
	c.verify(t)

	node = c.start(t)
	client = c.dial(t, node)
	ctx, cancel = context.WithTimeout(node.lifetime, snapshotCheckWithin)
	defer cancel()
	c.recorded = 0
	for i := range c.known {
		if err := checkSnapshot(ctx, client, fmt.Sprint("account-", i), &c.known[i]); err != nil {
			t.Errorf("account-%d: %v", i, err)
		}
		c.recorded += c.known[i].recorded
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	c.end(t, node, syscall.SIGTERM, exitOK)
	c.verify(t)
}

// stateAt is the state of a stream at a version: up to 30 KB that begin and end with it.
func stateAt(version uint64) []byte {
	return fmt.Appendf(nil, `{"version":%d,"pad":%q,"end":%d}`, version, strings.Repeat("x", int(version*7919%30_000)), version)
}

func snapshotAt(stream string, version uint64) core.SnapshotPut {
	return core.SnapshotPut{Snapshot: core.Snapshot{Stream: stream, Version: version, Data: stateAt(version)}}
}

// appendAndRecord appends to a stream that nobody else writes to, and records snapshots with what
// it appends and after it, until a call fails.
func appendAndRecord(ctx context.Context, client *sdk.Client, stream string, s *snapshotStream) {
	for n := 0; ; n++ {
		version, _ := s.now()
		a := core.Append{Stream: stream, Expect: core.Expect(version)}
		for range 1 + n%3 {
			a.Events = append(a.Events, core.NewEvent{ID: core.NewID(), Type: "Changed", Data: []byte("1")})
		}
		c, to := core.Commit{Appends: []core.Append{a}}, version+uint64(len(a.Events))
		if n%2 == 0 {
			if _, err := client.AppendWithSnapshots(ctx, c, []core.SnapshotPut{snapshotAt(stream, to)}); err != nil {
				return
			}
			s.reached(to)
			s.took(to)
			continue
		}
		if _, err := client.Append(ctx, c); err != nil {
			return
		}
		s.reached(to)
		if _, err := client.RecordSnapshot(ctx, snapshotAt(stream, to)); err != nil {
			return
		}
		s.took(to)
	}
}

// recordBeside records snapshots of versions that others have appended, until a call fails. One that
// is older than what is there is refused.
func recordBeside(ctx context.Context, client *sdk.Client, stream string, s *snapshotStream) {
	for {
		page, err := client.Read(ctx, core.ReadRequest{Stream: stream, Backward: true, Limit: core.Limit{Events: 1}})
		if errors.Is(err, core.CodeStreamNotFound) {
			continue
		} else if err != nil {
			return
		}
		_, err = client.RecordSnapshot(ctx, snapshotAt(stream, page.Version))
		switch {
		case err == nil:
			s.took(page.Version)
		case !errors.Is(err, core.CodeSnapshotOlder) && !errors.Is(err, core.CodeRecordConflict):
			return
		}
	}
}

// checkSnapshot loads a stream that nobody writes to, and notes its version.
func checkSnapshot(ctx context.Context, client *sdk.Client, stream string, s *snapshotStream) error {
	version, snapshot := s.now()
	l, err := client.Load(ctx, core.LoadRequest{Stream: stream, Limit: core.Limit{Events: core.MaxReadEvents}})
	switch {
	case errors.Is(err, core.CodeStreamNotFound) && version == 0:
		return nil
	case err != nil:
		return err
	case l.Version < version:
		return fmt.Errorf("it is at version %d, %d was acknowledged", l.Version, version)
	case l.Snapshot == nil:
		if snapshot > 0 {
			return fmt.Errorf("it has no snapshot, one of version %d was acknowledged", snapshot)
		}
		return nil
	}
	at := l.Snapshot.Version
	if at < snapshot || at > l.Version || l.Count != int(l.Version-at) || !bytes.Equal(l.Snapshot.Data, stateAt(at)) {
		return fmt.Errorf("at version %d it has a snapshot of version %d, %d bytes, and %d events; one of version %d was acknowledged",
			l.Version, at, len(l.Snapshot.Data), l.Count, snapshot)
	}
	if at > 1 {
		if _, err := client.RecordSnapshot(ctx, snapshotAt(stream, at-1)); !errors.Is(err, core.CodeSnapshotOlder) {
			return fmt.Errorf("an older snapshot is recorded: %w", err)
		}
	}
	s.reached(l.Version)
	return nil
}
