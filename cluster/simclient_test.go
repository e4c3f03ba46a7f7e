package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/gyre-events/gyre/cluster/ringtest"
	"github.com/gyre-events/gyre/core"
)

// The clients of the simulation.
const (
	simStreams    = 10
	simIdle       = 600 * time.Millisecond // between bursts, at most
	simConns      = 2                      // that write, of each node
	simDeadline   = 20 * time.Second       // the longest deadline of a call
	simAnswerTime = time.Second            // by which an answer may be later than its deadline
)

// simHistory collects what clients see.
type simHistory struct {
	begun time.Time

	mu sync.Mutex // protects the fields below
	ringtest.History
	conns    int
	answers  map[core.Code]int
	slow     []string        // calls that were not answered in time
	hasty    map[int]bool    // numbers of appends whose callers may have given up
	graceful []ringtest.Span // when nodes were stopped and started, and none failed
}

func (h *simHistory) noteGraceful(s ringtest.Span) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.graceful = append(h.graceful, s)
}

// checkGraceful checks that no call has failed while nodes were stopped and started.
func (h *simHistory) checkGraceful() (err error) {
	for _, span := range h.graceful {
		for _, a := range h.Appends {
			if a.Invoked < span.From || a.Returned > span.To || h.hasty[a.Number] || a.Err == nil || errors.Is(a.Err, core.CodeWrongExpectedVersion) {
				continue
			}
			err = errors.Join(err, fmt.Errorf("append %d at %s, invoked at %v, failed at %v: %w", a.Number, a.Node, a.Invoked, a.Returned, a.Err))
		}
	}
	return err
}

func (h *simHistory) now() time.Duration { return time.Since(h.begun) }

func (h *simHistory) conn() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conns++
	return h.conns
}

// invoke notes an append before it is sent.
func (h *simHistory) invoke(conn int, node string, make func(number int) core.Commit) *ringtest.Append {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := &ringtest.Append{Number: len(h.Appends) + 1, Conn: conn, Node: node, Invoked: h.now()}
	a.Commit = make(a.Number)
	h.Appends = append(h.Appends, a)
	return a
}

// returned notes the answer.
func (h *simHistory) returned(a *ringtest.Append, deadline time.Time, hasty bool, result core.Result, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hasty[a.Number] = hasty
	a.Returned, a.Result, a.Err = h.now(), result, err
	h.count(err)
	if late := time.Since(deadline); late > simAnswerTime {
		h.slow = append(h.slow, fmt.Sprintf("append %d at %s was answered %v after its deadline: %v", a.Number, a.Node, late, err))
	}
}

// count counts an answer. mu is held.
func (h *simHistory) count(err error) {
	code := core.Code("ok")
	if err != nil {
		code = core.AsError(err).Code
	}
	h.answers[code]++
}

// simClient is a client that keeps one connection to a node, and makes another one when it
// is gone.
type simClient struct {
	ring    *simulation
	rand    *rand.Rand
	at      int // the node
	conn    int
	process *simProcess
	calls   *sync.WaitGroup

	mu       sync.Mutex         // protects the fields below
	versions map[string]uint64  // of streams, if everything that was sent is written
	unknown  []*ringtest.Append // to be sent again
}

func (r *simulation) newClient(at int, calls *sync.WaitGroup) *simClient {
	return &simClient{ring: r, rand: r.newRand(), at: at, versions: map[string]uint64{}, calls: calls}
}

// connect reports whether the client has a connection.
func (c *simClient) connect() bool {
	if c.process != nil && c.process.accepts() {
		return true
	}
	c.process = c.ring.nodes[c.at].running()
	c.at = c.rand.IntN(len(c.ring.nodes)) // the next
	c.conn = c.ring.history.conn()
	return c.process != nil && c.process.accepts()
}

// write sends bursts of appends until the end of the run, without waiting for answers.
func (c *simClient) write() {
	for c.ring.goesOn() {
		c.ring.pause(c.rand, simIdle)
		if !c.connect() {
			continue
		}
		for range 1 + c.rand.IntN(4) {
			c.append()
		}
	}
}

// append sends an append, or again one whose outcome is not known.
func (c *simClient) append() {
	p := c.process
	if !p.begin() {
		return
	}
	a := c.ring.history.invoke(c.conn, p.node.name, func(number int) core.Commit {
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.unknown) == 0 {
			return c.commit(number)
		}
		again := c.unknown[0]
		c.unknown = c.unknown[1:]
		return repeat(again, number)
	})
	limit, hasty := simDeadline, c.rand.IntN(4) == 0
	if hasty {
		limit = time.Duration(1+c.rand.IntN(2000)) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	if c.rand.IntN(20) == 0 {
		hasty = true
		time.AfterFunc(time.Duration(c.rand.IntN(int(limit))), cancel)
	}
	deadline, _ := ctx.Deadline()
	answer := p.submit(ctx, a.Commit)
	c.calls.Go(func() {
		defer cancel()
		result, err := answer()
		p.done()
		c.ring.history.returned(a, deadline, hasty, result, err)
		c.learn(a)
	})
}

