package requests

import (
	"strings"
	"time"
	"unicode"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// PageBytes bounds a page that is answered as one message, well below the limit of a
// frame however the page is encoded.
const PageBytes = 1 << 20

// maxConsumerBytes bounds the name of a consumer.
const maxConsumerBytes = 256

// NoSubscriptions is the error of a server without named subscriptions.
func NoSubscriptions() error {
	return core.Errorf(core.CodeNotSupported, "this server has no named subscriptions")
}

// Consumer checks the name of a consumer, how many events it handles at a time, and how
// many may be in flight to it; 0 is that it does not say.
func Consumer(name string, workers, bufferSize int) error {
	switch {
	case len(name) > maxConsumerBytes || strings.ContainsFunc(name, unicode.IsControl):
		return core.Errorf(core.CodeInvalidRequest, "consumer has at most %d bytes and no control characters", maxConsumerBytes)
	case workers < 0:
		return core.Errorf(core.CodeInvalidRequest, "workers is %d, it may be from 1", workers)
	case bufferSize < 0:
		return core.Errorf(core.CodeInvalidRequest, "bufferSize is %d, it may be from 1", bufferSize)
	}
	return nil
}

// Define sets which subscription a request joins, or creates. Unlike other messages the
// options may have no unknown fields: this server could not keep to a policy that it
// does not know.
func Define(r *subscriptions.JoinRequest, options []byte, anyOptions bool, incarnation string) error {
	r.AnyOptions, r.Incarnation = anyOptions, incarnation
	if len(options) == 0 || string(options) == "null" {
		if anyOptions {
			return core.Errorf(core.CodeInvalidRequest, "anyOptions is about options, which are missing")
		}
		return nil
	}
	d := subscriptions.DefaultDefinition()
	if err := wire.UnmarshalDefinition(options, &d); err != nil {
		return err
	}
	r.Definition = &d
	return nil
}

// Ack is the answer that acks events, or everything up to one.
func Ack(m *wire.Ack) (subscriptions.Answer, error) {
	a := subscriptions.Answer{Kind: subscriptions.Ack, Positions: m.Positions, Durable: m.Durable}
	named := 0
	for _, is := range []bool{len(m.Positions) > 0, len(m.Versions) > 0, m.UpTo > 0, m.UpToVersion > 0} {
		if is {
			named++
		}
	}
	if named != 1 {
		return a, core.Errorf(core.CodeInvalidRequest, "an ack has one of positions, upTo, versions and upToVersion")
	}
	if a.ByVersion = len(m.Versions) > 0 || m.UpToVersion > 0; a.ByVersion {
		a.Positions = m.Versions
	}
	if a.UpTo = max(m.UpTo, m.UpToVersion); a.UpTo > 0 {
		a.Kind = subscriptions.AckUpTo
	}
	return a, nil
}

// Nack is the answer that gives events back. Without DelayMs the policy has the delay.
func Nack(m *wire.Nack) (a subscriptions.Answer, err error) {
	a.Kind = subscriptions.Nack
	a.Nack = delivery.Nack{Action: delivery.Action(m.Action), Delay: delivery.ByPolicy, Reason: m.Reason}
	if err := name(&a, m.Positions, m.Versions); err != nil {
		return a, err
	}
	if m.DelayMs != nil {
		a.Nack.Delay, err = Milliseconds("delayMs", *m.DelayMs)
	}
	return a, err
}

// Extend is the answer that gives events more time.
func Extend(m *wire.Extend) (a subscriptions.Answer, err error) {
	a.Kind = subscriptions.Extend
	if err := name(&a, m.Positions, m.Versions); err != nil {
		return a, err
	}
	a.Extend, err = Milliseconds("ms", m.Ms)
	return a, err
}

// name sets the events that an answer is about.
func name(a *subscriptions.Answer, positions, versions []uint64) error {
	if (len(positions) > 0) == (len(versions) > 0) {
		return core.Errorf(core.CodeInvalidRequest, "events are named by positions or by versions")
	}
	if a.Positions, a.ByVersion = positions, len(versions) > 0; a.ByVersion {
		a.Positions = versions
	}
	return nil
}

// Milliseconds decodes a duration that a client sent as field. It checks only that it
// is one; the delivery machine checks its bounds.
func Milliseconds(field string, ms int64) (time.Duration, error) {
	const most = int64(1<<63-1) / int64(time.Millisecond)
	if ms < 0 || ms > most {
		return 0, core.Errorf(core.CodeInvalidRequest, "%s is %d, which is not a time in milliseconds", field, ms)
	}
	return time.Duration(ms) * time.Millisecond, nil
}
