package cluster

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
)

// scene is a schedule of a few appends through one entry node, n2, which owns nothing that
// they write. Its owners are n0 and n1.
type scene struct {
	*workload
	owner, other, entry *simNode // n0, n1, n2
	conn                *simConn // at entry
}

// scenes are the shortest schedules in which a rule is needed: without it, the order of
// effects, an answer or the number of effects is wrong.
var scenes = []struct {
	name    string
	without func(*routerSim)
	run     func(*scene)
}{
	{"the owner writes under its own epoch", omit(ruleEntryEpoch), (*scene).ownerKnowsMore},
	{"a later append overtakes in the next view", omit(ruleOnePath), (*scene).nextView},
	{"a later append overtakes in the own store", omit(ruleOnePath), (*scene).nextViewAtOwner},
	{"a later append goes to another owner", omit(ruleOnePath), (*scene).twoOwners},
	{"storage refuses before it looks at the epoch", func(s *routerSim) { s.refuseFirst = true }, (*scene).refusedFirst},
	{"the gate closes for a moment", omit(ruleSticky), (*scene).gateCloses},
	{"the old link still delivers", func(s *routerSim) { s.keepOld = true }, (*scene).oldLink},
	{"the copy is alive when it is looked up", omit(ruleDeadCopies), (*scene).aliveCopy},
	{"what is in doubt is sent again at once", omit(ruleLookUp), (*scene).laterWritten},
	{"what a later one has overtaken is sent again", omit(ruleOvertaken), (*scene).laterWritten},
	{"a later one was refused for want of it", omit(ruleOvertaken), (*scene).laterRefused},
	{"what is given up loses its place", omit(ruleKeepsPlace), (*scene).givenUp},
	{"timeout for what was handed over", omit(ruleClaims), (*scene).timeout},
	{"a late try after unknown_outcome", omit(ruleUnknownEnds), (*scene).lateTry},
	{"a late try after unknown_outcome, forwarded", omit(ruleUnknownEnds), (*scene).lateTryElsewhere},
	{"unknown_outcome is tried again", omit(ruleNoRetry | ruleUnknownEnds), (*scene).unknownAgain},
	{"another process of the node id answers", func(s *routerSim) { s.byNode = true }, (*scene).restarted},
	{"storage does not know ids", func(s *routerSim) { s.ignoreKnown = true }, (*scene).lostAnswer},
}

func omit(r rules) func(*routerSim) { return func(s *routerSim) { s.without = r } }

// TestRouterScenes runs every scene with all rules, and then without the one that it is
// about, when it has to fail.
func TestRouterScenes(t *testing.T) {
	for _, sc := range scenes {
		t.Run(sc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				runScene(t, sc.run)
			})
			synctest.Test(t, func(t *testing.T) {
				r := &recorder{TB: t}
				runScene(r, sc.run, sc.without)
				if len(r.failures) == 0 {
					t.Error("nothing fails without the rule")
				}
				t.Log(r.failures)
			})
		})
	}
}

// recorder takes failures that are wanted.
type recorder struct {
	testing.TB
	failures []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) Logf(string, ...any) {}

func runScene(t testing.TB, run func(*scene), change ...func(*routerSim)) {
	s := newRouterSim(t, 1, 3, change...)
	sc := newScene(s)
	run(sc)
	time.Sleep(time.Second)
	sc.calls.Wait()
	s.close()
	sc.check()
}

func newScene(s *routerSim) *scene {
	nodes := s.all()
	w := &workload{sim: s}
	time.Sleep(time.Second) // all links are there
	return &scene{w, nodes[0], nodes[1], nodes[2], w.newConn(nodes[2], s.rand)}
}

// stream returns the name of a stream that a node owns in the newest view; next is its
// owner in a view without that node.
func (sc *scene) stream(owner, next *simNode) string {
	s := sc.sim
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.views[len(s.views)-1]
	rest := &ring.View{}
	for _, m := range v.Members {
		if m.Session != owner.self.Session {
			rest.Members = append(rest.Members, m)
		}
	}
	all, without := v.Owners(), rest.Owners()
	for i := 0; ; i++ {
		name := fmt.Sprintf("s-%d", i)
		a, _ := all.Owner(ring.Slot(name))
		b, _ := without.Owner(ring.Slot(name))
		if a.Session == owner.self.Session && b.Session == next.self.Session {
			return name
		}
	}
}

