package wire

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/gyre-events/gyre/core"
)

// What nodes of a ring use between each other.
const (
	// PeerProtocol is the version of the handshake and of the frames between nodes. A node
	// refuses another version with cluster_mismatch.
	PeerProtocol = 1
	// PeerHeader has the Handshake in a request, and its Proof in the response.
	PeerHeader = "Gyre-Peer"
	// LinkPath upgrades to a link, a WebSocket connection of subprotocol Bin.
	LinkPath = "/v1/cluster/link"
	// RelayPath upgrades to a tunnel of RelayProtocol to another node.
	RelayPath     = "/v1/cluster/relay"
	RelayProtocol = "gyre-relay"
)

// AppendForward appends a FORWARD frame: the APPEND or COMMIT frame that follows it in the
// message is made under an epoch, which is not 0.
func AppendForward(dst []byte, epoch uint64) []byte {
	return binary.AppendUvarint(append(dst, FrameForward, 0), epoch)
}

// Forward takes a FORWARD frame, and reports the epoch of the frame that follows.
func (f *Frames) Forward() (epoch uint64, err error) {
	if epoch, err = f.only(); err != nil {
		return 0, err
	}
	if kind, ok := f.Kind(); epoch == 0 || !ok || kind != FrameAppend && kind != FrameCommit {
		return 0, core.Errorf(core.CodeProtocolError, "a FORWARD frame has an epoch, and an APPEND or COMMIT frame follows it")
	}
	return epoch, nil
}

// AppendHead appends a HEAD frame: the log has reached a position.
func AppendHead(dst []byte, position uint64) []byte {
	return binary.AppendUvarint(append(dst, FrameHead, 0), position)
}

// Head takes a HEAD frame.
func (f *Frames) Head() (position uint64, err error) { return f.only() }

// only takes a frame of one number.
func (f *Frames) only() (uint64, error) {
	if _, err := f.header(0); err != nil {
		return 0, err
	}
	return f.number()
}

// ForgetOp is the op of a Forget.
const ForgetOp = "forget"

// Forget has another node drop what was removed from the log. Its answer is an OK without fields.
type Forget struct {
	Op        string `json:"op"`
	ID        uint64 `json:"id"`
	Epoch     uint64 `json:"epoch"`              // of the view that the caller knows
	Received  bool   `json:"received,omitzero"`  // what it was sent, and not what it keeps
	TimeoutMs int64  `json:"timeoutMs,omitzero"` // until the caller needs no answer
}

// Handshake names a node that calls another, and proves that it can read the ring's
// storage, where the sessions' secrets are.
type Handshake struct {
	Protocol int    // PeerProtocol
	Cluster  string // the ring's name
	From, To uint64 // the sessions of the caller and of the node that is called
	// Target is the session that the called node is to relay to, or 0.
	Target uint64
	// Generation is used once for each Use: that of a link, or the number of a tunnel.
	Generation uint64
	Use        PeerUse
	Epoch      uint64 // the newest that the caller knows
	MAC        [sha256.Size]byte
}

// PeerUse says what a connection is for.
type PeerUse uint64

const (
	ForLink     PeerUse = 0 // a link
	ForRequests PeerUse = 1 // HTTP requests, through a relay
)

// PeerKey is what the MACs of a session are made with: its secret, and the ring's key if it
// has one.
type PeerKey struct {
	Secret [32]byte
	Ring   []byte
}

// mac authenticates a text for one use of it.
func (k *PeerKey) mac(use, text string) (sum [sha256.Size]byte) {
	h := hmac.New(sha256.New, append(k.Secret[:len(k.Secret):len(k.Secret)], k.Ring...))
	h.Write([]byte(use + " " + text)) // it never fails
	return [sha256.Size]byte(h.Sum(nil))
}

// Sign sets the MAC, by the key of session From.
func (h *Handshake) Sign(key *PeerKey) { h.MAC = key.mac("call", h.text()) }

// Verify reports whether the holder of the key of session From has signed h.
func (h *Handshake) Verify(key *PeerKey) bool {
	want := key.mac("call", h.text())
	return hmac.Equal(h.MAC[:], want[:])
}

// Proof is the answer to a signed h that only the holder of a key of session To can give.
func (h *Handshake) Proof(key *PeerKey) string {
	sum := key.mac("answer", h.String())
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Proves reports whether text is the Proof.
func (h *Handshake) Proves(text string, key *PeerKey) bool {
	return hmac.Equal([]byte(text), []byte(h.Proof(key)))
}

// text is all of h but its MAC.
func (h *Handshake) text() string {
	return fmt.Sprintf("%d %d %d %d %d %d %d %s", h.Protocol, h.From, h.To, h.Target, h.Generation, h.Use, h.Epoch,
		base64.RawURLEncoding.EncodeToString([]byte(h.Cluster)))
}

// String is the value of PeerHeader.
func (h *Handshake) String() string {
	return h.text() + " " + base64.RawURLEncoding.EncodeToString(h.MAC[:])
}

// maxHandshake bounds the header: numbers, a name and a MAC.
const maxHandshake = 1 << 10

// ParseHandshake is the inverse of String. The error is cluster_mismatch if the caller
// speaks another protocol, and else peer_denied.
func ParseHandshake(text string) (Handshake, error) {
	var h Handshake
	denied := func() (Handshake, error) {
		return Handshake{}, core.Errorf(core.CodePeerDenied, "header %s is not that of a node", PeerHeader)
	}
	fields := strings.Split(text, " ")
	protocol, err := strconv.ParseUint(fields[0], 10, 16)
	if len(text) > maxHandshake || err != nil {
		return denied()
	}
	if h.Protocol = int(protocol); h.Protocol != PeerProtocol {
		return Handshake{}, core.Errorf(core.CodeClusterMismatch, "the caller speaks version %d of the protocol between nodes, this node %d", protocol, PeerProtocol)
	}
	if len(fields) != 9 {
		return denied()
	}
	for i, to := range []*uint64{&h.From, &h.To, &h.Target, &h.Generation, (*uint64)(&h.Use), &h.Epoch} {
		if *to, err = strconv.ParseUint(fields[i+1], 10, 64); err != nil || *to > core.MaxNumber {
			return denied()
		}
	}
	name, err := base64.RawURLEncoding.DecodeString(fields[7])
	mac, macErr := base64.RawURLEncoding.DecodeString(fields[8])
	if err != nil || macErr != nil || len(mac) != len(h.MAC) {
		return denied()
	}
	h.Cluster, h.MAC = string(name), [sha256.Size]byte(mac)
	if h.From == 0 || h.To == 0 || h.Generation == 0 || h.String() != text { // one form for each handshake
		return denied()
	}
	return h, nil
}
