package ring

import (
	"context"
	"time"
)

// Reporter answers what people ask about the ring, below quorum too. A method with the id
// of a node asks that node; "" is the one that is called. A node implements it, and the
// client of one (sdk.Cluster).
type Reporter interface {
	Status(ctx context.Context, node string) (Status, error)
	Members(ctx context.Context, node string) (MemberList, error)
	// Views returns the views with the limit epochs before one, the newest first; those
	// up to now if before is 0.
	Views(ctx context.Context, before uint64, limit int) ([]View, error)
	WhereIs(ctx context.Context, kind Kind, name string) (Whereabouts, error)
	Owned(ctx context.Context, node string, r OwnedRequest) (OwnedPage, error)
	// Drain has a node hand over all that it owns and stay out of views, or ends that. It
	// returns when a view says so.
	Drain(ctx context.Context, node string, on bool) error
	// Leave drains a node and then ends its process.
	Leave(ctx context.Context, node string) error
}

// Status is what a node reports of the ring and of itself.
type Status struct {
	Cluster string `json:"cluster"` // the name of the ring
	Self    Member `json:"self"`
	// Serving says that the node's gate is open. Reason says why it is not.
	Serving  bool   `json:"serving"`
	Reason   string `json:"reason,omitempty"`
	Draining bool   `json:"draining,omitempty"`
	// SyncMissing is the nodes that the node waits for before it serves for the first time.
	SyncMissing Missing `json:"syncMissing,omitzero"`
	// Filtered says that the node is an entry node, because of the filters.
	Filtered bool `json:"filtered,omitempty"`
	// View is the newest that the node knows; its Epoch is 0 if there is none.
	View View `json:"view"`
	// Epoch is that of the log. It can be greater than that of the view for a moment.
	Epoch uint64 `json:"epoch"`
	// Alive counts the members of the view whose session beats and that the node's gossip
	// holds alive.
	Alive int `json:"alive"`
	// Waiting counts the calls that wait at the gate or for an owner.
	Waiting  int      `json:"waiting"`
	Members  []Seen   `json:"members"`
	Warnings []string `json:"warnings,omitempty"`
	// Moves are slots that the view gives to another member, and that who had them has not
	// released yet.
	Moves []Move `json:"moves,omitempty"`
	// Providers say which gossip addresses of other nodes the node has found.
	Providers []Provider `json:"providers"`
}

// Move is a number of slots that go from one node to another.
type Move struct {
	From  string `json:"from"` // its id
	To    string `json:"to"`
	Slots int    `json:"slots"`
}

// Provider is a way by which a node finds others, and what it found last.
type Provider struct {
	Name      string    `json:"name"`      // the setting that asks for it
	Addresses []string  `json:"addresses"` // host:port of gossip
	At        time.Time `json:"at,omitzero"`
	// Problem is why the last try found nothing, or not all. Failures counts such tries.
	Problem  string `json:"problem,omitempty"`
	Failures uint64 `json:"failures"`
}

// GossipState is how a node's gossip sees a session.
type GossipState string

// The states.
const (
	GossipAlive   GossipState = "alive"
	GossipDead    GossipState = "dead"    // or it has left
	GossipUnknown GossipState = "unknown" // the node has not met it
)

// SessionState is what a node makes of all that it sees of a session.
type SessionState string

// The states.
const (
	SessionDead    SessionState = "dead"    // by the node's gossip, or it has left
	SessionSilent  SessionState = "silent"  // its beat counter does not move
	SessionSyncing SessionState = "syncing" // for other nodes, before it serves for the first time
	SessionDrained SessionState = "drained" // it owns nothing, by an operator's wish
	SessionEntry   SessionState = "entry"   // all members deny it: it serves and owns nothing
	SessionJoining SessionState = "joining" // the view does not name it yet
	SessionUnmet   SessionState = "unmet"   // the node's gossip has not met it
	SessionMember  SessionState = "member"
)

