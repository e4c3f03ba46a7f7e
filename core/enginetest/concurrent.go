package enginetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/gyre-events/gyre/core"
)

// concurrentTests want the race detector.
var concurrentTests = []test{
	{"P3", "writers_of_streams_of_their_own", func(s *suite) {
		var positions []uint64
		for _, r := range s.writers(8, 20) {
			for _, a := range r.Appends {
				for p := a.FirstPosition; p <= a.LastPosition; p++ {
					positions = append(positions, p)
				}
			}
		}
		slices.Sort(positions)
		for i, p := range positions {
			if p != uint64(i+1) {
				s.Fatalf("the results have position %d where %d should be", p, i+1)
			}
		}
		s.head(uint64(len(positions)))
	}},
	{"P5", "concurrent_retries_write_once", func(s *suite) {
		for round := range 10 {
			c := appendTo(fmt.Sprintf("s-%d", round%3), core.AnyVersion, newEvents(2)...)
			c.Appends = append(c.Appends, appendsTo("b").Appends...)
			var first []core.Result
			outcomes := s.atOnce(6, func(int) *core.Commit { again := *c; return &again })
			for _, o := range outcomes {
				if o.Err == nil && !o.Result.Duplicate {
					first = append(first, o.Result)
				}
			}
			if len(first) != 1 {
				s.Fatalf("written %d times: %+v", len(first), outcomes)
			}
			for _, o := range outcomes {
				if o.Err != nil || o.Result.Duplicate {
					s.duplicate(o, first[0])
				}
			}
		}
		s.head(30)
	}},
	{"P5", "concurrent_use_of_an_id_in_several_streams", func(s *suite) {
		for range 10 {
			e := newEvent()
			won := 0
			for _, o := range s.atOnce(6, func(i int) *core.Commit { return appendTo(fmt.Sprintf("s-%d", i), core.AnyVersion, newEvent(), e) }) {
				if o.Err == nil {
					won++
					continue
				}
				s.duplicateEvent(o, e.ID)
			}
			if won != 1 {
				s.Fatalf("%d of 6 won", won)
			}
		}
	}},
	{"P6", "concurrent_commits_over_the_same_streams", func(s *suite) {
		names := []string{"a", "b", "c", "d"}
		for range 10 {
			for _, o := range s.atOnce(4, func(i int) *core.Commit {
				return appendsTo(slices.Concat(names[i:], names[:i])...)
			}) {
				if o.Err != nil {
					s.Errorf("commit: %v", o.Err)
				}
			}
		}
		s.head(160)
	}},
	{"P3", "readers_during_writes", readersDuringWrites},
}

// writers commits groups from n goroutines, each to streams of its own, and answers
// all results.
func (s *suite) writers(n, groups int) []core.Result {
	var (
		mu      sync.Mutex
		results []core.Result
		done    sync.WaitGroup
	)
	for w := range n {
		done.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 1))
			for range groups {
				var group []*core.Commit
				for range 1 + r.IntN(3) {
					group = append(group, appendsTo(fmt.Sprintf("w-%d", w), fmt.Sprintf("w-%d-%d", w, r.IntN(3)), fmt.Sprintf("w-%d", w)))
				}
				step := s.engine.Commit(s.ctx(), group)
				if err := checkStep(group, step); err != nil {
					s.Error(err)
					return
				}
				mu.Lock()
				for _, o := range step.Outcomes {
					if o.Err != nil || o.Result.Duplicate {
						s.Errorf("writer %d: %+v", w, o)
					}
					results = append(results, o.Result)
				}
				mu.Unlock()
			}
		})
	}
	done.Wait()
	return results
}

// sight is what a reader saw: the page's head, and for a stream its version.
type sight struct {
	stream        string
	head, version uint64
}

