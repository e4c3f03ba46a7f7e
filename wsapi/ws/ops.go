package ws

import (
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// op acts on a message of a connection.
type op func(c *conn, m wire.Message)

// on is the op of messages of one type.
func on[M wire.Message](act func(*conn, M)) op {
	return func(c *conn, m wire.Message) { act(c, m.(M)) }
}

// newOps are the ops of text messages, by name: those of the protocol, which asyncapi.json
// has too, and those of extensions.
func newOps(config *Config) (map[string]op, error) {
	ops := map[string]op{
		"hello": on(func(c *conn, m *wire.Hello) {
			c.refuse(m.ID, core.Errorf(core.CodeInvalidRequest, "hello was said before"))
		}),
		"append":      on((*conn).appendText),
		"read":        on((*conn).startRead),
		"subscribe":   on((*conn).subscribe),
		"credit":      on((*conn).credit),
		"unsubscribe": on((*conn).unsubscribe),
		"ack":         on((*conn).ack),
		"nack":        on((*conn).nack),
		"extend":      on((*conn).extend),
		"cancel":      on(func(c *conn, m *wire.Cancel) { c.cancelCall(m.ID) }),
		"ping":        on(func(c *conn, m *wire.Ping) { c.out.text(wire.Encode(nil, &wire.Pong{N: m.N})) }),
		"pong":        on(func(*conn, *wire.Pong) {}), // any message is a sign of life
	}
	add := func(name string, act op) error {
		if ops[name] != nil || wire.Known(name) {
			return core.Errorf(core.CodeInvalidConfig, "there are two ops %s", name)
		}
		ops[name] = act
		return nil
	}
	for _, o := range config.Ops {
		if err := add(o.Name, on(func(c *conn, m *wire.Other) { c.do(&o, m) })); err != nil {
			return nil, err
		}
	}
	for _, s := range config.Subs {
		if err := add(s.Name, on(func(c *conn, m *wire.Other) { c.open(&s, m) })); err != nil {
			return nil, err
		}
	}
	return ops, nil
}
