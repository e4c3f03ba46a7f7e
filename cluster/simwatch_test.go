package cluster_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/gyre-events/gyre/cluster"
	"github.com/gyre-events/gyre/cluster/ringtest"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
)

const (
	// simSample is how often beliefs are sampled.
	simSample = 50 * time.Millisecond
	// simSlots is how many slots a sample looks at, beside those of the streams.
	simSlots = 64
	// cutOffServes bounds how long a node serves without the log, and lonelyServes without
	// a quorum of other nodes.
	cutOffServes = ring.ServeFor + simSample
	lonelyServes = 20 * time.Second
)

// simMonitor samples what nodes believe.
type simMonitor struct {
	ring   *simulation
	slots  []int // those of the streams
	next   int   // the first of the others to look at
	seen   map[string]*cluster.State
	closed map[string][]ringtest.Span
	alone  map[*simProcess]time.Time // since when it has no quorum around it
}

func (r *simulation) newMonitor() *simMonitor {
	m := &simMonitor{
		ring: r, seen: map[string]*cluster.State{}, closed: map[string][]ringtest.Span{},
		alone: map[*simProcess]time.Time{},
	}
	for i := range simStreams {
		m.slots = append(m.slots, ring.Slot(fmt.Sprintf("s-%d", i)))
	}
	return m
}

// run samples until the end of the run.
func (m *simMonitor) run() {
	for m.ring.goesOn() {
		m.sample()
		time.Sleep(simSample)
	}
}

func (m *simMonitor) sample() {
	now := time.Now()
	states := map[string]*cluster.State{}
	for _, n := range m.ring.nodes {
		p := n.running()
		if p == nil {
			continue
		}
		s := p.membership.State()
		states[n.name] = s
		m.noteGate(n.name, s, now)
		m.checkServes(p, s, now)
	}
	slots := m.slots
	for range simSlots {
		slots = append(slots, m.next)
		m.next = (m.next + 67) % ring.Slots // which has no divisor in common with Slots
	}
	if err := ringtest.CheckHolders(states, slots, now); err != nil {
		m.ring.fail("at %v: %v", m.ring.history.now(), err)
	}
}

// noteGate notes that a gate was closed since the last sample, if it certainly was.
func (m *simMonitor) noteGate(node string, s *cluster.State, now time.Time) {
	if m.seen[node] == s && s.Closed != nil {
		at := m.ring.history.now()
		spans := m.closed[node]
		if n := len(spans); n > 0 && spans[n-1].To == at-simSample {
			spans[n-1].To = at
		} else {
			m.closed[node] = append(spans, ringtest.Span{From: at - simSample, To: at})
		}
	}
	m.seen[node] = s
}

// checkServes checks that a node does not serve long after it has lost the log or a quorum.
func (m *simMonitor) checkServes(p *simProcess, s *cluster.State, now time.Time) {
	n := p.node
	check := func(since time.Time, within time.Duration, what string) {
		if !since.IsZero() && now.Sub(since) > within && s.Serves(now) == nil {
			m.ring.fail("at %v: %s serves %v after it lost %s", m.ring.history.now(), n.name, now.Sub(since), what)
		}
	}
	n.mu.Lock()
	cutOff := n.cutOff
	n.mu.Unlock()
	check(cutOff, cutOffServes, "the log")
	if m.ring.around(n) >= m.ring.quorum {
		delete(m.alone, p)
	} else if _, ok := m.alone[p]; !ok {
		m.alone[p] = now
	}
	check(m.alone[p], lonelyServes, "a quorum")
}

// around counts the running nodes, itself included, that a node gets to and that get to it,
// through others too: so does gossip.
func (r *simulation) around(n *simulated) (count int) {
	there := r.reach(n, r.cuts.blocked)
	back := r.reach(n, func(from, to string) bool { return r.cuts.blocked(to, from) })
	for other := range there {
		if back[other] {
			count++
		}
	}
	return count
}

