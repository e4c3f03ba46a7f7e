package runtime

import (
	"context"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gyre-events/gyre/core"
)

// What a node does with calls below quorum.
const (
	NoQuorumBlock = "block" // they wait until quorum, or until their deadline
	NoQuorumError = "error" // they are answered no_node_available at once
)

// Defaults of a RingConfig.
const (
	DefaultRingName   = "gyre"
	DefaultGossipPort = "7946"
	// DefaultMulticastGroup is in the range of IPv4 groups that stay in one site.
	DefaultMulticastGroup = "239.255.49.73:4973"

	// leastQuorum is the default of a node that was given no peers. One node would be
	// a quorum of itself on both sides of a broken network.
	leastQuorum = 2
	// maxRingNameBytes is what fits into each packet of gossip.
	maxRingNameBytes = 64
)

// RingConfig makes a node a member of a ring. Only EnginePostgres can be one: the nodes of
// a ring share its store.
type RingConfig struct {
	// Enabled makes the node a member. Without it no other field may be set.
	Enabled bool
	// Name is that of the ring; the default is DefaultRingName. A node of another name is
	// refused.
	Name string
	// Quorum is how many members must be alive for any to serve. The default is the
	// majority of this node and Peers, or 2 without Peers.
	Quorum int
	// Peers are gossip addresses, host:port, of other nodes. This node's own is ignored.
	// Nodes find each other through PostgreSQL as well.
	Peers []string
	// PeersFile is a file with gossip addresses of other nodes, HOST or HOST:PORT. It is
	// read again and again. A host without a port has that of Gossip.
	PeersFile string
	// PeersDNS is a name whose addresses are those of all nodes, HOST or HOST:PORT, or a
	// name of SRV records, which begins with an underscore. It is looked up again and
	// again.
	PeersDNS string
	// PeersMulticast has nodes of one network find each other by beacons. It needs KeyFile.
	PeersMulticast bool
	// PeersMulticastGroup is the IP:PORT of the IPv4 multicast group of the beacons. The
	// default is DefaultMulticastGroup.
	PeersMulticastGroup string
	// PeersExec is a command of the shell that prints what PeersFile would have. It is run
	// again and again.
	PeersExec string
	// Gossip is the host:port of this node's gossip, UDP and TCP. The default is the
	// host of Listen and DefaultGossipPort.
	Gossip string
	// Advertise is the host, or host:port, by which nodes and clients reach this node.
	// The default is the address of Listen, or an address of this machine if Listen
	// takes connections on all of them.
	Advertise string
	// KeyFile has the key that encrypts gossip and proves one node to another: one line
	// of at least 22 characters, the same on every node. It is required if other
	// machines can reach this node.
	KeyFile string
	// SyncMandatory and SyncOptional are the nodes that this one waits for when it starts, for
	// up to SyncTimeout: node ids, or ID=HOST:PORT with the address of a node's gossip. They
	// are dialed like Peers; without an address at what follows the @ of the id, or at the
	// host that the id is, and at the port of Gossip. This node's own id is ignored.
	SyncMandatory, SyncOptional []string
	// SyncTimeout is that of ring.Sync; 0 means that the node waits for nobody.
	SyncTimeout time.Duration
	// NodeAllow and NodeDeny are the patterns of ring.Filter.
	NodeAllow, NodeDeny []string
	// OnNoQuorum is NoQuorumBlock, the default, or NoQuorumError.
	OnNoQuorum string
}

