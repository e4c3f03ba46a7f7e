package wire

import (
	"crypto/hmac"
	"encoding/base64"
	"strings"

	"github.com/gyre-events/gyre/core"
)

// NodeToken is the token with which one node of a ring makes one request of another over the
// public API, for a principal of its own or for itself. It is good between two sessions, for
// the method and the path that it is signed for, once, and not for long: its age is counted in
// beats of the caller, which both nodes read from storage, so that their clocks may differ.
type NodeToken struct {
	Cluster string `json:"cluster"` // the ring's name
	From    uint64 `json:"from"`    // the sessions of the caller and of the node that is called
	To      uint64 `json:"to"`
	Beat    uint64 `json:"beat"`   // the caller's beats so far
	Number  uint64 `json:"number"` // of the caller's tokens; no two have the same
	// Principal is whom it calls for. The caller has checked who that is.
	Principal Principal `json:"principal"`

	text string // what was signed, of a parsed one
	mac  []byte
}

// nodeTokenPrefix begins the tokens of nodes; no key begins so.
const nodeTokenPrefix = "gyre-node."

// IsNodeToken reports whether a token is one of a node.
func IsNodeToken(token string) bool { return strings.HasPrefix(token, nodeTokenPrefix) }

// Sign returns the token for a request, whose path is as it is escaped there, signed by the
// key of session From.
func (t *NodeToken) Sign(key *PeerKey, method, path string) (string, error) {
	body, err := Marshal(t)
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString(body)
	sum := key.mac("request", signed(method, path, text))
	return nodeTokenPrefix + text + "." + base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

// maxNodeToken bounds a token: names and patterns.
const maxNodeToken = 32 << 10

// ParseNodeToken is the inverse of Sign. Verify says whether to believe it. The error is
// unauthenticated.
func ParseNodeToken(token string) (*NodeToken, error) {
	text, mac, ok := strings.Cut(strings.TrimPrefix(token, nodeTokenPrefix), ".")
	t := &NodeToken{text: text}
	body, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		t.mac, err = base64.RawURLEncoding.DecodeString(mac)
	}
	if err == nil {
		err = Unmarshal(body, t)
	}
	if err != nil || !ok || len(token) > maxNodeToken || t.From == 0 || t.To == 0 {
		return nil, core.Errorf(core.CodeUnauthenticated, "the token is not that of a node")
	}
	return t, nil
}

// Verify reports whether the holder of the key of session From has signed t for a request.
func (t *NodeToken) Verify(key *PeerKey, method, path string) bool {
	want := key.mac("request", signed(method, path, t.text))
	return hmac.Equal(t.mac, want[:])
}

// signed is what a token's MAC is of. None of the parts has a space.
func signed(method, path, text string) string { return method + " " + path + " " + text }
