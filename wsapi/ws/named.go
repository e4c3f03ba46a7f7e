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
	subs := c.config.Subscriptions
	r := subscriptions.JoinRequest{Name: m.Subscription, Transient: m.Transient, Consumer: m.Consumer, Workers: m.Workers, BufferSize: m.BufferSize}
	switch {
	case subs == nil:
		return nil, requests.NoSubscriptions()
	case m.Stream != "" || m.From != nil || m.Filter != nil:
		return nil, core.Errorf(core.CodeInvalidRequest, "stream, from and filter of a named subscription are in its options")
	case m.System:
		return nil, core.Errorf(core.CodeInvalidRequest, "a named subscription of $all passes over the system's streams; subscribe to one by its name")
	case m.Ack != "" && m.Ack != "explicit":
		return nil, core.Errorf(core.CodeInvalidRequest, `ack is "explicit", not %.80q`, m.Ack)
	}
	if err := requests.Consumer(m.Consumer, m.Workers, m.BufferSize); err != nil {
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

// answer gives a subscriber an Answer, and replies if that has an id or went wrong. A sub
// that is over, or never was, has no subscriber.
func (c *conn) answer(id, sub uint64, a subscriptions.Answer, err error) {
	var named subscriptions.Subscriber
	s := c.subs.get(sub)
	if s != nil {
		named = s.subscriber()
	}
	switch {
	case c.config.Subscriptions == nil:
		err = requests.NoSubscriptions()
	case named == nil:
		err = core.Errorf(core.CodeLeaseLost, "sub %d is not one of a named subscription", sub)
	}
	if err != nil {
		c.refuse(id, err)
		return
	}
	finishes, upTo := finished(&a)
	named.Answer(a, func(err error) {
		s.answered(finishes, upTo)
		switch {
		case err != nil:
			c.refuse(id, err)
		case id != 0:
			c.reply(id, wire.Encode(nil, &wire.OK{ID: id}))
		}
	})
}

func (c *conn) ack(m *wire.Ack) {
	a, err := requests.Ack(m)
	c.answer(m.ID, m.Sub, a, err)
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
	a, err := requests.Nack(m)
	c.answer(m.ID, m.Sub, a, err)
}

func (c *conn) extend(m *wire.Extend) {
	a, err := requests.Extend(m)
	c.answer(m.ID, m.Sub, a, err)
}
