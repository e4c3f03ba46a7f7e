package ws

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/gyre-events/gyre/wsapi/requests"
)

// metrics are those of connections.
type metrics struct {
	connections prometheus.Gauge
	closes      *prometheus.CounterVec
	follows     prometheus.Gauge
}

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "gyre_ws_connections", Help: "Open WebSocket connections.",
		}),
		closes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gyre_ws_close_total", Help: "Closed WebSocket connections, by close code.",
		}, []string{"code"}),
		follows: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "gyre_ws_follows", Help: "Follows over WebSocket.",
		}),
	}
	return m, requests.Register(registry, m.connections, m.closes, m.follows)
}
