package cluster_test

import (
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// simNet is a network in memory, for the gossip of nodes in one synctest bubble, and for
// what else asks Blocked. Cuts have a direction.
type simNet struct {
	mu      sync.Mutex
	nodes   map[string]*simTransport // by address
	cut     map[[2]string]bool       // from, to
	loss    float64                  // of packets, 0 to 1
	latency time.Duration            // of packets and of parts of streams, with half of it again at random
	rng     *rand.Rand
	// also reports what else is cut, or is nil.
	also func(from, to string) bool
	// seen gets all that is sent, or is nil. mu may be held.
	seen func(bytes []byte)
}

func newSimNet(seed uint64) *simNet {
	return &simNet{
		nodes: map[string]*simTransport{}, cut: map[[2]string]bool{},
		latency: 200 * time.Microsecond, rng: rand.New(rand.NewPCG(seed, 1)),
	}
}

// Cut cuts what goes from one address to another.
func (n *simNet) Cut(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[[2]string{from, to}] = true
}

// Partition cuts everything between groups of addresses.
func (n *simNet) Partition(groups ...[]string) {
	for i, g := range groups {
		for j, h := range groups {
			if i == j {
				continue
			}
			for _, from := range g {
				for _, to := range h {
					n.Cut(from, to)
				}
			}
		}
	}
}

// Heal takes all cuts back.
func (n *simNet) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = map[[2]string]bool{}
}

// Lose makes the network lose a share of packets.
func (n *simNet) Lose(share float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.loss = share
}

// Delay sets the latency.
func (n *simNet) Delay(latency time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.latency = latency
}

// Blocked reports whether what goes from one address to another is cut.
func (n *simNet) Blocked(from, to string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.isCut(from, to)
}

// isCut is Blocked while mu is held.
func (n *simNet) isCut(from, to string) bool {
	return n.cut[[2]string{from, to}] || n.also != nil && n.also(from, to)
}

// Latency draws how long one packet takes.
func (n *simNet) Latency() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.draw()
}

func (n *simNet) draw() time.Duration {
	return n.latency + time.Duration(n.rng.Int64N(int64(n.latency)/2+1))
}

// Listen makes the transport of an address, an IP and a port. One that was there before is
// no longer reached.
func (n *simNet) Listen(address string) *simTransport {
	t := &simTransport{
		net: n, address: address,
		packets: make(chan *memberlist.Packet, 4096), streams: make(chan net.Conn, 256),
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nodes[address] = t
	return t
}

// simTransport is one node's part of a simNet.
type simTransport struct {
	net     *simNet
	address string
	packets chan *memberlist.Packet
	streams chan net.Conn
	down    bool // protected by net.mu
}

type simAddr string

func (a simAddr) Network() string { return "sim" }
func (a simAddr) String() string  { return string(a) }

func (t *simTransport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	host, text, err := net.SplitHostPort(t.address)
	if err != nil {
		return nil, 0, err
	}
	port, err := strconv.Atoi(text)
	return net.ParseIP(host).To4(), port, err
}

func (t *simTransport) WriteTo(b []byte, address string) (time.Time, error) {
	now := time.Now()
	n := t.net
	n.mu.Lock()
	defer n.mu.Unlock()
	to := n.nodes[address]
	if t.down || to == nil || to.down || n.isCut(t.address, address) || n.rng.Float64() < n.loss {
		return now, nil
	}
	if n.seen != nil {
		n.seen(b)
	}
	packet := &memberlist.Packet{Buf: append([]byte(nil), b...), From: simAddr(t.address)}
	time.AfterFunc(n.draw(), func() {
		packet.Timestamp = time.Now()
		select {
		case to.packets <- packet:
		default: // as UDP does
		}
	})
	return now, nil
}

func (t *simTransport) PacketCh() <-chan *memberlist.Packet { return t.packets }
func (t *simTransport) StreamCh() <-chan net.Conn           { return t.streams }

func (t *simTransport) Shutdown() error {
	t.net.mu.Lock()
	defer t.net.mu.Unlock()
	t.down = true
	if t.net.nodes[t.address] == t {
		delete(t.net.nodes, t.address)
	}
	for {
		select {
		case c := <-t.streams: // nobody will take it
			_ = c.Close()
		default:
			return nil
		}
	}
}

// DialTimeout tries again while its way is cut, as TCP does: after 1 s, 2 s, 4 s and so on.
func (t *simTransport) DialTimeout(address string, timeout time.Duration) (net.Conn, error) {
	for again := time.Second; ; again *= 2 {
		to, cut, delay := t.way(address)
		if !cut {
			time.Sleep(delay)
			return t.connect(address, to)
		}
		time.Sleep(min(again, timeout))
		if timeout -= again; timeout <= 0 {
			return nil, &net.OpError{Op: "dial", Net: "sim", Err: os.ErrDeadlineExceeded}
		}
	}
}

// way returns who is at an address, whether the way there or back is cut, and how long it is.
func (t *simTransport) way(address string) (to *simTransport, cut bool, delay time.Duration) {
	n := t.net
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.nodes[address], t.down || n.isCut(t.address, address) || n.isCut(address, t.address), n.draw()
}

func (t *simTransport) connect(address string, to *simTransport) (net.Conn, error) {
	refused := &net.OpError{Op: "dial", Net: "sim", Err: errors.New("connection refused")}
	t.net.mu.Lock()
	defer t.net.mu.Unlock()
	if to == nil || to.down {
		return nil, refused
	}
	here, there := net.Pipe()
	select {
	case to.streams <- &simConn{Conn: there, net: t.net, from: address, to: t.address}:
	default:
		return nil, refused
	}
	return &simConn{Conn: here, net: t.net, from: t.address, to: address}, nil
}

// simConn is one end of a stream. What is written while the direction is cut waits for the
// deadline, or for the cut to end.
type simConn struct {
	net.Conn
	net      *simNet
	from, to string

	mu       sync.Mutex // protects the fields below
	deadline time.Time
	closed   bool
}

func (c *simConn) LocalAddr() net.Addr  { return simAddr(c.from) }
func (c *simConn) RemoteAddr() net.Addr { return simAddr(c.to) }

func (c *simConn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	c.deadline = t
	c.mu.Unlock()
	return c.Conn.SetDeadline(t)
}

func (c *simConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	c.deadline = t
	c.mu.Unlock()
	return c.Conn.SetWriteDeadline(t)
}

func (c *simConn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	return c.Conn.Close()
}

func (c *simConn) Write(b []byte) (int, error) {
	if c.net.seen != nil {
		c.net.seen(b)
	}
	for c.net.Blocked(c.from, c.to) {
		c.mu.Lock()
		closed, over := c.closed, !c.deadline.IsZero() && !time.Now().Before(c.deadline)
		c.mu.Unlock()
		switch {
		case closed:
			return 0, net.ErrClosed
		case over:
			return 0, &net.OpError{Op: "write", Net: "sim", Err: os.ErrDeadlineExceeded}
		}
		time.Sleep(50 * time.Millisecond)
	}
	return c.Conn.Write(b)
}
