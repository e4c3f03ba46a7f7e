package ring

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The times of proposals (see Planner).
const (
	// StableFor is how long the wanted members stay the same before they are proposed.
	StableFor = 300 * time.Millisecond
	// AddAfter is how long gossip holds a new session alive before it is added.
	AddAfter = time.Second
	// PartedFor is how long that is if a member goes that gossip does not reach and that
	// beats: no process has crashed, so both sides of a cut may think so. The smaller side
	// needs the time to see that it has no quorum.
	PartedFor = 2 * time.Second
	// silentFor is for how long a session does not beat that may have crashed.
	silentFor = time.Second
	// RegainedFor is how long a quorum is alive again before a member that gossip does not
	// reach is left out: it may be on its way, too.
	RegainedFor = 3 * time.Second
	// StickyFor is how long a session that was removed is not added again.
	StickyFor = 8 * time.Second
	// TurnAfter is how long the others wait for the member whose turn it is.
	TurnAfter = 2 * time.Second
	// ForgetAfter is how long a dead session outside the view is kept listed.
	ForgetAfter = time.Minute
)

// Sight is what one node sees of the ring at a moment.
type Sight struct {
	Self   uint64 // its session
	Quorum int    // its own
	Serves bool   // its session is fresh
	Renew  bool   // a view is wanted even if its members stay the same
	// Unwell says that gossip often does not reach others in time: the fault may be here,
	// so it is not this node's turn to say that another is not reached.
	Unwell bool
	View   *View // the newest; nil: there is none
	// Standing is the newest, which Watch has observed.
	Standing *Standing
	Watch    *Watch
	// Alive reports whether gossip holds a session alive.
	Alive func(session uint64) bool
	// Without is for tests: rules that are left out, to see that something fails then.
	Without Rules
}

// Rules is a set of rules of the ring.
type Rules uint8

const (
	RuleProposer Rules = 1 << iota // only members propose, or others once all members are gone
	RuleQuorum                     // without a quorum, no view is proposed and nothing is served
)

// Has reports whether a rule is in the set.
func (r Rules) Has(rule Rules) bool { return r&rule != 0 }

// Proposal is what a node asks the storage for.
type Proposal struct {
	Base uint64
	Next View
	Dead []uint64 // sessions that end with it
}

// Planner decides when a node proposes a view, and which. It remembers for how long it has
// seen what it sees; times are durations of the node's monotonic clock. The zero Planner
// has seen nothing.
//
// Members stay while they are listed, not draining, not dead, gossip holds them alive, and
// the Filter of another session that is listed admits them. A session that the proposer's
// Filter admits is added when it is all that for AddAfter, and StickyFor after it was last
// removed, unless the members that are left are no quorum. The new session of a member's
// node takes its place at once, for which it has AddAfter. A view with fewer members than
// the quorum is not proposed.
//
// Only members of the newest view propose, or anybody if all of them are gone: not listed,
// or dead. The first in order does so at once, the others TurnAfter later.
type Planner struct {
	listed  map[uint64]time.Duration // since when a session is listed
	alive   map[uint64]time.Duration // since when it could be added
	removed map[uint64]time.Duration // when a view without the session came after one with it
	view    *View
	admits  map[uint64]func(node string) bool // the filters of the sessions that are listed

	wanted   string        // the members that were wanted at the last look
	stable   time.Duration // since when they are
	quorum   bool          // enough sessions were alive at the last look
	regained time.Duration // since when they are, after they were not; 0: since ever
	waiting  bool          // for whose turn it is
	since    time.Duration // since when
}

// Advance takes the next view, and the newest standing if there is one: a session that
// left the view because it drains may come back at any time.
func (p *Planner) Advance(now time.Duration, v *View, s *Standing) {
	if p.removed == nil {
		p.removed = map[uint64]time.Duration{}
	}
	for session, at := range p.removed {
		if now-at >= StickyFor {
			delete(p.removed, session)
		}
	}
	if p.view != nil {
		for _, m := range p.view.Members {
			if _, stays := v.Member(m.Session); !stays && !drains(s, m.Session) {
				p.removed[m.Session] = now
			}
		}
	}
	p.view, p.waiting = v, false
}

func drains(s *Standing, session uint64) bool {
	if s == nil {
		return false
	}
	row, ok := s.Session(session)
	return ok && row.Draining
}

