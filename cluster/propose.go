package cluster

import (
	"context"
	"errors"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
)

const (
	// lookEvery is how often a node looks at what gossip says, and whether its time to
	// serve is over.
	lookEvery = 100 * time.Millisecond
	// proposeTimeout bounds a proposal. Storage bounds it by 2 s.
	proposeTimeout = 3 * time.Second
	// proposeEvery is the shortest time between two proposals on one epoch.
	proposeEvery = 250 * time.Millisecond
	// renewEvery is the shortest time between two views that are asked for by Renew.
	renewEvery = 500 * time.Millisecond
	// unwell is the health score from which a node leaves it to others to say who is not
	// reached.
	unwell = 2
	// refusedFor is how long it counts that nothing listened at a session's address.
	refusedFor = 10 * time.Second
)

// looks looks at the ring until the Membership stops: it closes the gate in time, and
// proposes the next view.
func (m *Membership) looks() {
	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-m.lookNow:
		case <-m.ctx.Done():
			return
		}
		now := time.Now()
		m.mu.Lock()
		pause := m.heed(now)
		m.refresh(now)
		failure := m.syncing.failure
		proposal, ok := m.plan(now)
		if left := m.servesUntil.Sub(now); left > 0 {
			pause = min(pause, left)
		}
		m.mu.Unlock()
		if failure != nil {
			m.fail(failure)
		}
		if ok {
			m.wg.Go(func() { m.propose(proposal) })
		}
		timer.Reset(pause)
	}
}

// plan returns what to propose now. mu is held.
func (m *Membership) plan(now time.Time) (ring.Proposal, bool) {
	if m.standing == nil || m.asked.proposing || m.failure != nil {
		return ring.Proposal{}, false
	}
	if m.view != nil {
		m.forgetRefused(now)
	}
	renew := m.view != nil && m.asked.renew >= m.view.Epoch && now.Sub(m.asked.renewed) >= renewEvery
	proposal, ok := m.planner.Plan(m.now(now), ring.Sight{
		Self: m.self.Session, Quorum: m.self.Quorum, Renew: renew,
		Unwell: m.gossip.health() >= unwell,
		Serves: fresh(m.contact.Add(ring.ServeFor), now),
		View:   m.view, Standing: m.standing, Watch: &m.watch, Without: m.config.without,
		Alive: func(session uint64) bool { return m.isAlive(session) && !m.isRefused(session, now) },
	})
	if !ok || proposal.Base == m.asked.base && now.Sub(m.asked.proposed) < proposeEvery {
		return ring.Proposal{}, false
	}
	m.asked.proposing, m.asked.proposed, m.asked.base = true, now, proposal.Base
	if renew {
		m.asked.renewed = now
	}
	return proposal, true
}

// propose stores a view. Whatever comes of it, the next beat tells.
func (m *Membership) propose(p ring.Proposal) {
	ctx, cancel := context.WithTimeout(m.ctx, proposeTimeout)
	err := m.config.Arbiter.Propose(ctx, p.Base, p.Next, p.Dead)
	cancel()
	m.mu.Lock()
	m.asked.proposing = false
	m.mu.Unlock()
	switch {
	case err == nil || m.ctx.Err() != nil:
	case errors.Is(err, core.CodeStaleEpoch), errors.Is(err, core.CodeNotMember):
		m.log.Debug("another view came first", "epoch", p.Next.Epoch, "error", err)
	default:
		m.log.Warn("a view could not be stored", "epoch", p.Next.Epoch, "error", err)
	}
	kick(m.beatNow)
}

// sayRefused tells the others at whose addresses nothing listens. mu is held.
func (m *Membership) sayRefused() {
	var list []uint64
	for session := range m.asked.refused {
		list = append(list, session)
	}
	m.gossip.say(func(said *meta) { said.Refused = list })
	kick(m.announceNow)
}

// isRefused reports whether as many members as the quorum have found nothing that listens
// at a session's address: its process is gone. mu is held.
func (m *Membership) isRefused(session uint64, now time.Time) bool {
	if m.view == nil {
		return false
	}
	seen := 0
	for _, member := range m.view.Members {
		if member.Session == m.self.Session && m.asked.refused[session].After(now.Add(-refusedFor)) ||
			member.Session != m.self.Session && m.gossip.saysRefused(member.Session, session) {
			seen++
		}
	}
	return seen >= m.view.Quorum
}

// forgetRefused takes back what no longer counts. mu is held.
func (m *Membership) forgetRefused(now time.Time) {
	n := len(m.asked.refused)
	for session, at := range m.asked.refused {
		if _, isMember := m.view.Member(session); !isMember || now.Sub(at) >= refusedFor {
			delete(m.asked.refused, session)
		}
	}
	if len(m.asked.refused) != n {
		m.sayRefused()
	}
}
