package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/internal/pgtest"
)

// ringNode is an engine with a session in the shared ring.
type ringNode struct {
	*postgres.Engine
	self ring.Member
}

func openRingNode(t *testing.T, url, store, id string) *ringNode {
	t.Helper()
	n := &ringNode{Engine: openStore(t, postgres.Config{URL: url, Store: store, Node: id, Ring: shared})}
	n.register(t, id)
	return n
}

func (n *ringNode) register(t *testing.T, id string) {
	t.Helper()
	n.self = ring.Member{Node: id, Addr: id + ":1", Gossip: id + ":2", Protocol: 1, Quorum: 1}
	session, err := n.Register(t.Context(), shared, n.self, [32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	n.self.Session = session
}

// propose proposes a view of these members.
func (n *ringNode) propose(t *testing.T, base uint64, dead []uint64, members ...ring.Member) error {
	v := ring.View{Epoch: base + 1, Members: members, Quorum: 1, Proposer: n.self.Session, Reason: "test"}
	ring.SortMembers(v.Members)
	return n.Propose(t.Context(), base, v, dead)
}

// put stores a record under an epoch.
func (n *ringNode) put(ctx context.Context, key string, epoch uint64) error {
	c := &core.Commit{Epoch: epoch, Records: []core.RecordOp{{Table: "t", Key: key, Expect: core.AnyVersion, Value: []byte("v")}}}
	return n.Commit(ctx, []*core.Commit{c}).Outcomes[0].Err
}

// TestViewsBesideCheckpointsSoak has three nodes that store records all the time, each two at
// once, as checkpoints are stored, and share the log row, so that it is never free. A view
// is stored all the same, after the few Commits that had begun: what comes later waits
// behind it, and is stale.
func TestViewsBesideCheckpointsSoak(t *testing.T) {
	server := pgtest.Shared(t)
	store := server.Store(t)
	views := 10
	if soaking() {
		views = 300
	}
	var nodes []*ringNode
	var members []ring.Member
	for i := range 3 {
		n := openRingNode(t, server.URL, store, fmt.Sprint("n", i))
		nodes, members = append(nodes, n), append(members, n.self)
	}
	if err := nodes[0].propose(t, 1, nil, members...); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var running sync.WaitGroup
	var stored, epoch atomic.Uint64
	epoch.Store(2)
	for _, n := range nodes {
		for key := range 2 {
			running.Go(func() {
				for ctx.Err() == nil {
					err := n.put(ctx, fmt.Sprint(n.self.Node, key), epoch.Load())
					if err == nil {
						stored.Add(1)
					} else if ctx.Err() == nil && !errors.Is(err, core.CodeStaleEpoch) {
						t.Error(err)
					}
				}
			})
		}
	}
	longest := time.Duration(0)
	for i := range views {
		for before := stored.Load(); stored.Load() < before+20 && ctx.Err() == nil; {
			time.Sleep(time.Millisecond)
		}
		before, begun := stored.Load(), time.Now()
		if err := nodes[i%3].propose(t, epoch.Load(), nil, members...); err != nil {
			t.Fatal(err)
		}
		longest = max(longest, time.Since(begun))
		// The proposal is sent while others go on; a Commit that is not kept out is
		// one of thousands.
		if n := stored.Load() - before; n > 200 {
			t.Errorf("view %d: %d commits were stored while it waited", i, n)
		}
		epoch.Add(1)
	}
	cancel()
	running.Wait()
	t.Logf("%d views beside %d commits, the longest took %s", views, stored.Load(), longest)
	if soaking() && longest > time.Second {
		t.Errorf("a view took %s, want 1 s at most", longest)
	}
}

// TestViewsAfterFailOver promotes a standby that lacks the newest views. A node that never
// knew them proposes the view after the last one that is there: the epoch is not one of
// those that were lost, and no Commit under one of those is written.
func TestViewsAfterFailOver(t *testing.T) {
	t.Parallel()
	primary := pgtest.Private(t)
	standby, err := primary.Standby(false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { standby.Close() })
	a := openRingNode(t, pgtest.URLs(primary, standby), "gyre", "a")
	if err := a.propose(t, 1, nil, a.self); err != nil {
		t.Fatal(err)
	}
	waitForReplay(t, primary, standby)
	standby.Exec(t, "ALTER SYSTEM SET primary_conninfo = ''") // it gets no more
	standby.Exec(t, "SELECT pg_reload_conf()")
	waitForNoReceiver(t, primary)
	if err := a.propose(t, 2, nil, a.self); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(primary.Kill(), standby.Promote()); err != nil {
		t.Fatal(err)
	}
	// b takes over, and holds a dead.
	b := openRingNode(t, standby.URL, "gyre", "b")
	standing, err := b.Beat(t.Context(), b.self.Session, 0, false)
	if err != nil || len(standing.Sessions) != 2 {
		t.Fatalf("%+v, %v", standing, err)
	}
	base := standing.Epoch
	if err := b.propose(t, base, []uint64{a.self.Session}, b.self); !errors.Is(err, core.CodeStaleEpoch) {
		t.Fatalf("the first proposal after a fail-over from epoch %d: %v", base, err)
	}
	if standing, err = b.Beat(t.Context(), b.self.Session, 0, false); err != nil || standing.Epoch < base+1000 {
		t.Fatalf("the epoch is %d, %v", standing.Epoch, err)
	}
	if err := b.propose(t, standing.Epoch, []uint64{a.self.Session}, b.self); err != nil {
		t.Fatal(err)
	}
	list, err := b.Views(t.Context(), 0, 10)
	if err != nil || len(list) != 2 || list[0].Epoch != 2 || list[1].Epoch != standing.Epoch+1 {
		t.Errorf("the views are %+v, %v", list, err)
	}
	deadline, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := a.put(deadline, "k", 3); !errors.Is(err, core.CodeStaleEpoch) {
		t.Errorf("a commit under a view that was lost: %v", err)
	}
	if err := b.put(t.Context(), "k", standing.Epoch+1); err != nil {
		t.Error(err)
	}
	if _, err := a.Beat(t.Context(), a.self.Session, 0, false); !errors.Is(err, core.CodeNotMember) {
		t.Errorf("the session that was held dead: %v", err)
	}
	a.register(t, "a")
}

// TestRingBeatsWaitForNobody: a beat is answered while every other connection of its node
// waits, a proposal too, and on another connection when its own is lost.
func TestRingBeatsWaitForNobody(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	n := openRingNode(t, server.URL, store, "a")
	tx, err := server.Connect(t).Begin(t.Context())
	if err == nil {
		_, err = tx.Exec(t.Context(), "LOCK TABLE "+store+".events, "+store+".log, "+store+".views IN SHARE MODE")
	}
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		if err := n.propose(t, 1, nil, n.self); err != nil {
			t.Error(err)
		}
	})
	waitFor(t, server, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'LOCK TABLE "`+store+`"%')`)
	beats := func() {
		t.Helper()
		for range 3 {
			if _, err := n.Beat(t.Context(), n.self.Session, 0, false); err != nil {
				t.Error(err)
			}
		}
	}
	beats()
	terminate(t, server, `SELECT pid FROM pg_stat_activity WHERE query LIKE '%UPDATE "`+store+`".ring_sessions SET beats%' AND pid <> pg_backend_pid()`)
	beats()
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	running.Wait()
}

// TestBeatBesideItsSuccessor: a beat that waits for another process to register under the same
// id is node_superseded, and not of a session that has just ended.
func TestBeatBesideItsSuccessor(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	n := openRingNode(t, server.URL, store, "a")
	tx, err := server.Connect(t).Begin(t.Context())
	if err == nil {
		_, err = tx.Exec(t.Context(), `CREATE TEMP TABLE successor ON COMMIT DROP AS SELECT ring, node, member, secret, opened FROM `+store+`.ring_sessions;
			DELETE FROM `+store+`.ring_sessions;
			INSERT INTO `+store+`.ring_sessions (ring, node, member, secret, opened) SELECT * FROM successor`)
	}
	if err != nil {
		t.Fatal(err)
	}
	beaten := make(chan error, 1)
	go func() {
		_, err := n.Beat(context.Background(), n.self.Session, 0, false)
		beaten <- err
	}()
	waitFor(t, server, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%UPDATE "`+store+`".ring_sessions SET beats%')`)
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-beaten; !errors.Is(err, core.CodeNodeSuperseded) {
		t.Errorf("the beat: %v", err)
	}
}

