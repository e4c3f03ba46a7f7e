package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
)

// simOp is an append of a connection, and the answer to its caller.
type simOp struct {
	conn, seq int
	commit    core.Commit
	giveUp    func() // cancels it
	result    core.Result
	err       error // nil: written
	answered  time.Time
}

// String identifies the op in a failure.
func (o *simOp) String() string {
	return fmt.Sprintf("%d/%d %v: %v", o.conn, o.seq, o.streams(), o.err)
}

func (o *simOp) streams() []string {
	var names []string
	for _, a := range o.commit.Appends {
		names = append(names, a.Stream)
	}
	return names
}

// simConn is a connection to a node: its appends are submitted by one goroutine.
type simConn struct {
	number int
	node   *simNode
	rand   *rand.Rand
	next   map[string]uint64 // the version after its appends, if all succeed
}

// workload is what the connections of a run do.
type workload struct {
	sim   *routerSim
	calls sync.WaitGroup
	mu    sync.Mutex // protects the fields below
	ops   []*simOp
	conns int
}

func (w *workload) newConn(node *simNode, r *rand.Rand) *simConn {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns++
	return &simConn{w.conns, node, r, make(map[string]uint64)}
}

// commit makes one up.
func (c *simConn) commit(seq int) core.Commit {
	stream := func() string {
		if c.rand.IntN(2) == 0 {
			return fmt.Sprintf("own-%d-%d", c.number, c.rand.IntN(2))
		}
		return fmt.Sprintf("shared-%d", c.rand.IntN(4))
	}
	var commit core.Commit
	appends := 1
	if c.rand.IntN(4) == 0 {
		appends = 2
	}
	for i := range appends {
		name := stream()
		expect := core.AnyVersion
		if c.rand.IntN(2) == 0 {
			expect = core.Expect(c.next[name])
		}
		c.next[name]++
		event := core.NewEvent{Type: "T", Data: fmt.Appendf(nil, `"%d/%d/%d"`, c.number, seq, i)}
		if c.rand.IntN(2) == 0 {
			event.ID = core.NewID()
		}
		commit.Appends = append(commit.Appends, core.Append{Stream: name, Expect: expect, Events: []core.NewEvent{event}})
	}
	if c.rand.IntN(5) == 0 {
		commit.Checks = []core.Check{{Stream: stream(), Expect: core.AnyVersion}}
	}
	return commit
}

// run submits n appends without waiting for their answers.
func (w *workload) run(c *simConn, n int) {
	for seq := range n {
		w.mu.Lock()
		o := &simOp{conn: c.number, seq: seq, commit: c.commit(seq)}
		w.ops = append(w.ops, o)
		w.mu.Unlock()
		timeout := time.Duration(1+c.rand.IntN(20)) * 10 * time.Millisecond
		if c.rand.IntN(2) == 0 {
			timeout = 20 * time.Second
		}
		w.submit(c, o, timeout)
		if c.rand.IntN(4) == 0 {
			time.Sleep(time.Duration(c.rand.IntN(20)) * time.Millisecond)
		}
	}
}

func (w *workload) submit(c *simConn, o *simOp, timeout time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	o.giveUp = cancel
	ctx, claim := core.WithClaim(ctx)
	type reply struct {
		result core.Result
		err    error
	}
	replies := make(chan reply, 2)
	c.node.router.Submit(ctx, o.commit, func(result core.Result, err error) { replies <- reply{result, err} })
	w.calls.Go(func() {
		defer cancel()
		var got reply
		select {
		case got = <-replies:
		case <-ctx.Done():
			got.err = claim.GivenUp(context.Cause(ctx))
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if o.result, o.err, o.answered = got.result, got.err, time.Now(); got.err == nil {
			for i, a := range o.result.Appends {
				name := o.commit.Appends[i].Stream
				c.next[name] = max(c.next[name], a.LastVersion)
			}
		}
	})
}

// disturb injects a fault.
func (s *routerSim) disturb(r *rand.Rand) {
	nodes := s.all()
	n := nodes[r.IntN(len(nodes))]
	upTo := func(d time.Duration) time.Duration { return time.Duration(r.Int64N(int64(d))) }
	switch r.IntN(9) {
	case 0, 1, 2: // a view
		members := s.members()
		r.Shuffle(len(members), func(i, k int) { members[i], members[k] = members[k], members[i] })
		s.propose(members[:1+r.IntN(len(members))]...)
		for _, n := range nodes {
			after := upTo(200 * time.Millisecond)
			time.AfterFunc(after, n.learnAll)
		}
	case 3: // a link breaks
		if p := s.aPipe(n); p != nil {
			p.breakOff()
		}
	case 4: // a link is silent, and then breaks
		if p := s.aPipe(n); p != nil {
			p.black()
			time.AfterFunc(upTo(2*time.Second), p.breakOff)
		}
	case 5: // the gate closes for a moment
		n.gate(false)
		time.AfterFunc(upTo(100*time.Millisecond), func() { n.gate(true) })
	case 6: // storage is slow, or loses a call
		switch r.IntN(4) {
		case 0:
			n.handle.Slow(upTo(100*time.Millisecond), upTo(100*time.Millisecond))
			time.AfterFunc(upTo(time.Second), func() { n.handle.Slow(0, 0) })
		case 1:
			n.handle.FailNext(memory.LoseAnswer)
		case 2:
			n.handle.FailNext(memory.LoseRequest)
		case 3:
			n.handle.lateNext(upTo(500 * time.Millisecond))
		}
	case 7: // storage is cut off
		n.handle.CutOff()
		time.AfterFunc(upTo(3*time.Second), n.handle.Reconnect)
	case 8: // a direction of the network is cut
		key := [2]uint64{n.self.Session, nodes[r.IntN(len(nodes))].self.Session}
		s.mu.Lock()
		s.cut[key] = true
		s.mu.Unlock()
		for _, p := range s.pipesOf(n) {
			if p.far.self.Session == key[1] {
				p.breakOff()
			}
		}
		time.AfterFunc(upTo(3*time.Second), func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.cut, key)
		})
	}
}

