package runtime

import (
	"context"
	"net/http"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// token returns what this node calls another one with, for the principal of ctx, or for
// itself where ctx has none.
func (p *peers) token(ctx context.Context, to ring.Member) (string, error) {
	state := p.ring.State()
	key, err := p.keyOf(state, state.Self.Session)
	if err != nil {
		return "", err
	}
	who := access.Of(ctx)
	if who == access.Nobody() {
		who = access.Node(state.Self.Node)
	}
	t := wire.NodeToken{Cluster: p.cluster, From: state.Self.Session, To: to.Session}
	t.Principal = wire.Principal{Name: who.Name, Role: string(who.Role), Streams: who.Streams, Names: who.Names}
	return t.Sign(key)
}

// authorize adds the token to the headers of a request.
func (p *peers) authorize(ctx context.Context, to ring.Member, h http.Header) error {
	token, err := p.token(ctx, to)
	if err == nil {
		h.Set("Authorization", "Bearer "+token)
	}
	return err
}

// Authenticate is wsapi.Peers.Authenticate.
func (p *peers) Authenticate(token string) (*access.Principal, error) {
	t, err := wire.ParseNodeToken(token)
	if err != nil {
		return nil, err
	}
	state := p.ring.State()
	key, err := p.keyOf(state, t.From)
	if err != nil || t.Cluster != p.cluster || t.To != state.Self.Session || !t.Verify(key) {
		return nil, core.Errorf(core.CodeUnauthenticated, "the token is not one of session %d for this node", t.From)
	}
	via, _ := state.Standing.Session(t.From) // keyOf has found it
	who := &t.Principal
	return access.Sent(via.Node, who.Name, access.Role(who.Role), who.Streams, who.Names), nil
}
