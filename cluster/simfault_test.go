package cluster_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/gyre-events/gyre/core/memory"
)

// simCuts is which hops between nodes are cut, and which nodes are frozen: nothing reaches a
// frozen node, and nothing leaves it.
type simCuts struct {
	mu     sync.Mutex // protects the fields below
	cut    map[[2]string]bool
	frozen map[string]bool
}

func (c *simCuts) set(from, to string, cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut[[2]string{from, to}] = cut
}

func (c *simCuts) freeze(name string, frozen bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frozen[name] = frozen
}

// blocked reports whether nothing gets from a node to another one.
func (c *simCuts) blocked(from, to string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cut[[2]string{from, to}] || c.frozen[from] || c.frozen[to]
}

// simFault is something that goes wrong for a while.
type simFault struct {
	name string
	// begin makes it go wrong, and returns what repairs it.
	begin func(r *simulation, random *rand.Rand) (repair func())
	// counts is how many faults it is for the bound on views; 0 is 1.
	counts func(nodes int) int
	long   bool // it takes as long as it takes: there is nothing to wait for
	// graceful says that no node fails, so no call does.
	graceful bool
}

var simFaults = []simFault{
	{name: "crash", begin: simCrash},
	{name: "crash with a try on its way", begin: simLateCrash},
	{name: "pause", begin: simPause},
	{name: "partition", begin: simPartition},
	{name: "one-way partition", begin: simOneWay},
	{name: "partial partition", begin: simPartial},
	{name: "log cut off from one", begin: func(r *simulation, random *rand.Rand) func() { return r.cutLog(random, 1) }},
	{name: "log cut off from some", begin: func(r *simulation, random *rand.Rand) func() {
		return r.cutLog(random, 1+random.IntN(len(r.nodes)))
	}},
	{name: "log cut off from all", begin: func(r *simulation, random *rand.Rand) func() { return r.cutLog(random, len(r.nodes)) }},
	{name: "partition, log cut off from the smaller part", begin: simPartitionAndLog},
	{name: "slow gossip", begin: simSlowGossip},
	{name: "slow log, lost answers", begin: simSlowLog},
	{name: "crash and start", begin: simCrashStart, long: true},
	{name: "stop and start", begin: simRestart, long: true, graceful: true},
	{name: "rolling restart", begin: simRollingRestart, long: true, graceful: true, counts: func(nodes int) int { return nodes }},
}

// some returns n nodes.
func (r *simulation) some(random *rand.Rand, n int) []*simulated {
	nodes := slices.Clone(r.nodes)
	random.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
	return nodes[:n]
}

func simCrash(r *simulation, random *rand.Rand) func() {
	n := r.some(random, 1)[0]
	n.crash()
	return n.start
}

func simLateCrash(r *simulation, random *rand.Rand) func() {
	n := r.some(random, 1)[0]
	n.running().engine.late.Store(1 + random.Int64N(int64(10*time.Second)))
	time.Sleep(time.Duration(random.IntN(200)) * time.Millisecond)
	n.crash()
	return n.start
}

func simPause(r *simulation, random *rand.Rand) func() {
	n := r.some(random, 1)[0]
	r.cuts.freeze(n.name, true)
	n.setLog(true)
	return func() {
		r.cuts.freeze(n.name, false)
		n.setLog(false)
	}
}

// split cuts some nodes, fewer than a quorum, off from the others.
func (r *simulation) split(random *rand.Rand, out, back bool) (few []*simulated, heal func()) {
	few = r.some(random, 1+random.IntN(len(r.nodes)-r.quorum))
	set := func(cut bool) {
		for _, a := range few {
			for _, b := range r.nodes {
				if !slices.Contains(few, b) {
					r.cuts.set(a.name, b.name, cut && out)
					r.cuts.set(b.name, a.name, cut && back)
				}
			}
		}
	}
	set(true)
	return few, func() { set(false) }
}

func simPartition(r *simulation, random *rand.Rand) func() {
	_, heal := r.split(random, true, true)
	return heal
}

func simOneWay(r *simulation, random *rand.Rand) func() {
	out := random.IntN(2) == 0
	_, heal := r.split(random, out, !out)
	return heal
}

func simPartial(r *simulation, random *rand.Rand) func() {
	var heals []func()
	for range 1 + random.IntN(len(r.nodes)-1) {
		two := r.some(random, 2)
		r.cuts.set(two[0].name, two[1].name, true)
		r.cuts.set(two[1].name, two[0].name, random.IntN(3) > 0)
		heals = append(heals, func() {
			r.cuts.set(two[0].name, two[1].name, false)
			r.cuts.set(two[1].name, two[0].name, false)
		})
	}
	return func() {
		for _, heal := range heals {
			heal()
		}
	}
}

