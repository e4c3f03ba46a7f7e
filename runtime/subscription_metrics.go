package runtime

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/gyre-events/gyre/core/subscriptions"
)

// maxSubscriptionSeries bounds the subscriptions that have metrics of their own,
// the first of them by name: each is a dozen series.
const maxSubscriptionSeries = 500

// subscriptionMetrics tells of each subscription, also of those that nobody serves:
// they are what somebody has to be told about. In a ring each node tells of its own.
type subscriptionMetrics struct {
	seen    *looks[[]subscriptions.Info]
	count   *prometheus.Desc
	ack     *prometheus.Desc
	metrics []subscriptionMetric
}

// subscriptionMetric is one of them.
type subscriptionMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*subscriptions.Info) float64
}

func newSubscriptionMetrics(seen *looks[[]subscriptions.Info]) *subscriptionMetrics {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("gyre_subscription_"+name, help, []string{"subscription"}, nil)
	}
	m := &subscriptionMetrics{
		seen:  seen,
		count: prometheus.NewDesc("gyre_subscriptions", "Subscriptions with metrics of their own, which are the first by name.", nil, nil),
		ack:   desc("ack_seconds", "Time from sending an event to its ack."),
	}
	add := func(kind prometheus.ValueType, name, help string, value func(*subscriptions.Info) float64) {
		m.metrics = append(m.metrics, subscriptionMetric{desc(name, help), kind, value})
	}
	add(prometheus.GaugeValue, "lag_events", "Positions from the checkpoint to the head: no fewer than events.",
		func(i *subscriptions.Info) float64 { return float64(i.Lag) })
	add(prometheus.GaugeValue, "lag_seconds", "Age of the oldest event that is not finished.",
		func(i *subscriptions.Info) float64 { return i.LagSeconds })
	add(prometheus.GaugeValue, "in_flight", "Events sent and not answered.",
		func(i *subscriptions.Info) float64 { return float64(i.InFlight) })
	add(prometheus.GaugeValue, "parked", "Events set aside.",
		func(i *subscriptions.Info) float64 { return float64(i.Parked) })
	add(prometheus.GaugeValue, "subscribers", "Connected subscribers.",
		func(i *subscriptions.Info) float64 { return float64(len(i.Subscribers)) })
	add(prometheus.GaugeValue, "stopped", "1 for a subscription that has stopped itself.",
		func(i *subscriptions.Info) float64 {
			if i.State == "stopped" {
				return 1
			}
			return 0
		})
	add(prometheus.CounterValue, "sent_total", "Attempts.",
		func(i *subscriptions.Info) float64 { return float64(i.Totals.Sent) })
	add(prometheus.CounterValue, "redelivered_total", "Attempts after an event's first.",
		func(i *subscriptions.Info) float64 { return float64(i.Totals.Redelivered) })
	add(prometheus.CounterValue, "failed_total", "Attempts that failed.",
		func(i *subscriptions.Info) float64 { return float64(i.Totals.Failed) })
	add(prometheus.CounterValue, "parked_total", "Events that were set aside.",
		func(i *subscriptions.Info) float64 { return float64(i.Totals.Parked) })
	return m
}

// Describe is prometheus.Collector.
func (m *subscriptionMetrics) Describe(out chan<- *prometheus.Desc) {
	out <- m.count
	out <- m.ack
	for i := range m.metrics {
		out <- m.metrics[i].desc
	}
}

// Collect is prometheus.Collector. Where storage does not answer there is nothing to
// tell, and the other metrics are told all the same.
func (m *subscriptionMetrics) Collect(out chan<- prometheus.Metric) {
	infos, err := m.seen.get(0, lookWithin)
	if err != nil {
		return
	}
	out <- prometheus.MustNewConstMetric(m.count, prometheus.GaugeValue, float64(len(infos)))
	for i := range infos {
		info := &infos[i]
		for _, metric := range m.metrics {
			out <- prometheus.MustNewConstMetric(metric.desc, metric.kind, metric.value(info), info.Name)
		}
		out <- prometheus.MustNewConstSummary(m.ack, info.Totals.Acked, info.Totals.AckSeconds, nil, info.Name)
	}
}
