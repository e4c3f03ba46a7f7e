package cluster

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
)

// askWithin bounds what one node asks of another, which may be gone or stopped.
const askWithin = 2 * time.Second

const maxViewsLimit = 1000

// DiagnosticsConfig is what Diagnostics need; all fields are required.
type DiagnosticsConfig struct {
	Name    string // of the ring
	Ring    Ring
	Views   func(ctx context.Context, after uint64, limit int) ([]ring.View, error)
	Seen    func() ring.MemberList // Membership.Seen
	Waiting func() int             // calls that wait
	// Providers says which addresses of other nodes were found, and how.
	Providers func() []ring.Provider
	// Streams returns the streams in some slots that this node has written, and Hosted all
	// subscriptions that it hosts, without slot and epoch.
	Streams func(owns func(slot int) bool) []ring.Owned
	Hosted  func() []ring.Owned
	// Drain and Leave are for this node.
	Drain func(ctx context.Context, on bool) error
	Leave func(ctx context.Context) error
	// Ask runs do with a ring.Reporter for another node.
	Ask func(ctx context.Context, m ring.Member, do func(ring.Reporter) error) error
}

// Diagnostics is the ring.Reporter of a node. It keeps nothing itself.
type Diagnostics struct{ c DiagnosticsConfig }

var _ ring.Reporter = (*Diagnostics)(nil)

// NewDiagnostics makes Diagnostics.
func NewDiagnostics(c DiagnosticsConfig) *Diagnostics { return &Diagnostics{c} }

// elsewhere runs do at a node and reports true, if the node is not this one.
func (d *Diagnostics) elsewhere(ctx context.Context, node string, do func(ring.Reporter) error) (bool, error) {
	s := d.c.Ring.State()
	if node == "" || node == s.Self.Node {
		return false, nil
	}
	m, ok := s.node(node)
	if !ok {
		return true, core.Errorf(core.CodeNotFound, "the ring has no node %q: it has %s", node, strings.Join(s.nodes(), ", "))
	}
	return true, d.c.Ask(ctx, m, do)
}

// askedWithin is elsewhere for what takes no time at the other node.
func (d *Diagnostics) askedWithin(ctx context.Context, node string, do func(context.Context, ring.Reporter) error) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	return d.elsewhere(ctx, node, func(r ring.Reporter) error { return do(ctx, r) })
}

// node finds a session by its node id, first one that has not left.
func (s *State) node(id string) (ring.Member, bool) {
	if s.Standing != nil {
		for _, session := range s.Standing.Sessions {
			if session.Node == id {
				return session.Member, true
			}
		}
	}
	return s.View.Node(id)
}

// nodes lists the ids of all nodes that have a session.
func (s *State) nodes() (ids []string) {
	if s.Standing != nil {
		for _, session := range s.Standing.Sessions {
			ids = append(ids, session.Node)
		}
	}
	slices.Sort(ids)
	return ids
}

// Status is part of ring.Reporter.
func (d *Diagnostics) Status(ctx context.Context, node string) (status ring.Status, err error) {
	if there, err := d.askedWithin(ctx, node, func(ctx context.Context, r ring.Reporter) error {
		status, err = r.Status(ctx, "")
		return err
	}); there {
		return status, err
	}
	s := d.c.Ring.State()
	status = ring.Status{
		Cluster: d.c.Name, Self: s.Self, View: *s.View, Epoch: s.View.Epoch, Alive: s.Alive,
		Waiting: d.c.Waiting(), Members: d.seen().Members, Warnings: s.Warnings(),
		Providers:   d.c.Providers(),
		SyncMissing: s.SyncMissing, Filtered: s.Filtered,
	}
	status.Moves = s.moves(status.Members)
	why := s.Serves(time.Now())
	if status.Serving = why == nil; why != nil {
		status.Reason = why.Detail
	}
	if s.Standing != nil {
		status.Epoch = max(status.Epoch, s.Standing.Epoch)
		self, _ := s.Standing.Session(s.Self.Session)
		status.Draining = self.Draining
	}
	return status, nil
}

