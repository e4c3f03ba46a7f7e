package ringtest

import (
	"context"
	"sync"
	"time"

	"github.com/gyre-events/gyre/cluster"
	"github.com/gyre-events/gyre/core/ring"
)

// deadAfter is how long a session's beats are missing before anybody may hold it dead.
const deadAfter = 4 * time.Second

// Witness sees the calls of all nodes to their Arbiters.
type Witness struct {
	begun time.Time

	mu        sync.Mutex // protects the fields below
	sessions  map[uint64]*session
	proposals []proposal
}

// session is what is certain of one.
type session struct {
	node  string
	alive time.Duration // when its last beat that succeeded was sent, or its registration
	ended time.Duration // when a Leave was sent, or its successor was registered
}

// proposal is one that was sent, whatever its answer.
type proposal struct {
	at   time.Duration
	base uint64
	view ring.View
	dead []uint64
}

// NewWitness makes a Witness of a run that begins now.
func NewWitness() *Witness {
	return &Witness{begun: time.Now(), sessions: map[uint64]*session{}}
}

// Of returns a node's Arbiter whose calls w sees.
func (w *Witness) Of(a cluster.Arbiter) cluster.Arbiter { return &witnessed{a, w} }

type witnessed struct {
	cluster.Arbiter
	w *Witness
}

func (a *witnessed) Register(ctx context.Context, name string, m ring.Member, secret [32]byte) (uint64, error) {
	number, err := a.Arbiter.Register(ctx, name, m, secret)
	if err == nil {
		a.w.registered(number, m.Node)
	}
	return number, err
}

func (w *Witness) registered(number uint64, node string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.sessions {
		if s.node == node && s.ended == never {
			s.ended = time.Since(w.begun)
		}
	}
	w.sessions[number] = &session{node: node, alive: time.Since(w.begun), ended: never}
}

func (a *witnessed) Beat(ctx context.Context, session, released uint64, draining bool) (ring.Standing, error) {
	sent := time.Since(a.w.begun)
	standing, err := a.Arbiter.Beat(ctx, session, released, draining)
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	if s := a.w.sessions[session]; s != nil && err == nil {
		s.alive = max(s.alive, sent)
	}
	return standing, err
}

func (a *witnessed) Propose(ctx context.Context, base uint64, next ring.View, dead []uint64) error {
	a.w.mu.Lock()
	a.w.proposals = append(a.w.proposals, proposal{time.Since(a.w.begun), base, next, dead})
	a.w.mu.Unlock()
	err := a.Arbiter.Propose(ctx, base, next, dead)
	if err == nil {
		a.w.end(dead...)
	}
	return err
}

// end notes that sessions have ended, or end.
func (w *Witness) end(numbers ...uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range numbers {
		if s := w.sessions[n]; s != nil && s.ended == never {
			s.ended = time.Since(w.begun)
		}
	}
}

func (a *witnessed) Leave(ctx context.Context, session uint64) error {
	a.w.end(session)
	return a.Arbiter.Leave(ctx, session)
}

// Check checks the history of views: epochs follow on each other, every view has as many
// members as the quorum that all nodes were started with, those have sessions, and it was
// proposed by a member of the view before, unless those were gone.
func (w *Witness) Check(views []ring.View, quorum int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var f faults
	for i := range views {
		v := &views[i]
		if want := uint64(i) + 2; v.Epoch != want {
			f.add("view %d has epoch %d", want, v.Epoch)
		}
		checkMembers(&f, v)
		if len(v.Members) < quorum {
			f.add("view %d has %d members, and the quorum is %d", v.Epoch, len(v.Members), quorum)
		}
		var before *ring.View
		if i > 0 {
			before = &views[i-1]
		}
		if why := w.unfounded(v, before); why != "" {
			f.add("view %d, proposed by session %d: %s", v.Epoch, v.Proposer, why)
		}
	}
	return f.err()
}

func checkMembers(f *faults, v *ring.View) {
	for k := 1; k < len(v.Members); k++ {
		if v.Members[k-1].Node >= v.Members[k].Node {
			f.add("view %d has %s before %s", v.Epoch, v.Members[k-1].Node, v.Members[k].Node)
		}
	}
}

// unfounded says why no proposal that was sent may have become v.
func (w *Witness) unfounded(v, before *ring.View) string {
	why := "nobody proposed it"
	for _, p := range w.proposals {
		if p.base+1 != v.Epoch || p.view.Proposer != v.Proposer || !sameMembers(p.view.Members, v.Members) {
			continue
		}
		if why = w.forbidden(&p, before); why == "" {
			return ""
		}
	}
	return why
}

func sameMembers(a, b []ring.Member) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Session != b[i].Session {
			return false
		}
	}
	return true
}

// forbidden says why a proposal had to be refused.
func (w *Witness) forbidden(p *proposal, before *ring.View) string {
	there := 0
	for _, m := range p.view.Members {
		if s := w.sessions[m.Session]; s != nil && s.ended >= p.at {
			there++
		}
	}
	if there < p.view.Quorum {
		return "fewer of its members have a session than its quorum"
	}
	if before == nil {
		return ""
	}
	if _, ok := before.Member(p.view.Proposer); ok {
		return ""
	}
	for _, m := range before.Members {
		s := w.sessions[m.Session]
		gone := s == nil || s.ended <= p.at || p.at-s.alive >= deadAfter
		if !gone {
			return "an outsider, while a member of the view before was there: " + m.Node
		}
	}
	return ""
}
