package wsapi

import (
	"context"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// maxConsumerBytes bounds the name of a subscriber.
const maxConsumerBytes = 256

func errNoNamed() error {
	return core.Errorf(core.CodeNotSupported, "this server has no named subscriptions")
}

// joining says how a subscribe joins a named subscription.
func (c *conn) joining(m *wire.Subscribe) (opening, error) {
	subs := c.api.config.Subscriptions
	r := subscriptions.JoinRequest{Name: m.Subscription, Transient: m.Transient, Consumer: m.Consumer}
	switch {
	case subs == nil:
		return nil, errNoNamed()
	case m.Stream != "" || m.From != nil || m.Filter != nil:
		return nil, core.Errorf(core.CodeInvalidRequest, "stream, from and filter of a named subscription are in its options")
	case m.Ack != "" && m.Ack != "explicit":
		return nil, core.Errorf(core.CodeInvalidRequest, `ack is "explicit", not %q`, clip(m.Ack))
	case len(m.Consumer) > maxConsumerBytes:
		return nil, core.Errorf(core.CodeInvalidRequest, "consumer has at most %d bytes", maxConsumerBytes)
	}
	if len(m.Options) > 0 && string(m.Options) != "null" {
		d, err := definitionOf(m.Options)
		if err != nil {
			return nil, err
		}
		r.Definition = d
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

// definitionOf reads a definition. Unlike other messages it has no unknown fields: a
// policy that this server does not know would not be kept.
func definitionOf(text []byte) (*subscriptions.Definition, error) {
	d := subscriptions.DefaultDefinition()
	if err := wire.UnmarshalStrict(text, &d); err != nil {
		return nil, err
	}
	return &d, nil
}

// answer applies what a client says of deliveries, and answers if it has an id or
// went wrong. A sub that is over, or never was, has no lease any more.
func (c *conn) answer(id, sub uint64, apply func(subscriptions.Subscriber) error) {
	if c.api.config.Subscriptions == nil {
		c.refuse(id, errNoNamed())
		return
	}
	var lease subscriptions.Subscriber
	if s := c.subs.get(sub); s != nil {
		lease = s.lease()
	}
	if lease == nil {
		c.refuse(id, core.Errorf(core.CodeLeaseLost, "sub %d is not one of a named subscription", sub))
		return
	}
	if err := apply(lease); err != nil {
		c.refuse(id, err)
		return
	}
	if id != 0 {
		c.out.text(wire.Encode(nil, &wire.OK{ID: id}))
	}
}

func (c *conn) ack(m *wire.Ack) {
	c.answer(m.ID, m.Sub, func(l subscriptions.Subscriber) error { return ack(l, m.Positions, m.UpTo) })
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

// ack acks positions, or up to one.
func ack(l subscriptions.Subscriber, positions []uint64, upTo uint64) error {
	if (len(positions) > 0) == (upTo > 0) {
		return core.Errorf(core.CodeInvalidRequest, "an ack has positions or upTo")
	}
	if upTo > 0 {
		return l.AckUpTo(upTo)
	}
	return l.Ack(positions)
}

func (c *conn) nack(m *wire.Nack) {
	c.answer(m.ID, m.Sub, func(l subscriptions.Subscriber) error {
		return nack(l, m.Positions, m.Action, m.DelayMs, m.Reason)
	})
}

func nack(l subscriptions.Subscriber, positions []uint64, action string, delayMs *int64, reason string) error {
	if len(positions) == 0 {
		return core.Errorf(core.CodeInvalidRequest, "a nack has positions")
	}
	n := delivery.Nack{Action: delivery.Action(action), Delay: delivery.ByPolicy, Reason: reason}
	if delayMs != nil {
		var err error
		if n.Delay, err = milliseconds("delayMs", *delayMs); err != nil {
			return err
		}
	}
	return l.Nack(positions, n)
}

func (c *conn) extend(m *wire.Extend) {
	c.answer(m.ID, m.Sub, func(l subscriptions.Subscriber) error { return extend(l, m.Positions, m.Ms) })
}

func extend(l subscriptions.Subscriber, positions []uint64, ms int64) error {
	if len(positions) == 0 {
		return core.Errorf(core.CodeInvalidRequest, "an extension has positions")
	}
	d, err := milliseconds("ms", ms)
	if err != nil {
		return err
	}
	return l.Extend(positions, d)
}

// milliseconds is a duration that a client gives. Its bounds are the machine's to know,
// once it is one.
func milliseconds(field string, ms int64) (time.Duration, error) {
	const most = int64(1<<63-1) / int64(time.Millisecond)
	if ms < 0 || ms > most {
		return 0, core.Errorf(core.CodeInvalidRequest, "%s is %d, which is not a time in milliseconds", field, ms)
	}
	return time.Duration(ms) * time.Millisecond, nil
}