// moves lists what the view has taken from sessions that are alive and have not released it.
func (s *State) moves(members []ring.Seen) []ring.Move {
	if s.Before == nil || s.Owners == nil {
		return nil
	}
	return s.Owners.Moves(s.Before, func(session uint64) bool {
		return slices.ContainsFunc(members, func(m ring.Seen) bool {
			return m.Session == session && m.Beats && m.Released < s.View.Epoch
		})
	})
}

// Members is part of ring.Reporter.
func (d *Diagnostics) Members(ctx context.Context, node string) (list ring.MemberList, err error) {
	if there, err := d.askedWithin(ctx, node, func(ctx context.Context, r ring.Reporter) error {
		list, err = r.Members(ctx, "")
		return err
	}); there {
		return list, err
	}
	return d.seen(), nil
}

// seen lists the sessions by their node ids.
func (d *Diagnostics) seen() ring.MemberList {
	list := d.c.Seen()
	slices.SortFunc(list.Members, func(a, b ring.Seen) int { return strings.Compare(a.Node, b.Node) })
	return list
}

// Warnings are what an operator should change about the ring.
func (s *State) Warnings() (list []string) {
	if n, q := len(s.View.Members), s.View.Quorum; n > 0 && n > 2*q-1 {
		list = append(list, fmt.Sprintf("%d members are more than a quorum of %d is for: both sides of a broken network can have one. Restart the nodes, one by one, with a quorum of %d.", n, q, n/2+1))
	}
	var quorums []string
	differ := false
	for _, m := range s.View.Members {
		quorums = append(quorums, fmt.Sprintf("%s %d", m.Node, m.Quorum))
		differ = differ || m.Quorum != s.View.Members[0].Quorum
	}
	if differ {
		list = append(list, fmt.Sprintf("the members were started with different quorums (%s): a view has that of the member that proposes it, which is now %d.", strings.Join(quorums, ", "), s.View.Quorum))
	}
	if filters := s.settings(func(m ring.Member) string { return m.Filter.String() }); filters != "" {
		list = append(list, fmt.Sprintf("the nodes were started with different filters (%s): the member that proposes a view decides. Give all nodes the same --node-allow and --node-deny.", filters))
	}
	if timeouts := s.settings(syncTimeout); timeouts != "" {
		list = append(list, fmt.Sprintf("the nodes were started with different --sync-nodes-timeout (%s): one can end before another has started. Give all nodes the same.", timeouts))
	}
	return list
}

// syncTimeout is how long a node waited for others when it started, for people; "" if it
// did not wait.
func syncTimeout(m ring.Member) string {
	switch m.SyncTimeoutMs {
	case 0:
		return ""
	case -1:
		return "infinity"
	}
	return strconv.FormatInt(m.SyncTimeoutMs, 10)
}

// settings lists what the nodes that have a session were started with, if they differ.
// Nodes for which setting is "" do not count.
func (s *State) settings(setting func(ring.Member) string) string {
	if s.Standing == nil {
		return ""
	}
	var list []string
	differ := map[string]bool{}
	for _, session := range s.Standing.Sessions {
		if text := setting(session.Member); text != "" {
			differ[text] = true
			list = append(list, session.Node+" "+text)
		}
	}
	if len(differ) < 2 {
		return ""
	}
	slices.Sort(list)
	return strings.Join(list, "; ")
}

// Views is part of ring.Reporter.
func (d *Diagnostics) Views(ctx context.Context, before uint64, limit int) ([]ring.View, error) {
	if limit < 1 || limit > maxViewsLimit {
		return nil, core.Errorf(core.CodeInvalidRequest, "limit is %d, and 1 to %d", limit, maxViewsLimit)
	}
	s := d.c.Ring.State()
	if before == 0 && s.Standing != nil {
		before = s.Standing.Epoch + 1
	}
	if before == 0 {
		return nil, core.Errorf(core.CodeNoNodeAvailable, "this node has not reached the storage of the ring yet")
	}
	first := before - min(before, uint64(limit))
	views, err := d.c.Views(ctx, first-min(first, 2), limit+1) // with the one before
	views = slices.DeleteFunc(views, func(v ring.View) bool { return v.Epoch >= before })
	slices.Reverse(views)
	countMoved(views)
	return slices.DeleteFunc(views, func(v ring.View) bool { return v.Epoch < first }), err
}

// maxCounted bounds how many views are compared with the one before, which takes about 0.1 ms for
// each member.
const maxCounted = 100

