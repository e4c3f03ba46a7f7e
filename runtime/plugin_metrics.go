package runtime

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/host"
)

// newPluginMetrics returns the metrics of each binding, on the node that owns it: a dozen series for each
// of the first host.MaxOwned by name. If storage does not answer, there are none.
func newPluginMetrics(seen *looks[[]plugins.Status]) *series[plugins.Status] {
	m := &series[plugins.Status]{
		prefix: "gyre_plugin_", labels: []string{"binding"}, values: bindingName,
		list: func() ([]plugins.Status, error) { return seen.get(sumsFor, lookWithin) },
	}
	state := prometheus.NewDesc("gyre_plugin_state", "1 for the state that a binding is in.", []string{"binding", "state"}, nil)
	m.metrics = append(m.metrics, metricOf[plugins.Status]{state, func(s *plugins.Status, _ []string) prometheus.Metric {
		return prometheus.MustNewConstMetric(state, prometheus.GaugeValue, 1, s.Name, string(s.State))
	}})
	add := m.add
	total := func(name, help string, value func(*plugins.Totals) uint64) {
		add(prometheus.CounterValue, name+"_total", help, func(s *plugins.Status) float64 { return float64(value(&s.Totals)) })
	}
	total("batches", "Batches that were committed.", func(t *plugins.Totals) uint64 { return t.Batches })
	total("events", "Events of batches that were committed.", func(t *plugins.Totals) uint64 { return t.Events })
	total("appended", "Events that were appended.", func(t *plugins.Totals) uint64 { return t.Appended })
	total("writes", "Changes of state.", func(t *plugins.Totals) uint64 { return t.Writes })
	total("failures", "Failures of handlers, and batches that were not committed.", func(t *plugins.Totals) uint64 { return t.Failures })
	total("parked", "Events that were parked.", func(t *plugins.Totals) uint64 { return t.Parked })
	total("starts", "Starts of handlers: one for each lane, and one after each failure.", func(t *plugins.Totals) uint64 { return t.Starts })
	total("fuel", "Fuel that handlers used.", func(t *plugins.Totals) uint64 { return t.Fuel })
	total("calls", "Calls of other servers.", func(t *plugins.Totals) uint64 { return t.Calls })
	total("calls_failed", "Calls of other servers that got no response.", func(t *plugins.Totals) uint64 { return t.CallsFailed })
	add(prometheus.CounterValue, "calls_seconds_total", "Time in calls of other servers.", func(s *plugins.Status) float64 { return s.Totals.CallSeconds })
	add(prometheus.CounterValue, "seconds_total", "Time in handlers.", func(s *plugins.Status) float64 { return s.Totals.Seconds })
	add(prometheus.GaugeValue, "lag_events", "Positions from the checkpoint to the head: no fewer than events.",
		func(s *plugins.Status) float64 { return float64(s.Lag) })
	add(prometheus.GaugeValue, "parked_events", "Events that are parked.", func(s *plugins.Status) float64 { return float64(s.Parked) })
	add(prometheus.GaugeValue, "memory_bytes", "Memory of the handlers.", func(s *plugins.Status) float64 { return float64(s.MemoryBytes) })
	add(prometheus.GaugeValue, "state_bytes", "Keys and values of the state.", func(s *plugins.Status) float64 { return float64(s.StateBytes) })
	add(prometheus.GaugeValue, "rebuild_ratio", "How much of a rebuild is done, from 0 to 1; 0 while none is under way.", func(s *plugins.Status) float64 {
		if s.Beside == nil {
			return 0
		}
		return s.Beside.Percent / 100
	})
	for _, c := range []struct {
		name, help string
		value      func(*plugins.ShadowStatus) uint64
	}{
		{"events", "Events that the version in the shadow has handled, and that were compared.", func(s *plugins.ShadowStatus) uint64 { return s.Events }},
		{"differences", "Events that the version in the shadow did something different for.", func(s *plugins.ShadowStatus) uint64 { return s.Differ }},
		{"dropped", "Events that the version in the shadow was not compared for.", func(s *plugins.ShadowStatus) uint64 { return s.Dropped }},
	} {
		add(prometheus.CounterValue, "shadow_"+c.name+"_total", c.help, func(s *plugins.Status) float64 {
			if s.Shadow == nil {
				return 0
			}
			return float64(c.value(s.Shadow))
		})
	}
	return m
}

func bindingName(s *plugins.Status) []string { return []string{s.Name} }

// watchMetrics are those of the watches of a node.
func watchMetrics(stats func() host.WatchStats) []prometheus.Collector {
	return []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "gyre_plugin_watches", Help: "Watches of the state of bindings."}, func() float64 {
			return float64(stats().Open)
		}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "gyre_plugin_watch_resets_total", Help: "Watches that were sent the whole state again: they were slow, or came back late.",
		}, func() float64 { return float64(stats().Resets) }),
	}
}
