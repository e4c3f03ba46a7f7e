package runtime

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/gyre-events/gyre/scavenge"
	"github.com/gyre-events/gyre/scavenge/api"
	"github.com/gyre-events/gyre/wsapi"
)

// openScavenge has the node run scavenges.
func (n *Node) openScavenge() {
	config := scavenge.Config{Store: n.store, Commits: n.store, Node: n.config.Node, Logger: n.logger}
	if n.ring != nil {
		config.Commits, config.Shared = n.ring.hosting.Store(), true
	}
	n.scavenges = scavenge.New(config)
}

// serveScavenge has the API serve scavenges.
func (n *Node) serveScavenge(c *wsapi.Config) {
	c.Extensions = append(c.Extensions, api.New(n.scavenges))
	gauge := func(name, help string, value func(scavenge.Stats) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return value(n.scavenges.Stats()) })
	}
	counter := func(name, help string, value func(scavenge.Stats) float64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return value(n.scavenges.Stats()) })
	}
	c.Registry.MustRegister(
		gauge("gyre_scavenge_running", "1 while a scavenge runs at this node.", func(s scavenge.Stats) float64 { return oneIf(s.Running) }),
		counter("gyre_scavenge_won_bytes_total", "Bytes of storage that scavenges of this node have given back.", func(s scavenge.Stats) float64 { return float64(s.Won) }),
		counter("gyre_scavenge_events_total", "Events and links that scavenges of this node have removed.", func(s scavenge.Stats) float64 { return float64(s.Events) }),
		gauge("gyre_scavenge_ended_seconds", "When the last scavenge of this node ended, in seconds since 1970; 0 if none has.", func(s scavenge.Stats) float64 { return float64(s.Ended) }),
	)
}
