package runtime

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/gyre-events/gyre/core/subscriptions"
)

// maxSubscriptionSeries bounds the subscriptions that have metrics of their own,
// the first of them by name: each is a dozen series.
const maxSubscriptionSeries = 500

// newSubscriptionMetrics returns the metrics of each subscription, also of those that nobody serves: they
// are what somebody has to know about. A node of a ring has those of its own. If storage does not
// answer, there are none.
func newSubscriptionMetrics(seen *looks[[]subscriptions.Info]) *series[subscriptions.Info] {
	m := &series[subscriptions.Info]{
		prefix: "gyre_subscription_", labels: []string{"subscription"},
		count:  prometheus.NewDesc("gyre_subscriptions", "Subscriptions with metrics of their own, which are the first by name.", nil, nil),
		list:   func() ([]subscriptions.Info, error) { return seen.get(0, lookWithin) },
		values: func(i *subscriptions.Info) []string { return []string{i.Name} },
	}
	m.add(prometheus.GaugeValue, "lag_events", "Positions from the checkpoint to the head: no fewer than events.",
		func(i *subscriptions.Info) float64 { return float64(i.Lag) })
	m.add(prometheus.GaugeValue, "lag_seconds", "Age of the oldest event that is not finished.",
		func(i *subscriptions.Info) float64 { return i.LagSeconds })
	m.add(prometheus.GaugeValue, "in_flight", "Events sent and not answered.",
		func(i *subscriptions.Info) float64 { return float64(i.InFlight) })
	m.add(prometheus.GaugeValue, "parked", "Events set aside.",
		func(i *subscriptions.Info) float64 { return float64(i.Parked) })
	m.add(prometheus.GaugeValue, "subscribers", "Connected subscribers.",
		func(i *subscriptions.Info) float64 { return float64(len(i.Subscribers)) })
	m.add(prometheus.GaugeValue, "stopped", "1 for a subscription that has stopped itself.",
		func(i *subscriptions.Info) float64 { return oneIf(i.State == "stopped") })
	m.add(prometheus.CounterValue, "sent_total", "Attempts.",
		func(i *subscriptions.Info) float64 { return float64(i.Totals.Sent) })
	m.add(prometheus.CounterValue, "redelivered_total", "Attempts after an event's first.",
		func(i *subscriptions.Info) float64 { return float64(i.Totals.Redelivered) })
	m.add(prometheus.CounterValue, "failed_total", "Attempts that failed.",
		func(i *subscriptions.Info) float64 { return float64(i.Totals.Failed) })
	m.add(prometheus.CounterValue, "parked_total", "Events that were set aside.",
		func(i *subscriptions.Info) float64 { return float64(i.Totals.Parked) })
	m.add(prometheus.CounterValue, "expired_total", "Events that were gone from the log before they were finished.",
		func(i *subscriptions.Info) float64 { return float64(i.Totals.Expired) })
	ack := prometheus.NewDesc("gyre_subscription_ack_seconds", "Time from sending an event to its ack.", m.labels, nil)
	m.metrics = append(m.metrics, metricOf[subscriptions.Info]{ack, func(i *subscriptions.Info, values []string) prometheus.Metric {
		return prometheus.MustNewConstSummary(ack, i.Totals.Acked, i.Totals.AckSeconds, nil, values...)
	}})
	return m
}
