package ring_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gyre-events/gyre/core/ring"
)

// scene is what one node sees, for tests that change it and look at what is proposed.
type scene struct {
	now     time.Duration
	sight   ring.Sight
	watch   ring.Watch
	silent  map[uint64]bool // sessions that do not beat
	unseen  map[uint64]bool // sessions that gossip does not reach
	planner ring.Planner
}

func newScene(self uint64, quorum int, view *ring.View, sessions ...ring.Member) *scene {
	s := &scene{now: time.Hour, silent: map[uint64]bool{}, unseen: map[uint64]bool{}}
	s.sight = ring.Sight{
		Self: self, Quorum: quorum, Serves: true, View: view, Standing: &ring.Standing{Epoch: 1}, Watch: &s.watch,
		Alive: func(session uint64) bool { return !s.unseen[session] },
	}
	for _, m := range sessions {
		s.sight.Standing.Sessions = append(s.sight.Standing.Sessions, ring.Session{Member: m})
	}
	if view != nil {
		s.sight.Standing.Epoch = view.Epoch
		s.planner.Advance(s.now, view, s.sight.Standing)
	}
	return s
}

func (s *scene) row(session uint64) *ring.Session {
	for i := range s.sight.Standing.Sessions {
		if row := &s.sight.Standing.Sessions[i]; row.Session == session {
			return row
		}
	}
	return &ring.Session{}
}

// look lets 100 ms pass, with a beat of everybody who beats, and plans.
func (s *scene) look() (ring.Proposal, bool) {
	s.now += 100 * time.Millisecond
	for i := range s.sight.Standing.Sessions {
		if row := &s.sight.Standing.Sessions[i]; !s.silent[row.Session] {
			row.Beats++
		}
	}
	s.watch.Observe(s.now, s.now, s.sight.Standing)
	return s.planner.Plan(s.now, s.sight)
}

// until plans until something is proposed, and returns when that was.
func (s *scene) until(most time.Duration) (p ring.Proposal, after time.Duration) {
	for begin := s.now; s.now < begin+most; {
		if p, ok := s.look(); ok {
			return p, s.now - begin
		}
	}
	return ring.Proposal{}, most
}

func nodes(p ring.Proposal) (list []string) {
	for _, m := range p.Next.Members {
		list = append(list, fmt.Sprintf("%s/%d", m.Node, m.Session))
	}
	return list
}

