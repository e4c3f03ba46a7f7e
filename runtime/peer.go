package runtime

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gyre-events/gyre/cluster"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/runtime/certs"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const (
	// connectTimeout is how long a node's address may take to answer before another way
	// to the node is tried.
	connectTimeout = time.Second
	// handshakeTimeout bounds a link's handshake, in which the other node ends older links.
	handshakeTimeout = 6 * time.Second
	// attempts is more than the ways to one node that Dial tries under one generation.
	attempts = 64
)

// peers connects a node with the other nodes of its ring. It dials links (cluster.Dialer)
// and admits those of others (wsapi.Peers). Safe for concurrent use.
type peers struct {
	ring    cluster.Ring
	cluster string // the ring's name
	key     []byte // the ring's key, or nil
	version string
	certs   *certs.Set // nil: the ring uses no TLS
	logger  *slog.Logger
	relayed atomic.Uint64 // links that go through another node
	// open returns this node's end of a link. It is set before the node serves.
	open func(session uint64) cluster.Incoming

	tunnels  atomic.Uint64 // the number of the last for requests
	tokens   atomic.Uint64 // the number of the last
	seen     usedTokens
	troubles troubles
}

var (
	_ cluster.Dialer = (*peers)(nil)
	_ wsapi.Peers    = (*peers)(nil)
)

// sessionOf returns a session, and what it proves itself with. The error is not_serving if it
// is unknown, or has ended.
func (p *peers) sessionOf(state *cluster.State, session uint64) (ring.Session, *wire.PeerKey, error) {
	if state.Standing != nil {
		if s, ok := state.Standing.Session(session); ok {
			return s, &wire.PeerKey{Secret: s.Secret, Ring: p.key}, nil
		}
	}
	return ring.Session{}, nil, core.Errorf(core.CodeNotServing, "session %d is not known, or has ended", session)
}

// keyOf returns what a session proves itself with, or not_serving.
func (p *peers) keyOf(state *cluster.State, session uint64) (*wire.PeerKey, error) {
	_, key, err := p.sessionOf(state, session)
	return key, err
}

// Admit is wsapi.Peers.Admit. A session that began a moment ago is known after the next
// beat.
func (p *peers) Admit(ctx context.Context, h *wire.Handshake) (proof string, err error) {
	if h.Cluster != p.cluster {
		return "", core.Errorf(core.CodeClusterMismatch, "the caller is of ring %.80q, this node of %.80q", h.Cluster, p.cluster)
	}
	state := p.ring.State()
	for {
		if h.To != state.Self.Session {
			return "", core.Errorf(core.CodeNotServing, "session %d is not here; this is session %d", h.To, state.Self.Session)
		}
		key, err := p.keyOf(state, h.From)
		if err == nil && !h.Verify(key) {
			return "", core.Errorf(core.CodePeerDenied, "the handshake is not signed by session %d, or with another cluster key", h.From)
		}
		if err == nil {
			own, err := p.keyOf(state, h.To)
			if err != nil {
				return "", err
			}
			p.ring.Learn(h.Epoch)
			return h.Proof(own), nil
		}
		select {
		case <-state.Changed:
			state = p.ring.State()
		case <-ctx.Done():
			return "", core.Errorf(core.CodePeerDenied, "session %d is not known, or has ended", h.From)
		}
	}
}

// Known is wsapi.Peers.Known.
func (p *peers) Known(session uint64) bool {
	_, err := p.keyOf(p.ring.State(), session)
	return err == nil
}

// Open is wsapi.Peers.Open.
func (p *peers) Open(session uint64) wsapi.Peer { return p.open(session) }

// Address is wsapi.Peers.Address.
func (p *peers) Address(session uint64) (string, error) {
	if standing := p.ring.State().Standing; standing != nil {
		if s, ok := standing.Session(session); ok {
			return s.Addr, nil
		}
	}
	return "", core.Errorf(core.CodeNotServing, "session %d is not known, or has ended", session)
}

// link is a cluster.Link.
type link struct{ *sdk.Client }

// Broken is cluster.Link.Broken.
func (l link) Broken() <-chan struct{} { return l.Done() }

