package core_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
)

var errNo = core.Errorf(core.CodeAppendRefused, "no")

// judgeAll is an Admit that hands every Commit to verdict, which is called in a goroutine.
func judgeAll(verdict func(ctx context.Context, c *core.Commit) error) core.Admit {
	return func(c *core.Commit) core.Judge {
		return func(ctx context.Context, done func(error)) {
			go func() { done(verdict(ctx, c)) }()
		}
	}
}

// judged is a Store in memory in whose streams v-… events are judged.
func judged(t *testing.T, verdict func(ctx context.Context, c *core.Commit) error) *core.Store {
	t.Helper()
	all := judgeAll(verdict)
	s := core.NewStore(memory.New(), core.StoreConfig{Admit: func(c *core.Commit) core.Judge {
		if !slices.ContainsFunc(c.Appends, func(a core.Append) bool { return strings.HasPrefix(a.Stream, "v-") }) {
			return nil
		}
		return all(c)
	}})
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// withID is one event with an id.
func withID(stream string, id core.ID) core.Commit {
	c := one(stream)
	c.Appends[0].Events[0].ID = id
	return c
}

func TestWhatIsRefusedIsNotWritten(t *testing.T) {
	var verdict error
	s := judged(t, func(context.Context, *core.Commit) error { return verdict })
	id := core.NewID()
	verdict = errNo
	if _, err := s.Append(t.Context(), withID("v-a", id)); !errors.Is(err, core.CodeAppendRefused) {
		t.Fatalf("refused: %v", err)
	}
	two := one("a")
	two.Appends = append(two.Appends, one("v-a").Appends...)
	if _, err := s.Append(t.Context(), two); !errors.Is(err, core.CodeAppendRefused) || s.State().Head != 0 {
		t.Fatalf("refused in part: %v, the head is %d", err, s.State().Head)
	}
	verdict = nil
	first, err := s.Append(t.Context(), withID("v-a", id))
	if err != nil || first.Duplicate {
		t.Fatalf("accepted: %+v, %v", first, err)
	}
	// P5: what was written is answered as that, whatever is thought of it now.
	verdict = errNo
	again, err := s.Append(t.Context(), withID("v-a", id))
	if err != nil || !again.Duplicate || again.Position != first.Position {
		t.Errorf("again: %+v, %v", again, err)
	}
	other := withID("v-a", id)
	other.Appends[0].Events = append(other.Appends[0].Events, one("v-a").Appends[0].Events...)
	if _, err := s.Append(t.Context(), other); !errors.Is(err, core.CodeDuplicateEvent) {
		t.Errorf("a known id beside a new one: %v", err)
	}
	late := one("v-a")
	late.Appends[0].Expect = 7
	if _, err := s.Append(t.Context(), late); !errors.Is(err, core.CodeAppendRefused) {
		t.Errorf("refused, and at another version: %v", err)
	}
	verdict = nil
	if _, err := s.Append(t.Context(), late); !errors.Is(err, core.CodeWrongExpectedVersion) {
		t.Errorf("accepted, and at another version: %v", err)
	}
}

// Only what appends events is judged, and never what the system writes.
func TestWhatIsNotJudged(t *testing.T) {
	asked := 0
	s := core.NewStore(memory.New(), core.StoreConfig{Admit: func(*core.Commit) core.Judge { asked++; return nil }})
	defer s.Close()
	system := one("$system")
	system.System = true
	for _, c := range []core.Commit{oneRecord("a", core.AnyVersion), system} {
		if _, err := s.Append(t.Context(), c); err != nil || asked != 0 {
			t.Errorf("%+v: asked %d times, %v", c, asked, err)
		}
	}
	id := core.NewID()
	if _, err := s.Append(t.Context(), withID("a", id)); err != nil || asked != 1 {
		t.Errorf("an event: asked %d times, %v", asked, err)
	}
	link := core.Commit{Appends: []core.Append{{Stream: "b", Expect: core.AnyVersion, Links: []core.ID{id}}}}
	if _, err := s.Append(t.Context(), link); err != nil || asked != 1 {
		t.Errorf("a link: asked %d times, %v", asked, err)
	}
}

// While a Commit is judged, what shares nothing with it goes on at once, and the rest keeps
// its order; its caller can give it up.
func TestOnlyWhatSharesAStreamWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		verdicts := make(chan error)
		s := judged(t, func(context.Context, *core.Commit) error { return <-verdicts })
		var order []string
		var mu sync.Mutex // protects order
		submit := func(ctx context.Context, what string, c core.Commit) {
			s.Submit(ctx, c, func(_ core.Result, err error) {
				if err != nil {
					what += " " + string(core.AsError(err).Code)
				}
				mu.Lock()
				order = append(order, what)
				mu.Unlock()
			})
		}
		check := one("c")
		check.Checks = []core.Check{{Stream: "b", Expect: 1}}
		both := one("v-a")
		both.Appends = append(both.Appends, one("b").Appends...)
		submit(t.Context(), "judged", both)
		submit(t.Context(), "of its other stream", one("b"))
		submit(t.Context(), "checks that", check)
		submit(t.Context(), "behind the check", one("c"))
		submit(t.Context(), "another", one("d"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Append(ctx, one("v-b")); !errors.Is(err, core.CodeTimeout) {
			t.Errorf("judged for too long: %v", err)
		}
		synctest.Wait()
		if want := []string{"another"}; !slices.Equal(order, want) {
			t.Fatalf("before the verdict: %q", order)
		}
		verdicts <- nil
		verdicts <- nil
		synctest.Wait()
		if want := []string{"another", "judged", "of its other stream", "checks that wrong_expected_version", "behind the check"}; !slices.Equal(order, want) {
			t.Errorf("%q", order)
		}
		if _, err := s.Read(t.Context(), core.ReadRequest{Stream: "v-b"}); !errors.Is(err, core.CodeStreamNotFound) {
			t.Errorf("what was told to have timed out: %v", err)
		}
	})
}