func TestWhoProposesWhat(t *testing.T) {
	a, b, c := ring.Member{Session: 1, Node: "a"}, ring.Member{Session: 2, Node: "b"}, ring.Member{Session: 3, Node: "c"}
	b2, d := ring.Member{Session: 4, Node: "b"}, ring.Member{Session: 5, Node: "d"}
	abc := func() *ring.View { return &ring.View{Epoch: 7, Members: []ring.Member{a, b, c}, Quorum: 2} }
	never := time.Minute
	cases := []struct {
		name  string
		scene *scene
		fault func(s *scene)
		want  []string
		after time.Duration // the first look is after 100 ms
	}{
		{"nothing happens", newScene(1, 2, abc(), a, b, c), func(*scene) {}, nil, never},
		{"the first view", newScene(1, 2, nil, a, b), func(*scene) {}, []string{"a/1", "b/2"}, 1400 * time.Millisecond},
		{"the first view, of the second in order", newScene(2, 2, nil, a, b), func(*scene) {}, []string{"a/1", "b/2"}, 3400 * time.Millisecond},
		{"too few for a view", newScene(1, 3, nil, a, b), func(*scene) {}, nil, never},
		{"a node comes", newScene(1, 2, abc(), a, b, c, d), func(*scene) {}, []string{"a/1", "b/2", "c/3", "d/5"}, 1400 * time.Millisecond},
		{"a crash", newScene(1, 2, abc(), a, b, c), func(s *scene) { s.crash(2) }, []string{"a/1", "c/3"}, 400 * time.Millisecond},
		{"a crash, of the first in order", newScene(2, 2, abc(), a, b, c), func(s *scene) { s.crash(1) }, []string{"b/2", "c/3"}, 400 * time.Millisecond},
		{"a crash, seen by the last in order", newScene(3, 2, abc(), a, b, c), func(s *scene) { s.crash(2) }, []string{"a/1", "c/3"}, 2400 * time.Millisecond},
		{"a crash, seen by a node that is not well", newScene(1, 2, abc(), a, b, c), func(s *scene) { s.crash(2); s.sight.Unwell = true }, []string{"a/1", "c/3"}, 2400 * time.Millisecond},
		{"a crash below quorum", newScene(1, 3, abc(), a, b, c), func(s *scene) { s.crash(2) }, nil, never},
		{"a cut", newScene(1, 2, abc(), a, b, c), func(s *scene) { s.well(); s.unseen[2] = true }, []string{"a/1", "c/3"}, 2100 * time.Millisecond},
		{"cut from the log", newScene(1, 2, abc(), a, b, c), func(s *scene) { s.silent[2] = true }, []string{"a/1", "c/3"}, 4300 * time.Millisecond},
		{"it drains", newScene(2, 2, abc(), a, b, c), func(s *scene) { s.row(2).Draining = true }, []string{"a/1", "c/3"}, 100 * time.Millisecond},
		{"another drains", newScene(1, 2, abc(), a, b, c), func(s *scene) { s.row(2).Draining = true }, []string{"a/1", "c/3"}, 100 * time.Millisecond},
		{"a node ended", newScene(1, 2, abc(), a, c), func(*scene) {}, []string{"a/1", "c/3"}, 100 * time.Millisecond},
		{"a node started again", newScene(1, 2, abc(), a, b2, c), func(*scene) {}, []string{"a/1", "b/4", "c/3"}, 100 * time.Millisecond},
		{"a node started again, not yet in gossip", newScene(1, 2, abc(), a, b2, c), func(s *scene) { s.unseen[4] = true }, []string{"a/1", "c/3"}, 1100 * time.Millisecond},
		{"its own session is not fresh", newScene(1, 2, abc(), a, b, c), func(s *scene) { s.crash(2); s.sight.Serves = false }, nil, never},
		{"an outsider", newScene(5, 2, abc(), a, b, c, d), func(s *scene) { s.crash(1); s.crash(2) }, nil, 4300 * time.Millisecond},
		{"only outsiders are left", newScene(4, 2, &ring.View{Epoch: 7, Members: []ring.Member{a, b}}, a, b2, d), func(s *scene) { s.crash(1) }, []string{"b/4", "d/5"}, 4100 * time.Millisecond},
		{"renewed", newScene(3, 2, abc(), a, b, c), func(s *scene) { s.sight.Renew = true }, []string{"a/1", "b/2", "c/3"}, 100 * time.Millisecond},
		{"the epoch moved without a view", newScene(1, 2, abc(), a, b, c), func(s *scene) { s.sight.Standing.Epoch = 9 }, []string{"a/1", "b/2", "c/3"}, 300 * time.Millisecond},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			s := test.scene
			s.look() // all is well
			s.look()
			test.fault(s)
			p, after := s.until(test.after + time.Second)
			if test.after == never || test.want == nil {
				if len(p.Next.Members) > 0 {
					t.Fatalf("it proposes %v after %v", nodes(p), after)
				}
				return
			}
			if !slices.Equal(nodes(p), test.want) || after < test.after-300*time.Millisecond || after > test.after+200*time.Millisecond {
				t.Fatalf("it proposes %v because %q after %v, want %v after %v", nodes(p), p.Next.Reason, after, test.want, test.after)
			}
			if p.Base != s.sight.Standing.Epoch || p.Next.Epoch != p.Base+1 {
				t.Errorf("epoch %d on %d, the log is at %d", p.Next.Epoch, p.Base, s.sight.Standing.Epoch)
			}
		})
	}
}

// well lets time pass until a quorum has been alive for long enough.
func (s *scene) well() {
	for range 31 {
		s.look()
	}
}

// crash makes a session silent and unseen. It was silent for a while when gossip notices.
func (s *scene) crash(session uint64) {
	s.well()
	s.silent[session] = true
	if s.sight.View == nil || s.isOnlyOutsiders() {
		s.unseen[session] = true
		return
	}
	for range 11 {
		s.look()
	}
	s.unseen[session] = true
}

func (s *scene) isOnlyOutsiders() bool {
	_, ok := s.sight.View.Member(s.sight.Self)
	return !ok
}

