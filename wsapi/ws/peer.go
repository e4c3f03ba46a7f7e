package ws

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/wsapi/requests"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const (
	// maxLinks bounds the connections of other nodes, handshakes included.
	maxLinks = 1024
	// takeOverTimeout bounds how long a handshake waits for the links that it replaces.
	takeOverTimeout = 5 * time.Second
	// linkMemory is the part of Limits.Memory that links may take beside it.
	linkMemory = 4
)

// Peer serves a link: the connection of another node. Its calls come from the goroutine
// that reads the link, and the next frame waits for them, but for Forget.
type Peer interface {
	subscriptions.Joiner
	// Submit takes a Commit with its Epoch, in the order in which they were sent. ctx ends
	// when the other node withdraws it, with its deadline, and with the link.
	Submit(ctx context.Context, c core.Commit, done func(core.Result, error))
	Head(position uint64)
	// Forget drops what was removed from the log: what the node keeps or, if received, what it was
	// sent. It is called from a goroutine of its own.
	Forget(ctx context.Context, epoch uint64, received bool) error
	// Close is called once, after the last call of the others. It returns when every
	// Commit is answered.
	Close()
}

// Caller is another node that asks for a link, and has proved who it is.
type Caller struct {
	Session    uint64
	Generation uint64      // greater than any before of Session, or the link is refused
	Answer     http.Header // of the response
	// Open is called when no link of a lower generation is left.
	Open func() Peer
	// Known reports whether a session may call again. Others are forgotten.
	Known func(session uint64) bool
}

// peers are the Server's side of links.
type peers struct {
	config  Config // what connections of other nodes share
	ops     map[string]op
	metrics *metrics
	// settling are the ends of links that wait for storage.
	settling sync.WaitGroup

	mu       sync.Mutex // protects the fields below
	sessions map[uint64]*session
}

// session is another node that has called.
type session struct {
	generation uint64 // the highest
	links      []*link
}

// link is a connection of another node, from its handshake to its end.
type link struct {
	session, generation uint64
	ctx                 context.Context // of the handshake
	cancel              context.CancelFunc
	gone                chan struct{} // closed at its end

	mu      sync.Mutex // protects the fields below
	conn    *conn      // nil until the handshake is answered
	stopped bool       // a later link replaces it
}

// newPeers prepares for links. They count in no public metric and share no limit with
// clients.
func newPeers(config Config, all map[string]op) (*peers, error) {
	l := &config.Limits
	config.Registry = prometheus.NewRegistry()
	memory, err := requests.NewMemory(int64(l.Memory/linkMemory), config.Registry)
	if err != nil {
		return nil, err
	}
	// One link has the calls and the subscriptions of all the other node's clients.
	l.Inflight, l.Subs, l.Queue = 4096, 1<<16, 4*l.Queue
	l.Frame += 64 << 10 // a Commit is a little larger than its client has sent it
	l.Hello, l.IOTimeout = min(l.Hello, 2*time.Second), min(l.IOTimeout, 3*time.Second)
	// A link that is silent for 1.5 s is broken: it must not hold its Commits up.
	l.PingEvery, l.PingTimeout = min(l.PingEvery, 500*time.Millisecond), min(l.PingTimeout, time.Second)
	config.Memory = memory
	if config.Metrics, err = requests.NewMetrics(config.Registry); err != nil {
		return nil, err
	}
	p := &peers{config: config, ops: map[string]op{}, sessions: map[uint64]*session{}}
	for _, name := range []string{"hello", "subscribe", "credit", "unsubscribe", "ack", "nack", "extend", "cancel", "ping", "pong"} {
		p.ops[name] = all[name]
	}
	p.ops[wire.ForgetOp] = on(access.Connect, (*conn).forget)
	p.metrics, err = newMetrics(config.Registry)
	return p, err
}

// AcceptPeer upgrades the request of another node. Before it does, it closes the links of
// lower generations of the session: it takes no more of them, and everything that has begun
// is answered. The error is peer_denied if the generation was used, and not_serving if
// lower ones do not end in time.
func (s *Server) AcceptPeer(w http.ResponseWriter, r *http.Request, by *Caller) error {
	if err := s.takePlace(&s.linkPlaces); err != nil {
		return err
	}
	l, lower, err := s.peers.begin(r.Context(), by)
	if err == nil {
		if err = s.link(w, r, by, l, lower); err != nil {
			s.peers.end(l)
		}
	}
	if err != nil {
		s.givePlace(&s.linkPlaces)
	}
	return err
}

