package ws

import (
	"context"
	"strconv"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/requests"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// startRead answers a read, from a goroutine of its own: reads wait for the disk,
// and the requests behind them should not.
func (c *conn) startRead(m *wire.ReadRequest) {
	r, err := readRequest(m)
	if err != nil {
		c.refuse(m.ID, err)
		return
	}
	call := c.begin(m.ID, m.TimeoutMs)
	if call == nil {
		return
	}
	c.running.Go(func() {
		c.answerRead(call, r, c.reader(m))
	})
}

// reader returns what reads the page that a message asks for.
func (c *conn) reader(m *wire.ReadRequest) func(ctx context.Context, r core.ReadRequest) (core.Loaded, error) {
	return func(ctx context.Context, r core.ReadRequest) (l core.Loaded, err error) {
		switch {
		case m.Snapshot != "":
			return core.Load(ctx, c.config.Store, core.LoadRequest{Stream: r.Stream, Kind: m.Snapshot, Limit: r.Limit})
		case m.Links:
			l.Page, err = c.config.Store.ReadLog(ctx, r.From, r.Limit)
		default:
			l.Page, err = c.config.Store.Read(ctx, r)
		}
		return l, err
	}
}

func readRequest(m *wire.ReadRequest) (core.ReadRequest, error) {
	r := core.ReadRequest{Stream: m.Stream, From: m.From, System: m.System}
	var err error
	if r.FromTime, err = wire.ParseTime(core.CodeInvalidCursor, "fromTime", m.FromTime); err != nil {
		return r, err
	}
	if r.Select, err = m.Core(); err != nil {
		return r, err
	}
	switch {
	case m.Limit < 0 || m.Bytes < 0 || m.From > core.MaxNumber:
		return r, core.Errorf(core.CodeInvalidRequest, "from and limit are whole numbers from 0 to 2^53-1")
	case m.Dir == "backward":
		r.Backward = true
	case m.Dir != "" && m.Dir != "forward":
		return r, core.Errorf(core.CodeInvalidRequest, `dir is "forward" or "backward"`)
	}
	switch {
	case m.Links && (m.Stream != core.All || r.Backward || !r.FromTime.IsZero() || !r.Select.IsZero()):
		return r, core.Errorf(core.CodeInvalidRequest, "links are read with all of $all, forward")
	case m.FromTime != nil && m.From > 0:
		return r, core.Errorf(core.CodeInvalidRequest, "a start is from or fromTime, not both")
	case m.Snapshot != "" && (m.Links || m.System || m.From > 0 || r.Backward || !r.FromTime.IsZero() || !r.Select.IsZero()):
		return r, core.Errorf(core.CodeInvalidRequest, "a snapshot says where a page begins: all events after it are read, forward")
	}
	r.Limit.Events = min(m.Limit, core.MaxReadEvents)
	r.Limit.Bytes = requests.PageBytes
	if m.Bytes > 0 {
		r.Limit.Bytes = min(m.Bytes, requests.PageBytes)
	}
	return r, nil
}

// takeRead waits for a place among the connection's reads that run, for a read or an op of an
// extension, and takes one among those of the node. If it returns false, somebody has answered
// the call, or the connection is over.
func (c *conn) takeRead(call *call) bool {
	select {
	case c.reads <- struct{}{}:
	case <-call.Done():
		if c.calls.finish(call) {
			c.calls.settle()
		}
		return false
	}
	if err := c.config.Gates.Reads.Enter(call.share); err != nil {
		<-c.reads
		if c.calls.finish(call) {
			c.refuse(call.id, err)
			c.calls.settle()
		}
		return false
	}
	return true
}

func (c *conn) answerRead(call *call, r core.ReadRequest, read func(context.Context, core.ReadRequest) (core.Loaded, error)) {
	if !c.takeRead(call) {
		return
	}
	defer func() { <-c.reads }()
	reserved := c.out.reserve(r.Limit.Bytes)
	r.Limit.Bytes = reserved
	begun := time.Now()
	page, err := read(call, r)
	c.config.Gates.Reads.Leave(call.share, begun)
	if err != nil {
		c.out.unreserve(reserved)
	} else if err = c.out.settle(reserved, page.Bytes()); err == nil {
		defer c.out.unreserve(page.Bytes())
		c.config.Metrics.Read(page.Count)
		err = c.out.waitRoom(call)
	}
	if !c.calls.finish(call) {
		return
	}
	defer c.calls.settle()
	if err != nil {
		c.refuse(call.id, err)
		return
	}
	reply := requests.NewBuffer()
	defer reply.Free()
	reply.B = append(reply.B, `{"op":"ok","id":`...)
	reply.B = strconv.AppendUint(reply.B, call.id, 10)
	if page.Snapshot != nil {
		reply.B = wire.AppendSnapshot(append(reply.B, `,"snapshot":`...), page.Snapshot)
	}
	if c.bin {
		if page.Count > 0 {
			var space [64]byte
			header, block := c.eventsFrame(space[:0], call.id, true, &page.Batch)
			c.out.frame(header, block)
		}
	} else {
		reply.B = append(reply.B, `,"events":`...)
		reply.B = wire.AppendEvents(reply.B, page.Batch, nil, false)
	}
	reply.B = append(reply.B, ',')
	reply.B = wire.AppendPageEnd(reply.B, &page.Page)
	reply.B = append(reply.B, `,"head":`...)
	reply.B = strconv.AppendUint(reply.B, page.Head, 10)
	reply.B = append(reply.B, '}')
	c.reply(call.id, reply.B)
}

// eventsFrame is an EVENTS frame in two parts, the header appended to dst. The block is
// compressed where that was agreed on and is worth it.
func (c *conn) eventsFrame(dst []byte, number uint64, answer bool, b *core.Batch) (header, block []byte) {
	if coded, ok := c.server.compressor.Block(c.frames.codec, b.Block); ok {
		return wire.AppendCodedHeader(dst, number, answer, b.Count, &coded), coded.Block
	}
	return wire.AppendEventsHeader(dst, number, answer, b.Count), b.Block
}

// deliveriesFrame is eventsFrame for a sub, with the attempts of a named subscription.
func (c *conn) deliveriesFrame(dst []byte, sub uint64, p *parcel) (header, block []byte) {
	if p.attempts == nil {
		return c.eventsFrame(dst, sub, false, &p.Batch)
	}
	if coded, ok := c.server.compressor.Block(c.frames.codec, p.Block); ok {
		return wire.AppendCodedDeliveriesHeader(dst, sub, p.attempts, p.replay, &coded), coded.Block
	}
	return wire.AppendDeliveriesHeader(dst, sub, p.attempts, p.replay), p.Block
}