// readersDuringWrites reads as fast as it can beside writers, and compares what was
// seen with the finished log.
func readersDuringWrites(s *suite) {
	const readers = 3
	stop := make(chan struct{})
	sights := make([][]sight, readers)
	var done sync.WaitGroup
	for i := range readers {
		done.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 2))
			next := uint64(1)
			for last := false; ; {
				seen, err := readOnce(s, r, &next)
				if err != nil {
					s.Error(err)
					return
				}
				sights[i] = append(sights[i], seen...)
				if last {
					return
				}
				select {
				case <-stop:
					last = true
				default:
				}
			}
		})
	}
	results := s.writers(4, 30)
	close(stop)
	done.Wait()

	between := map[uint64]bool{0: true}
	for _, r := range results {
		between[r.Position] = true
	}
	all := s.read(core.All, false)
	for _, seen := range slices.Concat(sights...) {
		if !between[seen.head] {
			s.Errorf("P6: a reader saw the head at %d, inside a commit", seen.head)
		}
		version := uint64(0)
		for _, e := range all[:min(seen.head, uint64(len(all)))] {
			if e.Stream == seen.stream {
				version = e.Version
			}
		}
		if seen.stream != core.All && version != seen.version {
			s.Errorf("P3: at head %d a reader saw %q at version %d, it was at %d", seen.head, seen.stream, seen.version, version)
		}
	}
}

// readOnce reads on in $all or in the log, which are the same here, and the end of
// some stream.
func readOnce(s *suite, r *rand.Rand, next *uint64) ([]sight, error) {
	before := s.engine.State().Head
	q := core.ReadRequest{Stream: core.All, From: *next, Limit: core.Limit{Events: 1 + r.IntN(40), Bytes: everything.Bytes}}
	read := s.engine.Read
	if r.IntN(2) == 0 {
		read = func(ctx context.Context, q core.ReadRequest) (core.Page, error) {
			return s.engine.ReadLog(ctx, q.From, q.Limit)
		}
	}
	page, err := read(s.ctx(), q)
	if err != nil {
		return nil, fmt.Errorf("read %+v: %w", q, err)
	}
	for e := range page.Events() {
		if e.Position != *next || e.Position > page.Head {
			return nil, fmt.Errorf("read %+v: position %d, want %d; head %d", q, e.Position, *next, page.Head)
		}
		*next++
	}
	if after := s.engine.State().Head; page.Head < before || after < page.Head {
		return nil, fmt.Errorf("read %+v: head %d, before it was %d, after %d", q, page.Head, before, after)
	}
	if page.End != (*next == page.Head+1) {
		return nil, fmt.Errorf("read %+v: end = %v, next %d, head %d", q, page.End, page.Next, page.Head)
	}
	seen := []sight{{stream: core.All, head: page.Head}}

	q = core.ReadRequest{Stream: fmt.Sprintf("w-%d", r.IntN(4)), Backward: true, Limit: core.Limit{Events: 3, Bytes: everything.Bytes}}
	page, err = s.engine.Read(s.ctx(), q)
	if errors.Is(err, core.CodeStreamNotFound) {
		return seen, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %+v: %w", q, err)
	}
	version := page.Version
	for e := range page.Events() {
		if e.Version != version || e.Position > page.Head {
			return nil, fmt.Errorf("read %+v: version %d position %d, want version %d; head %d", q, e.Version, e.Position, version, page.Head)
		}
		version--
	}
	return append(seen, sight{q.Stream, page.Head, page.Version}), nil
}

// closeWhileBusy closes under the feet of writers and readers.
func closeWhileBusy(s *suite) {
	s.closed = true
	var started, done sync.WaitGroup
	for w := range 4 {
		started.Add(1)
		done.Go(func() {
			for i := 0; ; i++ {
				o := s.engine.Commit(s.ctx(), []*core.Commit{appendsTo(fmt.Sprintf("w-%d", w))}).Outcomes[0]
				if i == 0 {
					started.Done()
				}
				if errors.Is(o.Err, core.CodeStoreClosed) {
					return
				}
				if o.Err != nil && !errors.Is(o.Err, core.CodeUnknownOutcome) {
					s.Errorf("commit: %v", o.Err)
					return
				}
			}
		})
		done.Go(func() {
			for {
				_, err := s.engine.Read(s.ctx(), core.ReadRequest{Stream: core.All, Backward: true, Limit: core.Limit{Events: 5, Bytes: 1 << 20}})
				if errors.Is(err, core.CodeStoreClosed) {
					return
				}
				if err != nil {
					s.Errorf("read: %v", err)
					return
				}
			}
		})
	}
	started.Wait()
	if err := s.engine.Close(); err != nil {
		s.Errorf("close: %v", err)
	}
	done.Wait()
}
