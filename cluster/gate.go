package cluster

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
)

// publish makes a State of what is known, and closes Changed of the one before. mu is held.
func (m *Membership) publish(now time.Time) {
	m.lookAtBarrier(now)
	before := m.state.Load()
	s := &State{
		Self: m.self, View: m.view, Owners: m.owners, Before: m.before, Standing: m.standing, ServesUntil: m.servesUntil,
		SyncMissing: m.syncing.missing, Filtered: m.filtered && !m.names(m.self.Session), changed: make(chan struct{}),
	}
	s.Changed = s.changed
	if s.View == nil {
		s.View = &ring.View{}
	}
	if m.holder != nil {
		s.held = m.holder.Held()
		s.Settled = m.view != nil && m.holder.Settled() == m.view.Epoch
	}
	s.Entries = m.entries()
	m.asked.entry = m.asked.draining || m.asked.entry && !s.isMember()
	var missing []string
	s.Alive, missing = m.countAlive(now)
	if s.Closed = m.closed(s, now, missing); s.Closed == nil {
		m.syncing.barrier.Pass()
	}
	m.state.Store(s)
	close(before.changed)
	m.noteGate(before, s)
	if s.View.Epoch != before.View.Epoch || s.Closed != nil && before.Closed == nil {
		kick(m.releaseNow)
	}
}

// refresh publishes if what is known is not what the State says. mu is held.
func (m *Membership) refresh(now time.Time) {
	m.lookAtBarrier(now)
	s := m.state.Load()
	alive, missing := m.countAlive(now)
	closed := m.closed(s, now, missing)
	if alive != s.Alive || (closed == nil) != (s.Closed == nil) || closed != nil && closed.Detail != s.Closed.Detail {
		m.publish(now)
	}
}

// noteGate logs that the gate has opened or closed.
func (m *Membership) noteGate(before, s *State) {
	switch {
	case before.Closed == nil && s.Closed != nil && m.failure != nil:
		m.log.Info("the node serves no longer", "reason", s.Closed.Detail)
	case before.Closed == nil && s.Closed != nil:
		m.log.Warn("the node does not serve", "reason", s.Closed.Detail)
	case before.Closed != nil && s.Closed == nil:
		m.log.Info("the node serves", "epoch", s.View.Epoch, "alive", s.Alive)
	case s.Closed != nil && m.failure == nil && time.Since(m.asked.said) >= sayEvery:
		m.log.Info("the node does not serve yet", "reason", s.Closed.Detail)
		m.asked.said = time.Now()
	}
}

// sayEvery is how often the log says why a node still does not serve.
const sayEvery = 10 * time.Second

// entries are the other sessions that the view does not name and that may serve. mu is held.
func (m *Membership) entries() (list []ring.Member) {
	if m.standing == nil {
		return nil
	}
	for _, s := range m.standing.Sessions {
		if s.Session != m.self.Session && !m.names(s.Session) && (s.Draining || m.denies(s.Node)) &&
			!m.watch.Dead(s.Session) && !m.gossip.syncs(s.Session) {
			list = append(list, s.Member)
		}
	}
	return list
}

// closed returns why the node does not serve, or nil. Before it serves again it catches up. mu is
// held.
func (m *Membership) closed(s *State, now time.Time, missing []string) *core.Error {
	why := m.prevents(s, now, missing)
	switch {
	case why != nil:
		m.missed()
	case !m.caughtUp && m.config.CatchUp != nil:
		kick(m.catchUpNow)
		return notServing("the node reads what was removed while it did not serve")
	}
	return why
}

// prevents returns why the node must not serve, or nil. mu is held.
func (m *Membership) prevents(s *State, now time.Time, missing []string) *core.Error {
	switch {
	case m.failure != nil:
		return notServing("%s", m.failure.Detail)
	case m.syncing.on:
		return notServing("the node waits for others: %s", m.describeDown(m.syncing.missing))
	case m.standing == nil:
		return notServing("the storage has not taken a beat of this node yet%s", because(m.beatErr))
	case m.view == nil:
		return notServing("the ring has no view yet: %s", m.formation())
	case m.view.Epoch < m.standing.Epoch:
		return notServing("the log is at epoch %d, the newest view is %d", m.standing.Epoch, m.view.Epoch)
	case !fresh(m.servesUntil, now):
		return notServing("the storage has not taken a beat of this node for %v%s",
			now.Sub(m.contact).Truncate(time.Second), because(m.beatErr))
	case !s.isMember() && !m.asked.entry && !s.Filtered:
		return notServing("view %d (%s) does not name this node: %s", m.view.Epoch, m.view.Reason, m.formation())
	case s.Alive < m.view.Quorum && !m.config.without.Has(ring.RuleQuorum):
		return notServing("%d of %d members are alive, quorum is %d: %s",
			s.Alive, len(m.view.Members), m.view.Quorum, strings.Join(missing, "; "))
	}
	return nil
}

