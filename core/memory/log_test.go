package memory_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/enginetest"
	"github.com/gyre-events/gyre/core/memory"
)

func TestHandle(t *testing.T) {
	enginetest.Run(t, func(testing.TB) core.Engine { return memory.NewLog().Open() })
}

func TestEpochs(t *testing.T) {
	enginetest.RunEpochs(t, func(t testing.TB) (core.Engine, func()) {
		log := memory.NewLog()
		h := log.Open()
		return h, func() {
			if err := log.AdvanceEpoch(h.State().Epoch); err != nil {
				t.Error(err)
			}
		}
	})
}

func event(stream string) *core.Commit {
	return &core.Commit{Appends: []core.Append{{
		Stream: stream, Expect: core.AnyVersion, Events: []core.NewEvent{{ID: core.NewID(), Type: "T", Data: []byte(`1`)}},
	}}}
}

func commit(t *testing.T, e core.Engine, c *core.Commit) core.Outcome {
	return e.Commit(t.Context(), []*core.Commit{c}).Outcomes[0]
}

// A lost call is answered unknown_outcome, whether or not the Commit was written, and
// a retry by id finds out.
func TestLostCommit(t *testing.T) {
	for fault, written := range map[memory.Fault]bool{memory.LoseRequest: false, memory.LoseAnswer: true} {
		h := memory.NewLog().Open()
		c := event("a")
		h.FailNext(fault)
		if o := commit(t, h, c); !errors.Is(o.Err, core.CodeUnknownOutcome) {
			t.Errorf("fault %d: %+v", fault, o)
		}
		if head := h.State().Head; (head == 1) != written {
			t.Errorf("fault %d: head %d", fault, head)
		}
		if o := commit(t, h, c); o.Err != nil || o.Result.Duplicate != written {
			t.Errorf("fault %d: retry: %+v", fault, o)
		}
		h.FailNext(fault)
		if _, err := h.ReadLog(t.Context(), 1, core.Limit{Events: 1, Bytes: 1}); !errors.Is(err, core.CodeStoreUnavailable) {
			t.Errorf("fault %d: read: %v", fault, err)
		}
	}
}

// A Handle that is cut off holds calls up until Reconnect, CallTimeout, their context or
// Close ends that, and says what it knew.
func TestCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog()
		h, other := log.Open(), log.Open()
		h.Slow(0, time.Second)
		outcomes := make(chan core.Outcome)
		start := func() { go func() { outcomes <- commit(t, h, event("a")) }() }
		expect := func(after time.Duration, code core.Code) {
			t.Helper()
			begun := time.Now()
			if o := <-outcomes; time.Since(begun) != after || code == "" && o.Err != nil || code != "" && !errors.Is(o.Err, code) {
				t.Errorf("answered %+v after %v, want %q after %v", o, time.Since(begun), code, after)
			}
		}
		start()
		expect(time.Second, "")
		h.CutOff()
		commit(t, other, event("b"))
		if state := h.State(); state.Head != 1 || !errors.Is(state.ReadOnly, core.CodeStoreUnavailable) {
			t.Errorf("cut off: %+v", state)
		}
		start()
		expect(memory.CallTimeout, core.CodeStoreUnavailable) // it never reached the log
		start()
		synctest.Wait()
		h.Reconnect()
		expect(time.Second, "")
		if state := h.State(); state.Head != 3 || state.ReadOnly != nil {
			t.Errorf("connected: %+v", state)
		}
		start()
		synctest.Wait()
		h.CutOff() // the answer is on its way
		expect(time.Second+memory.CallTimeout, core.CodeUnknownOutcome)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := h.Event(ctx, core.NewID()); !errors.Is(err, core.CodeTimeout) {
			t.Errorf("read: %v", err)
		}
		h.Reconnect()
		ctx, cancel = context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		if _, err := h.Event(ctx, core.NewID()); !errors.Is(err, core.CodeTimeout) {
			t.Errorf("read whose answer is slow: %v", err)
		}
		h.CutOff()
		start()
		synctest.Wait()
		h.Close()
		expect(0, core.CodeStoreClosed)
		if state := other.State(); state.Head != 4 {
			t.Errorf("%+v", state)
		}
	})
}

// WaitHead returns when another Handle writes or the log is replaced, and not while
// its own is cut off.
func TestWaitHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog()
		h, other := log.Open(), log.Open()
		id := h.State().Log
		heads := make(chan uint64)
		wait := func(after uint64) {
			go func() {
				head, err := h.WaitHead(t.Context(), id, after)
				if err != nil {
					t.Error(err)
				}
				heads <- head
			}()
			synctest.Wait()
		}
		wait(0)
		commit(t, other, event("a"))
		if head := <-heads; head != 1 {
			t.Errorf("head %d", head)
		}
		wait(1)
		h.CutOff()
		commit(t, other, event("a"))
		time.Sleep(time.Hour)
		h.Reconnect()
		if head := <-heads; head != 2 {
			t.Errorf("head %d", head)
		}
		wait(2)
		log.Replace()
		if head := <-heads; head != 2 || h.State().Log == id {
			t.Errorf("head %d of log %s, which was %s", head, h.State().Log, id)
		}
		go func() { _, err := h.WaitHead(t.Context(), h.State().Log, 2); heads <- 0; _ = err }()
		synctest.Wait()
		h.Close()
		<-heads
	})
}

func TestAdvanceEpoch(t *testing.T) {
	log := memory.NewLog()
	old := log.Open()
	if err := log.AdvanceEpoch(1); err != nil {
		t.Fatal(err)
	}
	if err := log.AdvanceEpoch(1); !errors.Is(err, core.CodeStaleEpoch) {
		t.Errorf("again: %v", err)
	}
	if o := commit(t, old, event("a")); !errors.Is(o.Err, core.CodeStaleEpoch) {
		t.Errorf("opened under epoch 1: %+v", o)
	}
	h := log.Open()
	log.Replace() // the epoch stays
	if state := h.State(); state.Epoch != 2 {
		t.Errorf("%+v", state)
	}
	if o := commit(t, h, event("a")); o.Err != nil {
		t.Errorf("opened under epoch 2: %+v", o)
	}
}