// Dial is cluster.Dialer.Dial. It tries the other members in turn as relays if the node
// does not answer at its address.
func (p *peers) Dial(ctx context.Context, to ring.Member, generation uint64) (cluster.Link, error) {
	state := p.ring.State()
	number := generation * attempts // a handshake is good for one attempt
	l, err := p.link(ctx, state, to, number, p.direct(to.Addr))
	p.troubles.note(p.logger, to.Node, err)
	if !errors.Is(err, core.CodeUnavailable) { // it was answered, or ctx has ended
		return l, err
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("%w: %w", cluster.ErrRefused, err)
	}
	for _, via := range relaysTo(state, to) {
		if number++; number == (generation+1)*attempts {
			break
		}
		l, relayErr := p.link(ctx, state, to, number, p.through(state, via, to, wire.ForLink, number))
		if relayErr == nil {
			p.relayed.Add(1)
			return l, nil
		}
		err = errors.Join(err, relayErr)
	}
	return nil, err
}

// relaysTo returns the members that may relay to another.
func relaysTo(state *cluster.State, to ring.Member) (list []ring.Member) {
	if state.View == nil {
		return nil
	}
	for _, m := range state.View.Members {
		if m.Session != state.Self.Session && m.Session != to.Session {
			list = append(list, m)
		}
	}
	return list
}

// dialing makes a connection to a node, over TLS if the ring uses that.
type dialing func(ctx context.Context) (net.Conn, error)

func (p *peers) direct(address string) dialing {
	return func(ctx context.Context) (net.Conn, error) {
		conn, err := (&net.Dialer{Timeout: connectTimeout}).DialContext(ctx, "tcp", address)
		if err != nil {
			return nil, err
		}
		return p.secure(ctx, conn, address)
	}
}

// secure begins TLS on a connection to an address, if the ring uses it. The certificate of
// the other node must be for the address. If it fails, the connection is closed.
func (p *peers) secure(ctx context.Context, conn net.Conn, address string) (net.Conn, error) {
	if p.certs == nil {
		return conn, nil
	}
	host, _, err := net.SplitHostPort(address)
	if err == nil {
		config := p.certs.Client().Clone()
		config.ServerName = host
		ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
		defer cancel()
		secured := tls.Client(conn, config)
		if err = secured.HandshakeContext(ctx); err == nil {
			return secured, nil
		}
	}
	_ = conn.Close()
	return nil, err
}

// troubles are the nodes that no TLS connection can be made to, with why.
type troubles struct {
	mu    sync.Mutex
	known map[string]string
}

// note logs why there is no TLS connection to a node, once.
func (t *troubles) note(logger *slog.Logger, node string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !errors.Is(err, core.CodeTlsFailed) {
		delete(t.known, node)
		return
	}
	why := core.AsError(err).Detail
	if t.known[node] == why {
		return
	}
	if t.known == nil {
		t.known = map[string]string{}
	}
	t.known[node] = why
	logger.Warn("no TLS connection to another node", "other", node, "error", why)
}

// link makes a link over a connection.
func (p *peers) link(ctx context.Context, state *cluster.State, to ring.Member, number uint64, dial dialing) (cluster.Link, error) {
	h, theirs, err := p.handshake(state, wire.Handshake{To: to.Session, Generation: number})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	// The connection that dial makes has TLS already.
	client, err := sdk.Dial(ctx, "http://"+to.Addr, sdk.Options{Name: "gyre-node", Version: p.version, Peer: &sdk.Peer{
		Header: http.Header{wire.PeerHeader: {h.String()}},
		Dial:   dial,
		Verify: func(answer http.Header) error { return verify(h, theirs, answer) },
		Broken: cluster.ErrBroken,
	}})
	if err != nil {
		return nil, err
	}
	return link{client}, nil
}

// handshake completes and signs a handshake, and returns what the answer has to prove.
func (p *peers) handshake(state *cluster.State, h wire.Handshake) (signed *wire.Handshake, theirs *wire.PeerKey, err error) {
	own, err := p.keyOf(state, state.Self.Session)
	if err != nil {
		return nil, nil, err
	}
	if theirs, err = p.keyOf(state, h.To); err != nil {
		return nil, nil, err
	}
	h.Protocol, h.Cluster, h.From = wire.PeerProtocol, p.cluster, state.Self.Session
	if state.View != nil {
		h.Epoch = state.View.Epoch
	}
	h.Sign(own)
	return &h, theirs, nil
}

func verify(h *wire.Handshake, theirs *wire.PeerKey, answer http.Header) error {
	if !h.Proves(answer.Get(wire.PeerHeader), theirs) {
		return core.Errorf(core.CodePeerDenied, "what answers is not session %d", h.To)
	}
	return nil
}
