package wsapi

import (
	"context"
	"net"
	"net/http"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
	"github.com/gyre-events/gyre/wsapi/ws"
)

// Peer serves a link of another node.
type Peer = ws.Peer

// Peers are the other nodes of the ring. Its methods are safe for concurrent use.
type Peers interface {
	// Admit checks that a handshake is meant for this node and that its caller can read
	// the ring's storage. It returns the proof that this node can. The error is
	// peer_denied, cluster_mismatch or not_serving.
	Admit(ctx context.Context, h *wire.Handshake) (proof string, err error)
	// Authenticate returns whom the token of another node is for, if it is for a request
	// (wire.NodeToken). It takes a token once. The error is unauthenticated, or not_serving of
	// one that another, or a newer one, may be taken for.
	Authenticate(token string, r *http.Request) (*access.Principal, error)
	// Known reports whether Admit may admit a session again.
	Known(session uint64) bool
	// Open returns what serves the next link of a session.
	Open(session uint64) Peer
	// Address returns host:port of a member to relay to. The error is not_serving if the
	// session is none.
	Address(session uint64) (string, error)
}

// ofNode returns whom a request of another node is for.
func (a *API) ofNode(token string, r *http.Request) (*access.Principal, error) {
	if a.config.Peers == nil {
		return nil, core.Errorf(core.CodeUnauthenticated, "the token is of a node, and this one is in no ring")
	}
	p, err := a.config.Peers.Authenticate(token, r)
	if err != nil || p.Name != access.Anonymous {
		return p, err
	}
	anyone, err := a.config.Access.Authenticate("") // it may have ended here
	if err != nil {
		return nil, err
	}
	return anyone.SentBy(p.Via), nil
}

// peerRoutes are for other nodes, and are not in openapi.json. The handshake stands for
// the checks of Host and Origin.
func (a *API) peerRoutes() []Route {
	if a.config.Peers == nil {
		return nil
	}
	return []Route{
		{Method: "GET", Path: wire.LinkPath, Needs: access.Open, Handle: a.acceptLink},
		{Method: "GET", Path: wire.RelayPath, Needs: access.Open, Handle: a.acceptRelay},
	}
}

// isPeerPath reports whether a route is one of peerRoutes.
func isPeerPath(pattern string) bool { return pattern == wire.LinkPath || pattern == wire.RelayPath }

// admit checks the handshake of a request.
func (a *API) admit(r *http.Request, relay bool) (h wire.Handshake, proof string, err error) {
	if h, err = wire.ParseHandshake(r.Header.Get(wire.PeerHeader)); err != nil {
		return h, "", err
	}
	if relay != (h.Target != 0) || !relay && h.Use != wire.ForLink {
		return h, "", core.Errorf(core.CodePeerDenied, "the handshake is for another request")
	}
	ctx, cancel := context.WithTimeout(r.Context(), admitTimeout)
	defer cancel()
	proof, err = a.config.Peers.Admit(ctx, &h)
	return h, proof, err
}

// acceptLink is GET /v1/cluster/link.
func (a *API) acceptLink(w http.ResponseWriter, r *http.Request) error {
	h, proof, err := a.admit(r, false)
	if err != nil {
		return err
	}
	return a.ws.AcceptPeer(w, r, &ws.Caller{
		Session: h.From, Generation: h.Generation, Answer: http.Header{wire.PeerHeader: {proof}},
		Open:  func() ws.Peer { return a.config.Peers.Open(h.From) },
		Known: a.config.Peers.Known,
	})
}

// acceptRelay is GET /v1/cluster/relay: a tunnel to another member.
func (a *API) acceptRelay(w http.ResponseWriter, r *http.Request) error {
	h, proof, err := a.admit(r, true)
	if err != nil {
		return err
	}
	if r.Header.Get("Upgrade") != wire.RelayProtocol {
		return core.Errorf(core.CodeProtocolError, "a relay upgrades to %s", wire.RelayProtocol)
	}
	if err := a.relays.begin(&h, a.config.Peers.Known); err != nil {
		return err
	}
	defer a.relays.end()
	address, err := a.config.Peers.Address(h.Target)
	if err != nil {
		return err
	}
	ctx, stop := a.untilClose(r.Context())
	defer stop()
	target, err := (&net.Dialer{Timeout: relayDialTimeout}).DialContext(ctx, "tcp", address)
	if err != nil {
		return core.Errorf(core.CodeNotServing, "session %d cannot be reached from here either: %w", h.Target, err)
	}
	caller, err := hijackRelay(w, proof)
	if err != nil {
		_ = target.Close()
		return err
	}
	tunnel(a.ctx, caller, target)
	return nil
}
