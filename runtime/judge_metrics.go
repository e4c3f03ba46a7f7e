package runtime

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/gyre-events/gyre/plugins/judge"
)

// judgeMetrics are the metrics of the plugins that shape subscriptions.
type judgeMetrics struct {
	judges  *judges
	metrics []judgeMetric
}

type judgeMetric struct {
	desc  *prometheus.Desc
	value func(*judge.Totals) float64
}

func newJudgeMetrics(j *judges) *judgeMetrics {
	m := &judgeMetrics{judges: j}
	add := func(name, help string, value func(*judge.Totals) float64) {
		m.metrics = append(m.metrics, judgeMetric{prometheus.NewDesc("gyre_judge_"+name+"_total", help, []string{"plugin", "version", "kind"}, nil), value})
	}
	add("events", "Events of subscriptions that a filter, a map or a partitioner has judged.", func(t *judge.Totals) float64 { return float64(t.Events) })
	add("faults", "Events of those that it has failed on.", func(t *judge.Totals) float64 { return float64(t.Faults) })
	add("fuel", "Fuel that it has used.", func(t *judge.Totals) float64 { return float64(t.Fuel) })
	add("seconds", "Time in which it has judged.", func(t *judge.Totals) float64 { return t.Seconds })
	return m
}

// Describe is prometheus.Collector.
func (m *judgeMetrics) Describe(out chan<- *prometheus.Desc) {
	for i := range m.metrics {
		out <- m.metrics[i].desc
	}
}

// Collect is prometheus.Collector.
func (m *judgeMetrics) Collect(out chan<- prometheus.Metric) {
	of, err := m.judges.opened()
	if err != nil {
		return
	}
	for _, t := range of.Totals() {
		for _, metric := range m.metrics {
			out <- prometheus.MustNewConstMetric(metric.desc, prometheus.CounterValue, metric.value(&t), t.Plugin, t.Version, string(t.Kind))
		}
	}
}
