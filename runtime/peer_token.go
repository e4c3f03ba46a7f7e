package runtime

import (
	"net/http"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// ownToken returns what this node calls another one with for itself.
func (p *peers) ownToken(to ring.Member) (string, error) {
	return p.token(access.Node(p.ring.State().Self.Node), to)
}

// token returns what this node calls another one with for a principal.
func (p *peers) token(who *access.Principal, to ring.Member) (string, error) {
	if who == access.Nobody() {
		return "", core.Errorf(core.CodeUnauthenticated, "nobody asks another node for anything")
	}
	state := p.ring.State()
	key, err := p.keyOf(state, state.Self.Session)
	if err != nil {
		return "", err
	}
	t := wire.NodeToken{Cluster: p.cluster, From: state.Self.Session, To: to.Session}
	t.Principal = wire.Principal{Name: who.Name, Role: string(who.Role), Streams: who.Streams, Names: who.Names}
	return t.Sign(key)
}

// authorize adds the token of a principal to the headers of a request.
func (p *peers) authorize(who *access.Principal, to ring.Member, h http.Header) error {
	token, err := p.token(who, to)
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
