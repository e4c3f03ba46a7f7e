package runtime

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gyre-events/gyre/core/ring"
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
		{"sync_missing", "Nodes that this node waits for before it serves for the first time.", func() float64 { return float64(state().SyncMissing.Len()) }},
		{"filtered", "1 while this node is an entry node because of the filters.", func() float64 { return oneIf(state().Filtered) }},
		{"gossip_health", "Health score of this node's gossip; 0 is good.", func() float64 { return float64(of.membership.Seen().Health) }},
		{"waiting", "Calls that wait for the gate, or for their turn.", func() float64 { return float64(of.router.Stats().Waiting) }},
		{"unsettled", "Commits without an answer.", func() float64 { return float64(of.router.Stats().Unsettled) }},
	} {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "gyre_cluster_" + m.name, Help: m.help}, m.value))
	}
	r.MustRegister(newProviderMetrics(of.providers))
	stats := of.router.Stats
	for _, m := range []struct {
		name, help string
		value      func() uint64
	}{
		{"views", "Views that this node has learnt.", of.views.Load},
		{"forwarded", "Commits handed over to another node.", func() uint64 { return stats().Forwarded }},
		{"stale", "Tries that were refused because their view was over, or another node owned the stream.", func() uint64 { return stats().Stale }},
		{"not_serving", "Tries that were refused because the owner did not serve.", func() uint64 { return stats().NotServing }},
		{"in_doubt", "Commits whose link broke before the answer.", func() uint64 { return stats().InDoubt }},
		{"resolved", "Commits in doubt that were looked up in the log.", func() uint64 { return stats().Resolved }},
		{"relayed_links", "Links to other nodes that went through a third one.", of.peers.relayed.Load},
	} {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "gyre_cluster_" + m.name + "_total", Help: m.help},
			func() float64 { return float64(m.value()) }))
	}
}

// providerMetrics say what each provider of peers found last.
type providerMetrics struct {
	report                   func() []ring.Provider
	failing, found, failures *prometheus.Desc
}

func newProviderMetrics(report func() []ring.Provider) *providerMetrics {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("gyre_cluster_provider_"+name, help, []string{"provider"}, nil)
	}
	return &providerMetrics{
		report:   report,
		failing:  desc("failing", "1 if the last try of the provider of peers failed."),
		found:    desc("addresses", "Gossip addresses that the provider of peers found last."),
		failures: desc("failures_total", "Tries of the provider of peers that failed."),
	}
}

// Describe is prometheus.Collector.
func (m *providerMetrics) Describe(out chan<- *prometheus.Desc) {
	out <- m.failing
	out <- m.found
	out <- m.failures
}

// Collect is prometheus.Collector.
func (m *providerMetrics) Collect(out chan<- prometheus.Metric) {
	for _, p := range m.report() {
		out <- prometheus.MustNewConstMetric(m.failing, prometheus.GaugeValue, oneIf(p.Problem != ""), p.Name)
		out <- prometheus.MustNewConstMetric(m.found, prometheus.GaugeValue, float64(len(p.Addresses)), p.Name)
		out <- prometheus.MustNewConstMetric(m.failures, prometheus.CounterValue, float64(p.Failures), p.Name)
	}
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