// Plan returns what to propose now, if anything.
func (p *Planner) Plan(now time.Duration, s Sight) (Proposal, bool) {
	p.noteSessions(now, &s)
	c := p.wants(now, &s)
	if key := fmt.Sprint(c.sessions()); key != p.wanted {
		p.wanted, p.stable = key, now
	}
	p.noteQuorum(now, p.hasQuorum(&s))
	stable := StableFor
	if c.parted {
		stable = PartedFor
	}
	ready := c.asked || now-p.stable >= stable
	if c.doubted && p.regained > 0 && now-p.regained < RegainedFor {
		ready = false
	}
	if s.Renew && !ready {
		c, ready = s.renewal(), true
	}
	moved := s.View == nil || s.View.Epoch != s.Standing.Epoch || len(c.reasons) > 0
	quorum := p.quorum && len(c.members) >= s.Quorum || s.Without.Has(RuleQuorum)
	if !moved && !s.Renew || !s.Serves || !quorum {
		p.waiting = false
		return Proposal{}, false
	}
	member, may := s.mayPropose()
	if !may || !ready {
		return Proposal{}, false
	}
	if !p.waiting {
		p.waiting, p.since = true, now
	}
	if !s.Renew && !s.isTurn(&c, member) && now-p.since < TurnAfter {
		return Proposal{}, false
	}
	return s.proposal(&c, member), true
}

// noteSessions keeps since when sessions are listed, and could be added.
func (p *Planner) noteSessions(now time.Duration, s *Sight) {
	listed := make(map[uint64]time.Duration, len(s.Standing.Sessions))
	alive := make(map[uint64]time.Duration, len(s.Standing.Sessions))
	admits := make(map[uint64]func(string) bool, len(s.Standing.Sessions))
	note := func(m, before map[uint64]time.Duration, session uint64) {
		since, ok := before[session]
		if !ok {
			since = now
		}
		m[session] = since
	}
	for _, session := range s.Standing.Sessions {
		note(listed, p.listed, session.Session)
		if admits[session.Session] = p.admits[session.Session]; admits[session.Session] == nil {
			admits[session.Session] = session.Filter.Compile()
		}
		if s.lives(session) {
			note(alive, p.alive, session.Session)
		}
	}
	p.listed, p.alive, p.admits = listed, alive, admits
}

// comes reports whether the node would add a session.
func (p *Planner) comes(s *Sight, session Session) bool {
	return s.lives(session) && p.admitted(s, session.Node)
}

// admitted reports whether the node's own Filter admits another.
func (p *Planner) admitted(s *Sight, node string) bool {
	admits := p.admits[s.Self]
	return admits != nil && admits(node)
}

// denied reports whether there are other nodes, and all of them deny a node, whoever they
// are. So none of them would add it again: nodes whose filters differ do not add and remove
// it in turn.
func (p *Planner) denied(s *Sight, node string) bool {
	others := false
	for _, session := range s.Standing.Sessions {
		if session.Node == node {
			continue
		}
		if others = true; p.admits[session.Session](node) {
			return false
		}
	}
	return others
}

// noteQuorum keeps since when a quorum is alive again.
func (p *Planner) noteQuorum(now time.Duration, quorum bool) {
	if quorum && !p.quorum && p.view != nil {
		p.regained = now
	}
	p.quorum = quorum
}

// change is what the members should be, and why.
type change struct {
	members []Member
	reasons []string
	asked   bool // every reason is one that its node gave: nobody can see it otherwise
	doubted bool // a reason is only that gossip does not reach a node
	parted  bool // and that node beats
}

func (c *change) sessions() (list []uint64) {
	for _, m := range c.members {
		list = append(list, m.Session)
	}
	return list
}

func (c *change) because(asked bool, format string, args ...any) {
	c.asked = c.asked && asked
	c.reasons = append(c.reasons, fmt.Sprintf(format, args...))
}

// wants decides who should be a member.
func (p *Planner) wants(now time.Duration, s *Sight) change {
	c := change{asked: true}
	if s.View != nil {
		for _, m := range s.View.Members {
			p.keeps(now, s, m, &c)
		}
	}
	lost := len(c.members) < s.Quorum // nobody serves by this view, so nothing is to be kept as it is
	for _, session := range s.Standing.Sessions {
		if s.isMember(session.Session) || !p.comes(s, session) {
			continue
		}
		at, sticky := p.removed[session.Session]
		sticky = sticky && !lost
		_, again := s.node(session.Node)
		switch {
		case again:
			c.because(true, "%s started again", session.Node)
		case now-p.alive[session.Session] < AddAfter, sticky && now-at < StickyFor:
			continue
		default:
			c.because(false, "%s comes", session.Node)
		}
		c.members = append(c.members, session.Member)
	}
	SortMembers(c.members)
	return c
}

