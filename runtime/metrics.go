package runtime

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// newRegistry has the metrics of the process, of the store and of subscriptions; the
// API adds its own.
func newRegistry(store *core.Store, subs *looks[[]subscriptions.Info]) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		newSubscriptionMetrics(subs),
	)
	for _, m := range []struct {
		name, help string
		value      func(core.Stats) uint64
	}{
		{"gyre_store_commits_total", "Commits answered, with any outcome.", func(s core.Stats) uint64 { return s.Commits }},
		{"gyre_store_events_total", "Events written.", func(s core.Stats) uint64 { return s.Events }},
		{"gyre_store_conflicts_total", "Commits refused for what the log has.", func(s core.Stats) uint64 { return s.Conflicts }},
		{"gyre_store_duplicates_total", "Commits answered with an earlier result.", func(s core.Stats) uint64 { return s.Duplicates }},
		{"gyre_store_failures_total", "Commits that failed otherwise.", func(s core.Stats) uint64 { return s.Failures }},
		{"gyre_store_steps_total", "Groups of Commits made durable together.", func(s core.Stats) uint64 { return s.Steps }},
	} {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: m.name, Help: m.help},
			func() float64 { return float64(m.value(store.Stats())) }))
	}
	r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "gyre_store_step_seconds_total", Help: "Time that the steps took together."},
		func() float64 { return store.Stats().StepTime.Seconds() }))
	gauge := func(name, help string, value func() float64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	gauge("gyre_store_queued", "Commits that wait for a step.", func() float64 { return float64(store.Stats().Queued) })
	gauge("gyre_store_followers", "Follows, of clients and of the process itself.", func() float64 { return float64(store.Stats().Followers) })
	gauge("gyre_store_bytes", "Size of the log in storage.", func() float64 { return float64(store.State().Bytes) })
	gauge("gyre_store_read_only", "1 while the log takes no Commits.", func() float64 { return oneIf(store.State().ReadOnly != nil) })
	return r
}
