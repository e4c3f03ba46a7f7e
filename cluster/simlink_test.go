package cluster_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/gyre-events/gyre/cluster"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
)

// The links of the simulation connect Routers in process, over a network that can be cut. A
// frame waits while its way is cut, as TCP sends it again. An end that hears nothing for
// linkTimeout is broken; the other end may notice at another time, and what is on the way
// then arrives late or never.

// The times of a link.
const (
	linkPing    = 500 * time.Millisecond
	linkTimeout = 1500 * time.Millisecond
	dialTimeout = 2 * time.Second       // of one way to the other node
	linkRoom    = 1024                  // frames that wait on a link, beyond which Submit waits
	lookAgain   = 20 * time.Millisecond // while a way is cut
)

// way is the nodes that a link leads through, by their addresses: two, or three with a relay.
type way []string

// simLinks is all links of a simulated ring.
type simLinks struct {
	blocked func(from, to string) bool // one hop
	running sync.WaitGroup             // the goroutines of links and calls

	mu        sync.Mutex // protects the fields below
	rand      *rand.Rand
	processes map[string]*simPeer // by address
}

func newSimLinks(r *rand.Rand, blocked func(from, to string) bool) *simLinks {
	return &simLinks{blocked: blocked, rand: r, processes: map[string]*simPeer{}}
}

func (l *simLinks) chance(percent int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rand.IntN(100) < percent
}

// cut reports whether a hop of a way is cut.
func (l *simLinks) cut(w way) bool {
	for i := 1; i < len(w); i++ {
		if l.blocked(w[i-1], w[i]) {
			return true
		}
	}
	return false
}

// simPeer is the part of a simulated process that has links.
type simPeer struct {
	links  *simLinks
	addr   string
	self   func() ring.Member // its session may change
	router *cluster.Router

	mu          sync.Mutex // protects the fields below
	dead        bool
	generations map[uint64]uint64    // the highest, by the session that has dialed
	incoming    map[uint64][]*simEnd // by the same
	ends        map[*simEnd]struct{} // that are not broken, of both kinds
}

