package runtime

import (
	"net/http"
	"sync"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/cluster"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const (
	// tokenBeats is how many beats of the caller's a token is good for: 10 seconds.
	tokenBeats = 20
	// tokenWindow is how many newer tokens of a session a token may be behind. It is more
	// than the connections that requests of one node to another are on.
	tokenWindow = 8192
)

// authorize adds the token for a request to a member, for a principal, to its headers. path is
// as it is escaped in the request.
func (p *peers) authorize(who *access.Principal, to ring.Member, method, path string, h http.Header) error {
	if who == access.Nobody() {
		return core.Errorf(core.CodeUnauthenticated, "nobody asks another node for anything")
	}
	state := p.ring.State()
	self, key, err := p.sessionOf(state, state.Self.Session)
	if err != nil {
		return err
	}
	t := wire.NodeToken{Cluster: p.cluster, From: self.Session, To: to.Session, Beat: self.Beats, Number: p.tokens.Add(1)}
	t.Principal = wire.Principal{Name: who.Name, Role: string(who.Role), Streams: who.Streams, Names: who.Names}
	token, err := t.Sign(key, method, path)
	if err == nil {
		h.Set("Authorization", "Bearer "+token)
	}
	return err
}

// own is the principal that this node asks another one as for itself.
func (p *peers) own() *access.Principal { return access.Node(p.ring.State().Self.Node) }

// Authenticate is wsapi.Peers.Authenticate.
func (p *peers) Authenticate(token string, r *http.Request) (*access.Principal, error) {
	t, err := wire.ParseNodeToken(token)
	if err != nil {
		return nil, err
	}
	state := p.ring.State()
	via, key, err := p.sessionOf(state, t.From)
	switch {
	case t.To != state.Self.Session:
		return nil, core.Errorf(core.CodeNotServing, "session %d is not here; this is session %d", t.To, state.Self.Session)
	case err != nil:
		return nil, err
	case t.Cluster != p.cluster || !t.Verify(key, r.Method, r.URL.EscapedPath()):
		return nil, core.Errorf(core.CodeUnauthenticated, "the token is not one of session %d for this request", t.From)
	case t.Beat+tokenBeats < via.Beats || !p.seen.first(state, t.From, t.Number):
		return nil, core.Errorf(core.CodeNotServing, "the token of session %d is too old, or was used before", t.From)
	}
	who := &t.Principal
	return access.Sent(via.Node, who.Name, access.Role(who.Role), who.Streams, who.Names), nil
}

// usedTokens are the tokens of other nodes that were used: of each session the newest
// numbers. It is safe for concurrent use.
type usedTokens struct {
	mu   sync.Mutex
	from map[uint64]*numbers
}

// first reports whether a number of a session is used for the first time, and notes it.
// Sessions that have ended are forgotten.
func (u *usedTokens) first(state *cluster.State, session, number uint64) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := u.from[session]
	if n == nil {
		for other := range u.from {
			if _, lasts := state.Standing.Session(other); !lasts {
				delete(u.from, other)
			}
		}
		if u.from == nil {
			u.from = map[uint64]*numbers{}
		}
		n = &numbers{}
		u.from[session] = n
	}
	return n.take(number)
}

// numbers are those that were taken of the newest tokenWindow ones.
type numbers struct {
	newest uint64
	taken  [tokenWindow / 64]uint64 // bits, by the number modulo tokenWindow
}

// take reports whether a number was not taken yet, and can still be known not to be.
func (n *numbers) take(number uint64) bool {
	if number > n.newest {
		if number-n.newest >= tokenWindow {
			n.taken = [tokenWindow / 64]uint64{}
		} else {
			for i := n.newest + 1; i <= number; i++ {
				n.taken[i%tokenWindow/64] &^= 1 << (i % 64)
			}
		}
		n.newest = number
	}
	word, bit := &n.taken[number%tokenWindow/64], uint64(1)<<(number%64)
	if n.newest-number >= tokenWindow || *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}
