package runtime

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/host"
	"github.com/gyre-events/gyre/plugins/validators"
)

// validatorMetrics are those of each validator that is in force at this node, of the first
// host.MaxOwned by name.
type validatorMetrics struct {
	validators *validators.Validators
	ready      *prometheus.Desc
	metrics    []pluginMetric
}

func newValidatorMetrics(v *validators.Validators) *validatorMetrics {
	m := &validatorMetrics{validators: v}
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("gyre_validator_"+name, help, []string{"validator"}, nil)
	}
	m.ready = desc("ready", "1 if the validator can judge at this node, 0 if all that it would judge is left to its error policy.")
	add := func(name, help string, value func(*plugins.Totals) float64) {
		m.metrics = append(m.metrics, pluginMetric{desc(name+"_total", help), prometheus.CounterValue, func(s *plugins.Status) float64 { return value(&s.Totals) }})
	}
	add("judged", "Appends that were judged.", func(t *plugins.Totals) float64 { return float64(t.Batches) })
	add("events", "Events of those.", func(t *plugins.Totals) float64 { return float64(t.Events) })
	add("refused", "Appends that were refused.", func(t *plugins.Totals) float64 { return float64(t.Refused) })
	add("failures", "Appends on which the validator failed, or that it could not judge.", func(t *plugins.Totals) float64 { return float64(t.Failures) })
	add("fuel", "Fuel that was used.", func(t *plugins.Totals) float64 { return float64(t.Fuel) })
	add("seconds", "Time in which appends were judged.", func(t *plugins.Totals) float64 { return t.Seconds })
	return m
}

// Describe is prometheus.Collector.
func (m *validatorMetrics) Describe(out chan<- *prometheus.Desc) {
	out <- m.ready
	for i := range m.metrics {
		out <- m.metrics[i].desc
	}
}

// Collect is prometheus.Collector.
func (m *validatorMetrics) Collect(out chan<- prometheus.Metric) {
	all := m.validators.InForce()
	for i := range all[:min(len(all), host.MaxOwned)] {
		s, ready := &all[i], 0.0
		if s.State != plugins.Broken {
			ready = 1
		}
		out <- prometheus.MustNewConstMetric(m.ready, prometheus.GaugeValue, ready, s.Name)
		for _, metric := range m.metrics {
			out <- prometheus.MustNewConstMetric(metric.desc, metric.kind, metric.value(s), s.Name)
		}
	}
}
