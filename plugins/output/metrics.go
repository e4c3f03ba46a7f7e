package output

import (
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gyre-events/gyre/plugins/abi"
)

// metrics are those that a binding has reported.
type metrics struct {
	mu     sync.Mutex
	series map[string]*series
}

// series is one metric.
type series struct {
	kind    abi.Kind
	value   float64  // of a counter or a gauge; the sum of a histogram
	count   uint64   // of a histogram
	buckets []uint64 // observations at most as large as the bound, and larger than the one before
}

// bounds are those of all histograms, for whoever reports seconds, bytes or counts.
var bounds = []float64{1e-4, 1e-3, 1e-2, 0.1, 1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7}

func (m *metrics) add(kind abi.Kind, name []byte, value float64) abi.Errno {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.series[string(name)]
	switch {
	case ok && s.kind != kind, kind == abi.Counter && value < 0:
		return abi.Invalid
	case !ok && len(m.series) >= abi.MaxSeries:
		return abi.Quota
	case !ok:
		if m.series == nil {
			m.series = map[string]*series{}
		}
		s = &series{kind: kind}
		if kind == abi.Histogram {
			s.buckets = make([]uint64, len(bounds)+1)
		}
		m.series[string(name)] = s
	}
	switch kind {
	case abi.Counter:
		s.value += value
	case abi.Gauge:
		s.value = value
	case abi.Histogram:
		s.value += value
		s.count++
		at, _ := slices.BinarySearch(bounds, value)
		s.buckets[at]++
	}
	return abi.OK
}

// The metrics of plugins: their names are labels, so that they need not be such as Prometheus
// takes, and cannot be confused with those of the node.
var (
	labels        = []string{"binding", "name"}
	counterDesc   = prometheus.NewDesc("gyre_plugin_counter_total", "Counters that plugins report.", labels, nil)
	gaugeDesc     = prometheus.NewDesc("gyre_plugin_gauge", "Gauges that plugins report.", labels, nil)
	histogramDesc = prometheus.NewDesc("gyre_plugin_histogram", "Histograms that plugins report.", labels, nil)
)

// Describe is prometheus.Collector.
func (o *Outputs) Describe(out chan<- *prometheus.Desc) {
	out <- counterDesc
	out <- gaugeDesc
	out <- histogramDesc
}

// Collect is prometheus.Collector. It has the metrics of the bindings that this node runs.
func (o *Outputs) Collect(out chan<- prometheus.Metric) {
	o.mu.Lock()
	all := make([]*binding, 0, len(o.bindings))
	for _, b := range o.bindings {
		all = append(all, b)
	}
	o.mu.Unlock()
	for _, b := range all {
		b.metrics.collect(b.name, out)
	}
}

func (m *metrics) collect(binding string, out chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, s := range m.series {
		switch s.kind {
		case abi.Counter:
			out <- prometheus.MustNewConstMetric(counterDesc, prometheus.CounterValue, s.value, binding, name)
		case abi.Gauge:
			out <- prometheus.MustNewConstMetric(gaugeDesc, prometheus.GaugeValue, s.value, binding, name)
		case abi.Histogram:
			cumulative := make(map[float64]uint64, len(bounds))
			sum := uint64(0)
			for i, bound := range bounds {
				sum += s.buckets[i]
				cumulative[bound] = sum
			}
			out <- prometheus.MustNewConstHistogram(histogramDesc, s.count, s.value, cumulative, binding, name)
		}
	}
}
