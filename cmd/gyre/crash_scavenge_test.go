package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/scavenge"
	"github.com/gyre-events/gyre/sdk"
)

const (
	scavengeWriters = 3
	doomedEvents    = 40
	// Of a stream of which all but the last keptOfAged expire.
	agedEvents = 1500
	keptOfAged = 20
	// scavengeRoundsPerLog keeps a log so short that it is scavenged in seconds.
	scavengeRoundsPerLog = 10
	// A scavenge is slow enough to be met in its middle.
	crashScavengeRate = 4 << 20
	// scavengeEnds is more than a scavenge takes after many rounds.
	scavengeEnds = 2 * time.Minute
)

// TestCrashInAScavenge kills a node with SIGKILL while it scavenges, appends, removes streams and has
// others expire, round after round on the same log. What was acknowledged and not removed is there,
// nothing that was removed or has expired comes back, the files are clean, the counts of types are
// right, and the next scavenge goes on and leaves none of the bytes that are gone. 60 rounds with
// GYRE_SOAK=1.
func TestCrashInAScavenge(t *testing.T) {
	t.Parallel()
	crashInScavenges(t, scavengeCrasherOnDisk)
}

func scavengeCrasherOnDisk(t *testing.T) *scavengeCrasher {
	return newScavengeCrasher(newCrasher(t.TempDir()))
}

func newScavengeCrasher(c *crasher) *scavengeCrasher {
	c.args = append(c.args, "--hard-deletes")
	return &scavengeCrasher{crasher: c, kept: map[string]uint64{}}
}

// crashInScavenges begins a new log now and then: a scavenge goes through the whole of it.
func crashInScavenges(t *testing.T, begin func(t *testing.T) *scavengeCrasher) {
	rounds := 3
	if os.Getenv("GYRE_SOAK") != "" {
		rounds = 60
	}
	var c *scavengeCrasher
	removed, interrupted := 0, 0
	for round := range rounds {
		if round%scavengeRoundsPerLog == 0 {
			c = begin(t)
		}
		c.round(t, round)
		if t.Failed() {
			t.Fatalf("in round %d of %d", round+1, rounds)
		}
		if round == rounds-1 || (round+1)%scavengeRoundsPerLog == 0 {
			removed, interrupted = removed+len(c.removed), interrupted+c.interrupted
		}
	}
	t.Logf("%d rounds, %d streams removed, %d times in the middle of a scavenge", rounds, removed, interrupted)
}

// scavengeCrasher keeps what one log has to have, and what it has lost.
type scavengeCrasher struct {
	*crasher
	kept    map[string]uint64 // the acknowledged versions of streams
	removed []string          // streams whose removal was acknowledged
	aged    []string          // streams of which events have expired
	// left, if not nil, returns the secrets that are in the database.
	left func(t *testing.T) []string

	interrupted int // scavenges
}

func (c *scavengeCrasher) round(t *testing.T, round int) {
	node := c.start(t)
	c.loadAndKill(t, node, round)
	c.verify(t)
	node = c.start(t)
	client := c.dial(t, node)
	ctx, cancel := context.WithTimeout(node.lifetime, scavengeEnds)
	defer cancel()
	c.check(ctx, t, client)
	c.reclaim(ctx, t, client)
	c.check(ctx, t, client)
	c.checkCounts(ctx, t, client)
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	c.end(t, node, syscall.SIGTERM, exitOK)
	c.verify(t)
	c.search(t)
}

