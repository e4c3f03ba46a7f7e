package ring

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Slots is the number of slots.
const Slots = 4096

// Slot returns the slot of a name, 0 to Slots-1. It is the same on every node and in every
// version.
func Slot(name string) int { return int(xxhash.Sum64String(name) >> 52) }

// Member is a session that may be in views.
type Member struct {
	Session uint64 `json:"session"`
	Node    string `json:"node"`   // its id
	Addr    string `json:"addr"`   // host:port that nodes and clients dial
	Gossip  string `json:"gossip"` // host:port of its gossip
	Version string `json:"version,omitempty"`
	// Protocol is the version of what nodes say to each other.
	Protocol int `json:"protocol"`
	// TLS says that the node takes TLS only. All nodes of a ring do, or none.
	TLS bool `json:"tls,omitempty"`
	// Quorum is the one that the node was started with. A View has that of its proposer.
	Quorum int `json:"quorum,omitempty"`
	// Filter says whom the node admits to views that it proposes.
	Filter Filter `json:"filter,omitzero"`
	// SyncTimeoutMs is Sync.TimeoutMs.
	SyncTimeoutMs int64 `json:"syncTimeoutMs,omitempty"`
}

// Mismatch says why two nodes cannot be in one ring; "" if they can. A version understands
// its neighbors, so that a ring can be upgraded node by node.
func (m Member) Mismatch(other Member) string {
	switch {
	case m.Protocol-other.Protocol > 1 || other.Protocol-m.Protocol > 1:
		return fmt.Sprintf("node %s speaks protocol %d, and %s protocol %d", m.Node, m.Protocol, other.Node, other.Protocol)
	case m.TLS && !other.TLS:
		return fmt.Sprintf("node %s takes TLS only, and %s has none: give it tls-cert and tls-key", m.Node, other.Node)
	case !m.TLS && other.TLS:
		return fmt.Sprintf("node %s has no TLS, and %s takes TLS only: stop all nodes, and start all with tls-cert and tls-key, or none", m.Node, other.Node)
	}
	return ""
}

// View is the agreed set of members. It does not change once it is stored.
type View struct {
	Epoch   uint64   `json:"epoch"`
	Members []Member `json:"members"` // in the order of their node ids, each id once
	// Quorum is how many members have to be alive for any of them to serve: the
	// proposer's.
	Quorum   int       `json:"quorum"`
	Proposer uint64    `json:"proposer"` // its session
	Reason   string    `json:"reason"`   // for people
	At       time.Time `json:"at"`       // by the clock of the storage
	// Moved counts the slots that have another owner than in the view before. Only
	// Reporter.Views knows it, of the newest 100 that it returns.
	Moved int `json:"moved,omitempty"`
}

// Member finds a session.
func (v *View) Member(session uint64) (Member, bool) {
	for _, m := range v.Members {
		if m.Session == session {
			return m, true
		}
	}
	return Member{}, false
}

// Node finds a member by its node id.
func (v *View) Node(id string) (Member, bool) {
	for _, m := range v.Members {
		if m.Node == id {
			return m, true
		}
	}
	return Member{}, false
}

// SortMembers puts members into the order of a View.
func SortMembers(members []Member) {
	slices.SortFunc(members, func(a, b Member) int { return strings.Compare(a.Node, b.Node) })
}

// Owners is the owner of each slot in a view.
type Owners struct {
	view *View
	by   [Slots]uint16 // indices of view.Members
}

// Owners computes the owners; it takes about 0.1 ms for each member. v has members.
func (v *View) Owners() *Owners {
	o := &Owners{view: v}
	var best [Slots]uint64
	for i, m := range v.Members {
		key := append([]byte(m.Node), 0, 0, 0)
		for slot := range Slots {
			binary.BigEndian.PutUint16(key[len(m.Node)+1:], uint16(slot))
			if weight := xxhash.Sum64(key); i == 0 || weight > best[slot] {
				best[slot], o.by[slot] = weight, uint16(i)
			}
		}
	}
	return o
}

// Owner returns the owner of a slot. There is none in a view without members.
func (o *Owners) Owner(slot int) (Member, bool) {
	if len(o.view.Members) == 0 {
		return Member{}, false
	}
	return o.view.Members[o.by[slot]], true
}

// Moves counts the slots that have another node as their owner than in an earlier view, by the
// session that had them. They are in the order of the members of both views.
func (o *Owners) Moves(before *Owners, from func(session uint64) bool) (moves []Move) {
	if len(o.view.Members) == 0 || len(before.view.Members) == 0 {
		return nil
	}
	counts := make([]int, len(before.view.Members)*len(o.view.Members))
	for slot := range Slots {
		counts[int(before.by[slot])*len(o.view.Members)+int(o.by[slot])]++
	}
	for i, n := range counts {
		giver, taker := before.view.Members[i/len(o.view.Members)], o.view.Members[i%len(o.view.Members)]
		if n > 0 && giver.Node != taker.Node && from(giver.Session) {
			moves = append(moves, Move{From: giver.Node, To: taker.Node, Slots: n})
		}
	}
	return moves
}

// Count returns how many slots a session owns.
func (o *Owners) Count(session uint64) (n int) {
	for _, i := range o.by {
		if len(o.view.Members) > 0 && o.view.Members[i].Session == session {
			n++
		}
	}
	return n
}
