package runtime

import "github.com/prometheus/client_golang/prometheus"

// series are metrics of each thing in a list. It is a prometheus.Collector.
type series[T any] struct {
	prefix  string // of the names
	labels  []string
	list    func() ([]T, error) // an error leaves the metrics out
	values  func(*T) []string   // of the labels
	count   *prometheus.Desc    // of the number of things; may be nil
	metrics []metricOf[T]
}

// metricOf is one metric. make makes it of a thing, with the values of the labels.
type metricOf[T any] struct {
	desc *prometheus.Desc
	make func(t *T, values []string) prometheus.Metric
}

// add adds a metric.
func (s *series[T]) add(kind prometheus.ValueType, name, help string, value func(*T) float64) {
	desc := prometheus.NewDesc(s.prefix+name, help, s.labels, nil)
	s.metrics = append(s.metrics, metricOf[T]{desc, func(t *T, values []string) prometheus.Metric {
		return prometheus.MustNewConstMetric(desc, kind, value(t), values...)
	}})
}

// Describe is prometheus.Collector.
func (s *series[T]) Describe(out chan<- *prometheus.Desc) {
	if s.count != nil {
		out <- s.count
	}
	for i := range s.metrics {
		out <- s.metrics[i].desc
	}
}

// Collect is prometheus.Collector.
func (s *series[T]) Collect(out chan<- prometheus.Metric) {
	list, err := s.list()
	if err != nil {
		return
	}
	if s.count != nil {
		out <- prometheus.MustNewConstMetric(s.count, prometheus.GaugeValue, float64(len(list)))
	}
	for i := range list {
		values := s.values(&list[i])
		for _, m := range s.metrics {
			out <- m.make(&list[i], values)
		}
	}
}
