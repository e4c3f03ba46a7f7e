package formation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
)

const (
	// beaconEvery is the pause between two beacons, and heardFor is how long one counts.
	beaconEvery = 5 * time.Second
	heardFor    = 30 * time.Second
	// maxInterfaces bounds the interfaces that beacons are sent by.
	maxInterfaces = 16
	// afterFailure is the pause after a packet that could not be read.
	afterFailure = time.Second
)

// Beacons is what Multicast needs; all fields are required.
type Beacons struct {
	Name    string // of the provider
	Group   string // IP:port
	Cluster string // the name of the ring
	Key     []byte // of the ring
	Address string // host:port of this node's gossip, for others
	Bind    string // the host that gossip listens on
}

// multicast sends beacons to a group, and hears those of others.
type multicast struct {
	Beacons
	key   []byte
	group *net.UDPAddr
	conn  *ipv4.PacketConn
	wg    sync.WaitGroup
	ctx   context.Context // of the reader
	stop  context.CancelFunc

	joined map[int]bool // the interfaces by which the group is heard; only Find uses it

	mu    sync.Mutex // protects what follows
	heard map[string]time.Time
	wrong error     // what was wrong with the last beacon that is not of this ring
	when  time.Time // it was heard
}

// Multicast is a provider of the nodes whose beacons come to a multicast group. The error
// says why this machine cannot take part.
func Multicast(b Beacons) (Provider, error) {
	group, through, err := b.check()
	if err != nil {
		return Provider{}, err
	}
	conn, err := net.ListenMulticastUDP("udp4", &through[0], group)
	if err != nil {
		return Provider{}, err
	}
	m := &multicast{Beacons: b, key: beaconKey(b.Key, b.Cluster), group: group, conn: ipv4.NewPacketConn(conn),
		joined: map[int]bool{through[0].Index: true}, heard: map[string]time.Time{}}
	// Nodes on one machine hear each other, and no router passes a beacon on.
	if err := errors.Join(m.conn.SetMulticastLoopback(true), m.conn.SetMulticastTTL(1)); err != nil {
		return Provider{}, errors.Join(err, conn.Close())
	}
	m.ctx, m.stop = context.WithCancel(context.Background())
	m.wg.Go(m.listen)
	return Provider{Name: b.Name, Every: beaconEvery, Find: m.find, Close: m.close}, nil
}

// Check reports why Multicast would fail, without taking part.
func (b *Beacons) Check() error {
	_, _, err := b.check()
	return err
}

// check returns the group and the interfaces by which its members are reached.
func (b *Beacons) check() (*net.UDPAddr, []net.Interface, error) {
	group, err := netip.ParseAddrPort(b.Group)
	if err != nil || !group.Addr().Is4() || !group.Addr().IsMulticast() || group.Port() == 0 {
		return nil, nil, fmt.Errorf("%.*q is not IP:PORT of an IPv4 multicast group, such as 239.255.49.73:4973", maxQuoted, b.Group)
	}
	through, err := interfaces(b.Bind)
	return net.UDPAddrFromAddrPort(group), through, err
}

// interfaces lists those by which beacons go: the one with the address that gossip listens
// on, or all that are up and take multicast.
func interfaces(bind string) (list []net.Interface, err error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	host := net.ParseIP(bind)
	for _, i := range all {
		switch {
		case i.Flags&net.FlagUp == 0:
		case host != nil && !host.IsUnspecified():
			if has(&i, host) {
				return []net.Interface{i}, nil
			}
		case i.Flags&net.FlagMulticast != 0:
			list = append(list, i)
		}
	}
	if len(list) == 0 && host != nil && !host.IsUnspecified() {
		return nil, fmt.Errorf("no interface of this machine that is up has the address %s, on which gossip is to listen", host)
	}
	if len(list) == 0 {
		return nil, errors.New("no interface of this machine that is up takes multicast: name the nodes in another way")
	}
	return list[:min(len(list), maxInterfaces)], nil
}

// has reports whether an interface has an address.
func has(i *net.Interface, ip net.IP) bool {
	list, err := i.Addrs()
	return err == nil && slices.ContainsFunc(list, func(a net.Addr) bool {
		network, ok := a.(*net.IPNet)
		return ok && (network.IP.Equal(ip) || ip.IsLoopback() && network.IP.IsLoopback())
	})
}

// find sends a beacon and returns whose were heard.
func (m *multicast) find(context.Context) ([]string, error) {
	err := m.send()
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.heard, func(_ string, at time.Time) bool { return time.Since(at) > heardFor })
	list := slices.Collect(maps.Keys(m.heard))
	if len(list) == 0 && m.wrong != nil && time.Since(m.when) <= heardFor {
		err = errors.Join(err, m.wrong)
	}
	return list, err
}

// send sends a beacon by each interface. It fails if none takes it.
func (m *multicast) send() error {
	through, err := interfaces(m.Bind)
	if err != nil {
		return err
	}
	packet := encodeBeacon(m.key, m.Address, time.Now())
	sent := false
	for _, i := range through {
		if !m.joined[i.Index] && m.conn.JoinGroup(&i, m.group) == nil {
			m.joined[i.Index] = true
		}
		failed := m.conn.SetMulticastInterface(&i)
		if failed == nil {
			_, failed = m.conn.WriteTo(packet, nil, m.group)
		}
		err = errors.Join(err, failed)
		sent = sent || failed == nil
	}
	if sent {
		return nil // an interface without an address takes none, which harms nobody
	}
	return err
}

// listen reads packets until the provider is closed.
func (m *multicast) listen() {
	packet := make([]byte, maxBeacon+1)
	for {
		n, _, _, err := m.conn.ReadFrom(packet)
		switch {
		case err == nil:
			m.note(packet[:n])
			continue
		case errors.Is(err, net.ErrClosed):
			return
		}
		select {
		case <-time.After(afterFailure):
		case <-m.ctx.Done():
			return
		}
	}
}

// note keeps what a packet says.
func (m *multicast) note(packet []byte) {
	now := time.Now()
	address, ok, err := decodeBeacon(m.key, packet, now)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.wrong, m.when = err, now
		return
	}
	if _, known := m.heard[address]; ok && address != m.Address && (known || len(m.heard) < maxAddresses) {
		m.heard[address] = now
	}
}

// close ends the hearing.
func (m *multicast) close() {
	m.stop()
	_ = m.conn.Close()
	m.wg.Wait()
}
