package memory_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/cluster/arbitertest"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/ring"
)

func TestArbiter(t *testing.T) {
	arbitertest.Run(t, func(t testing.TB) arbitertest.Nodes {
		log := memory.NewLog()
		a := log.Open()
		return arbitertest.Nodes{A: a, B: log.Open(), Advance: func() {
			if err := log.AdvanceEpoch(a.State().Epoch); err != nil {
				t.Error(err)
			}
		}}
	})
}

// TestArbiterFaults: the arbiter's calls have faults and delays of their own, and are cut
// off with all others.
func TestArbiterFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := memory.NewLog().Open()
		register := func() (uint64, error) {
			return h.Register(t.Context(), "r", ring.Member{Node: "a"}, [32]byte{})
		}
		session, err := register()
		if err != nil {
			t.Fatal(err)
		}
		beats := func() uint64 {
			standing, err := h.Beat(t.Context(), session, 0, false)
			if err != nil {
				t.Fatal(err)
			}
			return standing.Sessions[0].Beats
		}
		before := beats()
		for fault, counts := range map[memory.Fault]uint64{memory.LoseRequest: 0, memory.LoseAnswer: 1} {
			h.FailNextArbiter(fault)
			if o := commit(t, h, event("a")); o.Err != nil {
				t.Error(o.Err)
			}
			if _, err := h.Beat(t.Context(), session, 0, false); !errors.Is(err, core.CodeStoreUnavailable) {
				t.Errorf("fault %d: %v", fault, err)
			}
			if now := beats(); now != before+counts+1 {
				t.Errorf("fault %d: %d beats after %d", fault, now, before)
			} else {
				before = now
			}
		}
		h.SlowArbiter(time.Second, time.Second)
		start := time.Now()
		if beats(); time.Since(start) != 2*time.Second {
			t.Errorf("a beat took %v", time.Since(start))
		}
		start = time.Now()
		if commit(t, h, event("a")); time.Since(start) != 0 {
			t.Errorf("a commit took %v", time.Since(start))
		}
		h.CutOff()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := h.Beat(ctx, session, 0, false); !errors.Is(err, core.CodeTimeout) {
			t.Errorf("cut off: %v", err)
		}
		h.Reconnect()
		beats()
	})
}

// TestWithout: a Log whose rule is taken out fails the check that the rule is there for.
func TestWithout(t *testing.T) {
	for _, rule := range []memory.Rule{memory.EpochRule, memory.ProposerRule, memory.QuorumRule} {
		log := memory.NewLog()
		h := log.Open()
		log.Without(rule)
		var members []ring.Member
		for _, node := range []string{"a", "b"} {
			m := ring.Member{Node: node}
			m.Session, _ = h.Register(t.Context(), "r", m, [32]byte{})
			members = append(members, m)
		}
		first := ring.View{Epoch: 2, Members: members[:1], Quorum: 1, Proposer: members[0].Session}
		if err := h.Propose(t.Context(), 1, first, nil); err != nil {
			t.Fatal(err)
		}
		stale := event("a")
		stale.Epoch = 1
		next := ring.View{Epoch: 3, Members: members, Quorum: 1, Proposer: members[1].Session}
		few := ring.View{Epoch: 3, Members: members[:1], Quorum: 2, Proposer: members[0].Session}
		if rule == memory.ProposerRule {
			few.Epoch = 4
		}
		for broken, err := range map[memory.Rule]error{
			memory.EpochRule:    commit(t, h, stale).Err,
			memory.ProposerRule: h.Propose(t.Context(), 2, next, nil),
			memory.QuorumRule:   h.Propose(t.Context(), few.Epoch-1, few, nil),
		} {
			if (err == nil) != (broken == rule) {
				t.Errorf("without rule %d, rule %d: %v", rule, broken, err)
			}
		}
	}
}
