package runtime

import (
	"context"
	"crypto/sha256"
	"net"
	"os"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/runtime/secret"
)

const (
	// minKeyBytes is what 128 random bits need as text, at least.
	minKeyBytes = 22
	maxKeyFile  = 4 << 10
)

// placeInRing is a RingConfig with what the machine and the files say.
type placeInRing struct {
	name       string
	advertised string // host:port for nodes and clients
	gossip     string // host:port to listen on
	gossipHost string // for others
	peers      []string
	sync       ring.Sync
	syncSeeds  []string // where the nodes of sync may be
	quorum     int
	key        []byte // 32 bytes, or none
}

// place finds this node's place: listening is the address that it listens on.
func (c *Config) place(ctx context.Context, listening string) (placeInRing, error) {
	r := &c.Ring
	p := placeInRing{name: r.Name, quorum: r.Quorum}
	if p.name == "" {
		p.name = DefaultRingName
	}
	var err error
	if p.advertised, err = r.advertised(listening); err != nil {
		return p, err
	}
	if p.gossipHost, _, err = net.SplitHostPort(p.advertised); err != nil {
		return p, err
	}
	if p.gossip = r.Gossip; p.gossip == "" {
		host, _, _ := net.SplitHostPort(listening)
		p.gossip = net.JoinHostPort(host, DefaultGossipPort)
	}
	if host, _, _ := net.SplitHostPort(p.gossip); !isUnspecified(host) {
		p.gossipHost = host
	}
	p.peers = slices.DeleteFunc(slices.Clone(r.Peers), func(peer string) bool { return p.isOwn(ctx, peer) })
	if p.quorum == 0 {
		p.quorum = leastQuorum
		if len(p.peers) > 0 {
			p.quorum = (len(p.peers)+1)/2 + 1
		}
	}
	if r.KeyFile != "" {
		p.key, err = readKey(r.KeyFile)
	}
	return p, err
}

// advertised returns the host:port that others dial.
func (r *RingConfig) advertised(listening string) (string, error) {
	host, port, err := net.SplitHostPort(listening)
	if err != nil {
		return "", err
	}
	if r.Advertise != "" {
		if host, err = r.advertisedHost(); err != nil {
			return "", err
		}
		if _, given, err := net.SplitHostPort(r.Advertise); err == nil {
			port = given
		}
		return net.JoinHostPort(host, port), nil
	}
	if isUnspecified(host) {
		if host = outwardAddress(); host == "" {
			return "", core.Errorf(core.CodeInvalidConfig, "no address of this machine is one that others can dial: set advertise")
		}
	}
	return net.JoinHostPort(host, port), nil
}

// outwardAddress returns an address of this machine for others: a private one if there is
// one, else a public one, and IPv4 before IPv6. It is "" if there is none.
func outwardAddress() string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	best, rank := "", 0
	for _, a := range addrs {
		network, ok := a.(*net.IPNet)
		if !ok || !network.IP.IsGlobalUnicast() {
			continue
		}
		r := 1
		if network.IP.IsPrivate() {
			r += 2
		}
		if network.IP.To4() != nil {
			r++
		}
		if r > rank {
			best, rank = network.IP.String(), r
		}
	}
	return best
}

// gossipAddress is where others reach this node's gossip; "" if the system chooses the port.
func (p *placeInRing) gossipAddress() string {
	_, port, err := net.SplitHostPort(p.gossip)
	if err != nil || port == "0" {
		return ""
	}
	return net.JoinHostPort(p.gossipHost, port)
}

// isOwn reports whether an address is that of this node's gossip.
func (p *placeInRing) isOwn(ctx context.Context, address string) bool {
	host, port, err := net.SplitHostPort(address)
	bind, bindPort, bindErr := net.SplitHostPort(p.gossip)
	if err != nil || bindErr != nil || port != bindPort {
		return false
	}
	if host == p.gossipHost || host == bind {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	theirs, err := net.DefaultResolver.LookupIP(ctx, "ip", host)
	if err != nil {
		return false // a peer that is not up may have no address yet
	}
	var ours []net.IP
	if isUnspecified(bind) {
		addrs, _ := net.InterfaceAddrs()
		for _, a := range addrs {
			if network, ok := a.(*net.IPNet); ok {
				ours = append(ours, network.IP)
			}
		}
	} else if ours, err = net.DefaultResolver.LookupIP(ctx, "ip", bind); err != nil {
		return false
	}
	return slices.ContainsFunc(theirs, func(ip net.IP) bool { return slices.ContainsFunc(ours, ip.Equal) })
}

// readKey reads a key file.
func readKey(file string) ([]byte, error) {
	text, err := secret.Read(file, maxKeyFile)
	if err != nil {
		return nil, core.Errorf(core.CodeInvalidConfig, "cluster-key-file: %w", err)
	}
	key := strings.TrimSpace(string(text))
	if len(key) < minKeyBytes || strings.ContainsFunc(key, func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }) {
		return nil, core.Errorf(core.CodeInvalidConfig,
			"cluster-key-file: %s is not one line of %d to %d printable characters; make one with: openssl rand -base64 32", file, minKeyBytes, maxKeyFile)
	}
	sum := sha256.Sum256([]byte(key))
	return sum[:], nil
}

// nodeName is the id of a node that was given none: its address, with the name of the
// machine for a host that others cannot tell apart.
func nodeName(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	ip := net.ParseIP(host)
	if host == "" || host == "localhost" || ip != nil && (ip.IsLoopback() || ip.IsUnspecified()) {
		machine, err := os.Hostname()
		if err != nil {
			return address
		}
		host = machine
	}
	return net.JoinHostPort(host, port)
}

func isUnspecified(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}