// reach is the running nodes that a node gets to.
func (r *simulation) reach(n *simulated, blocked func(from, to string) bool) map[*simulated]bool {
	reached, next := map[*simulated]bool{n: true}, []*simulated{n}
	for len(next) > 0 {
		at := next[0]
		next = next[1:]
		for _, other := range r.nodes {
			if !reached[other] && other.running() != nil && !blocked(at.name, other.name) {
				reached[other] = true
				next = append(next, other)
			}
		}
	}
	return reached
}

// missing says which nodes are not in the newest view, or do not serve.
func (r *simulation) missing() (why string) {
	for _, n := range r.nodes {
		p := n.running()
		if p == nil {
			why += n.name + " does not run; "
			continue
		}
		s := p.membership.State()
		if closed := s.Serves(time.Now()); closed != nil {
			why += fmt.Sprintf("%s: %s; ", n.name, closed.Detail)
		} else if len(s.View.Members) < len(r.nodes) {
			why += fmt.Sprintf("%s knows view %d with %d members; ", n.name, s.View.Epoch, len(s.View.Members))
		}
	}
	return why
}

// freeSince is the latest of a time and the ends of the stickiness of nodes that are missing.
func (r *simulation) freeSince(begun time.Time) time.Time {
	views := r.views()
	if len(views) == 0 {
		return begun
	}
	newest := &views[len(views)-1]
	for _, n := range r.nodes {
		p := n.running()
		if p == nil {
			continue
		}
		session := p.self().Session
		if _, ok := newest.Member(session); ok {
			continue
		}
		for i := len(views) - 1; i > 0; i-- {
			_, before := views[i-1].Member(session)
			if _, after := views[i].Member(session); before && !after {
				if free := views[i].At.Add(ring.StickyFor); free.After(begun) {
					begun = free
				}
				break
			}
		}
	}
	return begun
}

func (r *simulation) views() []ring.View {
	views, err := r.view.Views(r.t.Context(), 0, 100_000)
	if err != nil {
		r.t.Fatal(err)
	}
	return views
}

// simFollow follows $all, at any node, and keeps what it has seen.
type simFollow struct {
	ring *simulation

	mu     sync.Mutex // protects the fields below
	cursor uint64
	seen   []uint64 // positions
}

func (f *simFollow) run(ctx context.Context) {
	random := f.ring.newRand()
	for ctx.Err() == nil {
		p := f.ring.nodes[random.IntN(len(f.ring.nodes))].running()
		if p == nil {
			f.ring.pause(random, time.Second)
			continue
		}
		err := f.follow(ctx, p)
		if ctx.Err() == nil && !p.isDead() && !core.AsError(err).Info().Retryable {
			f.ring.fail("a follow at %s ended with %v", p.node.name, err)
		}
		f.ring.pause(random, 100*time.Millisecond)
	}
}

func (f *simFollow) follow(ctx context.Context, p *simProcess) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-p.died:
			cancel()
		case <-ctx.Done():
		}
	}()
	follower, err := p.router.Follow(ctx, core.FollowRequest{Stream: core.All, From: core.From{Kind: core.AfterPosition, N: f.cursor}})
	if err != nil {
		return err
	}
	defer func() { _ = follower.Close() }()
	for {
		d, err := follower.Next(ctx, core.Limit{Events: 100, Bytes: 1 << 20})
		if err != nil {
			return err
		}
		f.mu.Lock()
		for e := range d.Events() {
			f.seen = append(f.seen, e.Position)
		}
		f.cursor = d.Cursor
		f.mu.Unlock()
	}
}

// await waits until the follow has come to a position.
func (f *simFollow) await(head uint64) error {
	for deadline := time.Now().Add(simDeadline); ; time.Sleep(simSample) {
		f.mu.Lock()
		cursor := f.cursor
		f.mu.Unlock()
		switch {
		case cursor >= head:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("a follow is at %d, and the head at %d", cursor, head)
		}
	}
}