// send submits an append through the connection and lets it go as far as it can.
func (sc *scene) send(c *simConn, timeout time.Duration, appends ...core.Append) *simOp {
	sc.mu.Lock()
	seq := len(sc.ops)
	o := &simOp{conn: c.number, seq: seq}
	for i, a := range appends {
		a.Events = []core.NewEvent{{Type: "T", Data: fmt.Appendf(nil, `"%d/%d"`, seq, i)}}
		o.commit.Appends = append(o.commit.Appends, a)
	}
	sc.ops = append(sc.ops, o)
	sc.mu.Unlock()
	sc.submit(c, o, timeout)
	time.Sleep(10 * time.Millisecond)
	synctest.Wait()
	return o
}

func expecting(stream string, x core.Expect) core.Append {
	return core.Append{Stream: stream, Expect: x}
}

func anywhere(stream string) core.Append { return expecting(stream, core.AnyVersion) }

// pipe returns the link from the entry node to another one.
func (sc *scene) pipe(from, to *simNode) *simPipe {
	for _, p := range sc.sim.pipesOf(from) {
		if p.far == to && p.ctx.Err() == nil {
			return p
		}
	}
	sc.sim.t.Fatal("no link")
	return nil
}

// nextViewOf stores a view that only some nodes know.
func (sc *scene) nextViewOf(known ...*simNode) {
	sc.sim.propose(sc.sim.members()...)
	for _, n := range known {
		n.learnAll()
	}
	time.Sleep(10 * time.Millisecond)
}

func (sc *scene) ownerKnowsMore() {
	x := sc.stream(sc.owner, sc.other)
	sc.owner.handle.Slow(100*time.Millisecond, 0)
	sc.send(sc.conn, time.Second, anywhere(x))
	sc.nextViewOf(sc.owner)
	sc.send(sc.conn, time.Second, anywhere(x))
}

func (sc *scene) nextView() {
	x := sc.stream(sc.owner, sc.other)
	p := sc.pipe(sc.entry, sc.owner)
	p.hold(true, false)
	sc.send(sc.conn, time.Second, anywhere(x))
	sc.nextViewOf(sc.entry)
	sc.send(sc.conn, time.Second, anywhere(x))
	p.hold(false, false)
}

func (sc *scene) nextViewAtOwner() {
	x := sc.stream(sc.owner, sc.other)
	c := sc.newConn(sc.owner, sc.sim.rand)
	sc.owner.handle.Slow(100*time.Millisecond, 0)
	sc.send(c, time.Second, anywhere(x))
	sc.nextViewOf(sc.owner)
	sc.send(c, time.Second, anywhere(x))
}

func (sc *scene) twoOwners() {
	x, y := sc.stream(sc.owner, sc.other), sc.stream(sc.other, sc.owner)
	p := sc.pipe(sc.entry, sc.other)
	p.hold(true, false)
	sc.send(sc.conn, time.Second, anywhere(y), anywhere(x))
	sc.send(sc.conn, time.Second, anywhere(x))
	p.hold(false, false)
}

func (sc *scene) refusedFirst() {
	x := sc.stream(sc.owner, sc.other)
	p := sc.pipe(sc.entry, sc.owner)
	p.hold(true, false)
	sc.send(sc.conn, time.Second, expecting(x, 0))
	sc.send(sc.conn, time.Second, expecting(x, 1))
	sc.nextViewOf()
	sc.owner.learns(false) // until storage has seen both
	p.hold(false, false)
	time.Sleep(10 * time.Millisecond)
	sc.owner.learns(true)
}

func (sc *scene) gateCloses() {
	x := sc.stream(sc.owner, sc.other)
	p := sc.pipe(sc.entry, sc.owner)
	p.hold(false, true)
	sc.owner.gate(false)
	sc.send(sc.conn, time.Second, anywhere(x))
	sc.owner.gate(true)
	sc.send(sc.conn, time.Second, anywhere(x))
	p.hold(false, false)
}

func (sc *scene) oldLink() {
	x := sc.stream(sc.owner, sc.other)
	p := sc.pipe(sc.entry, sc.owner)
	p.hold(true, false)
	sc.send(sc.conn, time.Second, expecting(x, 1))
	p.breakOff()
	time.Sleep(200 * time.Millisecond) // sent again, and refused
	sc.send(sc.newConn(sc.other, sc.sim.rand), time.Second, anywhere(x))
	p.hold(false, false)
}

