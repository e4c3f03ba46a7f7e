package jointest

import (
	"sync"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
)

var answerTests = []test{
	{"what is not in flight is refused, the rest is acked", refused},
	{"events named by versions", byVersions},
	{"an answer that is none", invalid},
	{"a durable ack is stored when it is done", durableAck},
	{"a durable ack waits for earlier events", durableWaits},
	{"a retry comes again", retried},
	{"what is parked is listed when it is done", parked},
	{"skipped", skipped},
	{"a stop has its reason", stop},
	{"more time", extended},
	{"positions are the caller's again", positions},
	{"many answers at once", crowd},
}

func refused(s *suite) {
	s.put(nil)
	s.append(4)
	c := s.join(nil)
	c.takes(firsts(1, 4)...)
	c.unexpected(ack(1, 9, 2, 8), 9, 8)
	c.unexpected(ack(1), 1)
	c.unexpected(ackUpTo(2), 2)
	c.unexpected(nack(delivery.ActionSkip, 1, 3), 1)
	c.unexpected(extend(time.Second, 3), 3)
	c.does(durable(ackUpTo(4)), "")
}

func byVersions(s *suite) {
	s.put(func(d *subscriptions.Definition) { d.Stream = "s-1" })
	s.append(25) // s-1 has versions 1 to 9, at 1, 4, 7 and so on
	c := s.join(nil)
	c.takes(sent{1, 1}, sent{4, 1}, sent{7, 1}, sent{10, 1}, sent{13, 1}, sent{16, 1}, sent{19, 1}, sent{22, 1}, sent{25, 1})
	c.unexpectedVersions(ack(2, 22, 1, 2), 22, 2)
	c.does(durable(versions(ackUpTo(4))), "")
	if got := s.info().Checkpoint; got < 10 || got > 12 {
		s.Errorf("the checkpoint is %d after the ack up to version 4", got)
	}
	c.unexpectedVersions(ackUpTo(4), 4)
	c.does(versions(nack(delivery.ActionRetry, 6)), "")
	c.takes(sent{16, 2})
	c.unexpectedVersions(nack(delivery.ActionPark, 7, 3), 3)
	c.does(versions(extend(time.Second, 5, 6)), "")
	c.does(ack(13), "") // the same by its position
	c.unexpectedVersions(extend(time.Second, 5), 5)
	c.does(durable(versions(ackUpTo(6))), "") // it was sent last
	page, err := s.Manager.Parked(s.ctx, name, subscriptions.ParkedRequest{})
	s.wants(err, "")
	if len(page.Parked) != 1 || page.Parked[0].Position != 19 {
		s.Errorf("parked are %+v", page.Parked)
	}
	if info := s.info(); info.InFlight != 0 {
		s.Errorf("in flight are %d", info.InFlight)
	}
	c.Leave(true)
	s.wants(s.Manager.Delete(s.ctx, name), "")
	s.put(nil)
	all := s.join(nil)
	all.takes(firsts(1, 25)...)
	all.does(versions(ack(1)), core.CodeInvalidRequest)
	all.does(versions(ackUpTo(1)), core.CodeInvalidRequest)
	all.does(ackUpTo(25), "")
}

func invalid(s *suite) {
	s.put(nil)
	s.append(1)
	c := s.join(nil)
	c.takes(firsts(1, 1)...)
	c.does(nack("burn", 1), core.CodeInvalidRequest)
	c.does(extend(1000*time.Hour, 1), core.CodeInvalidRequest)
	c.does(ack(1), "")
}

func durableAck(s *suite) {
	s.put(func(d *subscriptions.Definition) { d.CheckpointThreshold = 1000 })
	s.append(5)
	c := s.join(nil)
	c.takes(firsts(1, 5)...)
	for p := uint64(1); p <= 3; p++ {
		c.does(durable(ack(p)), "")
		if got := s.info().Checkpoint; got != p {
			s.Fatalf("the checkpoint is %d after the ack of %d", got, p)
		}
	}
	c.does(durable(ackUpTo(5)), "")
	if got := s.info().Checkpoint; got != 5 {
		s.Fatalf("the checkpoint is %d after the ack up to 5", got)
	}
}

