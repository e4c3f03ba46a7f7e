package ws

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/requests"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// whom is whom a connection is for. All but principal is the reader's.
type whom struct {
	principal atomic.Pointer[access.Principal]

	address access.Address    // the client's
	from    requests.Address  // what its limits are counted by
	share   *requests.Share   // of the principal; nil for links
	given   *access.Principal // that of the request; nil: hello has a token
	greeted func()            // gives back the place of a client that has not said hello
	unwatch func() bool       // ends the watch over the principal's end
}

// Value is part of context.Context, for the contexts of calls.
func (w *whom) Value(key any) any {
	if v := w.principal.Load().Value(key); v != nil {
		return v
	}
	return w.address.Value(key)
}

// asWhom is a context whose calls are those of a connection's principal, whoever that is then.
type asWhom struct {
	context.Context
	whom *whom
}

// Value is part of context.Context.
func (c asWhom) Value(key any) any {
	if v := c.whom.Value(key); v != nil {
		return v
	}
	return c.Context.Value(key)
}

// identify finds out whom a connection is for, when it says hello.
func (c *conn) identify(hello *wire.Hello) (*access.Principal, error) {
	p := c.calls.whom.given
	switch {
	case c.peer != nil:
		p = access.Node("")
	case hello.Auth != nil && hello.Auth.Token != "":
		if p != nil && p.Name != access.Anonymous {
			return nil, core.Errorf(core.CodeUnauthenticated, "the request for the WebSocket has a token, and so has hello")
		}
		var err error
		if p, err = c.config.Logins.Authenticate(c.calls.whom.from, hello.Auth.Token); err != nil {
			return nil, err
		}
	case p == nil:
		var err error
		if p, err = c.config.Logins.Authenticate(c.calls.whom.from, ""); err != nil {
			return nil, err
		}
	}
	if err := p.Check(access.Connect, ""); err != nil {
		return nil, err
	}
	c.become(p)
	return p, nil
}

// become has the connection be for p, and end with it. It is called by the reader.
func (c *conn) become(p *access.Principal) {
	c.calls.whom.principal.Store(p)
	c.holdAs(p)
	c.calls.whom.unwatch()
	c.calls.whom.unwatch = p.AfterEnd(func(why error) { c.close(closeWith(closeTokenExpired, why)) })
}

// holdAs has what the connection holds count for p, from now on. Requests in flight count for
// whom they were begun.
func (c *conn) holdAs(p *access.Principal) {
	if c.peer != nil {
		return // the node at the other end counts its clients
	}
	before := c.calls.whom.share
	c.calls.whom.share = c.config.Gates.Of(p, string(c.calls.whom.address))
	c.in.Belong(c.calls.whom.share)
	c.out.belong(c.calls.whom.share)
	before.Release()
}

// refresh takes another key for the connection. What runs on it goes on, so the key must
// allow the same.
func (c *conn) refresh(m *wire.Refresh) {
	p, err := c.config.Logins.Authenticate(c.calls.whom.from, m.Token)
	was := c.calls.whom.principal.Load()
	switch {
	case err != nil:
	case m.Token == "" || !p.Equivalent(was):
		err = core.Errorf(core.CodeForbidden, "refresh takes a key with the role and the patterns of the one before; open another connection for another")
	default:
		c.become(p)
		c.reply(m.ID, wire.Encode(nil, &wire.OK{ID: m.ID, ExpiresAt: wire.Time(p.Expires)}))
		return
	}
	c.refuse(m.ID, err)
}

// PrincipalOf is what clients are shown of a principal.
func PrincipalOf(p *access.Principal) *wire.Principal {
	return &wire.Principal{Name: p.Name, Role: string(p.Role), Streams: slices.Clone(p.Streams), Names: slices.Clone(p.Names), ExpiresAt: wire.Time(p.Expires)}
}
