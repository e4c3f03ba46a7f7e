package runtime

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"github.com/gyre-events/gyre/cluster"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// relayTimeout bounds the way to a node through another.
const relayTimeout = 3 * time.Second

// through makes a connection to a node through another member.
func (p *peers) through(state *cluster.State, via, to ring.Member, use wire.PeerUse, number uint64) dialing {
	return func(ctx context.Context) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, relayTimeout)
		defer cancel()
		h, theirs, err := p.handshake(state, wire.Handshake{To: via.Session, Target: to.Session, Use: use, Generation: number})
		if err != nil {
			return nil, err
		}
		conn, err := p.direct(via.Addr)(ctx)
		if err != nil {
			return nil, err
		}
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		err = relayed(ctx, conn, via, h, theirs)
		if !stop() && err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			_ = conn.Close()
			return nil, core.Errorf(core.CodeUnavailable, "through node %s: %w", via.Node, err)
		}
		return p.secure(ctx, conn, to.Addr)
	}
}

// dialAddress makes a connection for HTTP requests to the address of a member, or through
// another member if nothing answers there.
func (p *peers) dialAddress(ctx context.Context, _, address string) (net.Conn, error) {
	conn, err := p.direct(address)(ctx)
	if err == nil || errors.Is(err, syscall.ECONNREFUSED) {
		return conn, err
	}
	state := p.ring.State()
	to, ok := memberAt(state, address)
	if !ok {
		return nil, err
	}
	for _, via := range relaysTo(state, to) {
		conn, relayErr := p.through(state, via, to, wire.ForRequests, p.tunnels.Add(1))(ctx)
		if relayErr == nil {
			return conn, nil
		}
		err = errors.Join(err, relayErr)
	}
	return nil, err
}

// memberAt finds a member by its address.
func memberAt(state *cluster.State, address string) (ring.Member, bool) {
	if state.View != nil {
		for _, m := range state.View.Members {
			if m.Addr == address {
				return m, true
			}
		}
	}
	return ring.Member{}, false
}

// relayed asks for a tunnel on a connection.
func relayed(ctx context.Context, conn net.Conn, via ring.Member, h *wire.Handshake, theirs *wire.PeerKey) error {
	r := (&http.Request{
		Method: http.MethodGet, URL: &url.URL{Scheme: "http", Host: via.Addr, Path: wire.RelayPath},
		Header: http.Header{"Connection": {"Upgrade"}, "Upgrade": {wire.RelayProtocol}, wire.PeerHeader: {h.String()}},
	}).WithContext(ctx)
	if err := r.Write(conn); err != nil {
		return err
	}
	in := bufio.NewReader(conn)
	answer, err := http.ReadResponse(in, r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusSwitchingProtocols || in.Buffered() > 0 {
		return core.Errorf(core.CodeUnavailable, "the relay answers %s", answer.Status)
	}
	return verify(h, theirs, answer.Header)
}
