package cluster

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"log"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
)

const (
	// joinTimeout bounds each step of a join.
	joinTimeout = 2 * time.Second
	// announceTimeout bounds how long a change of what this node says waits for a packet.
	announceTimeout = time.Second
	// maxRefused is how many sessions a node says nothing listens for.
	maxRefused = 8
	// maxCluster is the longest name of a ring, which labels each packet.
	maxCluster = 64
)

// meta is what a node says in gossip. All of it is a hint but Settled, which stays true. A
// hint that the storage does not have yet makes others beat at once.
type meta struct {
	Change   uint64   `json:"n"` // counts the changes of what a node says
	Session  uint64   `json:"s"`
	Epoch    uint64   `json:"e,omitempty"` // the newest view's that the node knows
	Settled  uint64   `json:"t,omitempty"` // see ring.Holder
	Released uint64   `json:"l,omitempty"` // as the storage has it, and so is Draining
	Draining bool     `json:"d,omitempty"`
	Syncing  bool     `json:"y,omitempty"` // it waits for other nodes before it serves
	Refused  []uint64 `json:"r,omitempty"` // nothing listens at the addresses of these
}

// gossip is this node's part in memberlist. Its name there is new with each process start,
// so that a restarted node need not outbid what is said of its predecessor.
type gossip struct {
	list    *memberlist.Memberlist
	address string          // host:port
	changed func(gone bool) // is called when others have come, gone or said something; never blocks

	mu     sync.Mutex // protects the fields below; memberlist may hold its lock
	own    meta
	others map[string]*neighbor // those that are alive, by name
	met    map[uint64]struct{}  // sessions whose node was alive once
	name   string
}

// neighbor is another node's part.
type neighbor struct {
	meta
	node memberlist.Node // where it is
}

// listen begins gossip, which knows nobody yet.
func (m *Membership) listen() error {
	c := m.config
	if len(c.Cluster) > maxCluster {
		return core.Errorf(core.CodeInvalidConfig, "the name of the ring has %d bytes, the most is %d", len(c.Cluster), maxCluster)
	}
	var suffix [6]byte
	rand.Read(suffix[:]) // it never fails
	g := &gossip{
		name: c.Member.Node + "/" + hex.EncodeToString(suffix[:]), others: map[string]*neighbor{}, met: map[uint64]struct{}{},
		changed: m.gossipChanged,
	}
	lc := memberlist.DefaultLANConfig()
	lc.Name, lc.Label, lc.SecretKey, lc.Transport = g.name, c.Cluster, c.Key, c.Transport
	lc.Delegate, lc.Events = g, g
	lc.Logger = log.New(&gossipLog{c.Logger}, "", 0)
	tune(lc)
	if err := m.bind(lc); err != nil {
		return core.Errorf(core.CodeInvalidConfig, "gossip cannot listen on %s: %w", c.Bind, err)
	}
	list, err := memberlist.Create(lc)
	if err != nil {
		_ = lc.Transport.Shutdown()
		return core.Errorf(core.CodeInvalidConfig, "gossip cannot begin: %w", err)
	}
	g.list, g.address = list, list.LocalNode().Address()
	m.gossip = g
	if m.self.Gossip == "" {
		m.self.Gossip = g.address
	}
	return nil
}

// tune makes detection fast: two of three nodes agree on a crash after 3.4 s, against 5.7 s
// with the defaults. It costs two packets a second. A node that reaches nobody slows its
// probes to a third at most, so that it soon knows: after 11 s at worst among five.
func tune(c *memberlist.Config) {
	c.ProbeInterval, c.ProbeTimeout, c.SuspicionMult, c.SuspicionMaxTimeoutMult = 500*time.Millisecond, 250*time.Millisecond, 5, 2
	c.GossipInterval, c.RetransmitMult, c.PushPullInterval = 100*time.Millisecond, 8, 10*time.Second
	c.TCPTimeout, c.DeadNodeReclaimTime = joinTimeout, time.Second
	c.AwarenessMaxMultiplier = unwell + 1
	c.DNSConfigPath = "/nonexistent" // names are resolved before Join
}

