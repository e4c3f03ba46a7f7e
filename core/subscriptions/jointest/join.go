package jointest

import (
	"context"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
)

var joinTests = []test{
	{"the first delivery has the state", firstDelivery},
	{"a join creates only with a definition", creates},
	{"only what is meant is joined", meant},
	{"an incarnation is joined, or none", incarnations},
	{"one subscriber", one},
	{"no more than the limit", limited},
	{"a context that has ended", ended},
	{"a name that is none", badName},
	{"transient", transient},
}

func firstDelivery(s *suite) {
	s.put(func(d *subscriptions.Definition) { d.Paused = true })
	s.append(3)
	c := s.join(nil)
	d := c.next()
	if d.State != delivery.Paused || !d.Changed || d.Count > 0 || d.Checkpoint != 0 || d.Head != 3 || d.Lag() != 3 {
		s.Errorf("took %+v", d)
	}
	if info := s.info(); info.Incarnation != d.Incarnation || len(info.Subscribers) != 1 || info.Subscribers[0].Consumer != "c" {
		s.Errorf("%+v", info)
	}
}

func creates(s *suite) {
	_, err := s.tryJoin(nil)
	s.wants(err, core.CodeSubscriptionNotFound)
	_, err = s.tryJoin(func(r *subscriptions.JoinRequest) {
		r.Definition = define(func(d *subscriptions.Definition) { d.BufferSize = -1 })
	})
	s.wants(err, core.CodeInvalidRequest)
	s.join(func(r *subscriptions.JoinRequest) {
		r.Definition = define(func(d *subscriptions.Definition) { d.Stream, d.BufferSize = "s-1", 7 })
	})
	if info := s.info(); info.Stream != "s-1" || info.BufferSize != 7 {
		s.Errorf("%+v", info)
	}
}

func meant(s *suite) {
	s.put(func(d *subscriptions.Definition) { d.BufferSize = 7 })
	_, err := s.tryJoin(func(r *subscriptions.JoinRequest) { r.Definition = define(nil) })
	s.wants(err, core.CodeSubscriptionOptionsDiffer)
	for _, change := range []func(r *subscriptions.JoinRequest){
		func(r *subscriptions.JoinRequest) {},
		func(r *subscriptions.JoinRequest) {
			r.Definition = define(func(d *subscriptions.Definition) { d.BufferSize = 7 })
		},
		func(r *subscriptions.JoinRequest) { r.Definition, r.AnyOptions = define(nil), true },
	} {
		s.join(change).Leave(true)
	}
}

func incarnations(s *suite) {
	s.put(nil)
	c := s.join(nil)
	incarnation := c.next().Incarnation
	c.Leave(true)
	again := func(r *subscriptions.JoinRequest) { r.Incarnation = incarnation }
	s.join(again).Leave(true)
	s.wants(s.Manager.Delete(s.ctx, name), "")
	_, err := s.tryJoin(again)
	s.wants(err, core.CodeSubscriptionNotFound)
	_, err = s.tryJoin(func(r *subscriptions.JoinRequest) { r.Incarnation, r.Definition = incarnation, define(nil) })
	s.wants(err, core.CodeSubscriptionNotFound)
	s.put(nil)
	_, err = s.tryJoin(again)
	s.wants(err, core.CodeSubscriptionNotFound)
	if c := s.join(nil); c.next().Incarnation == incarnation {
		s.Error("what was created again has its old incarnation")
	}
}

func one(s *suite) {
	s.put(nil)
	c := s.join(nil)
	_, err := s.tryJoin(nil)
	s.wants(err, core.CodeSubscriptionInUse)
	c.Leave(true)
	s.join(nil)
}

func limited(s *suite) {
	s.put(func(d *subscriptions.Definition) { d.ConcurrencyLimit = 2 })
	s.join(nil)
	c := s.join(nil)
	_, err := s.tryJoin(nil)
	s.wants(err, core.CodeTooManySubscribers)
	if core.AsError(err).Limit != 2 {
		s.Errorf("the limit is %d", core.AsError(err).Limit)
	}
	c.Leave(false)
	s.join(nil)
}

func ended(s *suite) {
	s.put(nil)
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	_, err := s.Join(ctx, subscriptions.JoinRequest{Name: name, Credit: unlimited})
	s.wants(err, core.CodeCanceled)
	s.join(nil)
}

func badName(s *suite) {
	_, err := s.Join(s.ctx, subscriptions.JoinRequest{Name: "$orders", Credit: unlimited})
	s.wants(err, core.CodeInvalidRequest)
}

func transient(s *suite) {
	s.append(2)
	join := func(r *subscriptions.JoinRequest) { r.Transient = true }
	c := s.join(join)
	c.takes(firsts(1, 2)...)
	c.does(durable(ackUpTo(2)), "")
	_, err := s.Manager.Info(s.ctx, name)
	s.wants(err, core.CodeSubscriptionNotFound)
	c.Leave(true)
	s.join(join).takes(firsts(1, 2)...)
}
