package core_test

import (
	"context"
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
	"github.com/gyre-events/gyre/core/memory"
)

// The size of the simulation.
const (
	simulatedFor     = 1000 * time.Minute
	simulatedNodes   = 3
	simulatedWriters = 2 // of each node
	simulatedStreams = 8
)

// L09, L10, N10: TestSimulation has three Stores share a log for 1,000 virtual minutes,
// while their connections are slow, lose calls and are cut off, and the epoch moves. Every
// answer has to be true at the end, and every follower has seen every event in order,
// once. GYRE_SEED repeats the random choices of a run, if not its order of goroutines.
func TestSimulation(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("GYRE_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	defer func() {
		if t.Failed() {
			t.Logf("GYRE_SEED=%d", seed)
		}
	}()
	begun := time.Now()
	synctest.Test(t, func(t *testing.T) { simulate(t, seed) })
	t.Logf("%v in %v", simulatedFor, time.Since(begun).Round(time.Millisecond))
}

// simulation is a run of TestSimulation.
type simulation struct {
	t       *testing.T
	log     *memory.Log
	handles []*memory.Handle
	stores  []*core.Store
	seeds   *rand.Rand
	end     time.Time

	mu       sync.Mutex // protects the fields below
	attempts []*attempt
	answers  map[core.Code]int
	heads    map[uint64]uint64 // by epoch: the head when it was over, or a later one
}

func simulate(t *testing.T, seed uint64) {
	s := &simulation{
		t: t, log: memory.NewLog(), seeds: rand.New(rand.NewPCG(seed, 0)),
		end: time.Now().Add(simulatedFor), answers: make(map[core.Code]int), heads: make(map[uint64]uint64),
	}
	var writers, others, followers sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	for range simulatedNodes {
		h := s.log.Open()
		s.handles = append(s.handles, h)
		s.stores = append(s.stores, core.NewStore(h, core.StoreConfig{TailBytes: 16 << 10}))
		r := s.newRand()
		others.Go(func() { s.disturb(r, h) })
	}
	var follows []*simulatedFollow
	for _, store := range s.stores {
		for _, request := range []core.FollowRequest{
			{Stream: core.All}, {Stream: "s-1"}, {Stream: core.All, Filter: core.Filter{Streams: []string{"s-2", "p-*"}}},
		} {
			f := &simulatedFollow{store: store, request: request}
			follows = append(follows, f)
			r := s.newRand()
			followers.Go(func() { f.run(ctx, r) })
		}
	}
	for n := range s.stores {
		for range simulatedWriters {
			r := s.newRand()
			writers.Go(func() { s.write(r, n) })
		}
		r := s.newRand()
		writers.Go(func() { s.pipeline(r, n) })
	}
	r := s.newRand()
	others.Go(func() { s.moveEpoch(r) })
	writers.Wait()
	others.Wait()
	s.check()
	for _, f := range follows {
		f.waitFor(s.log.Open().State().Head)
	}
	stop()
	followers.Wait()
	s.checkFollows(follows)
	for _, store := range s.stores {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}
}

func (s *simulation) newRand() *rand.Rand { return rand.New(rand.NewPCG(s.seeds.Uint64(), 0)) }

func (s *simulation) over() bool { return !time.Now().Before(s.end) }

// upTo is a random time up to d.
func upTo(r *rand.Rand, d time.Duration) time.Duration { return time.Duration(r.Int64N(int64(d))) }

// disturb makes a Handle fail in all its ways, and mends it at the end.
func (s *simulation) disturb(r *rand.Rand, h *memory.Handle) {
	for !s.over() {
		time.Sleep(upTo(r, time.Minute))
		switch r.IntN(6) {
		case 0:
			h.Slow(upTo(r, 5*time.Second), upTo(r, 5*time.Second))
		case 1:
			h.Slow(0, 0)
		case 2:
			h.FailNext(memory.LoseRequest)
		case 3:
			h.FailNext(memory.LoseAnswer)
		case 4:
			h.CutOff()
			time.Sleep(upTo(r, 2*memory.CallTimeout))
			h.Reconnect()
		}
	}
	h.Slow(0, 0)
}

func (s *simulation) moveEpoch(r *rand.Rand) {
	view := s.log.Open()
	for !s.over() {
		time.Sleep(upTo(r, 4*time.Minute))
		epoch := view.State().Epoch
		if err := s.log.AdvanceEpoch(epoch); err != nil {
			s.t.Error(err)
		}
		s.mu.Lock()
		s.heads[epoch] = view.State().Head
		s.mu.Unlock()
	}
}

// attempt is a Commit, and what its writer was told at last.
type attempt struct {
	commit core.Commit
	result core.Result
	err    error // nil: written
}