func because(err error) string {
	if err == nil {
		return ""
	}
	return ": " + core.AsError(err).Detail
}

// countAlive counts the members of the view that are alive, and says what is wrong with the
// others. mu is held.
func (m *Membership) countAlive(now time.Time) (alive int, missing []string) {
	if m.view == nil || m.standing == nil {
		return 0, nil
	}
	for _, member := range m.view.Members {
		if problem := m.problem(member); problem != "" {
			missing = append(missing, problem)
			continue
		}
		alive++
	}
	return alive, missing
}

// problem says why a session is not alive, or "". mu is held.
func (m *Membership) problem(member ring.Member) string {
	_, listed := m.standing.Session(member.Session)
	switch {
	case !listed:
		return member.Node + " has ended"
	case m.watch.Dead(member.Session):
		return fmt.Sprintf("%s has not beaten for %v", member.Node, m.watch.Silent(member.Session).Truncate(time.Second))
	case !m.isAlive(member.Session):
		return fmt.Sprintf("gossip does not reach %s at %s%s", member.Node, member.Gossip, m.joinProblem(member.Gossip))
	}
	return ""
}

// isAlive reports whether gossip holds a session alive. mu is held.
func (m *Membership) isAlive(session uint64) bool {
	return session == m.self.Session || m.gossip.alive(session)
}

// formation says who is there and who is not. mu is held.
func (m *Membership) formation() string {
	var here, missing []string
	for _, s := range m.standing.Sessions {
		switch problem := m.problem(s.Member); {
		case problem != "":
			missing = append(missing, problem)
		case m.gossip.syncs(s.Session):
			missing = append(missing, s.Node+" waits for other nodes")
		case s.Draining:
			missing = append(missing, s.Node+" drains")
		case m.denies(s.Node):
			missing = append(missing, s.Node+" is filtered out")
		default:
			here = append(here, s.Node)
		}
	}
	slices.Sort(here)
	text := fmt.Sprintf("%d alive (%s), quorum is %d", len(here), strings.Join(here, ", "), m.self.Quorum)
	return strings.Join(append([]string{text}, missing...), "; ")
}

// denies reports whether all members of the view deny a node, or this node does if there is
// no view. mu is held.
func (m *Membership) denies(node string) bool {
	if m.view == nil {
		return !m.self.Filter.Compile()(node)
	}
	return m.view.Denies(node)
}

// names reports whether the view names a session. mu is held.
func (m *Membership) names(session uint64) bool {
	if m.view == nil {
		return false
	}
	_, ok := m.view.Member(session)
	return ok
}

// Seen lists all sessions as this node sees them, without those that are out of the view
// and have been dead for a minute.
func (m *Membership) Seen() ring.MemberList {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := ring.MemberList{Node: m.self.Node, Health: m.gossip.health(), SyncMissing: m.syncing.missing}
	if m.standing == nil {
		return list
	}
	for _, s := range m.standing.Sessions {
		if m.watch.Silent(s.Session) >= ring.ForgetAfter && !m.names(s.Session) {
			continue // it ends with the next view
		}
		seen := ring.Seen{
			Member: s.Member, GossipState: m.gossip.stateOf(s.Session), Beats: !m.watch.Dead(s.Session),
			BeatAgeMs: m.watch.Silent(s.Session).Milliseconds(), Released: s.Released, Draining: s.Draining, Syncing: m.gossip.syncs(s.Session),
		}
		if seen.InView = m.names(s.Session); seen.InView {
			seen.Slots = m.owners.Count(s.Session)
		}
		seen.Filtered = !seen.InView && m.denies(s.Node)
		seen.State = ring.StateOf(seen)
		list.Members = append(list.Members, seen)
	}
	return list
}
