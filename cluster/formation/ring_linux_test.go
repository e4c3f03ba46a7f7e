package formation_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/gyre-events/gyre/cluster"
	"github.com/gyre-events/gyre/cluster/formation"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/ring"
)

const (
	ringNodes = 3
	allNodes  = ringNodes + 2 // with one that has another key, and one that has another name
	// goneFor is longer than gossip looks for a dead node.
	goneFor = 65 * time.Second
	// ringWithin is more than a ring takes for anything on a busy machine.
	ringWithin = 2 * time.Minute
)

// blind is an Arbiter that names no address of gossip by which a node is reached.
type blind struct{ cluster.Arbiter }

func (b blind) Beat(ctx context.Context, session, released uint64, draining bool) (ring.Standing, error) {
	s, err := b.Arbiter.Beat(ctx, session, released, draining)
	s.Sessions = slices.Clone(s.Sessions)
	for i := range s.Sessions {
		s.Sessions[i].Gossip = "127.0.0.1:1"
	}
	return s, err
}

// Register takes any node for one of the ring, whatever it says is the name of its ring.
func (b blind) Register(ctx context.Context, _ string, m ring.Member, secret [32]byte) (uint64, error) {
	return b.Arbiter.Register(ctx, "gyre", m, secret)
}

// formingRing is nodes over one log that find each other by one kind of provider alone.
type formingRing struct {
	t     *testing.T
	which int  // of the rings of the test
	ports bool // its nodes differ by ports
	log   *memory.Log
	nodes []*cluster.Membership
	gone  atomic.Bool // the last node of the ring is cut off
}

// address is where the gossip of a node is: each ring of each process has its addresses, or
// its ports of localhost, which the system gives to nobody by itself.
func (r *formingRing) address(node int) string {
	if r.ports {
		return fmt.Sprintf("127.0.0.1:%d", 20000+os.Getpid()%(12000/allNodes)*allNodes+node)
	}
	return fmt.Sprintf("127.%d.%d.%d:7946", os.Getpid()%250+2, os.Getpid()/250%25*10+r.which, node+1)
}

func (r *formingRing) addresses() (list []string) {
	for node := range allNodes {
		list = append(list, r.address(node))
	}
	return list
}

// start starts a node. Those with another key or name are not of the ring.
func (r *formingRing) start(node int, key, name string, p formation.Provider) *cluster.Membership {
	r.t.Helper()
	address := r.address(node)
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		r.t.Fatal(err)
	}
	transport, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{
		BindAddrs: []string{at.Addr().String()}, BindPort: int(at.Port()), Logger: slog.NewLogLogger(slog.DiscardHandler, 0),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	handle := r.log.Open()
	r.t.Cleanup(func() { _ = handle.Close() })
	finder := formation.Start([]formation.Provider{p}, slog.New(slog.DiscardHandler))
	r.t.Cleanup(finder.Close)
	m, err := cluster.Start(r.t.Context(), cluster.Config{
		Arbiter: blind{handle}, Cluster: name, Key: []byte(strings.Repeat(key, 32)), Logger: slog.New(slog.DiscardHandler),
		Member:    ring.Member{Node: fmt.Sprint("node", node+1), Addr: address, Gossip: address, Protocol: 1, Quorum: 2},
		Transport: &cutTransport{transport, r, address}, Seeds: finder.Seeds(),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(m.Close)
	return m
}

// cutTransport is the network of a node, from which the last node of the ring may be cut.
type cutTransport struct {
	memberlist.Transport
	ring *formingRing
	self string
}

func (c *cutTransport) cut(address string) bool {
	last := c.ring.address(ringNodes - 1)
	return c.ring.gone.Load() && (c.self == last || address == last)
}

func (c *cutTransport) WriteTo(b []byte, address string) (time.Time, error) {
	if c.cut(address) {
		return time.Now(), nil
	}
	return c.Transport.WriteTo(b, address)
}

func (c *cutTransport) DialTimeout(address string, timeout time.Duration) (net.Conn, error) {
	if c.cut(address) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}
	}
	return c.Transport.DialTimeout(address, timeout)
}