// Seen is a session as one node sees it.
type Seen struct {
	Member
	State       SessionState `json:"state"` // what StateOf returns
	GossipState GossipState  `json:"gossipState"`
	// Beats says that the session's beat counter moves; BeatAgeMs is how long ago the
	// node saw it move, in milliseconds.
	Beats     bool  `json:"beats"`
	BeatAgeMs int64 `json:"beatAgeMs"`
	// InView says that the view names the session; it owns Slots of the 4096.
	InView   bool   `json:"inView"`
	Slots    int    `json:"slots"`
	Released uint64 `json:"released"` // the epoch up to which it has released slots
	Draining bool   `json:"draining,omitempty"`
	// Syncing says that the node waits for others before it serves for the first time.
	Syncing bool `json:"syncing,omitempty"`
	// Filtered says that the view is without the session because all members deny it.
	Filtered bool `json:"filtered,omitempty"`
}

// StateOf returns the state of a session from the other fields of s.
func StateOf(s Seen) SessionState {
	switch {
	case s.GossipState == GossipDead:
		return SessionDead
	case !s.Beats:
		return SessionSilent
	case s.Syncing:
		return SessionSyncing
	case s.Draining:
		return SessionDrained
	case s.Filtered:
		return SessionEntry
	case !s.InView:
		return SessionJoining
	case s.GossipState == GossipUnknown:
		return SessionUnmet
	}
	return SessionMember
}

// MemberList is all sessions as one node sees them.
type MemberList struct {
	Node string `json:"node"` // who sees them so
	// Health is the health score of the node's gossip: 0 is good, and each step makes the
	// node slower to suspect others.
	Health int `json:"health"`
	// SyncMissing is the nodes that it waits for before it serves for the first time.
	SyncMissing Missing `json:"syncMissing,omitzero"`
	Members     []Seen  `json:"members"`
}

// Kind is what a name names.
type Kind string

// The kinds.
const (
	KindStream       Kind = "stream"
	KindSubscription Kind = "subscription"
)

// Whereabouts says who owns a name.
type Whereabouts struct {
	Kind  Kind   `json:"kind"`
	Name  string `json:"name"`
	Slot  int    `json:"slot"`
	Epoch uint64 `json:"epoch"` // of the view that says so
	// Owner is absent if there is no view.
	Owner *Member `json:"owner,omitempty"`
	// Open is the owner's entry of the name, if it has one; Problem is why the owner
	// could not be asked.
	Open    *Owned `json:"open,omitempty"`
	Problem string `json:"problem,omitempty"`
}

// Owned is a name that a node owns and has used lately: a stream that it wrote, or a
// subscription that it hosts.
type Owned struct {
	Kind  Kind   `json:"kind"`
	Name  string `json:"name"`
	Slot  int    `json:"slot"`
	Epoch uint64 `json:"epoch"` // under which it was used last
	// Version is that of the stream after the last write by this node; Checkpoint is that
	// of the subscription.
	Version    uint64 `json:"version,omitempty"`
	Checkpoint uint64 `json:"checkpoint,omitempty"`
	// Since is the first use since the node got the slot. Both times are by its clock.
	Since time.Time `json:"since"`
	Used  time.Time `json:"used"`
}

// Key orders what is owned: OwnedRequest.After is one.
func (o *Owned) Key() string { return string(o.Kind) + " " + o.Name }

// OwnedRequest asks for a page of what a node owns.
type OwnedRequest struct {
	Kind   Kind   // of one kind only, if it is not ""
	Prefix string // names with it
	Name   string // this name only, if it is not ""
	// After is OwnedPage.Next of the page before.
	After string
	Limit int // 1 to MaxOwned; DefaultOwned if 0
}

// Bounds of a page of what a node owns.
const (
	DefaultOwned = 100
	MaxOwned     = 1000
)

// OwnedPage is the answer, in the order of kinds and names.
type OwnedPage struct {
	Node    string  `json:"node"`
	Epoch   uint64  `json:"epoch"` // the node's view
	Streams int     `json:"streams"`
	Subs    int     `json:"subscriptions"`
	Owned   []Owned `json:"owned"`
	Next    string  `json:"cursor,omitempty"` // absent on the last page
}
