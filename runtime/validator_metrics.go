package runtime

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/host"
	"github.com/gyre-events/gyre/plugins/validators"
)

// newValidatorMetrics returns the metrics of each validator that is in force at this node, of the first
// host.MaxOwned by name.
func newValidatorMetrics(v *validators.Validators) *series[plugins.Status] {
	m := &series[plugins.Status]{
		prefix: "gyre_validator_", labels: []string{"validator"}, values: bindingName,
		list: func() ([]plugins.Status, error) {
			all := v.InForce()
			return all[:min(len(all), host.MaxOwned)], nil
		},
	}
	m.add(prometheus.GaugeValue, "ready", "1 if the validator can judge at this node, 0 if all that it would judge is left to its error policy.",
		func(s *plugins.Status) float64 { return oneIf(s.State != plugins.Broken) })
	add := func(name, help string, value func(*plugins.Totals) float64) {
		m.add(prometheus.CounterValue, name+"_total", help, func(s *plugins.Status) float64 { return value(&s.Totals) })
	}
	add("judged", "Appends that were judged.", func(t *plugins.Totals) float64 { return float64(t.Batches) })
	add("events", "Events of those.", func(t *plugins.Totals) float64 { return float64(t.Events) })
	add("refused", "Appends that were refused.", func(t *plugins.Totals) float64 { return float64(t.Refused) })
	add("failures", "Appends on which the validator failed, or that it could not judge.", func(t *plugins.Totals) float64 { return float64(t.Failures) })
	add("fuel", "Fuel that was used.", func(t *plugins.Totals) float64 { return float64(t.Fuel) })
	add("seconds", "Time in which appends were judged.", func(t *plugins.Totals) float64 { return t.Seconds })
	return m
}