// members waits until each of some nodes knows a view with exactly these members.
func (r *formingRing) members(nodes ...int) {
	r.t.Helper()
	late := time.After(ringWithin)
	for _, node := range nodes {
		for {
			s := r.nodes[node].State()
			if s.Closed == nil && len(s.View.Members) == len(nodes) && !slices.ContainsFunc(nodes, func(n int) bool {
				_, ok := s.View.Node(fmt.Sprint("node", n+1))
				return !ok
			}) {
				break
			}
			select {
			case <-s.Changed:
			case <-late:
				r.t.Fatalf("node%d has the view %+v, and is closed for %v", node+1, s.View, s.Closed)
			}
		}
	}
}

// recordsOf are those of a ring whose nodes have A records, and of one with SRV records.
func recordsOf(a, srv *formingRing) map[string][]string {
	records := map[string][]string{}
	for _, address := range a.addresses() {
		host, _, _ := strings.Cut(address, ":")
		records["a.test."] = append(records["a.test."], "A "+host)
	}
	for _, address := range srv.addresses() {
		_, port, _ := strings.Cut(address, ":")
		records["_srv._tcp.test."] = append(records["_srv._tcp.test."], "SRV 0 0 "+port+" localhost.")
	}
	return records
}

// TestProvidersSoak: by each provider alone three nodes form a ring, and nodes with another
// key or name never meet them. With GYRE_SOAK=1 one is cut off until gossip has given up on it, and
// is found again.
func TestProvidersSoak(t *testing.T) {
	dns := newDNSServer(t)
	at := group(t)
	dns.set(recordsOf(&formingRing{which: 2}, &formingRing{ports: true}))
	for which, c := range []struct {
		name string
		// provider makes that of a node, which may find nobody until then has run.
		provider func(r *formingRing, node int, key, name, dir string) formation.Provider
		then     func(r *formingRing, dir string)
	}{
		{"static", func(r *formingRing, _ int, _, _, _ string) formation.Provider {
			return formation.Static("peers", r.addresses())
		}, nil},
		{"file", func(r *formingRing, _ int, _, _, dir string) formation.Provider {
			return formation.File("peers-file", filepath.Join(dir, "peers"), "7946")
		}, func(r *formingRing, dir string) {
			write(t, filepath.Join(dir, "peers"), strings.Join(r.addresses(), "\n"))
		}},
		{"dns", func(*formingRing, int, string, string, string) formation.Provider { return dns.provider(t, "a.test.") }, nil},
		{"srv", func(*formingRing, int, string, string, string) formation.Provider {
			return dns.provider(t, "_srv._tcp.test.")
		}, nil},
		{"exec", func(r *formingRing, _ int, _, _, _ string) formation.Provider {
			return formation.Exec("peers-exec", "echo "+strings.Join(r.addresses(), " "), "7946")
		}, nil},
		{"multicast", func(r *formingRing, node int, key, name, _ string) formation.Provider {
			return beacons(t, at, name, key, r.address(node))
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := &formingRing{t: t, which: which, ports: c.name == "srv", log: memory.NewLog()}
			dir := t.TempDir()
			start := func(node int, key, name string) *cluster.Membership {
				return r.start(node, key, name, c.provider(r, node, key, name, dir))
			}
			for node := range ringNodes {
				r.nodes = append(r.nodes, start(node, "k", "gyre"))
			}
			strangers := []*cluster.Membership{start(ringNodes, "s", "gyre"), start(ringNodes+1, "k", "other")}
			if c.then != nil {
				c.then(r, dir)
			}
			r.members(0, 1, 2)
			if os.Getenv("GYRE_SOAK") != "" {
				r.gone.Store(true)
				back := time.After(goneFor)
				r.members(0, 1)
				<-back
				r.gone.Store(false)
				r.members(0, 1, 2)
			}
			for _, stranger := range strangers {
				self := stranger.State().Self.Node
				for _, seen := range stranger.Seen().Members {
					if seen.Node != self && seen.GossipState != ring.GossipUnknown {
						t.Errorf("%s has met %s", self, seen.Node)
					}
				}
			}
		})
	}
}
