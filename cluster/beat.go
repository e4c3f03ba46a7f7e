package cluster

import (
	"context"
	"errors"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
)

const (
	// beatAgain is the pause after a beat that failed.
	beatAgain = 100 * time.Millisecond
	// viewsPage is how many views are read at once, and how many are looked through for the
	// newest.
	viewsPage = 100
)

// beats beats until the Membership stops.
func (m *Membership) beats() {
	for {
		pause := ring.BeatEvery
		err := m.beat()
		switch {
		case m.ctx.Err() != nil:
			return
		case errors.Is(err, core.CodeNodeSuperseded):
			m.fail(core.AsError(err))
			return
		case errors.Is(err, core.CodeNotMember):
			m.log.Warn("the session has ended, the node registers again", "reason", core.AsError(err).Detail)
			err = m.registerAgain()
		}
		if err != nil {
			pause = beatAgain
		}
		m.noteBeat(err)
		select {
		case <-time.After(pause):
		case <-m.beatNow:
		case <-m.ctx.Done():
			return
		}
	}
}

func (m *Membership) registerAgain() error {
	ctx, cancel := context.WithTimeout(m.ctx, ring.ServeFor)
	defer cancel()
	return m.register(ctx)
}

// noteBeat keeps the error of the last beat, for people.
func (m *Membership) noteBeat(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil && m.beatErr == nil {
		m.log.Warn("the storage does not take the beat of this node", "error", err)
	}
	if err == nil && m.beatErr != nil {
		m.log.Info("the storage takes the beat of this node again")
	}
	m.beatErr = err
}

// beat beats once and loads the views that are new. A beat without the view of its epoch
// confirms nothing: the node would go on to serve by a view that is over.
func (m *Membership) beat() error {
	m.mu.Lock()
	session, released, draining := m.self.Session, m.released, m.asked.draining || m.syncing.on
	known := uint64(0)
	if m.view != nil {
		known = m.view.Epoch
	}
	m.mu.Unlock()

	ctx, cancel := context.WithTimeout(m.ctx, ring.BeatTimeout)
	defer cancel()
	sent := time.Now()
	standing, err := m.config.Arbiter.Beat(ctx, session, released, draining)
	received := time.Now()
	if err != nil {
		return err
	}
	if received.Sub(sent) > ring.BeatTimeout {
		return core.Errorf(core.CodeTimeout, "the beat took %v", received.Sub(sent))
	}
	views, err := m.loadViews(known, standing.Epoch)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if released > m.reported || draining != m.asked.reported {
		m.reported, m.asked.reported = max(m.reported, released), draining
		m.gossip.say(func(said *meta) { said.Released, said.Draining = released, draining })
		kick(m.announceNow)
	}
	m.take(sent, received, &standing, views)
	return nil
}

// loadViews returns the views after one. If no view is known, it begins with the newest
// that is not after epoch.
func (m *Membership) loadViews(known, epoch uint64) ([]ring.View, error) {
	if known >= epoch {
		return nil, nil
	}
	after := known
	if known == 0 && epoch > viewsPage {
		after = epoch - viewsPage
	}
	views, err := m.viewsAfter(after)
	if err == nil && len(views) == 0 && after > known {
		views, err = m.viewsAfter(known)
	}
	if err != nil {
		return nil, err
	}
	for known == 0 && len(views) > 1 && views[1].Epoch <= epoch {
		views = views[1:]
	}
	return views, nil
}

func (m *Membership) viewsAfter(after uint64) (views []ring.View, err error) {
	for {
		ctx, cancel := context.WithTimeout(m.ctx, ring.ServeFor)
		page, err := m.config.Arbiter.Views(ctx, after, viewsPage)
		cancel()
		if err != nil {
			return nil, err
		}
		views = append(views, page...)
		if len(page) < viewsPage {
			return views, nil
		}
		after = page[len(page)-1].Epoch
	}
}

