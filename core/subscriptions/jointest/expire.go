package jointest

import (
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// The events of the suite are in the streams s-1, s-2 and s-0 in turn. What is removed after it
// was read, and before it was sent, is not sent.
var expireTests = []test{
	{"removed in the window", expiredInWindow},
	{"removed while in flight", expiredInFlight},
	{"removed while it waits for a retry", expiredRetry},
	{"removed with keys", expiredWithKeys},
}

func expiredInWindow(s *suite) {
	s.put(func(d *subscriptions.Definition) { d.BufferSize = 2 })
	s.append(9)
	c := s.join(nil)
	c.takes(firsts(1, 2)...)
	s.remove("s-0", "s-1")
	c.does(ack(2), "")
	c.takes(sent{5, 1}, sent{8, 1})
	c.does(ack(1), "") // it was in flight
	c.does(durable(ackUpTo(8)), "")
	if i := s.info(); i.Checkpoint < 9 || i.Totals.Expired != 6 || i.Totals.Acked != 3 || i.InFlight+i.Waiting > 0 {
		s.Errorf("afterwards %+v", i)
	}
}

func expiredInFlight(s *suite) {
	s.put(nil)
	s.append(6)
	c := s.join(nil)
	c.takes(firsts(1, 6)...)
	s.remove("s-1")
	for s.info().Totals.Expired < 2 {
		s.append(3) // more is sent once it was dropped
		c.next()
	}
	c.does(nack(delivery.ActionPark, 1), "")
	c.does(nack(delivery.ActionRetry, 4), "")
	c.unexpected(ack(4), 4) // it was answered
	c.does(durable(ackUpTo(6)), "")
	if i := s.info(); i.Parked != 0 || i.Totals.Failed != 0 {
		s.Errorf("afterwards %+v", i)
	}
}

func expiredRetry(s *suite) {
	s.put(func(d *subscriptions.Definition) { d.BufferSize = 3 })
	s.append(4)
	c := s.join(nil)
	c.takes(firsts(1, 3)...)
	later := nack(delivery.ActionRetry, 1, 2)
	later.Nack.Delay = 0
	s.wants(s.Manager.Pause(s.ctx, name), "")
	c.until(delivery.Paused)
	c.does(later, "")
	s.remove("s-1")
	s.wants(s.Manager.Resume(s.ctx, name), "")
	c.takes(sent{2, 2})
	c.does(ack(2, 3), "")
	s.append(1)
	c.takes(sent{6, 1})
	c.does(durable(ack(6)), "")
	if i := s.info(); i.Checkpoint < 6 || i.Totals.Expired != 2 || i.Retrying > 0 {
		s.Errorf("afterwards %+v", i)
	}
}

func expiredWithKeys(s *suite) {
	s.put(func(d *subscriptions.Definition) { d.PartitionBy, d.BufferSize = subscriptions.ByStream, 3 })
	s.append(9)
	c := s.join(nil)
	c.takes(firsts(1, 3)...)
	s.remove("s-2")
	c.does(ack(1, 2, 3), "")
	c.takes(sent{4, 1}, sent{6, 1}, sent{7, 1})
	c.does(ack(4, 6, 7), "")
	c.takes(sent{9, 1})
}
