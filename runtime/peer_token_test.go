package runtime

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
)

const (
	tokenPath  = "/v1/subscriptions/a%2Fb/pause"
	tokenStart = "gyre-node."
)

// tokenOf is the token for a POST to tokenPath.
func (n *peerNode) tokenOf(t *testing.T, who *access.Principal, to *peerNode) string {
	t.Helper()
	h := http.Header{}
	if err := n.authorize(who, to.member, http.MethodPost, tokenPath, h); err != nil {
		t.Fatal(err)
	}
	token, ok := strings.CutPrefix(h.Get("Authorization"), "Bearer ")
	if !ok {
		t.Fatalf("the headers are %v", h)
	}
	return token
}

// asked is whom a request with a token is of.
func (n *peerNode) asked(t *testing.T, token, method, path string) (*access.Principal, error) {
	return n.peers.Authenticate(token, httptest.NewRequestWithContext(t.Context(), method, path+"?wait=1", http.NoBody))
}

// TestTokensOfNodes: a token is believed by the node that it is for, for its request, and only
// if a session that lasts has signed it with the ring's key.
func TestTokensOfNodes(t *testing.T) {
	nodes := newPeerRing(t, 3, "the key")
	one, two, three := nodes[0], nodes[1], nodes[2]
	who := &access.Principal{Name: "k", Role: access.Reader, Streams: []string{"order-*"}, Names: []string{"mine"}}
	p, err := two.asked(t, one.tokenOf(t, who, two), "POST", tokenPath)
	if err != nil || p.Name != "k" || p.Role != access.Reader || p.Via != "node1" || !slices.Equal(p.Streams, who.Streams) || !slices.Equal(p.Names, who.Names) {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err := two.asked(t, one.tokenOf(t, one.own(), two), "POST", tokenPath); err != nil || !p.Free() || p.Via != "node1" {
		t.Errorf("%+v, %v", p, err)
	}
	none := &access.Principal{Name: "k", Role: access.Reader, Streams: []string{"order-*"}, Names: []string{}}
	if p, err := two.asked(t, one.tokenOf(t, none, two), "POST", tokenPath); err != nil || !errors.Is(p.Check(access.Progress, "a"), core.CodeForbidden) {
		t.Errorf("a key without names: %+v, %v", p, err)
	}
	if err := one.authorize(access.Nobody(), two.member, "GET", "/", http.Header{}); !errors.Is(err, core.CodeUnauthenticated) {
		t.Errorf("a token of nobody: %v", err)
	}
	refused := func(name string, at *peerNode, token, method, path string, want core.Code) {
		t.Helper()
		if _, err := at.asked(t, token, method, path); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
	otherKey, otherRing := newPeerRing(t, 2, "another key"), newPeerRing(t, 2, "the key")
	otherRing[0].cluster = "another"
	refused("another key", two, otherKey[0].tokenOf(t, who, two), "POST", tokenPath, core.CodeUnauthenticated)
	refused("another ring", two, otherRing[0].tokenOf(t, who, two), "POST", tokenPath, core.CodeUnauthenticated)
	token := one.tokenOf(t, who, two)
	text, mac, _ := strings.Cut(strings.TrimPrefix(token, tokenStart), ".")
	_, ownMAC, _ := strings.Cut(strings.TrimPrefix(one.tokenOf(t, one.own(), two), tokenStart), ".")
	for name, forged := range map[string]string{
		"another's signature": tokenStart + text + "." + ownMAC,
		"no signature":        tokenStart + text + ".",
		"cut":                 tokenStart + text[:len(text)-4] + "." + mac,
		"long":                tokenStart + strings.Repeat("A", 64<<10) + "." + mac,
	} {
		refused(name, two, forged, "POST", tokenPath, core.CodeUnauthenticated)
	}
	refused("another method", two, token, "DELETE", tokenPath, core.CodeUnauthenticated)
	refused("another path", two, token, "POST", "/v1/subscriptions/a%2Fb/reset", core.CodeUnauthenticated)
	refused("another path, unescaped the same", two, token, "POST", "/v1/subscriptions/a/b/pause", core.CodeUnauthenticated)
	refused("another node", three, token, "POST", tokenPath, core.CodeNotServing)
	if _, err := two.asked(t, token, "POST", tokenPath); err != nil {
		t.Errorf("what was refused has spoiled the token: %v", err)
	}
	refused("a second time", two, token, "POST", tokenPath, core.CodeNotServing)
	token = one.tokenOf(t, who, two)
	two.without(one)
	refused("after its session", two, token, "POST", tokenPath, core.CodeNotServing)
}

// without has a node know that the session of another has ended.
func (n *peerNode) without(other *peerNode) {
	n.change(func(sessions []ring.Session) []ring.Session {
		return slices.DeleteFunc(sessions, func(s ring.Session) bool { return s.Session == other.member.Session })
	})
}

// change changes the sessions that a node knows.
func (n *peerNode) change(f func([]ring.Session) []ring.Session) {
	state := *n.ring.State()
	state.Standing = &ring.Standing{Sessions: f(slices.Clone(state.Standing.Sessions))}
	n.ring.set(state)
}

// TestTokensOfNodesExpire: by the beats of the node that has signed them, of which the other
// may know more, or fewer.
func TestTokensOfNodesExpire(t *testing.T) {
	nodes := newPeerRing(t, 2, "")
	one, two := nodes[0], nodes[1]
	beats := func(at *peerNode, count uint64) {
		at.change(func(list []ring.Session) []ring.Session {
			for i := range list {
				if list[i].Session == one.member.Session {
					list[i].Beats = count
				}
			}
			return list
		})
	}
	who := &access.Principal{Name: "k", Role: access.Operator}
	for _, c := range []struct {
		signed, read uint64
		good         bool
	}{{0, 0, true}, {100, 99, true}, {100, 0, true}, {100, 100 + tokenBeats, true}, {100, 101 + tokenBeats, false}} {
		beats(one, c.signed)
		beats(two, c.read)
		if _, err := two.asked(t, one.tokenOf(t, who, two), "POST", tokenPath); (err == nil) != c.good || err != nil && !errors.Is(err, core.CodeNotServing) {
			t.Errorf("signed at beat %d, read at %d: %v", c.signed, c.read, err)
		}
	}
}

// TestTokensOfNodesInAnyOrder: each is good once, unless far newer ones came before.
func TestTokensOfNodesInAnyOrder(t *testing.T) {
	for name, c := range map[string]struct {
		numbers []uint64
		refused []int // indices
	}{
		"in order":        {[]uint64{1, 2, 3, 3, 1}, []int{3, 4}},
		"the other way":   {[]uint64{3, 2, 1, 2}, []int{3}},
		"far ahead":       {[]uint64{1, 1_000_000, 1, 1_000_000 - tokenWindow, 1_000_001 - tokenWindow}, []int{2, 3}},
		"a round further": {[]uint64{5, 5 + tokenWindow, 5 + tokenWindow, 6 + tokenWindow, 6}, []int{2, 4}},
		"a late one":      {[]uint64{10, 100, 11, 64, 64, 99}, []int{4}},
	} {
		var n numbers
		for i, number := range c.numbers {
			if want := !slices.Contains(c.refused, i); n.take(number) != want {
				t.Errorf("%s: number %d: %t, want %t", name, number, !want, want)
			}
		}
	}
}

// TestUsedTokensAreForgotten: with the sessions that they were of.
func TestUsedTokensAreForgotten(t *testing.T) {
	nodes := newPeerRing(t, 3, "")
	one, two, three := nodes[0], nodes[1], nodes[2]
	if _, err := two.asked(t, one.tokenOf(t, one.own(), two), "POST", tokenPath); err != nil {
		t.Fatal(err)
	}
	two.without(one)
	if _, err := two.asked(t, three.tokenOf(t, three.own(), two), "POST", tokenPath); err != nil {
		t.Fatal(err)
	}
	if n := len(two.seen.from); n != 1 {
		t.Errorf("the tokens of %d sessions are remembered", n)
	}
}