// countMoved sets Moved of views, the newest first, but for the last.
func countMoved(views []ring.View) {
	if len(views) == 0 {
		return
	}
	owners := views[0].Owners()
	for i := range min(maxCounted, len(views)-1) {
		before := views[i+1].Owners()
		for _, m := range owners.Moves(before, func(uint64) bool { return true }) {
			views[i].Moved += m.Slots
		}
		owners = before
	}
}

// WhereIs is part of ring.Reporter.
func (d *Diagnostics) WhereIs(ctx context.Context, kind ring.Kind, name string) (ring.Whereabouts, error) {
	s := d.c.Ring.State()
	w := ring.Whereabouts{Kind: kind, Name: name, Slot: ring.Slot(name), Epoch: s.View.Epoch}
	owner, ok := s.Owner(name)
	if !ok {
		w.Problem = "there is no view that has members"
		return w, nil
	}
	w.Owner = &owner
	page, err := d.Owned(ctx, owner.Node, ring.OwnedRequest{Kind: kind, Name: name})
	switch {
	case err != nil:
		w.Problem = fmt.Sprintf("the owner cannot be asked: %s", core.AsError(err).Error())
	case len(page.Owned) > 0:
		w.Open = &page.Owned[0]
	}
	return w, nil
}

// Owned is part of ring.Reporter.
func (d *Diagnostics) Owned(ctx context.Context, node string, r ring.OwnedRequest) (page ring.OwnedPage, err error) {
	if r.Limit == 0 {
		r.Limit = ring.DefaultOwned
	}
	if r.Limit < 1 || r.Limit > ring.MaxOwned {
		return page, core.Errorf(core.CodeInvalidRequest, "limit is %d, and 1 to %d", r.Limit, ring.MaxOwned)
	}
	if there, err := d.askedWithin(ctx, node, func(ctx context.Context, other ring.Reporter) error {
		page, err = other.Owned(ctx, "", r)
		return err
	}); there {
		return page, err
	}
	all := d.owned()
	s := d.c.Ring.State()
	page = ring.OwnedPage{Node: s.Self.Node, Epoch: s.View.Epoch, Owned: []ring.Owned{}}
	for _, o := range all {
		if o.Kind == ring.KindStream {
			page.Streams++
		} else {
			page.Subs++
		}
		switch {
		case r.Kind != "" && o.Kind != r.Kind, r.Name != "" && o.Name != r.Name, !strings.HasPrefix(o.Name, r.Prefix), o.Key() <= r.After:
		case len(page.Owned) < r.Limit:
			page.Owned = append(page.Owned, o)
		default:
			page.Next = page.Owned[r.Limit-1].Key()
		}
	}
	return page, nil
}

// owned lists what this node owns, in order.
func (d *Diagnostics) owned() []ring.Owned {
	s := d.c.Ring.State()
	all := d.c.Streams(s.owns)
	for _, h := range d.c.Hosted() {
		h.Kind, h.Slot, h.Epoch = ring.KindSubscription, ring.Slot(h.Name), s.View.Epoch
		all = append(all, h)
	}
	slices.SortFunc(all, func(a, b ring.Owned) int { return strings.Compare(a.Key(), b.Key()) })
	return all
}

// ViewChanged forgets the streams that this node no longer owns. One that it gets back is
// owned since then.
func (d *Diagnostics) ViewChanged() { d.c.Streams(d.c.Ring.State().owns) }

// owns reports whether this session owns a slot in the view.
func (s *State) owns(slot int) bool {
	if s.Owners == nil {
		return false
	}
	owner, ok := s.Owners.Owner(slot)
	return ok && owner.Session == s.Self.Session
}

// Drain is part of ring.Reporter.
func (d *Diagnostics) Drain(ctx context.Context, node string, on bool) error {
	if there, err := d.elsewhere(ctx, node, func(r ring.Reporter) error { return r.Drain(ctx, "", on) }); there {
		return err
	}
	return d.c.Drain(ctx, on)
}

// Leave is part of ring.Reporter.
func (d *Diagnostics) Leave(ctx context.Context, node string) error {
	if there, err := d.elsewhere(ctx, node, func(r ring.Reporter) error { return r.Leave(ctx, "") }); there {
		return err
	}
	return d.c.Leave(ctx)
}