// learn takes what the answer says of versions.
func (c *simClient) learn(a *ringtest.Append) {
	again := errors.Is(a.Err, core.CodeUnknownOutcome) && c.ring.chance(50)
	c.mu.Lock()
	defer c.mu.Unlock()
	if again {
		c.unknown = append(c.unknown, a)
	}
	for i := range a.Commit.Appends {
		stream := a.Commit.Appends[i].Stream
		if a.Err == nil {
			c.versions[stream] = max(c.versions[stream], a.Result.Appends[i].LastVersion)
		} else {
			delete(c.versions, stream)
		}
	}
	if refusal, ok := errors.AsType[*core.Error](a.Err); ok && refusal.Code == core.CodeWrongExpectedVersion {
		c.versions[refusal.Stream] = *refusal.Actual
	}
}

// submit submits as a connection does, and returns a function that waits for the answer.
func (p *simProcess) submit(ctx context.Context, commit core.Commit) func() (core.Result, error) {
	type outcome struct {
		result core.Result
		err    error
	}
	ctx, claim := core.WithClaim(ctx)
	answers := make(chan outcome, 1)
	p.router.Submit(ctx, commit, func(result core.Result, err error) { answers <- outcome{result, err} })
	return func() (core.Result, error) {
		var o outcome
		select {
		case o = <-answers:
		case <-p.died:
		case <-ctx.Done():
			select {
			case o = <-answers: // in the meantime
			default:
				o.err = claim.GivenUp(context.Cause(ctx))
			}
		}
		if p.isDead() {
			return core.Result{}, core.Errorf(core.CodeUnknownOutcome, "the process has died")
		}
		return o.result, o.err
	}
}

// commit makes a Commit of one or two appends, or of an append and a check. mu is held.
func (c *simClient) commit(number int) (commit core.Commit) {
	streams := []string{fmt.Sprintf("s-%d", c.rand.IntN(simStreams)), fmt.Sprintf("p-%d", c.conn)}
	c.rand.Shuffle(2, func(i, j int) { streams[i], streams[j] = streams[j], streams[i] })
	if c.rand.IntN(8) > 0 {
		streams = streams[:1]
	}
	for i, stream := range streams {
		expect := core.AnyVersion
		if known, ok := c.versions[stream]; ok && c.rand.IntN(3) == 0 {
			expect = core.Expect(known)
		}
		if i > 0 && c.rand.IntN(2) == 0 {
			commit.Checks = append(commit.Checks, core.Check{Stream: stream, Expect: expect})
			continue
		}
		a := core.Append{Stream: stream, Expect: expect}
		for range 1 + c.rand.IntN(3) {
			a.Events = append(a.Events, ringtest.Event(number, core.NewID(), "T"))
		}
		c.versions[stream] += uint64(len(a.Events))
		commit.Appends = append(commit.Appends, a)
	}
	return commit
}

// repeat makes the Commit of an append again, for another number.
func repeat(again *ringtest.Append, number int) core.Commit {
	commit := again.Commit
	commit.Epoch = 0
	commit.Appends = nil
	for _, a := range again.Commit.Appends {
		events := make([]core.NewEvent, len(a.Events))
		for i, e := range a.Events {
			events[i] = ringtest.Event(number, e.ID, "T")
		}
		a.Events = events
		commit.Appends = append(commit.Appends, a)
	}
	return commit
}

// read reads the ends of streams, at any node, until the end of the run.
func (c *simClient) read() {
	for c.ring.goesOn() {
		c.ring.pause(c.rand, simIdle)
		c.at = c.rand.IntN(len(c.ring.nodes))
		c.process = nil
		if !c.connect() {
			continue
		}
		c.readOnce(fmt.Sprintf("s-%d", c.rand.IntN(simStreams)))
	}
}

const simPage = 1000 // events

func (c *simClient) readOnce(stream string) {
	if !c.process.begin() {
		return
	}
	defer c.process.done()
	length := c.ring.length(stream)
	read := &ringtest.Read{
		Conn: c.conn, Node: c.process.node.name, Stream: stream, Invoked: c.ring.history.now(),
		From: 1 + length - min(length, 100),
	}
	ctx, cancel := context.WithTimeout(context.Background(), simDeadline)
	defer cancel()
	page, err := c.process.router.Read(ctx, core.ReadRequest{Stream: stream, From: read.From, Limit: core.Limit{Events: simPage, Bytes: core.MaxPageBytes}})
	if c.process.isDead() {
		return
	}
	h := c.ring.history
	h.mu.Lock()
	defer h.mu.Unlock()
	h.count(err)
	switch {
	case errors.Is(err, core.CodeStreamNotFound):
		read.From = 1
	case err != nil || !page.End:
		return
	}
	for e := range page.Events() {
		read.IDs = append(read.IDs, e.ID)
	}
	read.Version, read.Returned = page.Version, h.now()
	h.Reads = append(h.Reads, read)
}
