package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
)

const (
	removalWriters = 3
	// Of a removed stream. PostgreSQL deletes its rows in several transactions.
	removalEvents = 2500
	removalLinks  = 10
	lateKind      = "late" // of snapshots that are recorded while their stream is tombstoned
	// removalKillDelay is about what a removal takes.
	removalKillDelay = 20 * time.Millisecond
)

// TestCrashInARemoval kills a node with SIGKILL while it removes and tombstones streams that have
// links, snapshots and policies, round after round on the same log. Each is whole or gone then, for
// all ways to find it; one whose removal was acknowledged is gone. A removal that is repeated is
// done, or refused for a stream that is not there. Then none of the removed bytes is left. 60 rounds
// with GYRE_SOAK=1.
func TestCrashInARemoval(t *testing.T) {
	t.Parallel()
	crashInRemovals(t, scavengeCrasherOnDisk)
}

// crashInRemovals begins a new log now and then, at whose end storage is searched.
func crashInRemovals(t *testing.T, begin func(t *testing.T) *scavengeCrasher) {
	rounds := 2
	if os.Getenv("GYRE_SOAK") != "" {
		rounds = 60
	}
	var c *removalCrasher
	removed, interrupted, done := 0, 0, 0
	for round := range rounds {
		if round%scavengeRoundsPerLog == 0 {
			c = &removalCrasher{scavengeCrasher: begin(t)}
		}
		last := round == rounds-1 || (round+1)%scavengeRoundsPerLog == 0
		c.round(t, round, last)
		if t.Failed() {
			t.Fatalf("in round %d of %d", round+1, rounds)
		}
		if last {
			removed, interrupted, done = removed+len(c.removed), interrupted+c.interrupted, done+c.done
		}
	}
	t.Logf("%d rounds, %d streams removed, %d removals were interrupted: %d were done", rounds, removed, interrupted, done)
}

// removalCrasher keeps what one log has to have lost.
type removalCrasher struct {
	*scavengeCrasher
	interrupted, done int // removals
}

// doomed is a stream that was to be made and removed.
type doomed struct {
	core.Append
	action core.StreamAction
	// How far that came: what was asked for, and what was acknowledged.
	made, policy, asked, gone bool
}

// traces is what can be found of a stream.
type traces struct {
	events, links, selected, versions int
	refusal                           core.Code // of a read
	listed, byID                      bool
	snapshots                         int
	late                              bool // there is a snapshot of lateKind
	policy                            core.Retention
}

var (
	removalPolicy = core.Retention{MaxCount: 2 * removalEvents}
	wholeTraces   = traces{events: removalEvents, links: removalLinks, selected: removalEvents, versions: removalEvents,
		listed: true, byID: true, snapshots: 2, policy: removalPolicy}
)

// goneTraces is what can be found of a stream that is removed.
func goneTraces(action core.StreamAction) traces {
	if action == core.TombstoneStream {
		return traces{refusal: core.CodeStreamTombstoned}
	}
	return traces{refusal: core.CodeStreamNotFound}
}

