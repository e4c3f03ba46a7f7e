package wsapi

import (
	"errors"
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/gyre-events/gyre/core"
)

// metrics are those of one API. A stream's name is never a label: there is no end
// of streams.
type metrics struct {
	registry *prometheus.Registry

	appendSeconds   *prometheus.HistogramVec
	appendOK        prometheus.Observer
	appendEvents    prometheus.Counter
	appendConflicts prometheus.Counter
	readEvents      prometheus.Counter
	connections     prometheus.Gauge
	closes          *prometheus.CounterVec
	follows         prometheus.Gauge
	requestSeconds  *prometheus.HistogramVec
}

// seconds are the buckets of durations: from a write to memory to a lost cause.
var seconds = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

func newMetrics(config *Config) (*metrics, error) {
	m := &metrics{registry: config.Registry}
	if m.registry == nil {
		m.registry = prometheus.NewRegistry()
		m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	m.appendSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "gyre_append_duration_seconds", Buckets: seconds,
		Help: "Time from an append's arrival to its answer, by result: ok, duplicate, conflict, error.",
	}, []string{"result"})
	m.appendOK = m.appendSeconds.WithLabelValues("ok")
	m.appendEvents = counter("gyre_append_events_total", "Events written through the API.")
	m.appendConflicts = counter("gyre_append_conflicts_total", "Appends refused for their expected version or event ids.")
	m.readEvents = counter("gyre_read_events_total", "Events sent to readers and followers.")
	m.connections = gauge("gyre_ws_connections", "Open WebSocket connections.")
	m.closes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "gyre_ws_close_total", Help: "Closed WebSocket connections, by close code.",
	}, []string{"code"})
	m.follows = gauge("gyre_ws_follows", "Follows over WebSocket.")
	m.requestSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "gyre_http_request_duration_seconds", Buckets: seconds,
		Help: "Time to answer an HTTP request, by route, method and status.",
	}, []string{"route", "method", "code"})
	head := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "gyre_log_head_position", Help: "Position of the last event.",
	}, func() float64 { return float64(config.Store.State().Head) })
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "gyre_build_info", Help: "1, with the version of this node.",
		ConstLabels: prometheus.Labels{"version": config.Version, "goversion": runtime.Version()},
	}, func() float64 { return 1 })

	var errs []error
	for _, c := range []prometheus.Collector{
		m.appendSeconds, m.appendEvents, m.appendConflicts, m.readEvents, m.connections,
		m.closes, m.follows, m.requestSeconds, head, build,
	} {
		errs = append(errs, m.registry.Register(c))
	}
	return m, errors.Join(errs...)
}

// appended counts the answer to an append.
func (m *metrics) appended(r core.Result, err error, took time.Duration) {
	switch {
	case err == nil && r.Duplicate:
		m.appendSeconds.WithLabelValues("duplicate").Observe(took.Seconds())
	case err == nil:
		m.appendOK.Observe(took.Seconds())
		events := 0
		for i := range r.Appends {
			events += r.Appends[i].Count()
		}
		m.appendEvents.Add(float64(events))
	case core.AsError(err).Info().Class == core.ClassConflict:
		m.appendConflicts.Inc()
		m.appendSeconds.WithLabelValues("conflict").Observe(took.Seconds())
	default:
		m.appendSeconds.WithLabelValues("error").Observe(took.Seconds())
	}
}

// read counts events that went out.
func (m *metrics) read(events int) { m.readEvents.Add(float64(events)) }

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
