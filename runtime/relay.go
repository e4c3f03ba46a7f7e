package runtime

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/gyre-events/gyre/cluster"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// relayTimeout bounds the way to a node through another.
const relayTimeout = 3 * time.Second

// through makes a connection to a node through another member.
func (p *peers) through(state *cluster.State, via, to ring.Member, number uint64) dialing {
	return func(ctx context.Context) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, relayTimeout)
		defer cancel()
		h, theirs, err := p.handshake(state, via.Session, to.Session, number)
		if err != nil {
			return nil, err
		}
		conn, err := p.direct(via)(ctx)
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
		return conn, nil
	}
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
