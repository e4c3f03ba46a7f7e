package runtime

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
)

// TestTokensOfNodes: a token is believed by the node that it is for, and only if a session that
// lasts has signed it with the ring's key.
func TestTokensOfNodes(t *testing.T) {
	nodes := newPeerRing(t, 3, "the key")
	one, two, three := nodes[0], nodes[1], nodes[2]
	who := &access.Principal{Name: "k", Role: access.Reader, Streams: []string{"order-*"}, Names: []string{"mine"}}
	token, err := one.peers.token(who, two.member)
	if err != nil {
		t.Fatal(err)
	}
	p, err := two.peers.Authenticate(token)
	if err != nil || p.Name != "k" || p.Role != access.Reader || p.Via != "node1" || !slices.Equal(p.Streams, who.Streams) || !slices.Equal(p.Names, who.Names) {
		t.Errorf("%+v, %v", p, err)
	}
	own, err := one.peers.ownToken(two.member)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := two.peers.Authenticate(own); err != nil || !p.Free() || p.Via != "node1" {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := one.peers.token(access.Nobody(), two.member); !errors.Is(err, core.CodeUnauthenticated) {
		t.Errorf("a token of nobody: %v", err)
	}
	otherKey, otherRing := newPeerRing(t, 2, "another key"), newPeerRing(t, 2, "the key")
	otherRing[0].peers.cluster = "another"
	for name, n := range map[string]*peerNode{"another key": otherKey[0], "another ring": otherRing[0]} {
		forged, err := n.peers.token(who, two.member)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := two.peers.Authenticate(forged); !errors.Is(err, core.CodeUnauthenticated) {
			t.Errorf("%s: %v", name, err)
		}
	}
	text, mac, _ := strings.Cut(strings.TrimPrefix(token, "gyre-node."), ".")
	_, ownMAC, _ := strings.Cut(strings.TrimPrefix(own, "gyre-node."), ".")
	for name, forged := range map[string]string{
		"another's signature": "gyre-node." + text + "." + ownMAC,
		"no signature":        "gyre-node." + text + ".",
		"cut":                 "gyre-node." + text[:len(text)-4] + "." + mac,
		"long":                "gyre-node." + strings.Repeat("A", 64<<10) + "." + mac,
	} {
		if _, err := two.peers.Authenticate(forged); !errors.Is(err, core.CodeUnauthenticated) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := three.peers.Authenticate(token); !errors.Is(err, core.CodeUnauthenticated) {
		t.Errorf("at another node: %v", err)
	}
	state := *two.ring.State()
	state.Standing = &ring.Standing{Sessions: slices.DeleteFunc(slices.Clone(state.Standing.Sessions), func(s ring.Session) bool { return s.Session == one.member.Session })}
	two.ring.set(state)
	if _, err := two.peers.Authenticate(token); !errors.Is(err, core.CodeUnauthenticated) {
		t.Errorf("after its session: %v", err)
	}
}
