package wsapi

import (
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/gyre-events/gyre/wsapi/requests"
)

// metrics are those of one API. A stream's name is never a label: there is no end
// of streams.
type metrics struct {
	*requests.Metrics
	registry *prometheus.Registry
	// own has those of the API and the process, which cost little to gather: Stats do so
	// each second. registry has them, too.
	own            *prometheus.Registry
	requestSeconds *prometheus.HistogramVec
}

func newMetrics(config *Config) (*metrics, error) {
	m := &metrics{registry: config.Registry, own: prometheus.NewRegistry()}
	process := []prometheus.Collector{collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})}
	m.own.MustRegister(process...)
	if m.registry == nil {
		m.registry = prometheus.NewRegistry()
		m.registry.MustRegister(process...)
	}
	m.requestSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "gyre_http_request_duration_seconds", Buckets: requests.Seconds,
		Help: "Time to answer an HTTP request, by route, method and status.",
	}, []string{"route", "method", "code"})
	head := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "gyre_log_head_position", Help: "Position of the last event.",
	}, func() float64 { return float64(config.Store.State().Head) })
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "gyre_build_info", Help: "1, with the version of this node.",
		ConstLabels: prometheus.Labels{"version": config.Version, "goversion": runtime.Version()},
	}, func() float64 { return 1 })

	err := requests.Register(m, m.requestSeconds, head, build)
	if err == nil {
		m.Metrics, err = requests.NewMetrics(m)
	}
	return m, err
}

// Register is part of prometheus.Registerer.
func (m *metrics) Register(c prometheus.Collector) error {
	if err := m.own.Register(c); err != nil {
		return err
	}
	return m.registry.Register(c)
}

// MustRegister is part of prometheus.Registerer.
func (m *metrics) MustRegister(list ...prometheus.Collector) {
	m.own.MustRegister(list...)
	m.registry.MustRegister(list...)
}

// Unregister is part of prometheus.Registerer.
func (m *metrics) Unregister(c prometheus.Collector) bool {
	return m.own.Unregister(c) && m.registry.Unregister(c)
}

// answered counts an HTTP request.
func (m *metrics) answered(route, method string, status int, took time.Duration) {
	m.requestSeconds.WithLabelValues(route, methodLabel(method), strconv.Itoa(status)).Observe(took.Seconds())
}

// methodLabel keeps a client from making labels.
func methodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions:
		return method
	}
	return "other"
}
