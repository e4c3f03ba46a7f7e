// Package arbitertest is the contract of a cluster.Arbiter, as tests that every
// implementation passes.
package arbitertest

import (
	"errors"
	"reflect"
	"testing"

	"github.com/gyre-events/gyre/cluster"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
)

// Node is one node's way to the storage: an engine that is the arbiter, too.
type Node interface {
	core.Engine
	cluster.Arbiter
}

// Nodes are two nodes on an empty log.
type Nodes struct {
	A, B Node
	// Advance moves the log's epoch by one, without a view.
	Advance func()
}

// Run tests an Arbiter. open makes two nodes on an empty log, and closes them when the
// test ends.
func Run(t *testing.T, open func(t testing.TB) Nodes) {
	for name, run := range map[string]func(s *suite){
		"register":             register,
		"supersede":            supersede,
		"mismatch":             mismatch,
		"protocols that roll":  protocols,
		"beats":                beats,
		"leave":                leave,
		"first view":           firstView,
		"views":                views,
		"epoch without a view": epochWithoutView,
		"fence":                fence,
		"stale base":           staleBase,
		"outsider":             outsider,
		"outsider after all":   outsiderAfterAll,
		"dead end":             deadEnd,
		"no quorum":            noQuorum,
		"ended proposer":       endedProposer,
		"one of many wins":     oneWins,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(&suite{T: t, Nodes: open(t)})
		})
	}
}

type suite struct {
	*testing.T
	Nodes
}

const name = "ring"

func member(node string) ring.Member {
	return ring.Member{
		Node: node, Addr: node + ":4973", Gossip: node + ":7946", Version: "v1", Protocol: 1, Quorum: 2,
		Filter: ring.Filter{Allow: []string{"/^[" + node + "]/"}, Deny: []string{"x"}}, SyncTimeoutMs: -1,
	}
}

// join registers a node, and returns it with its session.
func (s *suite) join(a cluster.Arbiter, node string) ring.Member {
	s.Helper()
	m := member(node)
	session, err := a.Register(s.Context(), name, m, secret(node))
	if err != nil || session == 0 {
		s.Fatalf("register %s: session %d, %v", node, session, err)
	}
	m.Session = session
	return m
}

// secret is that of a node's sessions.
func secret(node string) (secret [32]byte) {
	copy(secret[:], node)
	return secret
}

// view makes a view; its proposer is its first member.
func view(epoch uint64, members ...ring.Member) ring.View {
	v := ring.View{Epoch: epoch, Members: members, Quorum: len(members)/2 + 1, Proposer: members[0].Session, Reason: "test"}
	ring.SortMembers(v.Members)
	return v
}

// propose proposes a view at B, which A then has to know.
func (s *suite) propose(next ring.View, dead ...uint64) error {
	return s.B.Propose(s.Context(), next.Epoch-1, next, dead)
}

// mustPropose proposes a view that is taken.
func (s *suite) mustPropose(next ring.View, dead ...uint64) {
	s.Helper()
	if err := s.propose(next, dead...); err != nil {
		s.Fatalf("view %d: %v", next.Epoch, err)
	}
	s.epoch(next.Epoch)
	if newest := s.views(next.Epoch-1, 10); len(newest) != 1 || newest[0].Epoch != next.Epoch {
		s.Fatalf("after view %d: %+v", next.Epoch, newest)
	}
}

// refused proposes a view that is not taken, and changes nothing.
func (s *suite) refused(code core.Code, next ring.View, dead ...uint64) {
	s.Helper()
	epoch, views := s.standing().Epoch, len(s.views(0, 1000))
	if err := s.propose(next, dead...); !errors.Is(err, code) {
		s.Fatalf("view %d: %v, want %s", next.Epoch, err, code)
	}
	s.epoch(epoch)
	if now := len(s.views(0, 1000)); now != views {
		s.Fatalf("%d views, there were %d", now, views)
	}
}

// views lists views at A.
func (s *suite) views(after uint64, limit int) []ring.View {
	s.Helper()
	list, err := s.A.Views(s.Context(), after, limit)
	if err != nil {
		s.Fatal(err)
	}
	return list
}

// standing is what a session of a node that watches gets, without that session.
func (s *suite) standing() ring.Standing {
	s.Helper()
	watcher := s.join(s.A, "watcher")
	standing, err := s.A.Beat(s.Context(), watcher.Session, 0, false)
	if err != nil {
		s.Fatal(err)
	}
	if err := s.A.Leave(s.Context(), watcher.Session); err != nil {
		s.Fatal(err)
	}
	last := len(standing.Sessions) - 1
	if last < 0 || standing.Sessions[last].Session != watcher.Session {
		s.Fatalf("the newest session is not the last: %+v", standing.Sessions)
	}
	standing.Sessions = standing.Sessions[:last]
	return standing
}

// epoch checks the epoch, and that commits are fenced by it.
func (s *suite) epoch(want uint64) {
	s.Helper()
	if got := s.standing().Epoch; got != want {
		s.Fatalf("epoch %d, want %d", got, want)
	}
	if o := s.commit(want); o.Err != nil {
		s.Fatalf("a commit under epoch %d: %v", want, o.Err)
	}
	if o := s.commit(want - 1); want > 1 && !errors.Is(o.Err, core.CodeStaleEpoch) {
		s.Fatalf("a commit under epoch %d: %+v", want-1, o)
	}
}

// commit appends an event at A under an epoch.
func (s *suite) commit(epoch uint64) core.Outcome {
	c := &core.Commit{Epoch: epoch, Appends: []core.Append{{
		Stream: "s", Expect: core.AnyVersion, Events: []core.NewEvent{{ID: core.NewID(), Type: "T", Data: []byte(`1`)}},
	}}}
	return s.A.Commit(s.Context(), []*core.Commit{c}).Outcomes[0]
}

// listed checks which sessions are listed.
func (s *suite) listed(want ...ring.Member) {
	s.Helper()
	got := s.standing().Sessions
	if len(got) != len(want) {
		s.Fatalf("listed are %+v, want %+v", got, want)
	}
	for i, m := range want {
		if !reflect.DeepEqual(got[i].Member, m) || got[i].Secret != secret(m.Node) {
			s.Errorf("session %+v, want %+v", got[i], m)
		}
	}
}
