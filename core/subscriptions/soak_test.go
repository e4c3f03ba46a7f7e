package subscriptions_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// crowd is many consumers of one subscription that join, ack as they like, and die,
// beside whoever appends. It knows what was acked.
type crowd struct {
	*node
	name        string
	partitioned bool

	mu sync.Mutex // protects the fields below
	// acked counts acks that were answered with no error, or that may have been
	// taken: the answers of a consumer that left.
	acked map[uint64]bool
	// held has the consumer that has an event of a stream, which is the key.
	held map[string]*member
}

// member is one lease of a consumer.
type member struct {
	*crowd
	*subscriptions.Waiting
	random *rand.Rand
	has    map[uint64]string // positions and their streams
}

// TestSoakCrowd: every event is acked at last, none is lost, with keys one of a key is
// out at a time, and the checkpoint passes none that is not acked, also over restarts of
// the owner.
func TestSoakCrowd(t *testing.T) {
	for _, by := range []string{delivery.Unpartitioned, subscriptions.ByStream} {
		t.Run(by, func(t *testing.T) {
			overEngines(t, func(t *testing.T, n *node) { soakCrowd(t, n, by) })
		})
	}
}

func soakCrowd(t *testing.T, n *node, by string) {
	events, runs := 1_500, 3
	if os.Getenv("GYRE_SOAK") != "" {
		events, runs = 80_000, 40
		if by != delivery.Unpartitioned {
			events = 20_000 // one of a key at a time, which takes its time
		}
	}
	n.put("s", func(d *subscriptions.Definition) {
		d.ConcurrencyLimit, d.BufferSize, d.PartitionBy, d.CheckpointThreshold = 8, 16, by, 5
		d.Retry.Max, d.Retry.MinMs, d.AckTimeoutMs = 1000, 0, 5000
	})
	c := &crowd{node: n, name: "s", partitioned: by != delivery.Unpartitioned, acked: map[uint64]bool{}, held: map[string]*member{}}
	appended := 0
	for run := range runs {
		var running sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		for i := range 8 {
			running.Go(func() { c.consume(ctx, rand.New(rand.NewPCG(uint64(run), uint64(i)))) })
		}
		for ; appended < events*(run+1)/runs; appended += 50 {
			n.fill(50, 13)
		}
		if run == runs-1 {
			for at := uint64(0); at < uint64(events); {
				eventually(t, func() error { return c.goesOn(&at) })
			}
		}
		cancel()
		running.Wait()
		n.close(n.Owner)
		n.own()
		c.checkCheckpoint()
	}
	if got := n.info("s"); got.Checkpoint != uint64(events) || got.Parked != 0 || got.Lag != 0 {
		t.Errorf("at last: %+v", got)
	}
}

// goesOn says that more is finished without a gap, and up to where. What was acked
// beyond a gap in an earlier run comes again, so acks alone tell nothing.
func (c *crowd) goesOn(at *uint64) error {
	finished := c.info(c.name).Finished
	if finished <= *at {
		return fmt.Errorf("it stands still at %d", *at)
	}
	*at = finished
	return nil
}

// checkCheckpoint: all at or below the stored one was acked.
func (c *crowd) checkCheckpoint() {
	c.t.Helper()
	checkpoint := c.info(c.name).Checkpoint
	c.mu.Lock()
	defer c.mu.Unlock()
	for position := uint64(1); position <= checkpoint; position++ {
		if !c.acked[position] {
			c.t.Fatalf("the checkpoint %d passes event %d, which nobody acked", checkpoint, position)
		}
	}
}

// consume joins again and again until ctx ends.
func (c *crowd) consume(ctx context.Context, random *rand.Rand) {
	for ctx.Err() == nil {
		s, err := subscriptions.JoinWaiting(ctx, c, subscriptions.JoinRequest{Name: c.name, Consumer: "crowd", Credit: unlimited, Workers: 2})
		if errors.Is(err, core.CodeTooManySubscribers) || ctx.Err() != nil {
			continue
		}
		if err != nil {
			c.t.Errorf("join: %v", err)
			return
		}
		m := &member{crowd: c, Waiting: s, random: random, has: map[uint64]string{}}
		m.live(ctx)
		m.leave()
	}
}

// live takes events and answers them in any order, some never, until it dies.
func (m *member) live(ctx context.Context) {
	for steps := 5 + m.random.IntN(100); steps > 0; steps-- {
		next, cancel := context.WithTimeout(ctx, time.Duration(1+m.random.IntN(20))*time.Millisecond)
		d, err := m.Next(next, core.Limit{Events: 1 + m.random.IntN(8), Bytes: 1 << 20})
		cancel()
		if err != nil && !errors.Is(err, core.CodeTimeout) {
			if ctx.Err() == nil {
				m.t.Errorf("next: %v", err)
			}
			return
		}
		for e := range d.Events() {
			m.receive(&e)
		}
		if m.random.IntN(2) == 0 && !m.answer() {
			return
		}
	}
}

// receive checks that with keys nobody else has an event of this one's.
func (m *member) receive(e *core.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if other := m.held[e.Stream]; m.partitioned && other != nil {
		m.t.Errorf("event %d of %s is out while another of its key is", e.Position, e.Stream)
	}
	if m.partitioned {
		m.held[e.Stream] = m
	}
	m.has[e.Position] = e.Stream
}

// answer acks or nacks some of what it has.
func (m *member) answer() bool {
	var positions []uint64
	for position := range m.has {
		if m.random.IntN(3) > 0 {
			positions = append(positions, position)
		}
	}
	if len(positions) == 0 {
		return true
	}
	if m.random.IntN(5) == 0 {
		m.giveBack(positions)
		n := delivery.Nack{Action: delivery.ActionRetry, Delay: delivery.ByPolicy}
		return m.Do(m.t.Context(), subscriptions.Answer{Kind: subscriptions.Nack, Positions: positions, Nack: n}) == nil
	}
	// It may be taken even if the answer is an error; and once it is, others may have
	// the key's next event before this goroutine goes on.
	m.mu.Lock()
	for _, position := range positions {
		m.acked[position] = true
	}
	m.mu.Unlock()
	m.giveBack(positions)
	err := m.Do(m.t.Context(), subscriptions.Answer{Kind: subscriptions.Ack, Positions: positions})
	if err != nil && !errors.Is(err, core.CodeLeaseLost) {
		m.t.Errorf("ack: %v", err)
	}
	return err == nil
}

func (m *member) giveBack(positions []uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, position := range positions {
		if stream := m.has[position]; m.held[stream] == m {
			delete(m.held, stream)
		}
		delete(m.has, position)
	}
}

// leave dies, or says goodbye.
func (m *member) leave() {
	var positions []uint64
	for position := range m.has {
		positions = append(positions, position)
	}
	m.giveBack(positions)
	m.Leave(m.random.IntN(2) == 0)
}