func (n *simulated) setLog(cutOff bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cutOff = time.Time{}
	if cutOff {
		n.cutOff = time.Now()
	}
	if n.process == nil {
		return
	}
	if cutOff {
		n.process.handle.CutOff()
	} else {
		n.process.handle.Reconnect()
	}
}

func (r *simulation) cutLog(random *rand.Rand, of int) func() {
	nodes := r.some(random, of)
	for _, n := range nodes {
		n.setLog(true)
	}
	return func() {
		for _, n := range nodes {
			n.setLog(false)
		}
	}
}

func simPartitionAndLog(r *simulation, random *rand.Rand) func() {
	few, heal := r.split(random, true, true)
	for _, n := range few {
		n.setLog(true)
	}
	return func() {
		heal()
		for _, n := range few {
			n.setLog(false)
		}
	}
}

// simLatency is that of a packet, and of a frame of a link, when all is well.
const simLatency = 200 * time.Microsecond

func simSlowGossip(r *simulation, random *rand.Rand) func() {
	r.net.Delay(time.Duration(random.IntN(400)) * time.Millisecond)
	r.net.Lose(random.Float64() / 2)
	return func() {
		r.net.Delay(simLatency)
		r.net.Lose(0)
	}
}

func simSlowLog(r *simulation, random *rand.Rand) func() {
	nodes := r.some(random, 1+random.IntN(len(r.nodes)))
	for _, n := range nodes {
		p := n.running()
		p.handle.Slow(time.Duration(random.IntN(500))*time.Millisecond, time.Duration(random.IntN(500))*time.Millisecond)
		p.handle.SlowArbiter(time.Duration(random.IntN(600))*time.Millisecond, time.Duration(random.IntN(300))*time.Millisecond)
		p.handle.FailNext([]memory.Fault{memory.NoFault, memory.LoseRequest, memory.LoseAnswer}[random.IntN(3)])
		p.handle.FailNextArbiter([]memory.Fault{memory.NoFault, memory.LoseRequest, memory.LoseAnswer}[random.IntN(3)])
		if random.IntN(2) == 0 {
			p.engine.late.Store(1 + random.Int64N(int64(10*time.Second)))
		}
	}
	return func() {
		for _, n := range nodes {
			n.running().fast()
		}
	}
}

func simRestart(r *simulation, random *rand.Rand) func() {
	n := r.some(random, 1)[0]
	n.stop()
	time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
	n.start()
	return func() {}
}

func simCrashStart(r *simulation, random *rand.Rand) func() {
	n := r.some(random, 1)[0]
	n.crash()
	time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
	n.start()
	return func() {}
}

func simRollingRestart(r *simulation, random *rand.Rand) func() {
	for _, n := range r.some(random, len(r.nodes)) {
		n.stop()
		time.Sleep(time.Duration(random.IntN(1000)) * time.Millisecond)
		n.start()
		if err := r.awaitFull(); err != nil {
			r.t.Error("rolling restart:", err)
		}
	}
	return func() {}
}

// simManyViews is 100 views in a row, with the same members, while nothing fails.
var simManyViews = simFault{
	name: "many views", long: true, graceful: true, counts: func(int) int { return 100 },
	begin: func(r *simulation, random *rand.Rand) func() {
		// A node that is behind takes a view that is there already for the one it asks for.
		for len(r.views()) < 100 {
			m := r.nodes[random.IntN(len(r.nodes))].running().membership
			s := m.State()
			m.Renew(s.View.Epoch)
			for m.State().View.Epoch == s.View.Epoch {
				time.Sleep(time.Millisecond)
			}
			r.pause(random, 200*time.Millisecond)
		}
		return func() {}
	},
}

// fullWithin bounds how long a ring takes to be whole again, after a repair or after the
// newest removal is no longer sticky, whichever is later.
const fullWithin = 5 * time.Second

// awaitFull waits until every node is in the newest view, and serves.
func (r *simulation) awaitFull() error {
	begun := time.Now()
	for free := begun; ; {
		missing := r.missing()
		if missing == "" {
			return nil
		}
		free = r.freeSince(free)
		if late := time.Since(free); late > fullWithin {
			return fmt.Errorf("the ring is not whole %v after the repair, and %v after it could be: %s", time.Since(begun), late, missing)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