// loadAndKill appends, removes and scavenges until the node is killed.
func (c *scavengeCrasher) loadAndKill(t *testing.T, node *process, round int) {
	client := c.dial(t, node)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c.age(ctx, t, client, fmt.Sprint("aged-", round))
	var running sync.WaitGroup
	versions := make([]uint64, scavengeWriters)
	for w := range versions {
		running.Go(func() { versions[w] = keepAppending(ctx, client, fmt.Sprint("kept-", w)) })
	}
	var removed []string
	running.Go(func() { removed = keepRemoving(ctx, client, round) })
	begun := make(chan struct{})
	running.Go(func() { keepScavenging(ctx, client, begun) })
	select {
	case <-begun:
	case <-node.lifetime.Done():
	}
	<-time.NewTimer(time.Duration(rand.Int64N(int64(maxKillDelay)))).C
	c.end(t, node, syscall.SIGKILL, -1)
	cancel() // the client would wait for the node to come back
	running.Wait()
	_ = client.Close() // the node is gone
	for w, version := range versions {
		stream := fmt.Sprint("kept-", w)
		c.kept[stream] = max(c.kept[stream], version)
	}
	c.removed = append(c.removed, removed...)
}

// age writes a stream, and has all but its last events expire.
func (c *scavengeCrasher) age(ctx context.Context, t *testing.T, client *sdk.Client, stream string) {
	t.Helper()
	a := core.Append{Stream: stream, Expect: core.NoStream}
	for n := range agedEvents {
		data := secretOf(stream)
		if n >= agedEvents-keptOfAged {
			data = "kept"
		}
		a.Events = append(a.Events, core.NewEvent{ID: core.NewID(), Type: "Aged", Data: fmt.Appendf(nil, "%q", data)})
	}
	if _, err := client.Append(ctx, core.Commit{Appends: []core.Append{a}}); err != nil {
		t.Fatal(err)
	}
	if c.left != nil && !slices.Contains(c.left(t), secretOf(stream)) {
		t.Fatalf("the database does not have the %s", secretOf(stream))
	}
	put := core.RetentionPut{Target: core.RetentionTarget{Stream: stream}, Retention: core.Retention{MaxCount: keptOfAged}, Expect: core.AnyVersion}
	if _, err := client.SetRetention(ctx, put); err != nil {
		t.Fatal(err)
	}
	c.aged = append(c.aged, stream)
	c.kept[stream] = agedEvents
}

// keepAppending returns the last version that was acknowledged; 0 if none was.
func keepAppending(ctx context.Context, client *sdk.Client, stream string) (version uint64) {
	for {
		e := core.NewEvent{ID: core.NewID(), Type: "Kept", Data: []byte(`{"kept":true}`)}
		r, err := client.Append(ctx, core.Commit{Appends: []core.Append{{Stream: stream, Expect: core.AnyVersion, Events: []core.NewEvent{e}}}})
		if err != nil {
			return version
		}
		version = r.Appends[0].LastVersion
	}
}

// keepRemoving writes streams and removes them. It returns those whose removal was acknowledged.
func keepRemoving(ctx context.Context, client *sdk.Client, round int) (removed []string) {
	for n := 0; ; n++ {
		a := core.Append{Stream: fmt.Sprintf("doomed-%d-%d", round, n), Expect: core.NoStream}
		for range doomedEvents {
			a.Events = append(a.Events, core.NewEvent{ID: core.NewID(), Type: "Doomed", Data: fmt.Appendf(nil, "%q", secretOf(a.Stream))})
		}
		if _, err := client.Append(ctx, core.Commit{Appends: []core.Append{a}}); err != nil {
			return removed
		}
		if err := client.RemoveStream(ctx, a.Stream, core.AnyVersion); err != nil {
			return removed
		}
		removed = append(removed, a.Stream)
	}
}

func secretOf(stream string) string { return "secret of " + stream + "." }

// keepScavenging has one scavenge after the other run. begun is closed when the first does.
func keepScavenging(ctx context.Context, client *sdk.Client, begun chan struct{}) {
	for first := true; ; {
		_, err := client.StartScavenge(ctx, scavenge.Request{All: true, BytesPerSecond: crashScavengeRate})
		if err != nil && !errors.Is(err, core.CodeScavengeRunning) {
			return
		}
		if first {
			close(begun)
			first = false
		}
	}
}

