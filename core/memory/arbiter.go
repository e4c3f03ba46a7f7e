package memory

import (
	"context"
	"slices"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
)

// sessions is what a Log keeps as the arbiter of a ring.
type sessions struct {
	nodes   []string  // of all sessions, which are numbered from 1
	list    []session // those that have not ended
	views   []ring.View
	without map[Rule]bool
}

// session is one, and the name of its ring.
type session struct {
	ring.Session
	ring string
}

// Rule is one that a Log keeps, and that a test can take out.
type Rule uint8

// The rules.
const (
	EpochRule    Rule = iota // a Commit under another epoch is refused
	ProposerRule             // only members propose, or others once all members are gone
	QuorumRule               // a view has as many sessions as its quorum
)

// Without takes a rule out, so that a test can show that its checks notice.
func (l *Log) Without(r Rule) {
	l.engine.mu.Lock()
	defer l.engine.mu.Unlock()
	if l.ring.without == nil {
		l.ring.without = make(map[Rule]bool)
	}
	l.ring.without[r] = true
	l.engine.unfenced = l.ring.without[EpochRule]
}

// Register is cluster.Arbiter's.
func (h *Handle) Register(ctx context.Context, name string, m ring.Member, secret [32]byte) (number uint64, err error) {
	return arbitrate(ctx, h, func(l *Log) (uint64, error) {
		for _, s := range l.ring.list {
			switch why := s.Mismatch(m); {
			case s.Node == m.Node:
			case s.ring != name:
				return 0, core.Errorf(core.CodeClusterMismatch, "node %s is in ring %q, and %s would be in ring %q", s.Node, s.ring, m.Node, name)
			case why != "":
				return 0, core.Errorf(core.CodeClusterMismatch, "%s", why)
			}
		}
		l.ring.end(func(s *session) bool { return s.Node == m.Node })
		l.ring.nodes = append(l.ring.nodes, m.Node)
		m.Session = uint64(len(l.ring.nodes))
		l.ring.list = append(l.ring.list, session{ring: name, Session: ring.Session{Member: m, Secret: secret}})
		return m.Session, nil
	})
}

// Beat is cluster.Arbiter's.
func (h *Handle) Beat(ctx context.Context, number, released uint64, draining bool) (ring.Standing, error) {
	return arbitrate(ctx, h, func(l *Log) (ring.Standing, error) {
		s, err := l.ring.find(number)
		if err != nil {
			return ring.Standing{}, err
		}
		s.Beats++
		s.Released = max(s.Released, released)
		s.Draining = draining
		standing := ring.Standing{Epoch: l.engine.epoch}
		for _, s := range l.ring.list {
			standing.Sessions = append(standing.Sessions, s.Session)
		}
		return standing, nil
	})
}

// Propose is cluster.Arbiter's.
func (h *Handle) Propose(ctx context.Context, base uint64, next ring.View, dead []uint64) error {
	_, err := arbitrate(ctx, h, func(l *Log) (struct{}, error) {
		if l.engine.epoch != base {
			return struct{}{}, core.NewStaleEpoch(base, l.engine.epoch)
		}
		if err := l.ring.mayPropose(&next, dead); err != nil {
			return struct{}{}, err
		}
		l.engine.epoch++
		l.ring.end(func(s *session) bool { return slices.Contains(dead, s.Session.Session) })
		next.Epoch, next.At, next.Members = base+1, time.Now(), slices.Clone(next.Members)
		l.ring.views = append(l.ring.views, next)
		return struct{}{}, nil
	})
	return err
}

// Views is cluster.Arbiter's.
func (h *Handle) Views(ctx context.Context, after uint64, limit int) ([]ring.View, error) {
	return arbitrate(ctx, h, func(l *Log) (views []ring.View, err error) {
		for _, v := range l.ring.views {
			if v.Epoch > after && len(views) < limit {
				v.Members = slices.Clone(v.Members)
				views = append(views, v)
			}
		}
		return views, nil
	})
}

// Leave is cluster.Arbiter's.
func (h *Handle) Leave(ctx context.Context, number uint64) error {
	_, err := arbitrate(ctx, h, func(l *Log) (struct{}, error) {
		l.ring.end(func(s *session) bool { return s.Session.Session == number })
		return struct{}{}, nil
	})
	return err
}

// arbitrate runs do on the log, with its lock, and wakes those who wait for a change.
func arbitrate[T any](ctx context.Context, h *Handle, do func(l *Log) (T, error)) (answer T, err error) {
	_, failed := h.call(ctx, ctx, &h.arbiter, func() {
		defer h.log.wake()
		h.log.engine.mu.Lock()
		defer h.log.engine.mu.Unlock()
		answer, err = do(h.log)
	})
	if failed != nil {
		var none T
		return none, failed
	}
	return answer, err
}

// find finds a session that has not ended.
func (r *sessions) find(number uint64) (*session, error) {
	newer := false
	node := ""
	if number > 0 && number <= uint64(len(r.nodes)) {
		node = r.nodes[number-1]
	}
	for i := range r.list {
		s := &r.list[i]
		if s.Session.Session == number {
			return s, nil
		}
		newer = newer || s.Session.Session > number && s.Node == node
	}
	if newer {
		return nil, core.Errorf(core.CodeNodeSuperseded, "another process has the node id %s", node)
	}
	return nil, core.Errorf(core.CodeNotMember, "session %d has ended", number)
}

// end ends sessions.
func (r *sessions) end(which func(s *session) bool) {
	kept := r.list[:0:0]
	for i := range r.list {
		if !which(&r.list[i]) {
			kept = append(kept, r.list[i])
		}
	}
	r.list = kept
}

// mayPropose returns nil if next may be stored by its proposer, who holds others dead.
func (r *sessions) mayPropose(next *ring.View, dead []uint64) error {
	lives := func(number uint64) bool {
		_, err := r.find(number)
		return err == nil && !slices.Contains(dead, number)
	}
	living := 0
	for _, m := range next.Members {
		if lives(m.Session) {
			living++
		}
	}
	if living < next.Quorum && !r.without[QuorumRule] {
		return core.Errorf(core.CodeNotMember, "%d of %d members have a session, the quorum is %d",
			living, len(next.Members), next.Quorum)
	}
	if r.without[ProposerRule] {
		return nil
	}
	if !lives(next.Proposer) {
		return core.Errorf(core.CodeNotMember, "session %d, which proposes, has ended", next.Proposer)
	}
	if len(r.views) == 0 {
		return nil
	}
	base := &r.views[len(r.views)-1]
	if _, isMember := base.Member(next.Proposer); isMember {
		return nil
	}
	for _, m := range base.Members {
		if lives(m.Session) {
			return core.Errorf(core.CodeNotMember, "session %d is not in view %d, and node %s of it has not ended",
				next.Proposer, base.Epoch, m.Node)
		}
	}
	return nil
}