// keeps decides whether a member stays.
func (p *Planner) keeps(now time.Duration, s *Sight, m Member, c *change) {
	row, listed := s.Standing.Session(m.Session)
	next, again := s.successor(m)
	switch {
	case !listed && again && p.comes(s, next):
		// It takes the place.
	case !listed && again && now-p.listed[next.Session] < AddAfter:
		c.members = append(c.members, m)
	case !listed:
		c.because(true, "%s ended", m.Node)
	case row.Draining:
		c.because(true, "%s drains", m.Node)
	case s.Watch.Dead(m.Session):
		c.because(false, "%s does not beat", m.Node)
	case !s.Alive(m.Session):
		c.because(false, "%s is not reached", m.Node)
		c.doubted = true
		c.parted = c.parted || s.Watch.Silent(m.Session) < silentFor
	case p.denied(s, m.Node):
		c.because(true, "%s is filtered out", m.Node)
	default:
		c.members = append(c.members, m)
	}
}

// successor finds the newer session of a member's node.
func (s *Sight) successor(m Member) (Session, bool) {
	for _, session := range s.Standing.Sessions {
		if session.Node == m.Node && session.Session > m.Session {
			return session, true
		}
	}
	return Session{}, false
}

// renewal keeps the members that are listed.
func (s *Sight) renewal() change {
	c := change{asked: true}
	if s.View == nil {
		return c
	}
	for _, m := range s.View.Members {
		if _, listed := s.Standing.Session(m.Session); listed {
			c.members = append(c.members, m)
		}
	}
	return c
}

// lives reports whether a session may be a member as far as its node can be seen.
func (s *Sight) lives(session Session) bool {
	return !session.Draining && !s.Watch.Dead(session.Session) && s.Alive(session.Session)
}

func (s *Sight) isMember(session uint64) bool {
	if s.View == nil {
		return false
	}
	_, ok := s.View.Member(session)
	return ok
}

func (s *Sight) node(id string) (Member, bool) {
	if s.View == nil {
		return Member{}, false
	}
	return s.View.Node(id)
}

// hasQuorum reports whether enough sessions are alive for a view.
func (p *Planner) hasQuorum(s *Sight) bool {
	alive := 0
	for _, session := range s.Standing.Sessions {
		if !session.Draining && s.Alive(session.Session) && (s.isMember(session.Session) || p.admitted(s, session.Node)) {
			alive++
		}
	}
	return alive >= s.Quorum
}

// mayPropose reports whether self is a member, and whether it may propose.
func (s *Sight) mayPropose() (member, may bool) {
	if s.isMember(s.Self) {
		return true, true
	}
	if s.View != nil && !s.Without.Has(RuleProposer) {
		for _, m := range s.View.Members {
			if _, listed := s.Standing.Session(m.Session); listed && !s.Watch.Dead(m.Session) {
				return false, false
			}
		}
	}
	return false, true
}

// isTurn reports whether self is the first to propose a change: a member that asks to be
// left out, else the first of the members that stay, else the first of all.
func (s *Sight) isTurn(c *change, member bool) bool {
	if member && drains(s.Standing, s.Self) {
		return true
	}
	if c.doubted && s.Unwell {
		return false
	}
	for _, m := range c.members {
		if !member || s.isMember(m.Session) {
			return m.Session == s.Self
		}
	}
	return false
}

func (s *Sight) proposal(c *change, member bool) Proposal {
	p := Proposal{Base: s.Standing.Epoch}
	if s.Renew && len(c.reasons) == 0 {
		c.because(true, "renewed for what is still on its way")
	} else if len(c.reasons) == 0 {
		c.because(true, "the log has moved on to epoch %d", p.Base)
	}
	for _, session := range s.Standing.Sessions {
		outsider := !member && s.isMember(session.Session)
		forgotten := !s.isMember(session.Session) && s.Watch.Silent(session.Session) >= ForgetAfter
		if s.Watch.Dead(session.Session) && (outsider || forgotten) {
			p.Dead = append(p.Dead, session.Session)
		}
	}
	p.Next = View{
		Epoch: p.Base + 1, Members: slices.Clone(c.members), Quorum: s.Quorum,
		Proposer: s.Self, Reason: strings.Join(c.reasons, ", "),
	}
	return p
}
