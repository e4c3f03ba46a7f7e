package cluster_test

import (
	"context"
	"sync"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// simSubscriber is a subscriber over a link, at either end of it.
type simSubscriber struct {
	end    *simEnd
	number uint64
	wake   func() // at the end that has dialed: JoinRequest.Wake

	mu     sync.Mutex               // protects the fields below
	there  subscriptions.Subscriber // at the owner
	queue  []subscriptions.Delivery
	err    error
	dones  map[uint64]func(error)
	answer uint64
}

// Join is Link.Join.
func (l *simLink) Join(ctx context.Context, r subscriptions.JoinRequest) (subscriptions.Subscriber, error) {
	e := l.end
	s := &simSubscriber{end: e, wake: r.Wake, dones: map[uint64]func(error){}}
	e.mu.Lock()
	if e.ended {
		e.mu.Unlock()
		return nil, errBroken()
	}
	e.numbers++
	s.number = e.numbers
	e.joined[s.number] = s
	e.mu.Unlock()
	joined := make(chan error, 1)
	e.put(func(at *simEnd) {
		at.at.links.running.Go(func() { at.join(context.WithoutCancel(ctx), s, r, joined) })
	})
	select {
	case err := <-joined:
		if err != nil {
			return nil, err
		}
		return s, nil
	case <-e.broken:
		return nil, errBroken()
	case <-ctx.Done():
		s.Leave(false)
		return nil, core.AsError(ctx.Err())
	}
}

// join joins at the owner, and sends what there is to take until the link or the lease ends.
func (e *simEnd) join(ctx context.Context, s *simSubscriber, r subscriptions.JoinRequest, joined chan<- error) {
	ctx, cancel := context.WithTimeout(ctx, linkTimeout)
	there, err := subscriptions.JoinWaiting(ctx, e.incoming, r)
	cancel()
	if err != nil {
		e.put(func(*simEnd) { joined <- err })
		return
	}
	mirror := &simSubscriber{end: e, there: there}
	e.mu.Lock()
	ended := e.ended
	if !ended {
		e.joined[s.number] = mirror
	}
	e.mu.Unlock()
	if ended {
		there.Leave(false)
		return
	}
	defer there.Leave(false)
	ctx, cancel = context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-e.broken
		cancel()
	}()
	for first := true; ; first = false {
		d, err := there.Next(ctx, core.Limit{Events: 1, Bytes: core.MaxPageBytes})
		if ctx.Err() != nil {
			return
		}
		e.put(func(*simEnd) { s.took(d, err) })
		if first {
			e.put(func(*simEnd) { joined <- nil })
		}
		if err != nil {
			return
		}
	}
}

// took is a delivery, or the end of the lease.
func (s *simSubscriber) took(d subscriptions.Delivery, err error) {
	s.mu.Lock()
	if err == nil {
		s.queue = append(s.queue, d)
	} else if s.err == nil {
		s.err = err
	}
	s.mu.Unlock()
	if s.wake != nil {
		s.wake()
	}
}

// broke ends the lease of either end with the link.
func (s *simSubscriber) broke() {
	s.mu.Lock()
	there, dones := s.there, s.dones
	s.dones = nil
	if s.err == nil {
		s.err, s.queue = errBroken(), nil
	}
	s.mu.Unlock()
	if there != nil {
		there.Leave(false)
	}
	for _, done := range dones {
		done(errBroken())
	}
	if s.wake != nil {
		s.wake()
	}
}

// Take is Subscriber.Take.
func (s *simSubscriber) Take(core.Limit) (d subscriptions.Delivery, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) > 0 {
		d = s.queue[0]
		s.queue = s.queue[1:]
		return d, true, nil
	}
	return d, false, s.err
}

// ask sends something to the subscriber at the owner. It reports false if the link is broken.
func (s *simSubscriber) ask(do func(there subscriptions.Subscriber)) bool {
	return s.end.put(func(at *simEnd) {
		at.mu.Lock()
		mirror := at.joined[s.number]
		at.mu.Unlock()
		if mirror != nil {
			do(mirror.there)
		}
	})
}

// Answer is Subscriber.Answer.
func (s *simSubscriber) Answer(a subscriptions.Answer, done func(error)) {
	a.Positions = append([]uint64(nil), a.Positions...)
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		done(core.Errorf(core.CodeLeaseLost, "the lease has ended"))
		return
	}
	s.answer++
	number := s.answer
	s.dones[number] = done
	s.mu.Unlock()
	s.ask(func(there subscriptions.Subscriber) {
		there.Answer(a, func(err error) {
			s.end.otherEnd().put(func(*simEnd) { s.answered(number, err) })
		})
	})
}

func (e *simEnd) otherEnd() *simEnd {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.other
}

func (s *simSubscriber) answered(number uint64, err error) {
	s.mu.Lock()
	done := s.dones[number]
	delete(s.dones, number)
	s.mu.Unlock()
	if done != nil {
		done(err)
	}
}

// Credit is Subscriber.Credit.
func (s *simSubscriber) Credit(more delivery.Credit) error {
	s.ask(func(there subscriptions.Subscriber) { _ = there.Credit(more) })
	return nil
}

// Leave is Subscriber.Leave.
func (s *simSubscriber) Leave(clean bool) {
	s.ask(func(there subscriptions.Subscriber) { there.Leave(clean) })
	s.end.mu.Lock()
	delete(s.end.joined, s.number)
	s.end.mu.Unlock()
}
