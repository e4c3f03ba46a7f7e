package ws

import (
	"bytes"
	"context"
	"strconv"
	"time"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// maxOpBytes bounds the message of an extension, which is held while it is acted on.
const maxOpBytes = 64 << 10

// Op is an operation that an extension adds: a request and its answer.
type Op struct {
	Name string
	// Needs is what the principal must be allowed to do. With what, Do checks.
	Needs access.Action
	// Do acts on a message, in a goroutine of its own. ctx ends with the request's
	// deadline, when the client cancels it, and with the connection. The answer has the
	// fields of the result, which is encoded as an object and may be nil.
	Do func(ctx context.Context, message []byte) (result any, err error)
}

// Sub is a stream of messages that an extension adds: an op that opens it, with sub and
// credit as subscribe has them, and messages of the same op.
type Sub struct {
	Name string
	// Needs is that of Op; with what, Open checks.
	Needs access.Action
	// Open checks a message and opens what it asks for. Its ctx is as that of Op.Do.
	Open func(ctx context.Context, message []byte) (Stream, error)
}

// Stream is what a Sub sends.
type Stream interface {
	// Run sends until ctx ends, which is when the client unsubscribes. Its error is sent
	// as the end of the sub. send encodes a message as an object and waits for credit,
	// of which each message takes one event, and for room.
	Run(ctx context.Context, send func(message any) error) error
	// Close gives up a Stream that is not run.
	Close()
}

// do acts on the message of an Op.
func (c *conn) do(op *Op, m *wire.Other) {
	text, err := held(m)
	if err != nil {
		c.refuse(m.ID, err)
		return
	}
	call := c.begin(m.ID, m.TimeoutMs)
	if call == nil {
		return
	}
	c.running.Go(func() {
		if !c.takeRead(call) {
			return
		}
		defer func() { <-c.reads }()
		result, err := op.Do(call, text)
		c.config.Gates.Reads.Leave(call.share, time.Time{})
		var reply []byte
		if err == nil {
			reply = strconv.AppendUint([]byte(`{"op":"ok","id":`), call.id, 10)
			reply, err = wire.AppendFields(reply, result)
		}
		if !c.calls.finish(call) {
			return
		}
		defer c.calls.settle()
		if err != nil {
			c.refuse(call.id, err)
			return
		}
		c.reply(call.id, append(reply, '}'))
	})
}

// held is a copy of a message, which outlives the buffer that it was read into.
func held(m *wire.Other) ([]byte, error) {
	if len(m.Text) > maxOpBytes {
		return nil, core.Errorf(core.CodeInvalidRequest, "a message of op %s has at most %d bytes", m.Op, maxOpBytes)
	}
	return bytes.Clone(m.Text), nil
}

// open opens a Sub.
func (c *conn) open(kind *Sub, m *wire.Other) {
	text, err := held(m)
	if err != nil {
		c.refuse(m.ID, err)
		return
	}
	c.startSub(&wire.Subscribe{ID: m.ID, Sub: m.Sub, Credit: m.Credit, TimeoutMs: m.TimeoutMs}, func(call context.Context, s *sub) (source, error) {
		stream, err := kind.Open(call, text)
		return &streamed{sub: s, op: kind.Name, stream: stream}, err
	})
}

// streamed is the source of a Sub.
type streamed struct {
	sub    *sub
	op     string
	stream Stream
}

// accepted is part of source.
func (*streamed) accepted(*wire.OK) {}

// close is part of source.
func (s *streamed) close() { s.stream.Close() }

// start is part of source. It runs until the sub ends.
func (s *streamed) start(ctx context.Context) {
	err := s.stream.Run(asWhom{ctx, &s.sub.conn.calls.whom}, func(message any) error { return s.send(ctx, message) })
	if ctx.Err() != nil { // unsubscribed, or the connection is gone
		s.sub.conn.subs.remove(s.sub)
		return
	}
	if err == nil {
		err = core.Errorf(core.CodeCanceled, "the server has ended the sub: there is nothing more to send")
	}
	s.sub.end(err, "")
}

func (s *streamed) send(ctx context.Context, message any) error {
	if _, err := s.sub.allowed(ctx); err != nil {
		return err
	}
	dst := append(make([]byte, 0, 128), `{"op":"`...)
	dst = append(dst, s.op...)
	dst = append(dst, `","sub":`...)
	dst = strconv.AppendUint(dst, s.sub.num, 10)
	dst, err := wire.AppendFields(dst, message)
	if err != nil {
		return err
	}
	dst = append(dst, '}')
	s.sub.spend(1, len(dst))
	s.sub.conn.out.subText(s.sub, dst)
	return nil
}