// TestRegisterAfterAnotherRing: what is left of a ring whose nodes have all gone keeps
// nobody out.
func TestRegisterAfterAnotherRing(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	a, b := openRingNode(t, server.URL, store, "a"), openRingNode(t, server.URL, store, "b")
	other := ring.Member{Node: "b", Protocol: 7}
	if _, err := b.Register(t.Context(), "other", other, [32]byte{}); !errors.Is(err, core.CodeClusterMismatch) {
		t.Fatalf("beside a node of another ring: %v", err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	session, err := b.Register(t.Context(), "other", other, [32]byte{})
	if err != nil {
		t.Fatal(err)
	}
	standing, err := b.Beat(t.Context(), session, 0, false)
	if err != nil || len(standing.Sessions) != 1 {
		t.Errorf("%+v, %v", standing, err)
	}
}

// L09: a hint makes the watch look at once, where its looks are up to 50 ms apart.
func TestHeadHint(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	a, b := openRingNode(t, server.URL, store, "a"), openRingNode(t, server.URL, store, "b")
	log, heads := b.State().Log, make(chan uint64, 1)
	took := func(position uint64, hint bool) time.Duration {
		t.Helper()
		go func() {
			head, err := b.WaitHead(t.Context(), log, position-1)
			if err != nil {
				t.Error(err)
			}
			heads <- head
		}()
		for !b.Awaited() {
			time.Sleep(time.Millisecond)
		}
		if o := appendTo(a.Engine, "s", core.AnyVersion, 1); o.Err != nil {
			t.Fatal(o.Err)
		}
		begun := time.Now()
		if hint {
			b.HeadHint(position)
		}
		if head := <-heads; head != position {
			t.Errorf("head %d, want %d", head, position)
		}
		return time.Since(begun)
	}
	var with, without time.Duration
	for position := uint64(1); position <= 30; position += 2 {
		without += took(position, false)
		with += took(position+1, true)
	}
	if t.Logf("15 heads were seen within %s with a hint, %s without", with, without); with > without {
		t.Error("a hint does not make the watch look")
	}
}