func durableWaits(s *suite) {
	s.put(nil)
	s.append(3)
	c := s.join(nil)
	c.takes(firsts(1, 3)...)
	done := make(chan error, 1)
	c.Answer(durable(ack(3)), func(err error) { done <- err })
	c.does(ack(2), "")
	select {
	case err := <-done:
		s.Fatalf("done with %v before 1 is", err)
	default:
	}
	c.does(ack(1), "")
	s.wants(<-done, "")
	if got := s.info().Checkpoint; got != 3 {
		s.Fatalf("the checkpoint is %d", got)
	}
}

func retried(s *suite) {
	s.put(nil)
	s.append(3)
	c := s.join(nil)
	c.takes(firsts(1, 3)...)
	c.does(nack(delivery.ActionRetry, 2), "")
	c.takes(sent{2, 2})
	c.does(durable(ack(1, 2, 3)), "")
}

func parked(s *suite) {
	s.put(nil)
	s.append(3)
	c := s.join(nil)
	c.takes(firsts(1, 3)...)
	for n, p := range []uint64{2, 3} {
		c.does(nack(delivery.ActionPark, p), "")
		page, err := s.Manager.Parked(s.ctx, name, subscriptions.ParkedRequest{})
		s.wants(err, "")
		if len(page.Parked) != n+1 || page.Parked[n].Position != p || page.Parked[n].Reason != "broken" {
			s.Fatalf("parked are %+v", page.Parked)
		}
	}
	c.does(durable(ack(1)), "")
	if info := s.info(); info.Parked != 2 || info.Finished != 3 {
		s.Errorf("%+v", info)
	}
}

func skipped(s *suite) {
	s.put(nil)
	s.append(2)
	c := s.join(nil)
	c.takes(firsts(1, 2)...)
	c.does(nack(delivery.ActionSkip, 1), "")
	c.does(durable(ack(2)), "")
	if info := s.info(); info.Checkpoint != 2 || info.Totals.Skipped != 1 || info.Parked != 0 {
		s.Errorf("%+v", info)
	}
}

func stop(s *suite) {
	s.put(nil)
	s.append(2)
	c := s.join(nil)
	c.takes(firsts(1, 2)...)
	c.does(nack(delivery.ActionStop, 1), "")
	c.until(delivery.Stopped)
	if c.last.Reason != "broken" {
		s.Errorf("the reason is %q", c.last.Reason)
	}
	c.does(ack(2), "")
	s.wants(s.Manager.Resume(s.ctx, name), "")
	c.takes(sent{1, 2})
}

func extended(s *suite) {
	s.put(func(d *subscriptions.Definition) { d.AckTimeoutMs, d.Retry.MinMs = 300, 0 })
	s.append(2)
	c := s.join(nil)
	c.takes(firsts(1, 2)...)
	c.does(extend(time.Hour, 1), "")
	c.takes(sent{2, 2}) // its time to ack has passed
	c.does(ack(1), "")
}

func positions(s *suite) {
	s.put(nil)
	s.append(20)
	c := s.join(nil)
	c.takes(firsts(1, 20)...)
	var done sync.WaitGroup
	p := []uint64{0}
	for p[0] = 1; p[0] <= 20; p[0]++ {
		done.Add(1)
		c.Answer(ack(p...), func(err error) {
			if err != nil {
				s.Error(err)
			}
			done.Done()
		})
	}
	done.Wait()
	if got := s.info().Finished; got != 20 {
		s.Errorf("finished is %d", got)
	}
}

func crowd(s *suite) {
	const events = 200
	s.put(func(d *subscriptions.Definition) { d.BufferSize, d.CheckpointThreshold = events, 50 })
	s.append(events)
	c := s.join(nil)
	c.takes(firsts(1, events)...)
	outcomes := make(chan error, 2*events)
	var given sync.WaitGroup
	for p := uint64(1); p <= events; p++ {
		given.Go(func() {
			a := ack(p)
			if p%2 == 0 {
				a = durable(a)
			}
			c.Answer(a, func(err error) { outcomes <- err })
		})
	}
	given.Wait()
	for range events {
		select {
		case err := <-outcomes:
			s.wants(err, "")
		case <-s.ctx.Done():
			s.Fatal("an answer is never done")
		}
	}
	if got := s.info(); got.Checkpoint != events || len(outcomes) > 0 {
		s.Errorf("the checkpoint is %d, and %d answers are done twice", got.Checkpoint, len(outcomes))
	}
}