// What is held is bounded, and its bound is nobody else's.
func TestHeldIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		go_ := make(chan struct{})
		all := judgeAll(func(context.Context, *core.Commit) error { <-go_; return nil })
		s := core.NewStore(memory.New(), core.StoreConfig{QueueBytes: 10, Admit: func(c *core.Commit) core.Judge {
			if c.Appends[0].Stream != "v" {
				return nil
			}
			return all(c)
		}})
		defer s.Close()
		var answers []error
		submit := func(stream string) {
			s.Submit(t.Context(), one(stream), func(_ core.Result, err error) { answers = append(answers, err) })
		}
		for range 10 {
			submit("v") // one byte each
		}
		submit("v")
		if len(answers) != 1 || !errors.Is(answers[0], core.CodeOverloaded) {
			t.Fatalf("beyond the bound: %v", answers)
		}
		if queued := s.Stats().Queued; queued != 10 {
			t.Errorf("%d are queued", queued)
		}
		if _, err := s.Append(t.Context(), one("other")); err != nil {
			t.Errorf("another stream: %v", err)
		}
		close(go_)
		synctest.Wait()
		if len(answers) != 11 || s.State().Head != 11 {
			t.Errorf("%d answers, head %d", len(answers), s.State().Head)
		}
	})
}

func TestCloseAnswersWhatIsJudged(t *testing.T) {
	verdict := make(chan error)
	judging := make(chan struct{})
	s := judged(t, func(context.Context, *core.Commit) error { judging <- struct{}{}; return <-verdict })
	answers := make(chan error, 1)
	s.Submit(t.Context(), one("v-a"), func(_ core.Result, err error) { answers <- err })
	s.Submit(t.Context(), one("v-a"), ignore)
	s.Submit(t.Context(), oneRecord("r", core.AnyVersion), ignore)
	<-judging
	<-judging
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-answers; !errors.Is(err, core.CodeStoreClosed) {
		t.Errorf("what was judged is answered %v", err)
	}
	verdict <- nil // nobody waits for them
	verdict <- nil
}

// admitted is a Commit of TestAdmission.
type admitted struct {
	submitter, number int
	streams           []string
	refused           bool
	answer            error
}

// TestAdmission has submitters pipeline Commits to streams of which some are judged: at once,
// slowly, with refusals, or for so long that callers give up. The events of each submitter
// are in each stream in its order; nothing is there that was refused or given up, and all of
// a Commit is there or nothing; what shares no stream with a judged one waits for nobody.
func TestAdmission(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("GYRE_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	for i := range uint64(50) {
		synctest.Test(t, func(t *testing.T) { admission(t, seed+i) })
		if t.Failed() {
			t.Fatalf("GYRE_SEED=%d", seed+i)
		}
	}
}