func (s *routerSim) pipesOf(n *simNode) []*simPipe {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*simPipe
	for p := range n.pipes {
		all = append(all, p)
	}
	return all
}

func (s *routerSim) aPipe(n *simNode) *simPipe {
	if all := s.pipesOf(n); len(all) > 0 {
		return all[0]
	}
	return nil
}

// crash cuts a process off for ever. What it has given to its storage goes on.
func (s *routerSim) crash(n *simNode) {
	s.mu.Lock()
	n.dead = true
	var incoming []*simPipe
	for _, list := range n.incoming {
		incoming = append(incoming, list...)
	}
	s.mu.Unlock()
	for _, p := range append(s.pipesOf(n), incoming...) {
		p.breakOff()
	}
	n.gate(false)
}

// TestRouterProperties has connections append through three nodes while views change, links
// break, gates close and storage fails. GYRE_SEED repeats a run.
func TestRouterProperties(t *testing.T) {
	checkProperties(t, 8)
}

// TestRouterPropertiesSoak is TestRouterProperties for longer.
func TestRouterPropertiesSoak(t *testing.T) {
	if os.Getenv("GYRE_SOAK") == "" {
		t.Skip("GYRE_SOAK is not set")
	}
	checkProperties(t, 2000)
}

func checkProperties(t *testing.T, runs int) {
	first := uint64(time.Now().UnixNano())
	if text := os.Getenv("GYRE_SEED"); text != "" {
		first, _ = strconv.ParseUint(text, 10, 64)
		runs = 1
	}
	for i := range runs {
		seed := first + uint64(i)
		synctest.Test(t, func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("GYRE_SEED=%d", seed)
				}
			}()
			runProperties(t, seed)
		})
	}
}

func runProperties(t *testing.T, seed uint64) {
	s := newRouterSim(t, seed, 3)
	w := &workload{sim: s}
	r := rand.New(rand.NewPCG(seed, 2))
	var writers sync.WaitGroup
	for range 6 {
		random := rand.New(rand.NewPCG(r.Uint64(), 3))
		writers.Go(func() {
			for range 5 {
				nodes := s.all()
				c := w.newConn(nodes[random.IntN(len(nodes))], random)
				w.run(c, 40)
				time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
			}
		})
	}
	for i := range 30 {
		time.Sleep(time.Duration(r.IntN(100)) * time.Millisecond)
		if s.disturb(r); i == 15 {
			nodes := s.all()
			n := nodes[r.IntN(len(nodes))]
			s.crash(n)
			s.start(n.self.Node).gate(true)
			s.propose(s.members()...)
			for _, n := range s.all() {
				time.AfterFunc(time.Duration(r.IntN(200))*time.Millisecond, n.learnAll)
			}
		}
	}
	writers.Wait()
	time.Sleep(4 * time.Second) // every fault has an end
	s.propose(s.members()...)
	for _, n := range s.all() {
		n.handle.mend()
		n.gate(true)
		n.learnAll()
	}
	w.calls.Wait()
	w.checkLive()
	s.close()
	w.check()
	s.checkOwners()
}

