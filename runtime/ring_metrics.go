package runtime

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gyre-events/gyre/cluster"
)

// registerRingMetrics adds the metrics of a node in a ring.
func (n *Node) registerRingMetrics(r *prometheus.Registry) {
	of := n.ring
	state := of.membership.State
	for _, m := range []struct {
		name, help string
		value      func() float64
	}{
		{"epoch", "Epoch of the newest view that this node knows.", func() float64 { return float64(state().View.Epoch) }},
		{"members", "Members of that view.", func() float64 { return float64(len(state().View.Members)) }},
		{"quorum", "Quorum of that view.", func() float64 { return float64(state().View.Quorum) }},
		{"alive", "Members of that view that are alive, as this node sees them.", func() float64 { return float64(state().Alive) }},
		{"serving", "1 while this node serves.", func() float64 { return oneIf(state().Serves(time.Now()) == nil) }},
		{"serves_seconds", "How long this node may serve without another beat.", func() float64 { return max(0, time.Until(state().ServesUntil).Seconds()) }},
		{"slots", "Slots that this node owns, of 4096.", func() float64 {
			s := state()
			if s.Owners == nil {
				return 0
			}
			return float64(s.Owners.Count(s.Self.Session))
		}},
		{"gossip_health", "Health score of this node's gossip; 0 is good.", func() float64 { return float64(of.membership.Seen().Health) }},
		{"waiting", "Calls that wait for the gate, or for their turn.", func() float64 { return float64(of.router.Stats().Waiting) }},
		{"unsettled", "Commits without an answer.", func() float64 { return float64(of.router.Stats().Unsettled) }},
	} {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "gyre_cluster_" + m.name, Help: m.help}, m.value))
	}
	r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "gyre_cluster_views_total", Help: "Views that this node has learnt."},
		func() float64 { return float64(of.views.Load()) }))
	for _, m := range []struct {
		name, help string
		value      func(cluster.RouterStats) uint64
	}{
		{"forwarded", "Commits handed over to another node.", func(s cluster.RouterStats) uint64 { return s.Forwarded }},
		{"stale", "Tries that were refused because their view was over, or another node owned the stream.", func(s cluster.RouterStats) uint64 { return s.Stale }},
		{"not_serving", "Tries that were refused because the owner did not serve.", func(s cluster.RouterStats) uint64 { return s.NotServing }},
		{"in_doubt", "Commits whose link broke before the answer.", func(s cluster.RouterStats) uint64 { return s.InDoubt }},
		{"resolved", "Commits in doubt that were looked up in the log.", func(s cluster.RouterStats) uint64 { return s.Resolved }},
	} {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "gyre_cluster_" + m.name + "_total", Help: m.help},
			func() float64 { return float64(m.value(of.router.Stats())) }))
	}
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
