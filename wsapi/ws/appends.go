package ws

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// appendCall is an append on its way. It has room for what most of them are, one
// event for one stream, so that they need no other memory.
type appendCall struct {
	call
	conn    *conn
	started time.Time
	changes []core.StreamOp
	tx      bool // it has the form of a transaction, and so has its answer in JSON

	appends [1]core.Append
	events  [1]core.NewEvent
}

// dispatchFrames acts on the frames of a binary message.
func (c *conn) dispatchFrames(message []byte) error {
	if !c.welcomed.Load() {
		return closeWith(closeHello, core.Errorf(core.CodeHelloRequired, "the first message was not hello"))
	}
	if !c.bin {
		return closeWith(closeProtocol, core.Errorf(core.CodeProtocolError, "binary frames need subprotocol %s", wire.Bin))
	}
	frames := wire.NewFrames(message, c.frames.codec, c.config.Limits.Frame)
	frames.Grow, frames.Checked = c.takeMemory, c.peer != nil
	for {
		kind, ok := frames.Kind()
		if !ok {
			return nil
		}
		if err := c.out.waitRoom(c.ctx); err != nil {
			return err
		}
		if err := c.frame(kind, &frames); err != nil {
			return closeWith(closeProtocol, err)
		}
	}
}

// frame takes a frame. An error means that the frames after it cannot be found, or that
// the connection may not have sent it: another node sends each Commit with its epoch, and
// a client none.
func (c *conn) frame(kind byte, frames *wire.Frames) error {
	isPeer := c.peer != nil
	switch {
	case kind == wire.FrameAppend && !isPeer, kind == wire.FrameCommit && !isPeer:
		return c.commitFrame(frames, 0)
	case kind == wire.FrameForward && isPeer:
		return c.forwarded(frames)
	case kind == wire.FrameHead && isPeer:
		return c.head(frames)
	case kind == wire.FrameAck:
		return c.ackFrames(frames)
	case kind == wire.FrameCredit:
		credit, err := frames.Credit()
		if err == nil {
			c.credit(&credit)
		}
		return err
	}
	return frames.Unknown()
}

// commitFrame takes an APPEND or a COMMIT frame. If the node takes no more, the events are only
// passed over. An error means that the frames after it cannot be found.
func (c *conn) commitFrame(frames *wire.Frames, epoch uint64) error {
	a := &appendCall{conn: c}
	a.share = c.calls.whom.share
	refused := c.config.Gates.Appends.Enter(a.share)
	frames.Checked = c.peer != nil || refused != nil
	a.appends[0].Events = a.events[:0]
	f := wire.CommitFrame{Commit: core.Commit{Appends: a.appends[:]}}
	err := frames.Commit(&f)
	if refused == nil && err == nil {
		f.Commit.Epoch = epoch
		c.submit(a, f.ID, f.Timeout.Milliseconds(), f.Commit)
		return nil
	}
	if refused == nil {
		c.leave(a)
	}
	if err != nil && core.AsError(err).Code == core.CodeProtocolError {
		return err
	}
	c.refuse(f.ID, cmp.Or(refused, err))
	return nil
}

// leave gives the place of an append back that the Store did not get.
func (c *conn) leave(a *appendCall) { c.config.Gates.Appends.Leave(a.share, time.Time{}) }

// appendText takes an append in JSON.
func (c *conn) appendText(m *wire.AppendRequest) {
	a := &appendCall{conn: c, tx: m.Tx != nil}
	commit, err := m.Commit()
	if err != nil {
		c.refuse(m.ID, err)
		return
	}
	a.share = c.calls.whom.share
	if err := c.config.Gates.Appends.Enter(a.share); err != nil {
		c.refuse(m.ID, err)
		return
	}
	c.submit(a, m.ID, m.TimeoutMs, commit)
}

// submit hands an append that has a place to the Store, in the order the appends came in.
func (c *conn) submit(a *appendCall, id uint64, timeoutMs int64, commit core.Commit) {
	a.started = time.Now()
	deadline, err := c.deadline(a.started, timeoutMs)
	if err != nil {
		c.leave(a)
		c.refuse(id, err)
		return
	}
	a.call = call{id: id, deadline: deadline, isAppend: true, share: a.share}
	if !c.admit(&a.call) {
		c.leave(a)
		return
	}
	a.changes = commit.Streams
	c.config.Store.Submit(&a.call, commit, a.done)
}

// done is called by the Store with the answer. It does not wait.
func (a *appendCall) done(r core.Result, err error) {
	c := a.conn
	c.config.Metrics.Appended(a.changes, r, err, time.Since(a.started))
	c.config.Gates.Appends.Leave(a.share, a.started)
	if !c.calls.finish(&a.call) {
		return
	}
	defer c.calls.settle()
	if err != nil {
		c.refuse(a.id, err)
		return
	}
	if !c.bin || c.warnings.pending(a.id) {
		c.reply(a.id, appendOK(make([]byte, 0, 128), a.id, r, a.tx))
		return
	}
	if !c.frames.owner {
		r.Node = ""
	}
	isAnew := func(p core.Appended) bool { return p.Incarnation > 1 }
	if c.peer == nil && slices.ContainsFunc(r.Appends, isAnew) { // clients know of no incarnations
		r.Appends = slices.Clone(r.Appends)
		for i := range r.Appends {
			r.Appends[i].Incarnation = 0
		}
	}
	switch {
	case len(r.Appends) == 1 && !r.Duplicate && r.Appends[0].Count() == 1 && !isAnew(r.Appends[0]):
		c.out.result(wire.Result{ID: a.id, Version: r.Appends[0].LastVersion, Position: r.Position, Node: r.Node})
	default:
		var space [128]byte
		c.out.frame(wire.AppendCommitted(space[:0], a.id, &r), nil)
	}
}

// appendOK encodes the answer to an append.
func appendOK(dst []byte, id uint64, r core.Result, tx bool) []byte {
	dst = append(dst, `{"op":"ok","id":`...)
	dst = strconv.AppendUint(dst, id, 10)
	dst = append(dst, ',')
	dst = wire.AppendResult(dst, r, tx)
	return append(dst, '}')
}