func (sc *scene) aliveCopy() {
	x := sc.stream(sc.owner, sc.other)
	p := sc.pipe(sc.entry, sc.owner)
	p.hold(true, false)
	o := sc.send(sc.conn, time.Second, anywhere(x))
	time.AfterFunc(100*time.Millisecond, o.giveUp)
	sc.sim.mu.Lock()
	sc.sim.cut[[2]uint64{sc.entry.self.Session, sc.owner.self.Session}] = true
	sc.sim.mu.Unlock()
	p.breakOff()
	time.Sleep(200 * time.Millisecond)
	p.hold(false, false)
}

func (sc *scene) laterWritten() {
	x := sc.stream(sc.owner, sc.other)
	p := sc.pipe(sc.entry, sc.owner)
	p.hold(false, true)
	sc.send(sc.conn, time.Second, expecting(x, 1)) // refused
	sc.send(sc.conn, time.Second, anywhere(x))     // written
	p.black()
	p.breakOff()
}

func (sc *scene) laterRefused() {
	x := sc.stream(sc.owner, sc.other)
	p := sc.pipe(sc.entry, sc.owner)
	p.dropNext()
	sc.send(sc.conn, time.Second, expecting(x, 1)) // refused, without an answer
	sc.send(sc.conn, time.Second, expecting(x, 2)) // refused
	sc.send(sc.newConn(sc.other, sc.sim.rand), time.Second, anywhere(x))
	p.breakOff()
}

func (sc *scene) givenUp() {
	x, y := sc.stream(sc.owner, sc.other), sc.stream(sc.other, sc.owner)
	p := sc.pipe(sc.entry, sc.other)
	p.hold(true, false)
	sc.send(sc.conn, time.Second, anywhere(y), anywhere(x)).giveUp()
	time.Sleep(100 * time.Millisecond)
	sc.send(sc.conn, time.Second, anywhere(x))
	time.Sleep(100 * time.Millisecond)
	p.hold(false, false)
}

func (sc *scene) timeout() {
	x := sc.stream(sc.owner, sc.other)
	p := sc.pipe(sc.entry, sc.owner)
	p.hold(true, false)
	sc.send(sc.conn, time.Second, anywhere(x)).giveUp()
	time.Sleep(100 * time.Millisecond)
	p.hold(false, false)
}

func (sc *scene) lateTry() {
	x := sc.stream(sc.owner, sc.other)
	sc.sim.delay = 50 * time.Millisecond // of the next view
	sc.owner.handle.lateNext(20 * time.Millisecond)
	c := sc.newConn(sc.owner, sc.sim.rand)
	sc.send(c, time.Second, anywhere(x))
	sc.send(c, time.Second, anywhere(x)) // is queued in the Store when the first is answered
}

func (sc *scene) lateTryElsewhere() {
	x := sc.stream(sc.owner, sc.other)
	sc.sim.delay = 50 * time.Millisecond
	sc.owner.handle.lateNext(20 * time.Millisecond)
	sc.send(sc.conn, time.Second, anywhere(x))
	sc.send(sc.conn, time.Second, anywhere(x))
	time.Sleep(30 * time.Millisecond)
	sc.send(sc.conn, time.Second, anywhere(x))
}

func (sc *scene) unknownAgain() {
	x := sc.stream(sc.owner, sc.other)
	sc.owner.handle.Slow(0, 50*time.Millisecond)
	sc.owner.handle.FailNext(1) // the request is lost
	p := sc.pipe(sc.entry, sc.owner)
	p.hold(false, true)
	sc.send(sc.conn, time.Second, anywhere(x))
	sc.send(sc.conn, time.Second, anywhere(x))
	time.Sleep(200 * time.Millisecond)
	p.hold(false, false)
}

func (sc *scene) restarted() {
	x := sc.stream(sc.owner, sc.other)
	sc.owner.handle.Slow(500*time.Millisecond, 0)
	sc.send(sc.conn, 300*time.Millisecond, anywhere(x))
	sc.sim.crash(sc.owner)
	sc.sim.start(sc.owner.self.Node)
}

func (sc *scene) lostAnswer() {
	x := sc.stream(sc.owner, sc.other)
	p := sc.pipe(sc.entry, sc.owner)
	p.hold(false, true)
	sc.send(sc.conn, time.Second, anywhere(x))
	p.black()
	p.breakOff()
}
