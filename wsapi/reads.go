package wsapi

import (
	"context"
	"strconv"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// pageBytes bounds a page that is answered as one message, well below the limit of
// a frame however it is encoded.
const pageBytes = 1 << 20

// startRead answers a read, from a goroutine of its own: reads wait for the disk,
// and the requests behind them should not.
func (c *conn) startRead(m *wire.ReadRequest) {
	r, err := readRequest(m)
	if err != nil {
		c.refuse(m.ID, err)
		return
	}
	ctx, call := c.begin(m.ID, m.TimeoutMs)
	if call == nil {
		return
	}
	read := c.api.config.Store.Read
	if m.Links {
		read = func(ctx context.Context, r core.ReadRequest) (core.Page, error) {
			return c.api.config.Store.ReadLog(ctx, r.From, r.Limit)
		}
	}
	c.running.Go(func() {
		defer call.cancel()
		c.answerRead(ctx, call, func(ctx context.Context) (core.Page, error) { return read(ctx, r) })
	})
}

func readRequest(m *wire.ReadRequest) (core.ReadRequest, error) {
	r := core.ReadRequest{Stream: m.Stream, From: m.From}
	switch {
	case m.Limit < 0 || m.Bytes < 0 || m.From > core.MaxNumber:
		return r, core.Errorf(core.CodeInvalidRequest, "from and limit are whole numbers from 0 to 2^53-1")
	case m.Dir == "backward":
		r.Backward = true
	case m.Dir != "" && m.Dir != "forward":
		return r, core.Errorf(core.CodeInvalidRequest, `dir is "forward" or "backward"`)
	}
	if m.Links && (m.Stream != core.All || r.Backward) {
		return r, core.Errorf(core.CodeInvalidRequest, "links are read with $all, forward")
	}
	r.Limit.Events = min(m.Limit, core.MaxReadEvents)
	r.Limit.Bytes = pageBytes
	if m.Bytes > 0 {
		r.Limit.Bytes = min(m.Bytes, pageBytes)
	}
	return r, nil
}

func (c *conn) answerRead(ctx context.Context, call *call, read func(context.Context) (core.Page, error)) {
	select {
	case c.reads <- struct{}{}:
		defer func() { <-c.reads }()
	case <-ctx.Done():
		return // whoever canceled it has answered
	}
	page, err := read(ctx)
	if err == nil {
		c.api.metrics.read(page.Count)
		err = c.out.waitRoom(ctx)
	}
	if !c.calls.finish(call) {
		return
	}
	defer c.calls.settle()
	if err != nil {
		c.refuse(call.id, err)
		return
	}
	reply := arenas.Get().(*arena)
	defer reply.free()
	reply.b = append(reply.b, `{"op":"ok","id":`...)
	reply.b = strconv.AppendUint(reply.b, call.id, 10)
	if c.bin {
		if page.Count > 0 {
			var space [64]byte
			header, block := c.eventsFrame(space[:0], call.id, true, &page.Batch)
			c.out.frame(header, block)
		}
	} else {
		reply.b = append(reply.b, `,"events":`...)
		reply.b = appendEvents(reply.b, page.Batch)
	}
	reply.b = append(reply.b, ',')
	reply.b = appendPageEnd(reply.b, &page)
	reply.b = append(reply.b, `,"head":`...)
	reply.b = strconv.AppendUint(reply.b, page.Head, 10)
	reply.b = append(reply.b, '}')
	c.out.text(reply.b)
}

// eventsFrame is an EVENTS frame in two parts, the header appended to dst. The block is
// compressed where that was agreed on and is worth it.
func (c *conn) eventsFrame(dst []byte, number uint64, answer bool, b *core.Batch) (header, block []byte) {
	if coded, ok := c.api.compressor.Block(c.codec, b.Block); ok {
		return wire.AppendCodedHeader(dst, number, answer, b.Count, &coded), coded.Block
	}
	return wire.AppendEventsHeader(dst, number, answer, b.Count), b.Block
}

// deliveriesFrame is eventsFrame for a sub, with the attempts of a named subscription.
func (c *conn) deliveriesFrame(dst []byte, sub uint64, p *parcel) (header, block []byte) {
	if p.attempts == nil {
		return c.eventsFrame(dst, sub, false, &p.Batch)
	}
	if coded, ok := c.api.compressor.Block(c.codec, p.Block); ok {
		return wire.AppendCodedDeliveriesHeader(dst, sub, p.attempts, &coded), coded.Block
	}
	return wire.AppendDeliveriesHeader(dst, sub, p.attempts), p.Block
}

// appendEvents encodes the event objects of a batch as an array.
func appendEvents(dst []byte, b core.Batch) []byte { return appendAttempts(dst, &parcel{Batch: b}) }

// appendAttempts is appendEvents, with the attempts of a named subscription.
func appendAttempts(dst []byte, p *parcel) []byte {
	dst = append(dst, '[')
	i := 0
	for e := range p.Events() {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = wire.AppendEventJSON(dst, &e)
		if p.attempts != nil {
			dst = wire.AppendAttempt(dst, p.attempts[i])
		}
		i++
	}
	return append(dst, ']')
}

// appendPageEnd encodes what a page says beside its events.
func appendPageEnd(dst []byte, page *core.Page) []byte {
	dst = append(dst, `"next":`...)
	dst = strconv.AppendUint(dst, page.Next, 10)
	dst = append(dst, `,"end":`...)
	dst = strconv.AppendBool(dst, page.End)
	dst = append(dst, `,"version":`...)
	return strconv.AppendUint(dst, page.Version, 10)
}
