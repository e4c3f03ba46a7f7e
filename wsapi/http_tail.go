package wsapi

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/requests"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// tailLimit is what tail takes at a time.
var tailLimit = core.Limit{Events: core.MaxReadEvents, Bytes: 64 << 10}

// tail answers with server-sent events, until the client or the node goes: what is
// stored after from, then what comes. The id of each is a cursor, with which a
// browser resumes by itself.
func (a *API) tail(w http.ResponseWriter, r *http.Request, stream string) error {
	request, err := tailQuery(r, stream)
	if err != nil {
		return err
	}
	ctx, cancel := a.untilClose(r.Context())
	defer cancel()
	atProgress := request.From.Kind == core.AfterProgress
	if request.From, err = core.ProgressFrom(ctx, a.config.Store, request.From); err != nil {
		return err
	}
	follower, err := a.config.Store.Follow(ctx, request)
	if err != nil {
		return err
	}
	t := &tailer{api: a, w: w, log: a.config.Store.State().Timeline(), deliveries: make(chan result)}
	setEventStream(w.Header())
	w.WriteHeader(http.StatusOK)

	var reading sync.WaitGroup
	reading.Go(func() { t.read(ctx, follower) })
	if atProgress { // whose next append has to say what it was
		err = t.send(t.appendStatus(nil, wire.StateCatchup, &core.Delivery{Cursor: request.From.N, Head: a.config.Store.State().Head}))
	}
	if err == nil {
		err = t.write(ctx)
	}
	cancel()
	_ = follower.Close() // it only ends the wait
	reading.Wait()
	return err
}

// eventStreamRetry has a browser come back a second after the stream has ended.
const eventStreamRetry = "retry: 1000\n\n"

func setEventStream(h http.Header) { setStream(h, typeEventStream) }

// setStream sets the headers of an answer that is sent piece by piece.
func setStream(h http.Header, kind string) {
	h.Set("Content-Type", kind)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // a proxy passes each event on at once
}

// tailer is one event stream: read takes deliveries from the follower, write sends
// them and keeps the connection awake.
type tailer struct {
	api        *API
	w          http.ResponseWriter
	log        string
	live       bool
	noQuorum   bool
	deliveries chan result
}

// result is that of a follower's Next.
type result struct {
	core.Delivery
	err error
}

func (t *tailer) read(ctx context.Context, follower core.Follower) {
	for {
		d, err := follower.Next(ctx, core.Limit{Events: tailLimit.Events, Bytes: t.api.memory.Piece(tailLimit.Bytes)})
		select {
		case t.deliveries <- result{d, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

func (t *tailer) write(ctx context.Context) error {
	heartbeat := time.NewTicker(t.api.config.Limits.Heartbeat)
	defer heartbeat.Stop()
	err := t.send([]byte(eventStreamRetry))
	for err == nil {
		select {
		case <-ctx.Done():
			return t.api.sendEnded(ctx, t.w)
		case <-heartbeat.C:
			err = t.send([]byte(":\n\n"))
		case d := <-t.deliveries:
			heartbeat.Reset(t.api.config.Limits.Heartbeat)
			memory := memoryOf(t.w)
			if ctx.Err() != nil {
				return t.api.sendEnded(ctx, t.w)
			}
			if d.err == nil {
				d.err = memory.Settle(0, len(d.Block))
			}
			if d.err != nil {
				requests.LogInternal(t.api.config.Logger, d.err)
				return t.send(appendEnd(nil, d.err))
			}
			err = t.deliver(&d.Delivery)
			memory.Give(len(d.Block))
		}
	}
	return err
}

// deliver sends a delivery. An event stream that waits for the next one holds no memory.
func (t *tailer) deliver(d *core.Delivery) error {
	text := requests.NewBuffer()
	defer text.Free()
	text.B = t.append(text.B, d)
	return t.send(text.B)
}

func (t *tailer) send(text []byte) error { return t.api.sendText(t.w, text) }

// sendEnded ends an event stream whose context has ended, and says so if it is because its
// principal has.
func (a *API) sendEnded(ctx context.Context, w http.ResponseWriter) error {
	if why := access.Of(ctx).Check(access.Open, ""); why != nil {
		return a.sendText(w, appendEnd(nil, why))
	}
	return nil
}

// sendText writes text of an event stream, and flushes it.
func (a *API) sendText(w http.ResponseWriter, text []byte) error {
	a.writeWithin(w)
	if _, err := w.Write(text); err != nil {
		return err
	}
	return http.NewResponseController(w).Flush()
}

// append encodes a delivery.
func (t *tailer) append(dst []byte, d *core.Delivery) []byte {
	t.api.metrics.Read(d.Count)
	for e := range d.Events() {
		dst = t.appendID(dst, e.Position)
		dst = append(dst, "data: "...)
		dst = wire.AppendEventJSON(dst, &e)
		dst = append(dst, "\n\n"...)
	}
	state := wire.StateCheckpoint
	switch {
	case d.NoQuorum != "":
		state = wire.StateNoQuorum
	case d.Live != t.live && d.Live:
		state = wire.StateLive
	case d.Live != t.live, t.noQuorum && !d.Live:
		state = wire.StateCatchup
	case d.Cursor == d.Last:
		return dst
	}
	t.live, t.noQuorum = d.Live, d.NoQuorum != ""
	return t.appendStatus(dst, state, d)
}

// appendStatus encodes how the follow is.
func (t *tailer) appendStatus(dst []byte, state string, d *core.Delivery) []byte {
	dst = append(dst, "event: status\n"...)
	dst = t.appendID(dst, d.Cursor)
	dst = append(dst, `data: {"state":"`+state+`","cursor":"`...)
	dst = append(dst, core.Cursor{Log: t.log, Position: d.Cursor}.String()...)
	dst = append(dst, `","head":`...)
	dst = strconv.AppendUint(dst, d.Head, 10)
	if reason, err := wire.Marshal(d.NoQuorum); d.NoQuorum != "" && err == nil {
		dst = append(append(dst, `,"reason":`...), reason...)
	}
	return append(dst, "}\n\n"...)
}

func (t *tailer) appendID(dst []byte, position uint64) []byte {
	dst = append(dst, "id: "...)
	dst = append(dst, core.Cursor{Log: t.log, Position: position}.String()...)
	return append(dst, '\n')
}

// appendEnd encodes why the stream ends.
func appendEnd(dst []byte, err error) []byte {
	body, err := wire.Marshal(wire.NewError(err))
	if err != nil {
		return dst
	}
	dst = append(dst, "event: end\ndata: "...)
	dst = append(dst, body...)
	return append(dst, "\n\n"...)
}
