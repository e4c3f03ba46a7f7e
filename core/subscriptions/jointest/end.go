package jointest

import (
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
)

var endTests = []test{
	{"after Leave", afterLeave},
	{"a goodbye gives back what is in flight", goodbye},
	{"a loss is a failed attempt", loss},
	{"deleted", deleted},
	{"reset", reset},
	{"a transient subscription that stops is over", transientStop},
	{"an answer that waits ends with the subscription", waitingEnds},
}

func afterLeave(s *suite) {
	s.put(nil)
	s.append(2)
	c := s.join(nil)
	c.takes(firsts(1, 2)...)
	c.Leave(true)
	c.Leave(false)
	_, _, err := c.Take(anything)
	s.wants(err, core.CodeCanceled)
	c.does(ack(1), core.CodeLeaseLost)
	c.does(durable(ackUpTo(1)), core.CodeLeaseLost)
	c.does(nack(delivery.ActionPark, 1), core.CodeLeaseLost)
	s.wants(c.Credit(delivery.Credit{Events: 1}), core.CodeLeaseLost)
}

func goodbye(s *suite) {
	s.put(func(d *subscriptions.Definition) { d.Retry.Max, d.Retry.Then = 1, delivery.ThenSkip })
	s.append(3)
	c := s.join(nil)
	c.takes(firsts(1, 3)...)
	c.does(ack(2), "")
	c.Leave(true)
	c = s.join(nil)
	c.takes(sent{1, 2}, sent{3, 2})
}

func loss(s *suite) {
	s.put(func(d *subscriptions.Definition) { d.Retry.Max, d.Retry.Then = 1, delivery.ThenSkip })
	s.append(1)
	c := s.join(nil)
	c.takes(firsts(1, 1)...)
	c.Leave(false)
	c = s.join(nil) // which comes after the end of the other
	s.append(1)
	c.takes(firsts(2, 2)...)
}

func deleted(s *suite) {
	s.put(nil)
	s.append(1)
	c := s.join(nil)
	c.takes(firsts(1, 1)...)
	s.wants(s.Manager.Delete(s.ctx, name), "")
	c.ends(core.CodeSubscriptionNotFound)
	c.does(ack(1), core.CodeLeaseLost)
}

func reset(s *suite) {
	s.put(nil)
	s.append(3)
	c := s.join(nil)
	c.takes(firsts(1, 3)...)
	c.does(durable(ackUpTo(3)), "")
	incarnation := c.last.Incarnation
	s.wants(s.Manager.Reset(s.ctx, name, core.From{Kind: core.AfterPosition, N: 1}), "")
	c.ends(core.CodeSubscriptionInterrupted)
	c.does(ack(1), core.CodeLeaseLost)
	s.join(func(r *subscriptions.JoinRequest) { r.Incarnation = incarnation }).takes(firsts(2, 3)...)
}

func transientStop(s *suite) {
	s.append(1)
	c := s.join(func(r *subscriptions.JoinRequest) { r.Transient = true })
	c.takes(firsts(1, 1)...)
	c.Answer(nack(delivery.ActionStop, 1), func(error) {}) // it may end before this is done
	c.ends(core.CodeSubscriptionStopped)
}

func waitingEnds(s *suite) {
	s.put(nil)
	s.append(2)
	c := s.join(nil)
	c.takes(firsts(1, 2)...)
	done := make(chan error, 1)
	c.Answer(durable(ack(2)), func(err error) { done <- err }) // 1 is not finished
	s.wants(s.Manager.Delete(s.ctx, name), "")
	c.ends(core.CodeSubscriptionNotFound)
	s.wants(<-done, core.CodeLeaseLost)
}