// scavenge has a scavenge go on, or begin, and waits for its end.
func (c *scavengeCrasher) scavenge(ctx context.Context, t *testing.T, client *sdk.Client) {
	t.Helper()
	before, err := client.Scavenge(ctx)
	if err != nil || before.State == scavenge.Running {
		t.Errorf("after the kill: %+v, %v", before, err)
	}
	if before.State == scavenge.Interrupted {
		c.interrupted++
	}
	for range 2 { // what an interrupted one has passed was removed later, maybe
		s, err := client.StartScavenge(ctx, scavenge.Request{All: true})
		if err == nil {
			err = until(scavengeEnds, func() error {
				if s, err = client.Scavenge(ctx); err == nil && !s.State.Ended() {
					return errors.New("it runs")
				}
				return err
			})
		}
		if err != nil || s.State != scavenge.Done {
			t.Errorf("the scavenge: %+v, %v", s, err)
			return
		}
	}
}

// check reads everything.
func (c *scavengeCrasher) check(ctx context.Context, t *testing.T, client *sdk.Client) {
	t.Helper()
	gone := map[string]bool{}
	for _, stream := range c.removed {
		gone[stream] = true
	}
	versions := map[string]uint64{}
	for _, stream := range c.aged {
		versions[stream] = agedEvents - keptOfAged
	}
	for e, err := range core.ReadAll(ctx, client, core.ReadRequest{Stream: core.All}) {
		if err != nil {
			t.Errorf("read: %v (%v)", err, context.Cause(ctx))
			return
		}
		if versions[e.Stream]++; e.Version != versions[e.Stream] || gone[e.Stream] {
			t.Errorf("%s@%d at position %d, removed is %v, want @%d", e.Stream, e.Version, e.Position, gone[e.Stream], versions[e.Stream])
			return
		}
	}
	for stream, version := range c.kept {
		if versions[stream] < version {
			t.Errorf("%s has %d events, %d were acknowledged", stream, versions[stream], version)
		}
	}
}

// checkCounts compares the counts of types with the log. What had expired or was removed before it
// was counted is not.
func (c *scavengeCrasher) checkCounts(ctx context.Context, t *testing.T, client *sdk.Client) {
	t.Helper()
	page, err := untilCounted(ctx, client)
	if err != nil {
		t.Error(err)
		return
	}
	log := map[string]uint64{}
	for e, err := range core.ReadAll(ctx, client, core.ReadRequest{Stream: core.All}) {
		if err != nil {
			t.Error(err)
			return
		}
		log[e.Type]++
	}
	counted := map[string]uint64{}
	for _, n := range page.Types {
		counted[n.Type] = n.Events
	}
	if counted["Kept"] != log["Kept"] || counted["Aged"] < log["Aged"] || counted["Aged"] > uint64(agedEvents*len(c.aged)) || counted["Doomed"] < log["Doomed"] {
		t.Errorf("counted are %v, the log has %v", counted, log)
	}
}

// gone are the secrets that a scavenge leaves nothing of.
func (c *scavengeCrasher) gone() map[string]bool {
	gone := map[string]bool{}
	for _, stream := range slices.Concat(c.removed, c.aged) {
		gone[secretOf(stream)] = true
	}
	return gone
}

// reclaim scavenges, and waits until the database has no secret that is gone.
func (c *scavengeCrasher) reclaim(ctx context.Context, t *testing.T, client *sdk.Client) {
	t.Helper()
	c.scavenge(ctx, t, client)
	if c.left == nil {
		return // search looks for them when the node has ended
	}
	gone := c.gone()
	for _, secret := range c.left(t) {
		if gone[secret] {
			t.Errorf("the database has the %s", secret)
		}
	}
}

var aSecret = regexp.MustCompile(`secret of [^.]*\.`)

// search looks for secrets that are gone in all files of the node.
func (c *scavengeCrasher) search(t *testing.T) {
	t.Helper()
	if c.data == "" {
		return
	}
	gone := c.gone()
	err := filepath.WalkDir(c.data, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		for _, secret := range aSecret.FindAll(content, -1) {
			if gone[string(secret)] {
				t.Errorf("%s has the %s", path, secret)
				break
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
