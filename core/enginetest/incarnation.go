package enginetest

import "github.com/gyre-events/gyre/core"

// incarnationTests are about Commits that expect an incarnation of a stream.
var incarnationTests = []test{
	{"incarnations", "stream_made_anew_at_the_same_version", func(s *suite) {
		s.write("a", 2)
		linked := s.write("b", 1)
		s.must(expecting(1, appendTo("a", 2, newEvent())))
		s.must(change("a", 3, core.RemoveStream))
		again := s.write("a", 3)
		head := s.engine.State().Head
		for _, x := range []core.Expect{3, core.AnyVersion, core.StreamExists} {
			for _, other := range []uint32{1, 3, 1<<32 - 1} {
				s.wrongIncarnation(s.commit(expecting(other, appendTo("a", x, newEvent()))), 0)
				s.wrongIncarnation(s.commit(expecting(other, linkTo("a", x, linked...))), 0)
				for _, action := range []core.StreamAction{core.DeleteStream, core.RemoveStream, core.TombstoneStream} {
					s.wrongIncarnation(s.commit(expecting(other, change("a", x, action))), 0)
				}
			}
		}
		s.holds("a", again...)
		s.head(head)
		s.wrongVersion(s.commit(expecting(2, appendTo("a", 2, newEvent()))), 0, "a", 2, 3)
		c := expecting(2, appendTo("a", 3, newEvent()))
		r := s.must(c)
		s.must(expecting(2, change("a", 4, core.DeleteStream)))
		s.wrongIncarnation(s.commit(expecting(1, change("a", 4, core.UndeleteStream))), 0)
		s.must(expecting(2, change("a", 4, core.UndeleteStream)))
		s.duplicate(s.commit(expecting(1, c)), r) // P5: ids come first
		s.must(expecting(2, change("a", 4, core.TombstoneStream)))
	}},
	{"incarnations", "stream_without_events", func(s *suite) {
		s.wrongIncarnation(s.commit(expecting(2, appendTo("a", 0, newEvent()))), 0)
		s.must(expecting(1, appendTo("a", 0, newEvent())))
		s.must(change("a", 1, core.RemoveStream))
		s.wrongIncarnation(s.commit(expecting(1, appendTo("a", 0, newEvent()))), 0)
		s.refused(s.commit(expecting(1, change("a", 1, core.RemoveStream))), core.CodeStreamNotFound, 0)
		s.wrongIncarnation(s.commit(expecting(1, change("a", 0, core.TombstoneStream))), 0)
		s.must(expecting(2, appendTo("a", core.NoStream, newEvent())))
	}},
	{"incarnations", "in_one_group", func(s *suite) {
		s.write("a", 1)
		s.must(change("a", 1, core.RemoveStream))
		first, second, third := newEvent(), newEvent(), newEvent()
		step := s.group(
			expecting(1, appendTo("a", core.AnyVersion, newEvent())),
			expecting(2, appendTo("a", 0, first)),
			expecting(1, appendTo("a", 1, newEvent())),
			appendTo("a", 1, second),
			appendTo("b", core.AnyVersion, newEvent()))
		for i, o := range step.Outcomes {
			if i%2 == 0 && i < 4 {
				s.wrongIncarnation(o, 0)
			} else if o.Err != nil {
				s.Errorf("commit %d: %v", i, o.Err)
			}
		}
		s.holds("a", first, second)
		step = s.group(
			expecting(2, appendTo("a", 2, newEvent())),
			expecting(2, change("a", 3, core.RemoveStream)),
			expecting(2, appendTo("a", core.AnyVersion, newEvent())),
			expecting(3, appendTo("a", 0, third)),
			expecting(2, change("a", 1, core.DeleteStream)))
		for i, o := range step.Outcomes {
			if i == 2 || i == 4 {
				s.wrongIncarnation(o, 0)
			} else if o.Err != nil {
				s.Errorf("commit %d: %v", i, o.Err)
			}
		}
		s.holds("a", third)
	}},
	{"incarnations", "all_or_nothing", func(s *suite) {
		s.write("a", 1)
		b := s.write("b", 1)
		s.must(change("a", 1, core.RemoveStream))
		a := s.write("a", 1)
		c := appendsTo("c", "a")
		c.Streams = change("b", 1, core.DeleteStream).Streams
		for element, stale := range map[int]*uint32{1: &c.Appends[1].Incarnation, 2: &c.Streams[0].Incarnation} {
			c.Appends[1].Incarnation, c.Streams[0].Incarnation = 2, 1
			*stale = 3
			s.wrongIncarnation(s.commit(c), element)
		}
		s.holds("a", a...)
		s.holds("b", b...)
		s.holds("c")
		c.Appends[1].Incarnation, c.Streams[0].Incarnation = 2, 1
		s.must(c)
	}},
}

// expecting is c with an incarnation that all its Appends and StreamOps expect.
func expecting(incarnation uint32, c *core.Commit) *core.Commit {
	for i := range c.Appends {
		c.Appends[i].Incarnation = incarnation
	}
	for i := range c.Streams {
		c.Streams[i].Incarnation = incarnation
	}
	return c
}

// wrongIncarnation checks that an outcome is wrong_expected_version because of the incarnation: it
// says no versions.
func (s *suite) wrongIncarnation(o core.Outcome, element int) {
	s.Helper()
	if err := s.refusal(o, core.CodeWrongExpectedVersion, element); err.Stream == "" || err.Expected != nil || err.Actual != nil {
		s.Errorf("%v: of stream %q, expected %v, actual %v", err, err.Stream, deref(err.Expected), deref(err.Actual))
	}
}