func (c *Config) validateRing(ctx context.Context) error {
	r := &c.Ring
	if !r.Enabled {
		if set := r.set(); len(set) > 0 {
			return core.Errorf(core.CodeInvalidConfig, "%s is for a node of a ring: set cluster as well", strings.Join(set, ", "))
		}
		return nil
	}
	if c.Engine != EnginePostgres {
		return core.Errorf(core.CodeInvalidConfig, "the nodes of a ring share a store in PostgreSQL, and the engine is %s: set postgres, or leave cluster out", c.Engine)
	}
	if r.Quorum < 0 {
		return core.Errorf(core.CodeInvalidConfig, "quorum is %d; it is a number of nodes, from 1", r.Quorum)
	}
	if !slices.Contains([]string{"", NoQuorumBlock, NoQuorumError}, r.OnNoQuorum) {
		return core.Errorf(core.CodeInvalidConfig, "on-no-quorum %q is none of block, error", r.OnNoQuorum)
	}
	if !isName(r.Name) || len(r.Name) > maxRingNameBytes {
		return core.Errorf(core.CodeInvalidConfig, "cluster-name %.100q is not a name: it has at most %d bytes, all of them printable", r.Name, maxRingNameBytes)
	}
	if r.KeyFile != "" {
		if _, err := readKey(r.KeyFile); err != nil {
			return err
		}
	}
	if err := r.validateSync(); err != nil {
		return err
	}
	if err := r.validateFilter(); err != nil {
		return err
	}
	if err := c.validateRingAddresses(ctx); err != nil {
		return err
	}
	return c.validatePeers(ctx)
}

func (c *Config) validateRingAddresses(ctx context.Context) error {
	r := &c.Ring
	for _, peer := range r.Peers {
		if host, err := splitAddress("peers", peer); err != nil {
			return err
		} else if host == "" {
			return core.Errorf(core.CodeInvalidConfig, "peers: %q has no host", peer)
		}
	}
	listen, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return core.Errorf(core.CodeInvalidConfig, "listen %q is not of the form host:port", c.Listen)
	}
	hosts := []string{listen}
	if r.Gossip != "" {
		host, err := splitAddress("gossip", r.Gossip)
		if err != nil {
			return err
		}
		hosts = append(hosts, host)
	}
	if r.Advertise != "" {
		host, err := r.advertisedHost()
		if err != nil {
			return err
		}
		hosts = append(hosts, host)
	}
	for _, host := range hosts {
		loopback, err := isLoopback(ctx, host)
		if err != nil {
			return core.Errorf(core.CodeInvalidConfig, "%q: %w", host, err)
		}
		if !loopback && r.KeyFile == "" {
			return core.Errorf(core.CodeInvalidConfig, "other machines can reach this node at %q, and there is no key: set cluster-key-file, the same on every node", host)
		}
	}
	return nil
}

// set names the fields that are set, as the flags are called.
func (r *RingConfig) set() (names []string) {
	for _, field := range []struct {
		name string
		set  bool
	}{
		{"cluster-name", r.Name != ""}, {"quorum", r.Quorum != 0}, {"peers", len(r.Peers) > 0}, {"peers-file", r.PeersFile != ""},
		{"peers-dns", r.PeersDNS != ""}, {"peers-multicast", r.PeersMulticast}, {"peers-multicast-group", r.PeersMulticastGroup != ""},
		{"peers-exec", r.PeersExec != ""}, {"gossip", r.Gossip != ""},
		{"sync-nodes-mandatory", len(r.SyncMandatory) > 0}, {"sync-nodes-optional", len(r.SyncOptional) > 0}, {"sync-nodes-timeout", r.SyncTimeout != 0},
		{"node-allow", len(r.NodeAllow) > 0}, {"node-deny", len(r.NodeDeny) > 0},
		{"advertise", r.Advertise != ""}, {"cluster-key-file", r.KeyFile != ""}, {"on-no-quorum", r.OnNoQuorum != ""},
	} {
		if field.set {
			names = append(names, field.name)
		}
	}
	return names
}

// splitAddress returns the host of host:port.
func splitAddress(name, address string) (host string, err error) {
	host, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return "", core.Errorf(core.CodeInvalidConfig, "%s: %q is not of the form host:port", name, address)
	}
	return host, nil
}

// advertisedHost returns the host of Advertise.
func (r *RingConfig) advertisedHost() (string, error) {
	address := r.Advertise
	if _, _, err := net.SplitHostPort(address); err != nil {
		address = net.JoinHostPort(strings.Trim(address, "[]"), "1")
	}
	host, err := splitAddress("advertise", address)
	if err != nil || host == "" || isUnspecified(host) || strings.ContainsAny(host, "/ ") {
		return "", core.Errorf(core.CodeInvalidConfig, "advertise %q is not a host, or host:port, that others can dial", r.Advertise)
	}
	return host, nil
}
