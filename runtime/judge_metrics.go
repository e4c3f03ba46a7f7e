package runtime

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/gyre-events/gyre/plugins/judge"
)

// newJudgeMetrics returns the metrics of the plugins that shape subscriptions.
func newJudgeMetrics(j *judges) *series[judge.Totals] {
	m := &series[judge.Totals]{
		prefix: "gyre_judge_", labels: []string{"plugin", "version", "kind"},
		list: func() ([]judge.Totals, error) {
			of, err := j.opened()
			if err != nil {
				return nil, err
			}
			return of.Totals(), nil
		},
		values: func(t *judge.Totals) []string { return []string{t.Plugin, t.Version, string(t.Kind)} },
	}
	add := func(name, help string, value func(*judge.Totals) float64) {
		m.add(prometheus.CounterValue, name+"_total", help, value)
	}
	add("events", "Events of subscriptions that a filter, a map or a partitioner has judged.", func(t *judge.Totals) float64 { return float64(t.Events) })
	add("faults", "Events of those that it has failed on.", func(t *judge.Totals) float64 { return float64(t.Faults) })
	add("fuel", "Fuel that it has used.", func(t *judge.Totals) float64 { return float64(t.Fuel) })
	add("seconds", "Time in which it has judged.", func(t *judge.Totals) float64 { return t.Seconds })
	return m
}
