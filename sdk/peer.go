package sdk

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// Peer makes a Client one node's end of a link to another node of its ring. It implies
// Once. Commits are sent with their Epoch; those of Submit are sent by Flush. The outcome of
// one is that of the node, or the end of the link: a context that ends has the node withdraw
// it, and does not answer it.
type Peer struct {
	// Header has the node's handshake (wire.Handshake).
	Header http.Header
	// Dial connects to the other node, by the address of the Client or in another way.
	Dial func(ctx context.Context) (net.Conn, error)
	// Verify checks the headers of the other node's answer to the handshake.
	Verify func(http.Header) error
	// Broken is in the error of every call and lease that ends with the link, and in none
	// that the other node has answered.
	Broken error
}

// prepare sets what a link needs of Options and addresses.
func (p *Peer) prepare(o *Options, list []address) {
	if p == nil {
		return
	}
	o.Once, o.JSON, o.Compress = true, false, false
	for i, at := range list {
		list[i].ws = strings.TrimSuffix(at.ws, "/v1/ws") + wire.LinkPath
	}
}

// dial connects to a node.
func (p *Peer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if p != nil {
		return p.Dial(ctx)
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

func (p *Peer) header() http.Header {
	if p == nil {
		return nil
	}
	return p.Header
}

func (p *Peer) verify(answer http.Header) error {
	if p == nil {
		return nil
	}
	return p.Verify(answer)
}

// broken returns the end of a connection as an error.
func (p *Peer) broken(err error) *core.Error {
	e := core.AsError(err)
	if p == nil {
		return e
	}
	return core.Errorf(e.Code, "%w: %s", p.Broken, e.Detail)
}

// Head tells the other node that the log has reached a position. It is a hint and may be
// lost. It is for a Client with Options.Peer.
func (c *Client) Head(position uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session != nil {
		c.session.send(true, wire.AppendHead(nil, position))
	}
}

// Forget has the other node drop what was removed from the log: what it keeps or, if received, what
// it was sent. The errors are stale_epoch, and not_supported if the node is of a version that does
// not know the call. It is for a Client with Options.Peer.
func (c *Client) Forget(ctx context.Context, epoch uint64, received bool) error {
	m := wire.Forget{Op: wire.ForgetOp, ID: c.lastID.Add(1) + 1, Epoch: epoch, Received: received, TimeoutMs: timeoutMs(ctx)}
	text, err := wire.Marshal(&m)
	if err != nil {
		return err
	}
	a := c.wait(ctx, &call{id: m.ID, message: text})
	if errors.Is(a.err, core.CodeUnknownOp) {
		return core.Errorf(core.CodeNotSupported, "the node is of a version that cannot confirm that it has dropped what was removed")
	}
	return a.err
}

// Flush writes what Submit has queued: many Commits in one write, by the goroutine that
// submits them. It may wait for the socket. It is for a Client with Options.Peer.
func (c *Client) Flush() {
	c.mu.Lock()
	s := c.session
	c.mu.Unlock()
	if s != nil {
		s.flush()
	}
}

// Done is closed when the Client has ended: it was closed, its only connection was lost
// (Options.Once), or the node refuses it for good.
func (c *Client) Done() <-chan struct{} { return c.done }
