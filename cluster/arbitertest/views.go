package arbitertest

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
)

func firstView(s *suite) {
	a, b := s.join(s.A, "a"), s.join(s.B, "b")
	s.epoch(1)
	if list := s.views(0, 10); len(list) != 0 {
		s.Fatalf("views of a new log: %+v", list)
	}
	want := view(2, b, a)
	s.mustPropose(want)
	got := s.views(0, 10)[0]
	if got.At.IsZero() {
		s.Error("the view has no time")
	}
	want.At = got.At
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		s.Errorf("got %+v, want %+v", got, want)
	}
	s.listed(a, b)
}

func views(s *suite) {
	a := s.join(s.A, "a")
	for epoch := uint64(2); epoch <= 6; epoch++ {
		s.mustPropose(view(epoch, a))
	}
	for _, test := range []struct {
		after uint64
		limit int
		want  []uint64
	}{
		{0, 10, []uint64{2, 3, 4, 5, 6}},
		{0, 2, []uint64{2, 3}},
		{3, 2, []uint64{4, 5}},
		{5, 2, []uint64{6}},
		{6, 2, nil},
	} {
		var got []uint64
		for _, v := range s.views(test.after, test.limit) {
			got = append(got, v.Epoch)
		}
		if !slices.Equal(got, test.want) {
			s.Errorf("%d views after %d: %d, want %d", test.limit, test.after, got, test.want)
		}
	}
}

// An epoch that moved without a view has no view of its own; members of the newest view
// propose the next one.
func epochWithoutView(s *suite) {
	a, b := s.join(s.A, "a"), s.join(s.B, "b")
	s.mustPropose(view(2, a))
	s.Advance()
	s.epoch(3)
	s.refused(core.CodeStaleEpoch, view(3, a))
	s.refused(core.CodeNotMember, view(4, b))
	s.mustPropose(view(4, a, b))
}

// A view moves the epoch, so what is made under the one before it is refused.
func fence(s *suite) {
	a := s.join(s.A, "a")
	for epoch := uint64(1); epoch < 4; epoch++ {
		if o := s.commit(epoch); o.Err != nil {
			s.Fatalf("under epoch %d: %v", epoch, o.Err)
		}
		s.mustPropose(view(epoch+1, a))
		if o := s.commit(epoch); !errors.Is(o.Err, core.CodeStaleEpoch) {
			s.Fatalf("under epoch %d after view %d: %+v", epoch, epoch+1, o)
		}
	}
}

func staleBase(s *suite) {
	a := s.join(s.A, "a")
	s.refused(core.CodeStaleEpoch, view(3, a))
	s.mustPropose(view(2, a))
	s.mustPropose(view(3, a))
	s.refused(core.CodeStaleEpoch, view(3, a))
	s.refused(core.CodeStaleEpoch, view(2, a))
	s.refused(core.CodeStaleEpoch, view(5, a))
}

// Who is not in the view cannot make one while one of its members has not ended.
func outsider(s *suite) {
	a, b, c := s.join(s.A, "a"), s.join(s.B, "b"), s.join(s.B, "c")
	s.mustPropose(view(2, a, b))
	s.refused(core.CodeNotMember, view(3, c, a, b))
	s.refused(core.CodeNotMember, view(3, c), a.Session)
	if err := s.B.Leave(s.Context(), b.Session); err != nil {
		s.Fatal(err)
	}
	s.refused(core.CodeNotMember, view(3, c))
	// A node that was started again is another session.
	again := s.join(s.B, "b")
	s.refused(core.CodeNotMember, view(3, again, a))
	s.mustPropose(view(3, a, again, c))
}

// Members are gone once their sessions have ended, or the proposer holds them dead.
func outsiderAfterAll(s *suite) {
	a, b, c := s.join(s.A, "a"), s.join(s.B, "b"), s.join(s.B, "c")
	s.mustPropose(view(2, a, b))
	if err := s.A.Leave(s.Context(), a.Session); err != nil {
		s.Fatal(err)
	}
	s.mustPropose(view(3, c), b.Session)
	s.listed(c)
	d := s.join(s.B, "d")
	again := s.join(s.B, "c")
	s.mustPropose(view(4, d, again))
}

// Sessions that a proposal holds dead end with it, and not without it.
func deadEnd(s *suite) {
	a, b := s.join(s.A, "a"), s.join(s.B, "b")
	s.refused(core.CodeStaleEpoch, view(3, a), b.Session)
	s.listed(a, b)
	s.mustPropose(view(2, a), b.Session)
	s.listed(a)
	if _, err := s.B.Beat(s.Context(), b.Session, 0, false); !errors.Is(err, core.CodeNotMember) {
		s.Errorf("a session that a proposal ended: %v", err)
	}
}

func noQuorum(s *suite) {
	a, b, c := s.join(s.A, "a"), s.join(s.B, "b"), s.join(s.B, "c")
	s.mustPropose(view(2, a, b, c))
	if err := s.B.Leave(s.Context(), b.Session); err != nil {
		s.Fatal(err)
	}
	s.refused(core.CodeNotMember, view(3, a, b, c), c.Session)
	next := view(3, a, b)
	next.Quorum = 2
	s.refused(core.CodeNotMember, next)
	s.mustPropose(view(3, a, b, c)) // two of three are enough
}

func endedProposer(s *suite) {
	a, b, c := s.join(s.A, "a"), s.join(s.B, "b"), s.join(s.B, "c")
	s.mustPropose(view(2, a, b, c))
	if err := s.A.Leave(s.Context(), a.Session); err != nil {
		s.Fatal(err)
	}
	s.refused(core.CodeNotMember, view(3, a, b, c))
	s.mustPropose(view(3, b, c))
	// Who leaves proposes a view without itself.
	next := view(4, c)
	next.Proposer = b.Session
	s.mustPropose(next)
}

// Of many views that follow one, a single one is stored.
func oneWins(s *suite) {
	a, b := s.join(s.A, "a"), s.join(s.B, "b")
	const rounds, each = 5, 4
	for round := range rounds {
		base := uint64(round + 1)
		var won, stale int
		var mu sync.Mutex
		var proposers sync.WaitGroup
		for _, node := range []struct {
			Node
			self ring.Member
		}{{s.A, a}, {s.B, b}} {
			for range each {
				proposers.Go(func() {
					next := view(base+1, a, b)
					next.Proposer = node.self.Session
					err := node.Propose(s.Context(), base, next, nil)
					mu.Lock()
					defer mu.Unlock()
					switch {
					case err == nil:
						won++
					case errors.Is(err, core.CodeStaleEpoch):
						stale++
					default:
						s.Error(err)
					}
				})
			}
		}
		proposers.Wait()
		if won != 1 || stale != 2*each-1 {
			s.Fatalf("view %d: %d proposals won, %d were stale", base+1, won, stale)
		}
	}
	if list := s.views(0, 100); len(list) != rounds {
		s.Errorf("%d views, want %d", len(list), rounds)
	}
	s.epoch(rounds + 1)
}