// write makes Commits at a node, one after the other, and sends those whose outcome it
// is not told again, at any node.
func (s *simulation) write(r *rand.Rand, node int) {
	known := make(map[string]uint64) // versions
	for !s.over() {
		time.Sleep(upTo(r, 30*time.Second))
		a := &attempt{commit: s.commit(r, known)}
		s.mu.Lock()
		s.attempts = append(s.attempts, a)
		s.mu.Unlock()
		for try, doubt := 0, false; try < 5; try++ {
			store := s.stores[node]
			if try > 0 {
				store = s.stores[r.IntN(len(s.stores))]
				time.Sleep(upTo(r, 10*time.Second))
			}
			a.commit.Epoch = store.State().Epoch
			ctx, cancel := context.WithTimeout(s.t.Context(), time.Second+upTo(r, time.Minute))
			a.result, a.err = store.Append(ctx, a.commit)
			cancel()
			s.count(a.err)
			if doubt && a.err != nil && !isFinal(a.err) {
				a.err = core.Errorf(core.CodeUnknownOutcome, "of an earlier try (%w)", a.err)
			}
			doubt = errors.Is(a.err, core.CodeUnknownOutcome)
			if a.err == nil || !doubt && !core.AsError(a.err).Info().Retryable {
				break
			}
		}
		for i, appended := range a.result.Appends {
			known[a.commit.Appends[i].Stream] = appended.LastVersion
		}
		var refusal *core.Error
		if errors.As(a.err, &refusal) && refusal.Code == core.CodeWrongExpectedVersion {
			known[refusal.Stream] = *refusal.Actual
		}
	}
}

func (s *simulation) count(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	code := core.Code("written")
	if err != nil {
		code = core.AsError(err).Code
	}
	s.answers[code]++
}

// isFinal reports whether a refusal is true of an earlier try, too, that may still be
// on its way: no version goes back.
func isFinal(err error) bool {
	var refusal *core.Error
	return errors.As(err, &refusal) && refusal.Code == core.CodeWrongExpectedVersion &&
		(*refusal.Expected >= 0 && *refusal.Actual > uint64(*refusal.Expected) || *refusal.Expected == core.NoStream)
}

// commit makes a Commit of one or two Appends, and of a put of the counter now and then.
func (s *simulation) commit(r *rand.Rand, known map[string]uint64) (c core.Commit) {
	for range 1 + r.IntN(2) {
		a := core.Append{Stream: fmt.Sprintf("s-%d", r.IntN(simulatedStreams)), Expect: core.AnyVersion}
		if r.IntN(2) == 0 {
			a.Expect = core.Expect(known[a.Stream])
		}
		for range 1 + r.IntN(3) {
			a.Events = append(a.Events, core.NewEvent{ID: core.NewID(), Type: "T", Data: []byte(`{}`)})
		}
		if len(c.Appends) == 0 || c.Appends[0].Stream != a.Stream {
			c.Appends = append(c.Appends, a)
		}
	}
	if r.IntN(10) == 0 {
		c.Checks = append(c.Checks, core.Check{Stream: "s-0", Expect: core.Expect(known["s-0"])})
	}
	if r.IntN(4) == 0 {
		op := core.RecordOp{Table: "t", Key: "counter", Expect: core.NoStream, Value: []byte("x")}
		if records, err := s.log.Open().Records(s.t.Context(), core.RecordsRequest{Table: "t", Limit: 1}); err == nil && len(records) > 0 {
			op.Expect = core.Expect(records[0].Revision)
		}
		c.Records = append(c.Records, op)
	}
	return c
}

// pipeline submits some appends to one stream without waiting: what is written is in
// the order of submission.
func (s *simulation) pipeline(r *rand.Rand, node int) {
	store := s.stores[node]
	for !s.over() {
		time.Sleep(upTo(r, time.Minute))
		attempts := make([]attempt, 10)
		var answered sync.WaitGroup
		for i := range attempts {
			a := &attempts[i]
			a.commit = one(fmt.Sprintf("p-%d", node))
			a.commit.Appends[0].Events[0].ID = core.NewID()
			a.commit.Epoch = store.State().Epoch
			answered.Add(1)
			store.Submit(s.t.Context(), a.commit, func(result core.Result, err error) {
				a.result, a.err = result, err
				answered.Done()
			})
		}
		answered.Wait()
		last := uint64(0)
		s.mu.Lock()
		for i := range attempts {
			a := &attempts[i]
			s.attempts = append(s.attempts, a)
			if a.err == nil {
				if a.result.Position <= last {
					s.t.Errorf("append %d of a pipeline is at %d, behind %d", i, a.result.Position, last)
				}
				last = a.result.Position
			}
		}
		s.mu.Unlock()
	}
}