func admission(t *testing.T, seed uint64) {
	const submitters, commits, streams = 4, 60, 6
	r := rand.New(rand.NewPCG(seed, 0))
	var all []*admitted
	random := rand.New(rand.NewPCG(seed, 1)) // of the validator
	var mu sync.Mutex                        // protects random
	s := judged(t, func(ctx context.Context, c *core.Commit) error {
		mu.Lock()
		wait := []time.Duration{0, 0, upTo(random, time.Millisecond), upTo(random, 50*time.Millisecond)}[random.IntN(4)]
		if random.IntN(60) == 0 {
			wait = 3 * time.Second // it loops, and is cut
		}
		mu.Unlock()
		time.Sleep(wait)
		if strings.HasPrefix(string(c.Appends[0].Events[0].Data), "no") {
			return errNo
		}
		return nil
	})
	var running, answered sync.WaitGroup
	for n := range submitters {
		own := rand.New(rand.NewPCG(r.Uint64(), 0))
		list := make([]*admitted, commits)
		for i := range list {
			list[i] = &admitted{submitter: n, number: i, refused: own.IntN(4) == 0}
			for range 1 + own.IntN(2) {
				list[i].streams = append(list[i].streams, fmt.Sprint([]string{"v-", "v-", "s-"}[own.IntN(3)], own.IntN(streams)))
			}
			if own.IntN(5) == 0 {
				list[i].streams = []string{fmt.Sprint("free-", n)} // that shares no stream with others
			}
		}
		all = append(all, list...)
		running.Go(func() {
			for _, a := range list {
				answered.Add(1)
				a.submit(t, s, answered.Done)
				time.Sleep(upTo(own, 200*time.Millisecond))
			}
		})
	}
	running.Wait()
	answered.Wait()
	checkAdmission(t, s, all)
}

// submit submits a, which is answered within two seconds.
func (a *admitted) submit(t *testing.T, s *core.Store, done func()) {
	data := fmt.Sprintf("%d %d", a.submitter, a.number)
	free := strings.HasPrefix(a.streams[0], "free-")
	if a.refused && slices.ContainsFunc(a.streams, func(s string) bool { return strings.HasPrefix(s, "v-") }) {
		data = "no " + data
	}
	var c core.Commit
	for _, stream := range a.streams {
		next := one(stream).Appends[0]
		next.Events[0].Data = []byte(data)
		c.Appends = append(c.Appends, next)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	begun := time.Now()
	s.Submit(ctx, c, func(_ core.Result, err error) {
		a.answer = err
		if waited := time.Since(begun); free && waited > 0 {
			t.Errorf("a Commit to a stream of its own waited %v", waited)
		}
		cancel()
		done()
	})
}

func checkAdmission(t *testing.T, s *core.Store, all []*admitted) {
	written := make(map[string]int) // by data
	last := make(map[string]int)    // by stream and submitter
	for e, err := range core.ReadAll(t.Context(), s, core.ReadRequest{Stream: core.All}) {
		if err != nil {
			t.Fatal(err)
		}
		var n, i int
		if _, err := fmt.Sscanf(string(e.Data), "%d %d", &n, &i); err != nil {
			t.Fatalf("%q is in the log", e.Data)
		}
		written[string(e.Data)]++
		key := fmt.Sprint(e.Stream, " ", n)
		if before, ok := last[key]; ok && before > i {
			t.Errorf("in %s, commit %d is behind %d", key, i, before)
		}
		last[key] = i
	}
	codes := make(map[core.Code]int)
	for _, a := range all {
		want := len(a.streams)
		if a.answer != nil {
			want = 0
			codes[core.AsError(a.answer).Code]++
		}
		if got := written[fmt.Sprintf("%d %d", a.submitter, a.number)]; got != want {
			t.Errorf("commit %d of %d was answered %v, and %d of %d events are in the log", a.number, a.submitter, a.answer, got, len(a.streams))
		}
	}
	if refused := codes[core.CodeAppendRefused]; refused == 0 || refused+codes[core.CodeTimeout] != sum(codes) {
		t.Errorf("the answers are %v", codes)
	}
}

func sum(counts map[core.Code]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}