// TestRemovalSticks: unless it asked for it, or nobody serves without it.
func TestRemovalSticks(t *testing.T) {
	a, b, c := ring.Member{Session: 1, Node: "a"}, ring.Member{Session: 2, Node: "b"}, ring.Member{Session: 3, Node: "c"}
	two := &ring.View{Epoch: 8, Members: []ring.Member{a, c}}
	for name, test := range map[string]struct {
		fault func(s *scene)
		after time.Duration
	}{
		"removed": {func(*scene) {}, ring.StickyFor},
		"drained": {func(s *scene) { s.row(2).Draining = true }, 1400 * time.Millisecond},
		"needed":  {func(s *scene) { s.unseen[3] = true }, 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(1, 2, &ring.View{Epoch: 7, Members: []ring.Member{a, b, c}}, a, b, c)
			s.look()
			test.fault(s)
			s.sight.View, s.sight.Standing.Epoch = two, 8
			s.planner.Advance(s.now, two, s.sight.Standing)
			s.row(2).Draining = false
			p, after := s.until(time.Minute)
			if !slices.Contains(nodes(p), "b/2") || after < test.after-200*time.Millisecond || after > test.after+500*time.Millisecond {
				t.Errorf("%v after %v, want it after %v", nodes(p), after, test.after)
			}
		})
	}
}

// TestProposalsKeepTheRules: whatever a node sees, for as long as it sees it.
func TestProposalsKeepTheRules(t *testing.T) {
	proposed := 0
	rapid.Check(t, func(t *rapid.T) {
		var sessions, members []ring.Member
		for n := range uint64(6) {
			m := ring.Member{Session: n + 1, Node: string(rune('a' + n%4))}
			sessions = slices.DeleteFunc(sessions, func(o ring.Member) bool { return o.Node == m.Node })
			sessions = append(sessions, m)
			if rapid.Bool().Draw(t, "was a member") && !slices.ContainsFunc(members, func(o ring.Member) bool { return o.Node == m.Node }) {
				members = append(members, m)
			}
		}
		ring.SortMembers(members)
		view := &ring.View{Epoch: 3, Members: members}
		self := rapid.SampledFrom(sessions).Draw(t, "self").Session
		s := newScene(self, rapid.IntRange(1, 3).Draw(t, "quorum"), view, sessions...)
		for range 80 {
			for _, m := range sessions {
				if rapid.IntRange(0, 30).Draw(t, "changes") == 7 && m.Session != self {
					s.silent[m.Session] = rapid.Bool().Draw(t, "silent")
					s.unseen[m.Session] = rapid.Bool().Draw(t, "unseen")
					s.row(m.Session).Draining = rapid.Bool().Draw(t, "drains")
				}
			}
			p, ok := s.look()
			if !ok {
				continue
			}
			proposed++
			checkProposal(t, s, p)
			// It is stored, or another one is.
			if rapid.Bool().Draw(t, "stored") {
				s.sight.View, s.sight.Standing.Epoch = &p.Next, p.Next.Epoch
				s.planner.Advance(s.now, &p.Next, s.sight.Standing)
			}
		}
	})
	if proposed < 100 {
		t.Errorf("%d proposals", proposed)
	}
}

func checkProposal(t *rapid.T, s *scene, p ring.Proposal) {
	v := s.sight.View
	if p.Base != s.sight.Standing.Epoch || p.Next.Epoch != p.Base+1 || p.Next.Proposer != s.sight.Self || len(p.Next.Members) < s.sight.Quorum {
		t.Fatalf("%+v on epoch %d, quorum %d", p, s.sight.Standing.Epoch, s.sight.Quorum)
	}
	if _, member := v.Member(s.sight.Self); !member {
		for _, m := range v.Members {
			if s.row(m.Session).Session != 0 && !s.watch.Dead(m.Session) {
				t.Fatalf("an outsider proposes while %s is not gone", m.Node)
			}
			if s.row(m.Session).Session != 0 && !slices.Contains(p.Dead, m.Session) {
				t.Fatalf("an outsider does not say that %s is dead", m.Node)
			}
		}
	}
	seen := map[string]bool{}
	for _, m := range p.Next.Members {
		row := s.row(m.Session)
		_, stays := v.Member(m.Session)
		listed := row.Session != 0
		if listed && (row.Draining || s.watch.Dead(m.Session) || s.unseen[m.Session]) || !listed && !stays || seen[m.Node] {
			t.Fatalf("%s/%d is proposed: %+v", m.Node, m.Session, row)
		}
		seen[m.Node] = true
	}
}
