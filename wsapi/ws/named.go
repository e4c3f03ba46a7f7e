package ws

import (
	"context"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/wsapi/requests"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// joining says how a subscribe joins a named subscription.
func (c *conn) joining(m *wire.Subscribe) (opening, error) {
	subs := c.server.config.Subscriptions
	r := subscriptions.JoinRequest{Name: m.Subscription, Transient: m.Transient, Consumer: m.Consumer}
	switch {
	case subs == nil:
		return nil, requests.NoSubscriptions()
	case m.Stream != "" || m.From != nil || m.Filter != nil:
		return nil, core.Errorf(core.CodeInvalidRequest, "stream, from and filter of a named subscription are in its options")
	case m.Ack != "" && m.Ack != "explicit":
		return nil, core.Errorf(core.CodeInvalidRequest, `ack is "explicit", not %.80q`, m.Ack)
	}
	if err := requests.Consumer(m.Consumer); err != nil {
		return nil, err
	}
	if err := requests.Define(&r, m.Options, m.AnyOptions, m.Incarnation); err != nil {
		return nil, err
	}
	r.Credit = delivery.Credit{Events: delivery.Unlimited, Bytes: delivery.Unlimited}
	if m.Credit != nil {
		r.Credit.Events = m.Credit.Events
		if m.Credit.Bytes > 0 {
			r.Credit.Bytes = m.Credit.Bytes
		}
	}
	return func(ctx context.Context, s *sub) (source, error) { return c.join(ctx, s, subs, r) }, nil
}

// answer applies what a client says of deliveries, and answers if it has an id or
// went wrong. A sub that is over, or never was, has no subscriber.
func (c *conn) answer(id, sub uint64, apply func(subscriptions.Subscriber) error) {
	if c.server.config.Subscriptions == nil {
		c.refuse(id, requests.NoSubscriptions())
		return
	}
	var named subscriptions.Subscriber
	if s := c.subs.get(sub); s != nil {
		named = s.subscriber()
	}
	if named == nil {
		c.refuse(id, core.Errorf(core.CodeLeaseLost, "sub %d is not one of a named subscription", sub))
		return
	}
	if err := apply(named); err != nil {
		c.refuse(id, err)
		return
	}
	if id != 0 {
		c.out.text(wire.Encode(nil, &wire.OK{ID: id}))
	}
}

func (c *conn) ack(m *wire.Ack) {
	c.answer(m.ID, m.Sub, func(s subscriptions.Subscriber) error { return requests.Ack(s, m.Positions, m.UpTo) })
}

// ackFrames takes an ACK frame and those that follow it. Acks that come together are
// applied together: what is sent for them then goes out together, too.
func (c *conn) ackFrames(frames *wire.Frames) error {
	held, err := frames.Ack()
	if err != nil {
		return err
	}
	for kind, ok := frames.Kind(); ok && kind == wire.FrameAck; kind, ok = frames.Kind() {
		var next wire.Ack
		if next, err = frames.Ack(); err != nil {
			break
		}
		if !held.Join(&next) {
			c.ack(&held)
			held = next
		}
	}
	c.ack(&held)
	return err
}

func (c *conn) nack(m *wire.Nack) {
	c.answer(m.ID, m.Sub, func(s subscriptions.Subscriber) error {
		return requests.Nack(s, m.Positions, m.Action, m.DelayMs, m.Reason)
	})
}

func (c *conn) extend(m *wire.Extend) {
	c.answer(m.ID, m.Sub, func(s subscriptions.Subscriber) error { return requests.Extend(s, m.Positions, m.Ms) })
}
