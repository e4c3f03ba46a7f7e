package enginetest

import (
	"errors"
	"testing"

	"github.com/gyre-events/gyre/core"
)

// RunEpochs tests P7 with an engine whose log has epochs. open makes one with an empty
// log, and a function that moves the log to the next epoch without the engine.
func RunEpochs(t *testing.T, open func(t testing.TB) (engine core.Engine, advance func())) {
	runTests(t, epochTests, func(t *testing.T, run func(s *suite)) {
		engine, advance := open(t)
		defer closeEngine(t, engine)
		s := newSuite(t, engine)
		s.advance = advance
		run(s)
		s.isUsable()
		checkLog(s)
	})
}

var epochTests = []test{
	{"P7", "opened_under_an_epoch", func(s *suite) {
		epoch := s.engine.State().Epoch
		if epoch == 0 {
			s.Fatal("the log has no epoch")
		}
		s.write("a", 1)
		s.must(under(epoch, appendTo("a", 1, newEvent())))
		s.advance()
		s.stale(s.commit(appendTo("a", 2, newEvent())))
		s.stale(s.commit(under(epoch, appendTo("a", 2, newEvent()))))
		s.must(under(epoch+1, appendTo("a", 2, newEvent())))
		s.head(3)
	}},
	{"P7", "epoch_that_is_not_there_yet", func(s *suite) {
		epoch := s.engine.State().Epoch
		s.stale(s.commit(under(epoch+1, appendTo("a", 0, newEvent()))))
		s.must(under(epoch, appendTo("a", 0, newEvent())))
	}},
	{"P7", "nothing_of_a_stale_group_is_written", func(s *suite) {
		epoch := s.engine.State().Epoch
		s.advance()
		c := under(epoch, appendsTo("a", "b"))
		c.Records = []core.RecordOp{put("t", "k", core.AnyVersion, "v")}
		step := s.group(c, under(epoch, appendTo("c", 0, newEvent())), under(epoch, recordCommit(put("t", "l", 0, "v"))),
			under(epoch, change("d", core.AnyVersion, core.TombstoneStream)))
		for _, o := range step.Outcomes {
			s.stale(o)
		}
		s.head(0)
		s.hasRecords("t")
		s.must(under(epoch+1, appendTo("d", core.NoStream, newEvent())))
	}},
	// A refusal may be for want of a Commit that is written later under another epoch.
	{"P7", "the_epoch_goes_before_refusals", func(s *suite) {
		epoch := s.engine.State().Epoch
		events := s.write("a", 1)
		s.advance()
		first, second := under(epoch, appendTo("b", 0, newEvent())), under(epoch, appendTo("b", 1, newEvent()))
		step := s.group(first, second)
		s.stale(step.Outcomes[0])
		s.stale(step.Outcomes[1])
		for _, c := range []*core.Commit{
			appendTo("a", 7, newEvent()),
			appendTo("c", core.AnyVersion, newEvent(), events[0]),
			linkTo("c", core.AnyVersion, newEvent()),
			recordCommit(check("t", "k", core.StreamExists)),
			change("a", 7, core.RemoveStream),
			change("c", core.AnyVersion, core.UndeleteStream),
		} {
			s.stale(s.commit(under(epoch, c)))
		}
		s.wrongVersion(s.commit(under(epoch+1, appendTo("a", 7, newEvent()))), 0, "a", 7, 1)
	}},
	{"P7", "a_retry_is_answered_under_any_epoch", func(s *suite) {
		epoch := s.engine.State().Epoch
		c := under(epoch, appendTo("a", 0, newEvent()))
		first := s.must(c)
		s.advance()
		for _, e := range []uint64{0, epoch, epoch + 1, epoch + 2} {
			step := s.group(under(e, appendTo("a", 0, c.Appends[0].Events...)), under(e, appendTo("b", 7, newEvent())))
			s.duplicate(step.Outcomes[0], first)
			if e != epoch+1 {
				s.stale(step.Outcomes[1])
			}
		}
		s.head(1)
	}},
	{"P7", "epochs_do_not_go_back", func(s *suite) {
		epoch := s.engine.State().Epoch
		for range 3 {
			s.advance()
			epoch++
			s.stale(s.commit(appendTo("a", core.AnyVersion, newEvent())))
			s.must(under(epoch, appendTo("a", core.AnyVersion, newEvent())))
			if known := s.engine.State().Epoch; known != epoch {
				s.Errorf("the engine knows epoch %d, after a commit under %d", known, epoch)
			}
		}
	}},
}

// under has a Commit made under an epoch.
func under(epoch uint64, c *core.Commit) *core.Commit {
	c.Epoch = epoch
	return c
}

func (s *suite) stale(o core.Outcome) {
	s.Helper()
	if !errors.Is(o.Err, core.CodeStaleEpoch) {
		s.Errorf("outcome %+v, want stale_epoch", o)
	}
}

// isUsable checks that stale_epoch was an answer, and not a problem of the store.
func (s *suite) isUsable() {
	s.Helper()
	state := s.engine.State()
	if state.ReadOnly != nil {
		s.Errorf("read-only: %v", state.ReadOnly)
	}
	s.must(under(state.Epoch, appendTo("usable", core.AnyVersion, newEvent())))
}
