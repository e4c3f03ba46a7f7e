package runtime

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/gyre-events/gyre/cluster"
	"github.com/gyre-events/gyre/cluster/formation"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// drainWithin bounds how long a node that stops waits to hand over what it owns.
const drainWithin = 4 * time.Second

// ringNode is what a node has beside its Store to be a member of a ring.
type ringNode struct {
	membership  *cluster.Membership
	hosting     *cluster.Hosting
	router      *cluster.Router
	diagnostics *cluster.Diagnostics
	peers       *peers
	owners      *owners
	finder      *formation.Finder
	views       atomic.Uint64 // how many this node has learnt
}

// openRing makes the node a member of its ring. It returns when the node has a session: it
// may take longer until there is a view that names it. The node's Store and engine are open.
func (n *Node) openRing(ctx context.Context, engine *postgres.Engine) error {
	providers, err := n.providers()
	if err != nil {
		return err
	}
	r := &ringNode{hosting: cluster.NewHosting(), finder: formation.Start(providers, n.logger)}
	if err := n.join(ctx, r, engine); err != nil {
		r.finder.Close()
		return err
	}
	n.ring = r
	n.subs, err = r.hosting.Open(r.membership, n.subscriptionConfig())
	if err != nil {
		r.membership.Close()
		r.finder.Close()
		return err
	}
	r.peers = &peers{ring: r.membership, cluster: n.place.name, key: n.place.key, version: n.config.Version, certs: n.front.certs, logger: n.logger}
	r.router = cluster.NewRouter(cluster.RouterConfig{
		Ring: r.membership, Store: n.store, Dialer: r.peers, Subscriptions: r.hosting, AwaitExpired: n.subs.AwaitExpired,
		FailAtOnce: n.config.Ring.OnNoQuorum == NoQuorumError, Head: engine.HeadHint, Logger: n.logger,
	})
	r.peers.open = r.router.Incoming
	r.owners = newOwners(r.membership, r.router.Admit, r.peers, n.logger)
	r.diagnostics = cluster.NewDiagnostics(cluster.DiagnosticsConfig{
		Name: n.place.name, Ring: r.membership, Views: engine.Views, Seen: r.membership.Seen,
		Waiting: func() int { return r.router.Stats().Waiting }, Providers: r.providers,
		Streams: r.router.Owned, Hosted: n.hosted,
		Drain: n.drain, Leave: n.leave, Ask: n.ask,
	})
	n.watching.Go(n.watchRing)
	return nil
}

// join begins a session, and tries again for a while where PostgreSQL is not there.
func (n *Node) join(ctx context.Context, r *ringNode, engine *postgres.Engine) error {
	p := &n.place
	if len(p.sync.Mandatory)+len(p.sync.Optional) > 0 && p.sync.Timeout == 0 {
		n.logger.Info("the node waits for no other node: sync-nodes-timeout is not set")
	}
	config := cluster.Config{
		Arbiter: engine, Cluster: p.name, Bind: p.gossip, Key: p.key, Release: r.hosting.Release, CatchUp: n.store.CatchUp, Logger: n.logger,
		Member: ring.Member{
			Node: n.config.Node, Addr: p.advertised, Gossip: p.gossipAddress(), Version: n.config.Version,
			Protocol: wire.PeerProtocol, Quorum: p.quorum, TLS: n.front.certs != nil,
			Filter: ring.Filter{Allow: n.config.Ring.NodeAllow, Deny: n.config.Ring.NodeDeny},
		},
		Sync:  p.sync,
		Seeds: r.finder.Seeds(),
	}
	return n.untilPostgres(ctx, func() (err error) {
		r.membership, err = cluster.Start(ctx, config)
		return err
	})
}

// watchRing logs what an operator should change about the ring, until the node stops. If
// another process has this node's id, the node fails.
func (n *Node) watchRing() {
	var epoch uint64
	var warned []string
	for {
		s := n.ring.membership.State()
		if s.View.Epoch != epoch {
			epoch = s.View.Epoch
			n.ring.views.Add(1)
			n.ring.diagnostics.ViewChanged()
		}
		warnings := s.Warnings()
		for _, w := range warnings {
			if !slices.Contains(warned, w) {
				n.logger.Warn(w)
			}
		}
		warned = warnings
		select {
		case <-s.Changed:
		case err := <-n.ring.membership.Failed():
			select {
			case n.failed <- err:
			default: // it has failed already
			}
		case <-n.stopping:
			return
		}
	}
}