// bind makes the network transport, unless there is one, and finds the address to advertise.
func (m *Membership) bind(lc *memberlist.Config) error {
	if lc.Transport == nil {
		host, port, err := splitAddress(m.config.Bind)
		if err != nil {
			return err
		}
		if host == "" {
			host = "0.0.0.0"
		}
		ip, err := resolve(m.ctx, host)
		if err != nil {
			return err
		}
		t, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{
			BindAddrs: []string{ip}, BindPort: port, Logger: lc.Logger,
		})
		if err != nil {
			return err
		}
		lc.Transport, lc.BindPort, lc.AdvertisePort = t, t.GetAutoBindPort(), t.GetAutoBindPort()
	}
	if m.config.Member.Gossip == "" {
		return nil
	}
	host, port, err := splitAddress(m.config.Member.Gossip)
	if err == nil {
		lc.AdvertiseAddr, err = resolve(m.ctx, host)
		lc.AdvertisePort = port
	}
	if err != nil {
		_ = lc.Transport.Shutdown()
	}
	return err
}

func splitAddress(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err == nil {
		port, err = strconv.Atoi(text)
	}
	return host, port, err
}

// resolve returns an IP address of a host.
func resolve(ctx context.Context, host string) (string, error) {
	if net.ParseIP(host) != nil {
		return host, nil
	}
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return "", err
	}
	// IPv4 first: a host name often has both, and gossip listens on one.
	slices.SortStableFunc(ips, func(a, b netip.Addr) int { return a.BitLen() - b.BitLen() })
	return ips[0].Unmap().String(), nil
}

// gossipChanged is called when others have come, gone or said something. It does not block.
func (m *Membership) gossipChanged(gone bool) {
	kick(m.lookNow)
	if gone {
		kick(m.joinNow)
	}
}

// heedEvery is the shortest time between two beats for the sake of hints.
const heedEvery = 20 * time.Millisecond

// heed beats at once if others know of something that the newest beat did not say. mu is
// held.
//
// It returns how long it is to be called again after.
func (m *Membership) heed(now time.Time) time.Duration {
	if left := heedEvery - now.Sub(m.asked.heeded); left > 0 {
		return left
	}
	if m.standing == nil {
		return lookEvery
	}
	news := false
	if epoch := m.gossip.newest(); epoch > max(m.standing.Epoch, m.asked.hinted) {
		m.asked.hinted, news = epoch, true
	}
	for _, s := range m.standing.Sessions {
		said, ok := m.gossip.of(s.Session)
		news = news || ok && (said.Released > s.Released || said.Draining && !s.Draining)
	}
	if news {
		m.asked.heeded = now
		kick(m.beatNow)
	}
	return lookEvery
}

// announces sends what this node says when it has changed.
func (m *Membership) announces() {
	for {
		select {
		case <-m.announceNow:
			m.gossip.sendAll()
			kick(m.spreadNow)
		case <-m.ctx.Done():
			return
		}
	}
}

// spreads lets gossip take around what this node says.
func (m *Membership) spreads() {
	for {
		select {
		case <-m.spreadNow:
			// It returns when enough packets had it, or at the deadline. Both are fine.
			_ = m.gossip.list.UpdateNode(announceTimeout)
		case <-m.ctx.Done():
			return
		}
	}
}

// sendAll sends what this node says to all others at once. The packets may be lost: gossip
// takes the same around, a few hundred milliseconds later.
func (g *gossip) sendAll() {
	text := g.NodeMeta(memberlist.MetaMaxSize)
	message, err := json.Marshal(direct{Name: g.name, Meta: text})
	if err != nil {
		return // it is text in JSON
	}
	g.mu.Lock()
	var nodes []memberlist.Node
	for _, p := range g.others {
		nodes = append(nodes, p.node)
	}
	g.mu.Unlock()
	for i := range nodes {
		_ = g.list.SendBestEffort(&nodes[i], message)
	}
}

// direct is what sendAll sends.
type direct struct {
	Name string          `json:"name"`
	Meta json.RawMessage `json:"meta"`
}

// NotifyMsg is memberlist's: a node has sent what it says now.
func (g *gossip) NotifyMsg(message []byte) {
	var d direct
	var said meta
	if json.Unmarshal(message, &d) != nil || json.Unmarshal(d.Meta, &said) != nil {
		return
	}
	g.mu.Lock()
	p := g.others[d.Name]
	fresh := p != nil && said.Change > p.Change
	if fresh {
		p.meta = said
	}
	g.mu.Unlock()
	if fresh {
		g.changed(false)
	}
}

