package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
)

// TestProgressOfTwoWorkersSoak has two workers of one name move it through different nodes,
// while views change, links break, gates close and storage fails. Every move is made once,
// by one of them. GYRE_SEED repeats a run.
func TestProgressOfTwoWorkersSoak(t *testing.T) {
	first, runs := uint64(time.Now().UnixNano()), 8
	if os.Getenv("GYRE_SOAK") != "" {
		runs = 500
	}
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
			runWorkers(t, seed)
		})
	}
}

// inputs is how many events the workers follow.
const inputs = 120

func runWorkers(t *testing.T, seed uint64) {
	s := newRouterSim(t, seed, 3)
	defer s.close()
	r := rand.New(rand.NewPCG(seed, 2))
	for range inputs {
		if _, err := s.all()[0].router.Append(within(t, time.Minute), appendTo("in", core.AnyVersion)); err != nil {
			t.Fatal(err)
		}
	}
	moves := &moves{}
	var workers, faults sync.WaitGroup
	stop := make(chan struct{})
	disturbs := rand.New(rand.NewPCG(seed, 4))
	faults.Go(func() { disturbUntil(s, disturbs, stop) })
	for i := range 2 {
		for _, alone := range []bool{false, true} {
			w := &progressWorker{t: t, node: s.all()[i], alone: alone, rand: rand.New(rand.NewPCG(r.Uint64(), 3)), made: moves}
			workers.Go(w.run)
		}
	}
	workers.Wait()
	close(stop)
	faults.Wait()
	moves.checkAlone(t)
	checkOutputs(t, s.all()[2].store)
	s.checkOwners()
}

func disturbUntil(s *routerSim, r *rand.Rand, stop chan struct{}) {
	for i := 0; i < 30; i++ {
		select {
		case <-time.After(time.Duration(r.IntN(100)) * time.Millisecond):
			s.disturb(r)
		case <-stop:
			i = 30
		}
	}
	time.Sleep(4 * time.Second) // every fault has an end
	s.propose(s.members()...)
	for _, n := range s.all() {
		n.handle.mend()
		n.gate(true)
		n.learnAll()
	}
}

// move is one of a place.
type move struct{ From, To uint64 }

// moves are those without events that a worker was told it made.
type moves struct {
	mu  sync.Mutex // protects the field below
	all []move
}

func (m *moves) checkAlone(t *testing.T) {
	slices.SortFunc(m.all, func(a, b move) int { return int(a.From) - int(b.From) })
	for i := 1; i < len(m.all); i++ {
		if m.all[i].From < m.all[i-1].To {
			t.Errorf("two workers were told that they made the moves %v and %v", m.all[i-1], m.all[i])
		}
	}
	if len(m.all) == 0 {
		t.Error("no move without events was made")
	}
}

// progressWorker is one of the workers of a name. It sends a Commit again until it knows
// what has become of it.
type progressWorker struct {
	t     *testing.T
	node  *simNode
	alone bool // it appends nothing
	rand  *rand.Rand
	made  *moves
}

func (w *progressWorker) run() {
	place := uint64(0)
	for place < inputs {
		c := w.commit(place)
		_, err := w.settle(c)
		switch {
		case err == nil && w.alone:
			w.made.mu.Lock()
			w.made.all = append(w.made.all, move{place, c.Progress.To})
			w.made.mu.Unlock()
			fallthrough
		case err == nil:
			place = c.Progress.To
		case errors.Is(err, core.CodeProgressConflict):
			place = *core.AsError(err).Actual
		default:
			w.t.Errorf("move from %d to %d: %v", place, c.Progress.To, err)
			return
		}
	}
}

func (w *progressWorker) commit(place uint64) core.Commit {
	p := &core.Progress{Name: "w", From: place, To: min(inputs, place+1+w.rand.Uint64N(3)), ID: core.NewID()}
	if w.alone {
		p.Name = "alone"
		return core.Commit{Progress: p}
	}
	data, err := json.Marshal(move{p.From, p.To})
	if err != nil {
		panic(err)
	}
	c := appendTo(fmt.Sprintf("out-%d", w.rand.IntN(4)), core.AnyVersion)
	c.Appends[0].Events[0].Data, c.Appends[0].Events[0].ID = data, core.NewID()
	c.Progress = p
	return c
}

// settle sends c until the answer is certain.
func (w *progressWorker) settle(c core.Commit) (core.Result, error) {
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+w.rand.IntN(1000))*time.Millisecond)
		result, err := w.node.router.Append(ctx, c)
		cancel()
		if err == nil {
			return result, nil
		}
		if e := core.AsError(err); !e.Info().Retryable && e.Code != core.CodeTimeout && e.Code != core.CodeStoreUnavailable {
			return result, err
		}
		time.Sleep(time.Duration(w.rand.IntN(50)) * time.Millisecond)
	}
}

// checkOutputs checks that the outputs are one for each move, in order and without a gap.
func checkOutputs(t *testing.T, log core.Log) {
	t.Helper()
	last := uint64(0)
	for e, err := range core.ReadAll(t.Context(), log, core.ReadRequest{Stream: core.All, From: inputs + 1}) {
		if err != nil {
			t.Fatal(err)
		}
		var m move
		if err := json.Unmarshal(e.Data, &m); err != nil {
			t.Fatal(err)
		}
		if m.From != last {
			t.Errorf("a move from %d to %d follows one to %d", m.From, m.To, last)
		}
		last = m.To
	}
	if last != inputs {
		t.Errorf("the last move was to %d of %d", last, inputs)
	}
}
