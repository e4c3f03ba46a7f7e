package jointest

import (
	"context"
	"sync"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
)

var deliverTests = []test{
	{"everything in order, then live", inOrder},
	{"events are whole", whole},
	{"no more than the limit of Take", limitOfTake},
	{"no more than there is credit for", credit},
	{"no more than the buffer", buffer},
	{"no more than the subscriber's own buffer", ownBuffer},
	{"paused and resumed", pausedAndResumed},
	{"with keys", keys},
}

func inOrder(s *suite) {
	s.put(func(d *subscriptions.Definition) { d.BufferSize = 1000 })
	s.append(500)
	c := s.join(nil)
	c.takes(firsts(1, 500)...)
	c.until(delivery.Live)
	s.append(2)
	c.takes(firsts(501, 502)...)
	c.does(ackUpTo(502), "")
}

func whole(s *suite) {
	s.put(func(d *subscriptions.Definition) { d.Map.Fields = []string{"n"}; d.Filter.Streams = []string{"s-2"} })
	s.append(3)
	c := s.join(nil)
	for c.last.Count == 0 {
		c.next()
	}
	e := c.last.Slice()[0]
	if e.Stream != "s-2" || e.Type != "T" || e.Position != 2 || e.Version != 1 || e.ID.IsZero() || e.Recorded.IsZero() || string(e.Data) != `{"n":2}` {
		s.Errorf("took %+v", e)
	}
}

func limitOfTake(s *suite) {
	s.put(nil)
	s.append(10)
	c := s.join(nil)
	var got []sent
	for len(got) < 10 {
		d, err := c.Next(s.ctx, core.Limit{Events: 3, Bytes: core.MaxPageBytes})
		s.wants(err, "")
		if d.Count > 3 {
			s.Fatalf("%d events at once", d.Count)
		}
		c.took(d)
		got = append(got, c.queue...)
		c.queue = nil
	}
	c.queue = got
	c.takes(firsts(1, 10)...)
}

func credit(s *suite) {
	s.put(nil)
	s.append(10)
	c := s.join(func(r *subscriptions.JoinRequest) { r.Credit = delivery.Credit{Events: 2, Bytes: delivery.Unlimited} })
	c.takes(firsts(1, 2)...)
	c.does(ackUpTo(2), "")
	c.does(durable(ack(3)), core.CodeUnexpectedAck) // it was not sent
	s.wants(c.Credit(delivery.Credit{Events: 1}), "")
	c.takes(firsts(3, 3)...)
	s.wants(c.Credit(delivery.Credit{Events: 7}), "")
	c.takes(firsts(4, 10)...)
}

func buffer(s *suite) {
	s.put(func(d *subscriptions.Definition) { d.BufferSize = 2 })
	s.append(5)
	c := s.join(nil)
	c.takes(firsts(1, 2)...)
	c.unexpected(ack(3), 3)
	c.does(ack(2), "")
	c.takes(firsts(3, 3)...)
	c.does(ackUpTo(3), "")
	c.takes(firsts(4, 5)...)
}

func ownBuffer(s *suite) {
	s.put(func(d *subscriptions.Definition) { d.BufferSize = 3 })
	s.append(5)
	c := s.join(func(r *subscriptions.JoinRequest) { r.BufferSize = 2 })
	c.takes(firsts(1, 2)...)
	c.unexpected(ack(3), 3)
	c.does(ackUpTo(2), "")
	c.takes(firsts(3, 4)...)
}

func pausedAndResumed(s *suite) {
	s.put(nil)
	s.append(2)
	c := s.join(nil)
	c.takes(firsts(1, 2)...)
	s.wants(s.Manager.Pause(s.ctx, name), "")
	c.until(delivery.Paused)
	s.append(1)
	c.does(ackUpTo(2), "")
	s.wants(s.Manager.Resume(s.ctx, name), "")
	c.takes(firsts(3, 3)...)
}

func keys(s *suite) {
	s.put(func(d *subscriptions.Definition) {
		d.PartitionBy, d.ConcurrencyLimit, d.BufferSize = subscriptions.ByStream, 2, 100
	})
	consumers := []*consumer{s.join(nil), s.join(nil)}
	s.append(30)
	// Over both of them the events of each key are in order.
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	var mu sync.Mutex
	var order []uint64
	took := func(position uint64) {
		mu.Lock()
		defer mu.Unlock()
		if order = append(order, position); len(order) == 30 {
			cancel()
		}
	}
	var running, answers sync.WaitGroup
	for _, c := range consumers {
		running.Go(func() {
			for {
				d, err := c.Next(ctx, anything)
				if err != nil {
					return
				}
				for e := range d.Events() {
					took(e.Position)
					answers.Add(1)
					c.Answer(ack(e.Position), func(err error) {
						defer answers.Done()
						if err != nil {
							s.Error(err)
						}
					})
				}
			}
		})
	}
	running.Wait()
	answers.Wait()
	last := map[uint64]uint64{}
	for _, p := range order {
		if p <= last[p%3] {
			s.Fatalf("%d comes after %d", p, last[p%3])
		}
		last[p%3] = p
	}
	if len(order) != 30 {
		s.Errorf("took %d", order)
	}
}
