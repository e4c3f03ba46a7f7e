package runtime

import (
	"github.com/gyre-events/gyre/cluster/formation"
	"github.com/gyre-events/gyre/core/ring"
)

// providers are the ways to find other nodes, beside the sessions in PostgreSQL.
func (p *placeInRing) providers() (list []formation.Provider) {
	if len(p.peers) > 0 {
		list = append(list, formation.Static("peers", p.peers))
	}
	if len(p.syncSeeds) > 0 {
		list = append(list, formation.Static("sync-nodes", p.syncSeeds))
	}
	return list
}

// providers is cluster.DiagnosticsConfig.Providers.
func (r *ringNode) providers() []ring.Provider {
	sessions := ring.Provider{Name: "postgres", Addresses: []string{}}
	if s := r.membership.State(); s.Standing != nil {
		for _, other := range s.Standing.Sessions {
			if other.Session != s.Self.Session {
				sessions.Addresses = append(sessions.Addresses, other.Gossip)
			}
		}
	}
	return append([]ring.Provider{sessions}, r.finder.Report()...)
}