// checkLive checks that every node writes every stream again.
func (w *workload) checkLive() {
	w.sim.t.Helper()
	for _, n := range w.sim.all() {
		for i := range 4 {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			if _, err := n.router.Append(ctx, appendTo(fmt.Sprintf("shared-%d", i), core.AnyVersion)); err != nil {
				w.sim.t.Errorf("after all faults, at %s: %v", n.self.Node, err)
			}
			cancel()
		}
		if stats := n.router.Stats(); stats.Unsettled != 0 {
			w.sim.t.Errorf("after all faults, %s has %+v", n.self.Node, stats)
		}
	}
}

// written is where an event of an op is.
type written struct {
	position, version uint64
}

// check compares the answers with the log.
func (w *workload) check() {
	t := w.sim.t
	t.Helper()
	log := make(map[string]written) // by stream and data
	h := w.sim.log.Open()
	for from := uint64(1); ; {
		page, err := h.Read(context.Background(), core.ReadRequest{Stream: core.All, From: from, Limit: core.Limit{Events: 1000, Bytes: 4 << 20}})
		if err != nil {
			t.Error(err)
			return
		}
		for e := range page.Events() {
			key := e.Stream + " " + string(e.Data)
			if _, twice := log[key]; twice && string(e.Data) != "{}" {
				t.Errorf("%s is in the log twice", key)
			}
			log[key] = written{e.Position, e.Version}
		}
		if page.End {
			break
		}
		from = page.Next
	}
	for _, c := range w.sim.withdrawn {
		for _, a := range c.Appends {
			if at, ok := log[a.Stream+" "+string(a.Events[0].Data)]; ok {
				t.Errorf("%s of %s is in the log at %+v; its owner had withdrawn it", a.Events[0].Data, a.Stream, at)
			}
		}
	}
	codes := make(map[core.Code]int)
	type line struct {
		conn   int
		stream string
	}
	last := make(map[line]*simOp)
	lines := make(map[line][]*simOp)
	for _, o := range w.ops { // of each connection in order
		if o.err != nil {
			codes[core.AsError(o.err).Code]++
		} else {
			codes["ok"]++
		}
		for i, a := range o.commit.Appends {
			at, inLog := log[a.Stream+" "+string(a.Events[0].Data)]
			w.checkAnswer(o, i, at, inLog)
			key := line{o.conn, a.Stream}
			lines[key] = append(lines[key], o)
			if !inLog {
				continue
			}
			if before := last[key]; before != nil && before.at(log, a.Stream).position > at.position {
				t.Errorf("order of connection %d in %s: %v is after %v", o.conn, a.Stream, before, o)
			}
			last[key] = o
		}
	}
	for key, ops := range lines {
		for i, o := range ops {
			w.checkDecisions(log, key.stream, ops[:i], o)
		}
	}
	t.Logf("%v, %d views", codes, len(w.sim.views))
}

func (o *simOp) at(log map[string]written, stream string) (at written) {
	for _, a := range o.commit.Appends {
		if w, ok := log[a.Stream+" "+string(a.Events[0].Data)]; ok && a.Stream == stream && w.position > at.position {
			at = w
		}
	}
	return at
}

// checkAnswer checks an answer by itself.
func (w *workload) checkAnswer(o *simOp, i int, at written, inLog bool) {
	t := w.sim.t
	switch {
	case o.answered.IsZero():
		t.Errorf("%v was not answered", o)
	case o.err == nil && !inLog:
		t.Errorf("%v was acknowledged and is not in the log", o)
	case o.err == nil && o.result.Appends[i].LastVersion != at.version:
		t.Errorf("%v was acknowledged with %+v and is at %+v", o, o.result, at)
	case o.err != nil && inLog && !errors.Is(o.err, core.CodeUnknownOutcome):
		t.Errorf("%v is in the log at %+v", o, at)
	}
	if x := o.commit.Appends[i].Expect; inLog && len(o.commit.Appends) == 1 && x >= 0 && uint64(x)+1 != at.version {
		t.Errorf("%v expected version %d and is at %+v", o, x, at)
	}
}

// checkDecisions checks that o was not refused for want of an earlier append that was
// written afterwards, while its caller waited.
func (w *workload) checkDecisions(log map[string]written, stream string, earlier []*simOp, o *simOp) {
	var refusal *core.Error
	if !errors.As(o.err, &refusal) || refusal.Code != core.CodeWrongExpectedVersion || refusal.Stream != stream {
		return
	}
	if *refusal.Expected < 0 || uint64(*refusal.Expected) <= *refusal.Actual {
		return
	}
	for _, e := range earlier {
		if at := e.at(log, stream); e.err == nil && at.version > *refusal.Actual && e.answered.After(o.answered) {
			w.sim.t.Errorf("%v was refused, and then %v was written at %+v", o, e, at)
		}
	}
}