// check compares what the log has with what writers were told.
func (s *simulation) check() {
	events := s.readLog()
	at := make(map[core.ID]core.Event, len(events))
	versions := make(map[string]uint64)
	var recorded time.Time
	for i, e := range events {
		versions[e.Stream]++
		if e.Position != uint64(i+1) || e.Version != versions[e.Stream] || e.Recorded.Before(recorded) {
			s.t.Fatalf("P1, P2: event %d is at position %d, version %d of %d, recorded %v after %v",
				i, e.Position, e.Version, versions[e.Stream], e.Recorded, recorded)
		}
		if _, twice := at[e.ID]; twice {
			s.t.Fatalf("P5: event %s is in the log twice", e.ID)
		}
		at[e.ID], recorded = e, e.Recorded
	}
	puts, written := uint64(0), 0
	for _, a := range s.attempts {
		n := s.checkAttempt(a, at)
		written += n
		if n > 0 {
			puts += uint64(len(a.commit.Records))
		}
	}
	if written != len(events) {
		s.t.Errorf("%d events are in the log, of which %d were sent", len(events), written)
	}
	records, err := s.log.Open().Records(s.t.Context(), core.RecordsRequest{Table: "t", Limit: 10})
	if err != nil || len(records) != 1 || records[0].Revision != puts {
		s.t.Errorf("P6: %+v, %v after %d puts", records, err, puts)
	}
	s.t.Logf("%d events, %d epochs, answers %v", len(events), len(s.heads), s.answers)
	if len(events) < 10_000 || len(s.heads) < 100 || s.answers[core.CodeUnknownOutcome] == 0 || s.answers[core.CodeStaleEpoch] == 0 || s.answers[core.CodeTimeout] == 0 {
		s.t.Error("too little happened")
	}
}

// checkAttempt counts the events of an attempt that are in the log: all where its
// writer was told so, none where it was told they are not, and never some.
func (s *simulation) checkAttempt(a *attempt, at map[core.ID]core.Event) (found int) {
	sent := 0
	for i, appends := range a.commit.Appends {
		for j, e := range appends.Events {
			sent++
			event, ok := at[e.ID]
			if !ok {
				continue
			}
			found++
			if a.err == nil && (event.Version != a.result.Appends[i].FirstVersion+uint64(j) || event.Stream != appends.Stream) {
				s.t.Errorf("event %s is at %s/%d, answered %+v", e.ID, event.Stream, event.Version, a.result)
			}
			if j == 0 && appends.Expect >= 0 && event.Version != uint64(appends.Expect)+1 {
				s.t.Errorf("P6: version %d, expected %s", event.Version, appends.Expect)
			}
		}
	}
	if found != 0 && found != sent || a.err == nil && found == 0 ||
		found != 0 && a.err != nil && !errors.Is(a.err, core.CodeUnknownOutcome) {
		s.t.Errorf("%d of %d events are in the log, answered %+v, %v", found, sent, a.result, a.err)
	}
	if head, ok := s.heads[a.commit.Epoch]; ok && a.err == nil && !a.result.Duplicate && a.result.Position > head {
		s.t.Errorf("P7: position %d was written under epoch %d, which ended at %d", a.result.Position, a.commit.Epoch, head)
	}
	return found
}

func (s *simulation) readLog() (events []core.Event) {
	log := s.log.Open()
	for from := uint64(1); ; {
		page, err := log.ReadLog(s.t.Context(), from, core.Limit{Events: 1000, Bytes: 1 << 20})
		if err != nil {
			s.t.Fatal(err)
		}
		events = append(events, page.Slice()...)
		if from = page.Next; page.End {
			return events
		}
	}
}

// simulatedFollow follows, again after errors, and keeps what it has seen.
type simulatedFollow struct {
	store   *core.Store
	request core.FollowRequest

	mu     sync.Mutex // protects the fields below
	cursor uint64
	seen   []uint64 // positions
	err    error    // that nobody comes back from
}

func (f *simulatedFollow) run(ctx context.Context, r *rand.Rand) {
	for ctx.Err() == nil {
		err := f.follow(ctx, r)
		if !core.AsError(err).Info().Retryable && ctx.Err() == nil {
			f.mu.Lock()
			f.err = err
			f.mu.Unlock()
			return
		}
		select {
		case <-time.After(upTo(r, 10*time.Second)):
		case <-ctx.Done():
		}
	}
}

// follow goes on from the cursor until an error, or until it feels like beginning anew.
func (f *simulatedFollow) follow(ctx context.Context, r *rand.Rand) error {
	request := f.request
	request.From = core.From{Kind: core.AfterPosition, N: f.cursor}
	follower, err := f.store.Follow(ctx, request)
	if err != nil {
		return err
	}
	defer follower.Close()
	for r.IntN(1000) > 0 {
		d, err := follower.Next(ctx, core.Limit{Events: 1 + r.IntN(20), Bytes: 1 << 20})
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
	return core.Errorf(core.CodeStarting, "again") // which is retryable
}

// waitFor waits until the follow has come to a position.
func (f *simulatedFollow) waitFor(head uint64) {
	for {
		f.mu.Lock()
		done := f.cursor >= head || f.err != nil
		f.mu.Unlock()
		if done {
			return
		}
		time.Sleep(time.Second)
	}
}

// checkFollows compares what was followed with the log.
func (s *simulation) checkFollows(follows []*simulatedFollow) {
	events := s.readLog()
	for _, f := range follows {
		var want []uint64
		for _, e := range events {
			if (f.request.Stream == core.All || f.request.Stream == e.Stream) && f.request.Filter.Match(e.Stream, e.Type) {
				want = append(want, e.Position)
			}
		}
		if f.err != nil || !slices.Equal(f.seen, want) {
			s.t.Errorf("P8: follow %+v has %d events, want %d; %v", f.request, len(f.seen), len(want), f.err)
		}
	}
}