func (s *Server) link(w http.ResponseWriter, r *http.Request, by *Caller, l *link, lower []*link) error {
	defer l.cancel()
	for _, old := range lower {
		old.stop()
	}
	for _, old := range lower {
		select {
		case <-old.gone:
		case <-l.ctx.Done():
			return core.Errorf(core.CodeNotServing, "link %d of session %d waits for the end of link %d", l.generation, l.session, old.generation)
		}
	}
	ws, err := s.upgrade(w, r, by.Answer)
	if err != nil {
		return err
	}
	peer := by.Open()
	config := s.peers.config
	config.Store, config.Subscriptions = peerStore{config.Store, peer}, peer
	c := newConn(&service{
		server: s, config: &config, ops: s.peers.ops, places: &s.linkPlaces, metrics: s.peers.metrics, peer: peer,
		ended: func() {
			s.peers.settling.Go(func() {
				peer.Close()
				s.peers.end(l)
			})
		},
	}, true)
	c.socket = newGorilla(ws, c.noteActivity, c.grow)
	s.opened(c)
	l.attach(c)
	return nil
}

// peerStore has the Commits of a link made by its Peer.
type peerStore struct {
	Store
	peer Peer
}

// Submit is part of Store.
func (p peerStore) Submit(ctx context.Context, c core.Commit, done func(core.Result, error)) {
	p.peer.Submit(ctx, c, done)
}

// begin notes a handshake, and returns the links that have to end before it is answered.
func (p *peers) begin(ctx context.Context, by *Caller) (l *link, lower []*link, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for number, s := range p.sessions {
		if len(s.links) == 0 && !by.Known(number) {
			delete(p.sessions, number)
		}
	}
	s := p.sessions[by.Session]
	if s == nil {
		s = &session{}
		p.sessions[by.Session] = s
	}
	if by.Generation <= s.generation {
		return nil, nil, core.Errorf(core.CodePeerDenied, "session %d has used link %d before, and is at %d", by.Session, by.Generation, s.generation)
	}
	l = &link{session: by.Session, generation: by.Generation, gone: make(chan struct{})}
	l.ctx, l.cancel = context.WithTimeout(ctx, takeOverTimeout)
	lower = slices.Clone(s.links)
	s.generation, s.links = by.Generation, append(s.links, l)
	return l, lower, nil
}

// end forgets a link that has ended, or was never opened.
func (p *peers) end(l *link) {
	p.mu.Lock()
	s := p.sessions[l.session]
	s.links = slices.DeleteFunc(s.links, func(other *link) bool { return other == l })
	p.mu.Unlock()
	close(l.gone)
}

// attach gives a link its connection, and ends that if the link has been replaced.
func (l *link) attach(c *conn) {
	l.mu.Lock()
	l.conn = c
	stopped := l.stopped
	l.mu.Unlock()
	if stopped {
		c.abort()
	}
}

// stop ends a link, or its handshake.
func (l *link) stop() {
	l.cancel()
	l.mu.Lock()
	l.stopped = true
	c := l.conn
	l.mu.Unlock()
	if c != nil {
		c.abort()
	}
}

// forwarded takes a FORWARD frame and the Commit behind it.
func (c *conn) forwarded(frames *wire.Frames) error {
	epoch, err := frames.Forward()
	if err != nil {
		return err
	}
	return c.commitFrame(frames, epoch)
}

// head takes a HEAD frame.
func (c *conn) head(frames *wire.Frames) error {
	position, err := frames.Head()
	if err == nil {
		c.peer.Head(position)
	}
	return err
}

// forget acts on a wire.Forget. What this node has sent before it is done comes before the answer.
func (c *conn) forget(m *wire.Other) {
	var f wire.Forget
	if err := wire.Unmarshal(m.Text, &f); err != nil {
		c.refuse(m.ID, err)
		return
	}
	call := c.begin(m.ID, m.TimeoutMs)
	if call == nil {
		return
	}
	c.running.Go(func() {
		err := c.peer.Forget(call, f.Epoch, f.Received)
		c.ready.awaitTurn()
		if !c.calls.finish(call) {
			return
		}
		defer c.calls.settle()
		if err != nil {
			c.refuse(call.id, err)
			return
		}
		c.reply(call.id, wire.Encode(nil, &wire.OK{ID: call.id}))
	})
}