// serveRing has the API serve the ring.
func (n *Node) serveRing(c *wsapi.Config) {
	r := n.ring
	c.Store, c.Subscriptions = r.router, &cluster.Subscriptions{Owner: n.subs, Router: r.router, Ask: r.owners.list}
	c.Ring, c.NotReady, c.Peers = r.diagnostics, n.notReady, r.peers
	c.Owners, c.Nodes = r.owners, r.others
	c.Limits.Connections = n.config.Load.MaxConnections
	n.registerRingMetrics(c.Registry)
}

// others is wsapi.Config.Nodes.
func (r *ringNode) others() (addresses []string) {
	s := r.membership.State()
	for _, m := range s.View.Members {
		if m.Session != s.Self.Session {
			addresses = append(addresses, m.Addr)
		}
	}
	return addresses
}

// RingInfo says which ring a node is in, and how.
type RingInfo struct {
	Name, Node         string
	Quorum             int
	Advertised, Gossip string // host:port
}

// Ring returns the ring that the node is in; ok is false if it is in none.
func (n *Node) Ring() (info RingInfo, ok bool) {
	if n.ring == nil {
		return info, false
	}
	self := n.ring.membership.State().Self
	return RingInfo{Name: n.place.name, Node: self.Node, Quorum: self.Quorum, Advertised: self.Addr, Gossip: self.Gossip}, true
}

// owns reports whether this node owns a name: all of them, if it is in no ring.
func (n *Node) owns(name string) bool {
	if n.ring == nil {
		return true
	}
	s := n.ring.membership.State()
	owner, ok := s.Owner(name)
	return ok && owner.Session == s.Self.Session
}

// notReady is wsapi.Config.NotReady.
func (n *Node) notReady() error {
	select {
	case <-n.stopping:
		return core.Errorf(core.CodeShuttingDown, "the node hands over what it owns")
	default:
	}
	s := n.ring.membership.State()
	switch why := s.Serves(time.Now()); {
	case why == nil:
		return nil
	case s.SyncMissing.Len() > 0:
		return errors.New("starting: " + why.Detail)
	default:
		return errors.New("no_quorum: " + why.Detail)
	}
}

// drain is cluster.DiagnosticsConfig.Drain.
func (n *Node) drain(ctx context.Context, on bool) error {
	if on {
		return n.ring.membership.Drain(ctx)
	}
	n.ring.membership.Undrain()
	for {
		s := n.ring.membership.State()
		if _, ok := s.View.Member(s.Self.Session); ok || s.Filtered {
			return nil
		}
		select {
		case <-s.Changed:
		case <-ctx.Done():
			return core.AsError(ctx.Err())
		}
	}
}

// leave is cluster.DiagnosticsConfig.Leave.
func (n *Node) leave(ctx context.Context) error {
	if err := n.drain(ctx, true); err != nil {
		return err
	}
	n.leftOnce.Do(func() { close(n.left) })
	return nil
}

// ask is cluster.DiagnosticsConfig.Ask.
func (n *Node) ask(ctx context.Context, m ring.Member, do func(ring.Reporter) error) error {
	p := n.ring.peers
	// The node itself asks: who may have it ask was checked here.
	authorize := func(method, path string, h http.Header) error {
		err := p.authorize(p.own(), m, method, path, h)
		if errors.Is(err, core.CodeNotServing) {
			return nil // a node that the storage does not know yet asks without
		}
		return err
	}
	o := sdk.Options{Name: "gyre-node", Version: n.config.Version, Once: true, Authorize: authorize}
	url := "http://" + m.Addr
	if n.front.certs != nil {
		url, o.TLS = "https://"+m.Addr, n.front.certs.Client()
	}
	client, err := sdk.Dial(ctx, url, o)
	if err != nil {
		return err
	}
	err = do(client.Cluster())
	_ = client.Close() // the answer is there
	return err
}

// hosted is cluster.DiagnosticsConfig.Hosted.
func (n *Node) hosted() (list []ring.Owned) {
	for _, h := range n.subs.Active() {
		list = append(list, ring.Owned{Name: h.Name, Checkpoint: h.Checkpoint, Since: h.Since, Used: h.Used})
	}
	return list
}

// handOver has other nodes own what this node owns. It returns when they do, or will not in
// time: closeRing says why.
func (n *Node) handOver(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, drainWithin)
	defer cancel()
	_ = n.ring.membership.HandOver(ctx)
}

// closeRing ends the node's part in the ring. Nothing calls the Router any more.
func (n *Node) closeRing(ctx context.Context) error {
	r := n.ring
	r.router.Close(ctx)
	r.owners.close()
	err := errors.Join(r.hosting.Close(ctx), r.membership.Leave(ctx))
	r.membership.Close()
	r.finder.Close()
	n.watching.Wait()
	return err
}
