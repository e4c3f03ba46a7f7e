package ws

import (
	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// op is what a connection does with a message.
type op struct {
	// needs is what the principal must be allowed to do with something; with what, the Guard
	// behind it checks.
	needs access.Action
	act   func(c *conn, m wire.Message)
}

// on is the op of messages of one type.
func on[M wire.Message](needs access.Action, act func(*conn, M)) op {
	return op{needs, func(c *conn, m wire.Message) { act(c, m.(M)) }}
}

// newOps are the ops of text messages, by name: those of the protocol, which asyncapi.json
// has too, and those of extensions.
func newOps(config *Config) (map[string]op, error) {
	ops := map[string]op{
		"hello": on(access.Open, func(c *conn, m *wire.Hello) {
			c.refuse(m.ID, core.Errorf(core.CodeInvalidRequest, "hello was said before"))
		}),
		"append":      on(access.Connect, (*conn).appendText),
		"read":        on(access.Read, (*conn).startRead),
		"subscribe":   on(access.Consume, (*conn).subscribe),
		"credit":      on(access.Connect, (*conn).credit),
		"unsubscribe": on(access.Connect, (*conn).unsubscribe),
		"ack":         on(access.Connect, (*conn).ack),
		"nack":        on(access.Connect, (*conn).nack),
		"extend":      on(access.Connect, (*conn).extend),
		"refresh":     on(access.Open, (*conn).refresh),
		"cancel":      on(access.Connect, func(c *conn, m *wire.Cancel) { c.cancelCall(m.ID) }),
		"ping":        on(access.Connect, func(c *conn, m *wire.Ping) { c.out.text(wire.Encode(nil, &wire.Pong{N: m.N})) }),
		"pong":        on(access.Connect, func(*conn, *wire.Pong) {}), // any message is a sign of life
	}
	add := func(name string, act op) error {
		switch {
		case ops[name].act != nil || wire.Known(name):
			return core.Errorf(core.CodeInvalidConfig, "there are two ops %s", name)
		case act.needs == "":
			return core.Errorf(core.CodeInvalidConfig, "op %s does not say what it needs", name)
		}
		ops[name] = act
		return nil
	}
	for _, o := range config.Ops {
		if err := add(o.Name, on(o.Needs, func(c *conn, m *wire.Other) { c.do(&o, m) })); err != nil {
			return nil, err
		}
	}
	for _, s := range config.Subs {
		if err := add(s.Name, on(s.Needs, func(c *conn, m *wire.Other) { c.open(&s, m) })); err != nil {
			return nil, err
		}
	}
	return ops, nil
}
