package runtime

import (
	"context"
	"errors"
	"net"
	"strings"

	"github.com/gyre-events/gyre/cluster/formation"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
)

// Names of providers: the settings.
const (
	peersFile      = "peers-file"
	peersDNS       = "peers-dns"
	peersMulticast = "peers-multicast"
	peersExec      = "peers-exec"
)

// validatePeers checks what finds other nodes, as far as that is possible before the node
// starts: a name may have no address yet, and a command may fail now.
func (c *Config) validatePeers(ctx context.Context) error {
	r := &c.Ring
	if r.PeersFile != "" {
		_, err := formation.File(peersFile, r.PeersFile, r.peerPort()).Find(ctx)
		if err != nil && !errors.Is(err, formation.ErrNoAddress) {
			return core.Errorf(core.CodeInvalidConfig, "peers-file: %w; it has one address in each line, HOST or HOST:PORT", err)
		}
	}
	if r.PeersDNS != "" {
		if _, err := r.dns(); err != nil {
			return core.Errorf(core.CodeInvalidConfig, "peers-dns: %w", err)
		}
	}
	if r.PeersExec != "" && strings.TrimSpace(r.PeersExec) == "" {
		return core.Errorf(core.CodeInvalidConfig, "peers-exec %q is not a command", r.PeersExec)
	}
	return c.validateMulticast()
}

func (c *Config) validateMulticast() error {
	r := &c.Ring
	switch {
	case !r.PeersMulticast && r.PeersMulticastGroup != "":
		return core.Errorf(core.CodeInvalidConfig, "peers-multicast-group is for beacons: set peers-multicast as well")
	case !r.PeersMulticast:
		return nil
	case r.KeyFile == "":
		return core.Errorf(core.CodeInvalidConfig, "peers-multicast takes the beacons of nodes that have the ring's key: set cluster-key-file, the same on every node")
	}
	bind := c.Listen
	if r.Gossip != "" {
		bind = r.Gossip
	}
	host, port, err := net.SplitHostPort(bind)
	if err == nil && r.Gossip != "" && port == "0" {
		return core.Errorf(core.CodeInvalidConfig, "peers-multicast announces the port of gossip, and gossip %q has none: name one", r.Gossip)
	}
	b := formation.Beacons{Group: r.group(), Bind: host}
	if err := b.Check(); err != nil {
		return core.Errorf(core.CodeInvalidConfig, "peers-multicast: %w", err)
	}
	return nil
}

// group is that of the beacons.
func (r *RingConfig) group() string {
	if r.PeersMulticastGroup == "" {
		return DefaultMulticastGroup
	}
	return r.PeersMulticastGroup
}

// peerPort is the port of a peer that is named without one.
func (r *RingConfig) peerPort() string {
	if _, port, err := net.SplitHostPort(r.Gossip); err == nil && port != "0" {
		return port
	}
	return DefaultGossipPort
}

// dns is the provider of PeersDNS.
func (r *RingConfig) dns() (formation.Provider, error) {
	return formation.DNS(peersDNS, net.DefaultResolver, r.PeersDNS, r.peerPort())
}

// providers are the ways to find other nodes, beside the sessions in PostgreSQL. The
// configuration was checked.
func (n *Node) providers() (list []formation.Provider, err error) {
	r, p := &n.config.Ring, &n.place
	if len(p.peers) > 0 {
		list = append(list, formation.Static("peers", p.peers))
	}
	if len(p.syncSeeds) > 0 {
		list = append(list, formation.Static("sync-nodes", p.syncSeeds))
	}
	if r.PeersFile != "" {
		list = append(list, formation.File(peersFile, r.PeersFile, r.peerPort()))
	}
	if r.PeersDNS != "" {
		provider, err := r.dns()
		if err != nil {
			return nil, err
		}
		list = append(list, provider)
	}
	if r.PeersExec != "" {
		list = append(list, formation.Exec(peersExec, r.PeersExec, r.peerPort()))
	}
	if !r.PeersMulticast {
		return list, nil
	}
	host, _, err := net.SplitHostPort(p.gossip)
	if err != nil {
		return nil, err
	}
	provider, err := formation.Multicast(formation.Beacons{
		Name: peersMulticast, Group: r.group(), Cluster: p.name, Key: p.key, Address: p.gossipAddress(), Bind: host,
	})
	if err != nil {
		return nil, core.Errorf(core.CodeInvalidConfig, "peers-multicast: %w: leave it out if this machine has no multicast", err)
	}
	return append(list, provider), nil // the last, for it has something open
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