func (c *removalCrasher) round(t *testing.T, round int, last bool) {
	node := c.start(t)
	streams := c.loadAndKill(t, node, round)
	c.verify(t)
	node = c.start(t)
	client := c.dial(t, node)
	ctx, cancel := context.WithTimeout(node.lifetime, scavengeEnds)
	defer cancel()
	c.check(ctx, t, client, streams)
	c.repeat(ctx, t, client, streams)
	if last {
		c.reclaim(ctx, t, client)
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	c.end(t, node, syscall.SIGTERM, exitOK)
	c.verify(t)
	if last {
		c.search(t)
	}
}

// loadAndKill makes and removes streams until the node is killed.
func (c *removalCrasher) loadAndKill(t *testing.T, node *process, round int) (all []*doomed) {
	client := c.dial(t, node)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var working sync.WaitGroup
	streams := make([][]*doomed, removalWriters)
	asking := make(chan struct{}, 1000) // more than there are before the kill
	for w := range streams {
		working.Go(func() {
			for n := 0; ; n++ {
				d := newDoomed(fmt.Sprintf("doomed-%d-%d-%d", round, w, n), n)
				streams[w] = append(streams[w], d)
				if err := d.makeAndRemove(ctx, client, fmt.Sprint("links-", w), asking); err != nil {
					return
				}
			}
		})
	}
	for range 1 + rand.IntN(2*removalWriters) {
		select {
		case <-asking:
		case <-node.lifetime.Done():
		}
	}
	<-time.NewTimer(rand.N(removalKillDelay)).C
	c.end(t, node, syscall.SIGKILL, -1)
	cancel() // the client would wait for the node to come back
	working.Wait()
	_ = client.Close() // the node is gone
	return slices.Concat(streams...)
}

func newDoomed(stream string, n int) *doomed {
	d := &doomed{Append: core.Append{Stream: stream, Expect: core.NoStream}, action: core.RemoveStream}
	if n%2 == 1 {
		d.action = core.TombstoneStream
	}
	secret := fmt.Appendf(nil, "%q", secretOf(stream))
	for range removalEvents {
		d.Events = append(d.Events, core.NewEvent{ID: core.NewID(), Type: "Doomed", Data: secret})
	}
	return d
}

// makeAndRemove makes the stream, with all that there may be of one, and removes it.
func (d *doomed) makeAndRemove(ctx context.Context, client *sdk.Client, links string, asking chan struct{}) error {
	c := core.Commit{Appends: []core.Append{d.Append, {Stream: links, Expect: core.AnyVersion}}}
	for i := range removalLinks {
		c.Appends[1].Links = append(c.Appends[1].Links, d.Events[i].ID)
	}
	var puts []core.SnapshotPut
	for _, kind := range []string{"a", "b"} {
		puts = append(puts, core.SnapshotPut{Snapshot: core.Snapshot{Stream: d.Stream, Kind: kind, Version: removalEvents, Data: d.Events[0].Data}})
	}
	if _, err := client.AppendWithSnapshots(ctx, c, puts); err != nil {
		return err
	}
	d.made = true
	put := core.RetentionPut{Target: core.RetentionTarget{Stream: d.Stream}, Retention: removalPolicy, Expect: core.AnyVersion}
	if _, err := client.SetRetention(ctx, put); err != nil {
		return err
	}
	d.policy, d.asked = true, true
	asking <- struct{}{}
	var recording sync.WaitGroup
	defer recording.Wait()
	if d.action == core.TombstoneStream {
		recording.Go(func() { d.recordLate(ctx, client) })
	}
	if err := d.remove(ctx, client); err != nil {
		return err
	}
	d.gone = true
	return nil
}

// recordLate records snapshots until that is refused, as it is of a tombstoned stream.
func (d *doomed) recordLate(ctx context.Context, client *sdk.Client) {
	put := core.SnapshotPut{Snapshot: core.Snapshot{Stream: d.Stream, Kind: lateKind, Version: removalEvents}}
	for err := error(nil); err == nil; {
		put.Data = fmt.Appendf(nil, "[%d,%s]", rand.Int(), d.Events[0].Data)
		_, err = client.RecordSnapshot(ctx, put)
	}
}

func (d *doomed) remove(ctx context.Context, client *sdk.Client) error {
	_, err := client.Append(ctx, core.Commit{Streams: []core.StreamOp{{Stream: d.Stream, Expect: removalEvents, Action: d.action}}})
	return err
}

// check finds each stream whole or gone.
func (c *removalCrasher) check(ctx context.Context, t *testing.T, client *sdk.Client, streams []*doomed) {
	t.Helper()
	found := c.find(ctx, t, client, streams)
	for i, d := range streams {
		whole, gone := wholeTraces, goneTraces(d.action)
		if !d.made {
			gone = goneTraces(core.RemoveStream)
		}
		if !d.policy {
			whole.policy = found[i].policy
		}
		whole.late = found[i].late && d.asked
		if d.asked && !d.gone {
			c.interrupted++
			if found[i] == gone {
				c.done++
			}
		}
		isWhole, isGone := found[i] == whole && !d.gone, found[i] == gone && (d.asked || !d.made)
		if !isWhole && !isGone {
			t.Errorf("%s: there is %+v; made %v, removal asked for %v, done %v", d.Stream, found[i], d.made, d.asked, d.gone)
		}
		d.made = isWhole
	}
}

// repeat removes what is left, again.
func (c *removalCrasher) repeat(ctx context.Context, t *testing.T, client *sdk.Client, streams []*doomed) {
	t.Helper()
	for _, d := range streams {
		if !d.made && !d.asked {
			continue
		}
		refusal := goneTraces(d.action).refusal
		if err := d.remove(ctx, client); d.made != (err == nil) || err != nil && !errors.Is(err, refusal) {
			t.Errorf("%s is whole: %v, a repeated removal: %v", d.Stream, d.made, err)
		}
		if err := d.remove(ctx, client); !errors.Is(err, refusal) {
			t.Errorf("%s: another removal: %v", d.Stream, err)
		}
		c.removed = append(c.removed, d.Stream)
	}
	for i, found := range c.find(ctx, t, client, streams) {
		if d := streams[i]; (d.made || d.asked) && found != goneTraces(d.action) {
			t.Errorf("%s is removed: there is %+v", d.Stream, found)
		}
	}
}

// find looks for streams in all ways that there are.
func (c *removalCrasher) find(ctx context.Context, t *testing.T, client *sdk.Client, streams []*doomed) []traces {
	t.Helper()
	found := map[string]*traces{}
	for _, d := range streams {
		found[d.Stream] = &traces{}
	}
	of := func(stream string) *traces {
		if found[stream] == nil {
			found[stream] = &traces{} // of an earlier round
		}
		return found[stream]
	}
	each := func(r core.ReadRequest, do func(e *core.Event)) {
		t.Helper()
		r.Limit.Events = core.MaxReadEvents
		for e, err := range core.ReadAll(ctx, client, r) {
			if err != nil && !errors.Is(err, core.CodeStreamNotFound) {
				t.Fatalf("%+v: %v (%v)", r, err, context.Cause(ctx))
			} else if err == nil {
				do(&e)
			}
		}
	}
	each(core.ReadRequest{Stream: core.All}, func(e *core.Event) { of(e.Stream).events++ })
	doomedOnes := core.Selection{Category: "doomed", Filter: core.Filter{Types: []string{"Doomed"}}}
	each(core.ReadRequest{Stream: core.All, Select: doomedOnes}, func(e *core.Event) { of(e.Stream).selected++ })
	for w := range removalWriters {
		each(core.ReadRequest{Stream: fmt.Sprint("links-", w)}, func(e *core.Event) { of(e.Home().Stream).links++ })
	}
	list := core.StreamsRequest{Prefix: "doomed-", Limit: core.MaxReadEvents}
	for page := (core.StreamsPage{}); !page.End; list.After = page.Next {
		var err error
		if page, err = client.Streams(ctx, list); err != nil {
			t.Fatal(err)
		}
		for i := range page.Streams {
			of(page.Streams[i].Name).listed = true
		}
	}
	for _, d := range streams {
		if err := found[d.Stream].look(ctx, client, d); err != nil {
			t.Errorf("%s: %v", d.Stream, err)
		}
	}
	for _, stream := range c.removed {
		if *of(stream) != (traces{}) && !slices.ContainsFunc(streams, func(d *doomed) bool { return d.Stream == stream }) {
			t.Errorf("%s of an earlier round: there is %+v", stream, *of(stream))
		}
	}
	inOrder := make([]traces, len(streams))
	for i, d := range streams {
		inOrder[i] = *found[d.Stream]
	}
	return inOrder
}

// look looks for a stream by its name, and for its first event by its id.
func (f *traces) look(ctx context.Context, client *sdk.Client, d *doomed) error {
	for e, err := range core.ReadAll(ctx, client, core.ReadRequest{Stream: d.Stream, Limit: core.Limit{Events: core.MaxReadEvents}}) {
		if err != nil {
			f.refusal = core.AsError(err).Code
			break
		}
		if f.versions++; e.Version != uint64(f.versions) || !bytes.Equal(e.Data, d.Events[0].Data) {
			return fmt.Errorf("version %d is %s, want %d", e.Version, e.Data, f.versions)
		}
	}
	_, err := client.Event(ctx, d.Events[0].ID)
	if f.byID = err == nil; err != nil && !errors.Is(err, core.CodeEventNotFound) {
		return err
	}
	snapshots, err := client.ListSnapshots(ctx, core.SnapshotsRequest{Stream: d.Stream})
	if err != nil && !errors.Is(err, core.CodeStreamTombstoned) {
		return err
	}
	for i := range snapshots.Snapshots {
		if snapshots.Snapshots[i].Kind == lateKind {
			f.late = true
		} else {
			f.snapshots++
		}
	}
	policy, err := client.Retention(ctx, core.RetentionTarget{Stream: d.Stream})
	f.policy = policy.Retention
	return err
}