func (l *simLinks) listen(self func() ring.Member, router *cluster.Router) *simPeer {
	p := &simPeer{
		links: l, addr: self().Addr, self: self, router: router,
		generations: map[uint64]uint64{}, incoming: map[uint64][]*simEnd{}, ends: map[*simEnd]struct{}{},
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.processes[p.addr] = p
	return p
}

// close ends the links of a process that stops: the other ends get what it has sent, and
// learn that it is gone.
func (p *simPeer) close() { p.end(true) }

// die ends a process: what it has sent may be lost. Whether the other ends learn of it at
// once is a matter of chance.
func (p *simPeer) die() { p.end(false) }

func (p *simPeer) end(says bool) {
	p.links.mu.Lock()
	if p.links.processes[p.addr] == p {
		delete(p.links.processes, p.addr)
	}
	p.links.mu.Unlock()
	p.mu.Lock()
	p.dead = true
	ends := slices.Collect(mapKeys(p.ends))
	p.mu.Unlock()
	for _, e := range ends {
		e.mu.Lock()
		e.says = says
		e.mu.Unlock()
		e.end()
	}
}

func mapKeys[K comparable, V any](m map[K]V) func(func(K) bool) {
	return func(yield func(K) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// simDialer is a node's cluster.Dialer.
type simDialer struct {
	links *simLinks
	self  func() *simPeer
}

// Dial tries the direct way, and then those through each other node.
func (d *simDialer) Dial(ctx context.Context, to ring.Member, generation uint64) (cluster.Link, error) {
	from := d.self()
	ways := []way{{from.addr, to.Addr}}
	d.links.mu.Lock()
	for addr := range d.links.processes {
		if addr != from.addr && addr != to.Addr {
			ways = append(ways, way{from.addr, addr, to.Addr})
		}
	}
	d.links.mu.Unlock()
	var err error
	for _, w := range ways {
		var link *simEnd
		if link, err = d.dial(ctx, from, to, generation, w); err == nil {
			return &simLink{link}, nil
		}
		if errors.Is(err, cluster.ErrRefused) || ctx.Err() != nil {
			break
		}
	}
	return nil, err
}

func (d *simDialer) dial(ctx context.Context, from *simPeer, to ring.Member, generation uint64, w way) (*simEnd, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	back := slices.Clone(w)
	slices.Reverse(back)
	if err := d.links.pass(ctx, w); err != nil {
		return nil, err
	}
	d.links.mu.Lock()
	callee := d.links.processes[to.Addr]
	d.links.mu.Unlock()
	if callee == nil {
		return nil, cluster.ErrRefused
	}
	accepted := make(chan *simEnd, 1)
	refused := make(chan error, 1)
	d.links.running.Go(func() {
		if end, err := callee.accept(from.self().Session, to.Session, generation, back); err != nil {
			refused <- err
		} else {
			accepted <- end
		}
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case err := <-refused:
		return nil, err
	case theirs := <-accepted:
		if err := d.links.pass(ctx, back); err != nil {
			return nil, err // their end hears nothing, and breaks
		}
		return from.connect(theirs, w)
	}
}

// pass waits for a frame to go a way.
func (l *simLinks) pass(ctx context.Context, w way) error {
	for wait := simLatency; ; wait = lookAgain {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
		if !l.cut(w) {
			return nil
		}
	}
}

var errNotHim = errors.New("another session answers at this address")

// accept makes this process's end of a link, when all of lower generations are closed.
func (p *simPeer) accept(from, to, generation uint64, w way) (*simEnd, error) {
	p.mu.Lock()
	if p.dead || to != p.self().Session || generation <= p.generations[from] {
		p.mu.Unlock()
		return nil, errNotHim
	}
	end := newSimEnd(p, w)
	end.incoming = p.router.Incoming(from)
	lower := slices.Clone(p.incoming[from])
	p.generations[from], p.ends[end] = generation, struct{}{}
	p.incoming[from] = append(p.incoming[from], end)
	p.mu.Unlock()
	for _, e := range lower {
		e.end()
		<-e.closed
	}
	p.mu.Lock()
	p.incoming[from] = slices.DeleteFunc(p.incoming[from], func(e *simEnd) bool { return slices.Contains(lower, e) })
	p.mu.Unlock()
	p.links.running.Go(end.keepAlive)
	return end, nil
}

// connect makes the end of a process that has dialed.
func (p *simPeer) connect(theirs *simEnd, w way) (*simEnd, error) {
	end := newSimEnd(p, w)
	end.other, end.answers = theirs, map[uint64]func(core.Result, error){}
	p.mu.Lock()
	if p.dead {
		p.mu.Unlock()
		return nil, errNotHim
	}
	p.ends[end] = struct{}{}
	p.mu.Unlock()
	theirs.mu.Lock()
	theirs.other = end
	theirs.mu.Unlock()
	p.links.running.Go(end.keepAlive)
	p.links.running.Go(end.send)
	p.links.running.Go(theirs.send)
	return end, nil
}

// simEnd is one end of a link, and what it sends.
type simEnd struct {
	at       *simPeer
	way      way
	incoming cluster.Incoming // at the end that was dialed
	broken   chan struct{}
	closed   chan struct{} // when incoming is closed too

	mu      sync.Mutex // protects the fields below
	other   *simEnd    // nil until the handshake is done
	ended   bool
	says    bool // all that it has sent and that it has ended, and not by chance
	heard   time.Time
	queue   []simFrame
	queued  chan struct{} // holds 1
	room    chan struct{} // closed when there is room again, and made anew
	numbers uint64
	answers map[uint64]func(core.Result, error) // of Commits, by number, at the end that has dialed
	joined  map[uint64]*simSubscriber           // by number, at either end
}

// simFrame is something that is done at the other end.
type simFrame struct {
	sent time.Time
	do   func(at *simEnd)
}

func newSimEnd(p *simPeer, w way) *simEnd {
	return &simEnd{
		at: p, way: w, heard: time.Now(), broken: make(chan struct{}), closed: make(chan struct{}),
		queued: make(chan struct{}, 1), room: make(chan struct{}), joined: map[uint64]*simSubscriber{},
	}
}

// put sends a frame. It reports false if the end is broken.
func (e *simEnd) put(do func(at *simEnd)) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended {
		return false
	}
	e.queue = append(e.queue, simFrame{time.Now(), do})
	select {
	case e.queued <- struct{}{}:
	default:
	}
	return true
}

// send takes frames to the other end, in order, until this end is broken. Then what is left
// is lost, or arrives late.
func (e *simEnd) send() {
	late := false
	for {
		e.mu.Lock()
		var frame simFrame
		some := len(e.queue) > 0
		if some {
			frame = e.queue[0]
			e.queue = e.queue[1:]
			if len(e.queue) == linkRoom/2 {
				close(e.room)
				e.room = make(chan struct{})
			}
		}
		other, ended, says := e.other, e.ended, e.says
		e.mu.Unlock()
		switch {
		case ended && !late && !says && !e.at.links.chance(50):
			return
		case !some && ended:
			if says || e.at.links.chance(80) {
				e.at.links.notice(other, e.way)
			}
			return
		case !some:
			select {
			case <-e.queued:
			case <-e.broken:
			}
			continue
		}
		late = late || ended
		if !e.at.links.arrives(frame, other, e.way) {
			return
		}
		frame.do(other)
	}
}

// arrives waits until a frame has gone its way. It reports false if nobody is there.
func (l *simLinks) arrives(f simFrame, other *simEnd, w way) bool {
	if wait := simLatency - time.Since(f.sent); wait > 0 {
		time.Sleep(wait)
	}
	for l.cut(w) {
		select {
		case <-time.After(lookAgain):
		case <-other.broken:
			return false
		}
	}
	other.mu.Lock()
	defer other.mu.Unlock()
	other.heard = time.Now()
	return !other.ended
}

// notice has the other end learn that this one is closed, if nothing is in the way.
func (l *simLinks) notice(other *simEnd, w way) {
	if !l.cut(w) {
		other.end()
	}
}

// keepAlive breaks the end when it hears nothing.
func (e *simEnd) keepAlive() {
	ticks := time.NewTicker(linkPing)
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
		case <-e.broken:
			return
		}
		e.put(func(*simEnd) {})
		e.mu.Lock()
		silent := time.Since(e.heard) > linkTimeout
		e.mu.Unlock()
		if silent {
			e.end()
		}
	}
}

// end breaks this end. What has no answer gets ErrBroken.
func (e *simEnd) end() {
	e.mu.Lock()
	if e.ended {
		e.mu.Unlock()
		return
	}
	e.ended = true
	close(e.broken)
	close(e.room)
	answers, joined := e.answers, e.joined
	e.answers, e.joined = nil, nil
	e.mu.Unlock()
	e.at.mu.Lock()
	delete(e.at.ends, e)
	e.at.mu.Unlock()
	for _, done := range answers {
		done(core.Result{}, errBroken())
	}
	for _, s := range joined {
		s.broke()
	}
	e.at.links.running.Go(func() {
		if e.incoming != nil {
			e.incoming.Close()
		}
		close(e.closed)
	})
}

func errBroken() error { return core.Errorf(core.CodeUnknownOutcome, "%w", cluster.ErrBroken) }

// simLink is the cluster.Link of an end that has dialed.
type simLink struct{ end *simEnd }

// Submit is Link.Submit.
func (l *simLink) Submit(ctx context.Context, c core.Commit, done func(core.Result, error)) {
	e := l.end
	for {
		e.mu.Lock()
		room := e.room
		full := len(e.queue) >= linkRoom && !e.ended
		e.mu.Unlock()
		if !full {
			break
		}
		select {
		case <-room:
		case <-ctx.Done():
			done(core.Result{}, core.AsError(ctx.Err()))
			return
		}
	}
	e.mu.Lock()
	if e.ended {
		e.mu.Unlock()
		done(core.Result{}, errBroken())
		return
	}
	e.numbers++
	number := e.numbers
	e.answers[number] = done
	e.mu.Unlock()
	e.put(func(at *simEnd) {
		at.incoming.Submit(context.Background(), c, func(result core.Result, err error) {
			at.put(func(back *simEnd) { back.answered(number, result, err) })
		})
	})
}

func (e *simEnd) answered(number uint64, result core.Result, err error) {
	e.mu.Lock()
	done := e.answers[number]
	delete(e.answers, number)
	e.mu.Unlock()
	if done != nil {
		done(result, err)
	}
}

// Flush is Link.Flush.
func (*simLink) Flush() {}

// Head is Link.Head.
func (l *simLink) Head(position uint64) {
	l.end.put(func(at *simEnd) { at.incoming.Head(position) })
}

// Forget is Link.Forget.
func (l *simLink) Forget(ctx context.Context, epoch uint64, received bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan error, 1)
	l.end.put(func(at *simEnd) {
		at.at.links.running.Go(func() {
			err := at.incoming.Forget(ctx, epoch, received)
			at.put(func(*simEnd) { answers <- err })
		})
	})
	select {
	case err := <-answers:
		return err
	case <-l.end.broken:
		return errBroken()
	case <-ctx.Done():
		return core.AsError(ctx.Err())
	}
}

// Broken is Link.Broken.
func (l *simLink) Broken() <-chan struct{} { return l.end.broken }

// Close is Link.Close.
func (l *simLink) Close() error {
	l.end.end()
	<-l.end.closed
	return nil
}
