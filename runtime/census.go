package runtime

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/gyre-events/gyre/census"
	"github.com/gyre-events/gyre/census/api"
	"github.com/gyre-events/gyre/wsapi"
)

// openCensus has the node count types and categories. In a ring the owner of census.Name does.
func (n *Node) openCensus() {
	config := census.Config{Store: n.store, Commits: n.store, Logger: n.logger}
	if n.ring != nil {
		config.Commits = n.ring.hosting.Store()
		config.Owns = func() bool { return n.owns(census.Name) }
	}
	n.census = census.New(config)
}

// serveCensus has the API serve the counts.
func (n *Node) serveCensus(c *wsapi.Config) {
	c.Extensions = append(c.Extensions, api.New(n.census))
	c.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "gyre_census_lag_events", Help: "Positions whose events are not counted by type and category yet, at the node that counts.",
	}, func() float64 { return float64(n.census.Lag()) }))
}
