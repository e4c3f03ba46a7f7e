package ws

import (
	"errors"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/requests"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// creditEvents and creditBytes are what a client need not give beyond: more in
// flight makes nothing faster.
const (
	creditEvents = 4096
	creditBytes  = 8 << 20
)

// dispatch acts on one WebSocket message, and frees it. An error ends the connection.
func (c *conn) dispatch(binary bool, message *requests.Buffer) error {
	if binary {
		// Events point into the frames for as long as they wait to be written.
		return c.dispatchFrames(message.Keep())
	}
	defer message.Free()
	if !utf8.Valid(message.B) {
		return &closing{code: websocket.CloseInvalidFramePayloadData}
	}
	for text := range wire.Texts(message.B) {
		// Each has an answer: who does not read does not get to ask.
		if err := c.out.waitRoom(c.ctx); err != nil {
			return err
		}
		if err := c.dispatchText(text); err != nil {
			return err
		}
	}
	return nil
}

func (c *conn) dispatchText(text []byte) error {
	head, m, err := wire.DecodeClient(text)
	if head.Unknown != "" {
		c.warnings.ignored(head.ID, head.Unknown)
	}
	if !c.welcomed.Load() {
		return c.greet(head, m, err)
	}
	if err != nil {
		c.refuse(head.ID, err)
		return nil
	}
	op, ok := c.ops[head.Op]
	if !ok {
		c.refuse(head.ID, core.Errorf(core.CodeUnknownOp, "op %.80q is not known", head.Op))
		return nil
	}
	if err := c.calls.whom.principal.Load().Check(op.needs, ""); err != nil {
		c.refuse(head.ID, err)
		return nil
	}
	op.act(c, m)
	return nil
}

// greet takes the first message, which must be hello.
func (c *conn) greet(head wire.Head, m wire.Message, err error) error {
	hello, ok := m.(*wire.Hello)
	if !ok {
		if err != nil && head.Op == "hello" {
			return closeWith(closeProtocol, err)
		}
		return closeWith(closeHello, core.Errorf(core.CodeHelloRequired, "the first message was not hello"))
	}
	if hello.ID == 0 {
		return closeWith(closeProtocol, core.Errorf(core.CodeInvalidRequest, "a request has an id from 1 to 2^53-1"))
	}
	p, err := c.identify(hello)
	switch {
	case errors.Is(err, core.CodeTooManyWrongKeys):
		return closeWith(closeOverloaded, err)
	case err != nil:
		return closeWith(closeUnauthenticated, err)
	}
	limits := &c.config.Limits
	batch := false
	if accept := hello.Accept; accept != nil {
		batch, c.frames.owner = accept.Batch, accept.Owner
		if c.bin {
			c.frames.codec = wire.ChooseCodec(accept.Compress...)
		}
	}
	c.calls.whom.greeted() // before the client knows, who may connect again at once
	c.reply(hello.ID, wire.Encode(nil, &wire.Welcome{
		ID:        hello.ID,
		Server:    wire.Server{Version: c.config.Version, Node: c.config.Node},
		Session:   core.NewID().String(),
		Principal: PrincipalOf(p),
		Log:       c.config.Store.State().Timeline(),
		Limits: wire.Limits{
			Frame: limits.Frame, Subs: limits.Subs, Inflight: limits.Inflight,
			CreditEvents: creditEvents, CreditBytes: creditBytes,
		},
		Ping:     wire.PingPlan{IntervalMs: limits.PingEvery.Milliseconds(), TimeoutMs: limits.PingTimeout.Milliseconds()},
		Batch:    batch,
		Compress: c.frames.codec.String(),
		Features: c.config.Features,
		Nodes:    c.config.Nodes(),
		Time:     wire.Time(time.Now().Truncate(time.Microsecond)),
	}))
	c.out.joinText(batch)
	c.welcomed.Store(true)
	return nil
}

// reply sends the answer to a request.
func (c *conn) reply(id uint64, text []byte) { c.out.text(c.warnings.addTo(id, text)) }

// refuse answers a request, or a message without an id, with an error.
func (c *conn) refuse(id uint64, err error) {
	known, _ := err.(*core.Error)
	if text, ok := c.server.refusals[known]; ok {
		var space [512]byte
		c.reply(id, append(append(strconv.AppendUint(append(space[:0], `{"op":"error","id":`...), id, 10), ','), text...))
		return
	}
	requests.LogInternal(c.config.Logger, err)
	c.reply(id, wire.Encode(nil, &wire.Failure{ID: id, Error: wire.NewError(err)}))
}

// cancelCall ends a request early.
func (c *conn) cancelCall(id uint64) {
	if call := c.calls.cancel(id); call != nil {
		c.refuse(id, call.givenUp())
		c.calls.settle()
	}
}

// expire answers the requests that took too long.
func (c *conn) expire(now time.Time) {
	for _, call := range c.calls.expired(now) {
		c.refuse(call.id, call.givenUp())
		c.calls.settle()
	}
}

// admit takes a request in; if it cannot, it has answered it.
func (c *conn) admit(call *call) bool {
	if c.draining.Load() {
		c.refuse(call.id, core.Errorf(core.CodeShuttingDown, "the node is shutting down"))
		return false
	}
	if err := c.calls.add(call); err != nil {
		c.refuse(call.id, err)
		return false
	}
	return true
}

// begin takes in a request that gets a goroutine. If it cannot, it has answered it, and
// returns nil.
func (c *conn) begin(id uint64, timeoutMs int64) *call {
	deadline, err := c.deadline(time.Now(), timeoutMs)
	if err != nil {
		c.refuse(id, err)
		return nil
	}
	call := &call{id: id, deadline: deadline, share: c.calls.whom.share}
	if !c.admit(call) {
		return nil
	}
	return call
}

// deadline is the time of a request's timeoutMs.
func (c *conn) deadline(now time.Time, timeoutMs int64) (time.Time, error) {
	d, err := c.config.Limits.Timeout(timeoutMs)
	return now.Add(d), err
}