// say changes what this node says. announces sends it.
func (g *gossip) say(change func(*meta)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	next := g.own.Change + 1
	change(&g.own)
	g.own.Change = next
}

// alive reports whether gossip holds a session alive.
func (g *gossip) alive(session uint64) bool { _, ok := g.of(session); return ok }

// of returns what the node of a session says, if it is alive.
func (g *gossip) of(session uint64) (meta, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.others {
		if p.Session == session {
			return p.meta, true
		}
	}
	return meta{}, false
}

// addresses returns where the living nodes are.
func (g *gossip) addresses() (list []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.others {
		list = append(list, p.node.Address())
	}
	return list
}

// newest returns the newest epoch that others know.
func (g *gossip) newest() (epoch uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, said := range g.others {
		epoch = max(epoch, said.Epoch)
	}
	return epoch
}

// settled returns the newest epoch at which another node held all that it owned.
func (g *gossip) settled() (epoch uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, said := range g.others {
		epoch = max(epoch, said.Settled)
	}
	return epoch
}

func (g *gossip) saysRefused(session, refused uint64) bool {
	said, ok := g.of(session)
	return ok && slices.Contains(said.Refused, refused)
}

// syncs reports whether the node of a session, or this one, waits for others.
func (g *gossip) syncs(session uint64) bool {
	g.mu.Lock()
	own, syncing := g.own.Session, g.own.Syncing
	g.mu.Unlock()
	if session == own {
		return syncing
	}
	said, ok := g.of(session)
	return ok && said.Syncing
}

func (g *gossip) stateOf(session uint64) ring.GossipState {
	g.mu.Lock()
	defer g.mu.Unlock()
	if session == g.own.Session {
		return ring.GossipAlive
	}
	for _, said := range g.others {
		if said.Session == session {
			return ring.GossipAlive
		}
	}
	if _, ok := g.met[session]; ok {
		return ring.GossipDead
	}
	return ring.GossipUnknown
}

// health is 0 if this node's probes are answered in time.
func (g *gossip) health() int { return g.list.GetHealthScore() }

func (g *gossip) leave() { _ = g.list.Leave(announceTimeout) }

func (g *gossip) shutdown() { _ = g.list.Shutdown() }

// NotifyJoin is memberlist's: a node has come, or come back.
func (g *gossip) NotifyJoin(n *memberlist.Node) { g.note(n, true) }

// NotifyUpdate is memberlist's: a node says something else.
func (g *gossip) NotifyUpdate(n *memberlist.Node) { g.note(n, true) }

// NotifyLeave is memberlist's: a node is dead or has left.
func (g *gossip) NotifyLeave(n *memberlist.Node) { g.note(n, false) }

// note keeps what a node says. memberlist holds its lock, so nothing here may wait.
func (g *gossip) note(n *memberlist.Node, alive bool) {
	if n.Name == g.name {
		return
	}
	var said meta
	readable := json.Unmarshal(n.Meta, &said) == nil
	g.mu.Lock()
	switch before := g.others[n.Name]; {
	case !alive || !readable:
		delete(g.others, n.Name)
	case before == nil || said.Change >= before.Change:
		g.others[n.Name] = &neighbor{meta: said, node: memberlist.Node{
			Name: n.Name, Addr: slices.Clone(n.Addr), Port: n.Port, PMin: n.PMin, PMax: n.PMax, PCur: n.PCur,
		}}
		g.met[said.Session] = struct{}{}
	}
	g.mu.Unlock()
	g.changed(!alive)
}

// NodeMeta is memberlist's: what this node says.
func (g *gossip) NodeMeta(limit int) []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	said := g.own
	said.Refused = said.Refused[:min(len(said.Refused), maxRefused)]
	text, err := json.Marshal(said)
	if err != nil || len(text) > limit {
		return nil // numbers, and not many: it fits
	}
	return text
}

// GetBroadcasts is memberlist's.
func (g *gossip) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState is memberlist's.
func (g *gossip) LocalState(bool) []byte { return nil }

// MergeRemoteState is memberlist's.
func (g *gossip) MergeRemoteState([]byte, bool) {}

// gossipLog writes memberlist's lines at debug level: what matters of them is in States.
type gossipLog struct{ log *slog.Logger }

func (l *gossipLog) Write(line []byte) (int, error) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug(strings.TrimSpace(string(line)))
	}
	return len(line), nil
}
