package cluster_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gyre-events/gyre/cluster"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/ring"
)

// simRules is the rules that a simulation is without.
type simRules struct {
	freshness bool       // a node takes its session for fresh, whatever its beats say
	own       ring.Rules // of nodes
}

func (p *simProcess) arbiter() cluster.Arbiter {
	if p.node.ring.without.freshness {
		return &optimist{Arbiter: p.node.ring.witness.Of(p.handle)}
	}
	return p.node.ring.witness.Of(p.handle)
}

// optimist is an Arbiter whose beats succeed: without an answer, the one before is given.
type optimist struct {
	cluster.Arbiter

	mu   sync.Mutex // protects the field below
	last ring.Standing
}

// Beat is Arbiter.Beat.
func (o *optimist) Beat(ctx context.Context, session, released uint64, draining bool) (ring.Standing, error) {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	standing, err := o.Arbiter.Beat(ctx, session, released, draining)
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		return o.last, nil
	}
	o.last = standing
	return standing, nil
}

// outsiders has nodes that are not in the newest view propose another one, which the log
// refuses while a member of it is there. Nodes without the rule do it themselves.
func (r *simulation) outsiders() {
	for r.goesOn() && !r.without.own.Has(ring.RuleProposer) {
		time.Sleep(500 * time.Millisecond)
		views := r.views()
		newest := &views[len(views)-1]
		for _, n := range r.nodes {
			p := n.running()
			if p == nil {
				continue
			}
			self := p.self()
			if _, ok := newest.Member(self.Session); ok {
				continue
			}
			next := ring.View{Members: append(slices.Clone(newest.Members), self), Quorum: r.quorum, Proposer: self.Session, Reason: "an outsider wants to"}
			next.Members = slices.DeleteFunc(next.Members, func(m ring.Member) bool { return m.Node == self.Node && m.Session != self.Session })
			ring.SortMembers(next.Members)
			ctx, cancel := context.WithTimeout(r.t.Context(), simSample)
			_ = r.witness.Of(p.handle).Propose(ctx, newest.Epoch, next, nil)
			cancel()
		}
	}
}

// TestRingWithoutRules takes one rule at a time out, which the checks of a simulation have to
// notice within a few schedules.
func TestRingWithoutRules(t *testing.T) {
	for name, c := range map[string]struct {
		take  func(r *simulation)
		fault string // that shows it
	}{
		"epoch": {func(r *simulation) { r.log.Without(memory.EpochRule) }, "slow log, lost answers"},
		"proposer": {func(r *simulation) {
			r.log.Without(memory.ProposerRule)
			r.without.own = ring.RuleProposer
		}, "rolling restart"},
		"proposer, in the log alone": {func(r *simulation) { r.log.Without(memory.ProposerRule) }, "pause"},
		"freshness":                  {func(r *simulation) { r.without.freshness = true }, "log cut off from one"},
		"quorum": {func(r *simulation) {
			r.log.Without(memory.QuorumRule)
			r.without.own = ring.RuleQuorum
		}, "partition"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fault := &simFaults[slices.IndexFunc(simFaults, func(f simFault) bool { return f.name == c.fault })]
			for seed := range uint64(simSchedules) {
				var err error
				inSimulation(t, seed, func(r *simulation) {
					c.take(r)
					err = r.run(fault)
				})
				if err != nil {
					t.Logf("after %d schedules: %v", seed+1, err)
					return
				}
			}
			t.Errorf("nothing is noticed in %d schedules", simSchedules)
		})
	}
}

// simSchedules is how many schedules show that a rule is missing.
const simSchedules = 10