// take takes a confirmed beat, with the views that are new. mu is held.
func (m *Membership) take(sent, received time.Time, s *ring.Standing, views []ring.View) {
	if m.holder == nil {
		m.holder = ring.NewHolder(m.self.Session, m.now(received), s, len(views) > 0 && views[0].Epoch <= s.Epoch)
	}
	now := time.Now()
	for i := range views {
		m.advance(now, &views[i], s)
	}
	for _, session := range s.Sessions {
		if m.standing == nil {
			kick(m.joinNow)
		} else if _, listed := m.standing.Session(session.Session); !listed {
			kick(m.joinNow)
		}
	}
	m.standing = s
	m.watch.Observe(m.now(sent), m.now(received), s)
	m.contact = sent
	if !fresh(m.servesUntil, now) { // the process may have been stopped, and others took it for dead
		m.missed()
	}
	if m.view != nil && m.view.Epoch >= s.Epoch {
		m.servesUntil = sent.Add(ring.ServeFor)
	}
	m.settle()
	m.publish(now)
	kick(m.lookNow)
}

// advance takes the next view. mu is held.
func (m *Membership) advance(now time.Time, v *ring.View, s *ring.Standing) {
	m.before, m.view, m.owners, m.filtered = m.owners, v, v.Owners(), v.Denies(m.self.Node)
	m.planner.Advance(m.now(now), v, s)
	m.holder.Advance(m.now(now), v, m.owners)
	if !m.names(m.self.Session) && !m.asked.draining && !m.asked.entry && !m.filtered {
		m.missed()
	}
	nodes := make([]string, 0, len(v.Members))
	for _, member := range v.Members {
		nodes = append(nodes, member.Node)
	}
	m.log.Info("the ring has a new view", "epoch", v.Epoch, "members", nodes, "quorum", v.Quorum, "reason", v.Reason)
	m.gossip.say(func(said *meta) { said.Epoch = v.Epoch })
	kick(m.announceNow)
}

// settle looks whether more is held. mu is held.
func (m *Membership) settle() {
	if m.holder == nil || m.standing == nil {
		return
	}
	if m.holder.Settle(m.released, m.standing, &m.watch, m.gossip.settled()) {
		m.gossip.say(func(said *meta) { said.Settled = m.holder.Settled() })
		kick(m.announceNow)
	}
}

// missed notes that others may not wait for this node any more. mu is held.
func (m *Membership) missed() { m.caughtUp, m.misses = false, m.misses+1 }

// catchUps calls Config.CatchUp until the Membership stops.
func (m *Membership) catchUps() {
	for {
		select {
		case <-m.catchUpNow:
		case <-m.ctx.Done():
			return
		}
		m.mu.Lock()
		misses := m.misses
		m.mu.Unlock()
		ctx, cancel := context.WithTimeout(m.ctx, ring.ServeFor)
		err := m.config.CatchUp(ctx)
		cancel()
		m.mu.Lock()
		if err == nil && m.misses == misses {
			m.caughtUp = true
			m.publish(time.Now())
		}
		m.mu.Unlock()
		if err == nil || m.ctx.Err() != nil {
			continue
		}
		m.log.Warn("reading what was removed while the node did not serve", "error", err)
		select {
		case <-time.After(beatAgain):
			kick(m.catchUpNow)
		case <-m.ctx.Done():
		}
	}
}

// releases calls Config.Release until the Membership stops.
func (m *Membership) releases() {
	for {
		select {
		case <-m.releaseNow:
		case <-m.ctx.Done():
			return
		}
		s := m.State()
		if m.config.Release != nil {
			m.config.Release(m.ctx, s)
		}
		m.mu.Lock()
		if s.Self.Session == m.self.Session && s.View.Epoch > m.released {
			m.released = s.View.Epoch
			m.settle()
			m.publish(time.Now())
			kick(m.beatNow)
		}
		m.mu.Unlock()
	}
}
