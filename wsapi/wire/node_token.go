package wire

import (
	"crypto/hmac"
	"encoding/base64"
	"strings"

	"github.com/gyre-events/gyre/core"
)

// NodeToken is the token with which one node of a ring calls another over the public API, for
// a principal of its own or for itself. It is good between two sessions.
type NodeToken struct {
	Cluster string `json:"cluster"` // the ring's name
	From    uint64 `json:"from"`    // the sessions of the caller and of the node that is called
	To      uint64 `json:"to"`
	// Principal is whom it calls for. The caller has checked who that is.
	Principal Principal `json:"principal"`

	text string // what was signed, of a parsed one
	mac  []byte
}

// nodeTokenPrefix begins the tokens of nodes; no key begins so.
const nodeTokenPrefix = "gyre-node."

// IsNodeToken reports whether a token is one of a node.
func IsNodeToken(token string) bool { return strings.HasPrefix(token, nodeTokenPrefix) }

// Sign returns the token, signed by the key of session From.
func (t *NodeToken) Sign(key *PeerKey) (string, error) {
	body, err := Marshal(t)
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString(body)
	sum := key.mac("request", text)
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
	if err != nil || !ok || len(token) > maxNodeToken {
		return nil, core.Errorf(core.CodeUnauthenticated, "the token is not that of a node")
	}
	return t, nil
}

// Verify reports whether the holder of the key of session From has signed t.
func (t *NodeToken) Verify(key *PeerKey) bool {
	want := key.mac("request", t.text)
	return hmac.Equal(t.mac, want[:])
}
