package ws

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/requests"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const (
	// helloBytes bounds the first message, before we know who speaks.
	helloBytes = 8 << 10
	// activityEvery is the part of the ping timeout within which a second sign of life
	// changes nothing: a deadline is not moved for every message.
	activityEvery = 20
	// maxWrites is how often the writer writes between two looks at the clock.
	maxWrites = 64
	// closeTimeout is how long a peer has to answer our close frame.
	closeTimeout = time.Second
)

// conn is one WebSocket connection. run reads, write writes, the goroutines of subs
// and reads belong to it too; running counts them all but run itself.
type conn struct {
	*service
	socket   socket
	bin      bool
	frames   frameForm
	in       requests.Account // of the message that is read
	out      *outbox
	calls    *calls
	subs     *subs
	ready    readyQueue
	warnings warnings
	reads    chan struct{} // a place for each read that runs

	ctx     context.Context // ends with the connection
	cancel  context.CancelFunc
	running sync.WaitGroup

	heard    atomic.Int64 // Unix nanoseconds of the last sign of life
	welcomed atomic.Bool  // the answer to hello is on its way
	draining atomic.Bool  // no new requests
	shut     atomic.Bool  // a close frame is on its way: incoming messages are dropped

	endMu sync.Mutex
	end   *closing // why the server ends it; nil if it did not
}

// frameForm is what hello says of the frames of a connection. It is set before there are any.
type frameForm struct {
	codec wire.Codec // how they may be compressed
	owner bool       // they may name the owner
}

// service is what connections are served with: those of clients share one, and each link
// of another node has its own.
type service struct {
	server  *Server
	config  *Config
	ops     map[string]op
	places  *places
	metrics *metrics
	peer    Peer   // nil for clients
	ended   func() // called at the end; may be nil
}

// newConn makes a connection; its socket is set by the caller.
func newConn(s *service, bin bool) *conn {
	memory, limits := s.config.Memory, &s.config.Limits
	c := &conn{service: s, bin: bin, in: memory.Account(), out: newOutbox(limits.Queue, memory.Account())}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.calls = newCalls(limits.Inflight, s.config.Gates, c.out.notify)
	c.calls.settles = s.peer != nil
	c.subs = newSubs(limits.Subs, s.metrics.follows)
	c.ready.wake = c.out.notify
	c.reads = make(chan struct{}, limits.Reads)
	return c
}

// run is the reader, and the life of the connection.
func (c *conn) run() {
	c.running.Go(c.write)
	err := c.read()
	if end := closingOf(err, c.welcomed.Load()); end != nil {
		c.close(end)
	}
	if c.ending() != nil {
		c.awaitClose()
	}
	c.calls.whom.greeted()
	c.calls.whom.unwatch()
	c.stop()
	c.leaveAll()
	c.out.close()
	c.running.Wait()
	c.in.Release()
	c.out.release()
	c.calls.whom.share.Release()
	c.socket.close()
	if c.ended != nil {
		c.ended()
	}
	c.server.closed(c, closeLabel(c.ending(), err))
}

// read takes messages in until the connection ends.
func (c *conn) read() error {
	limits := &c.config.Limits
	c.socket.readBy(time.Now().Add(limits.Hello))
	for {
		limit := limits.Frame
		if !c.welcomed.Load() {
			limit = helloBytes
		}
		binary, message, err := c.socket.read(limit)
		if err != nil {
			return err
		}
		if c.shut.Load() {
			message.Free()
			return nil
		}
		err = c.dispatch(binary, message)
		c.in.Release()
		if err != nil {
			return err
		}
		c.noteActivity()
	}
}

// takeMemory takes memory for a message, until it is dispatched. Where there is none left,
// it waits for as long as a write may be blocked.
func (c *conn) takeMemory(n int) error {
	ctx, cancel := context.WithTimeout(c.ctx, c.config.Limits.IOTimeout)
	defer cancel()
	return c.in.Wait(ctx, n)
}

// grow takes memory for a message that is read. Without it the rest cannot be.
func (c *conn) grow(n int) error {
	if err := c.takeMemory(n); err != nil {
		return closeWith(closeOverloaded, err)
	}
	return nil
}

// noteActivity moves the read deadline after a sign of life of the peer. Before hello and
// after our close frame it does not: a peer that only pings would stay for ever.
func (c *conn) noteActivity() {
	if !c.welcomed.Load() || c.shut.Load() {
		return
	}
	now := time.Now()
	limits := &c.config.Limits
	if now.UnixNano()-c.heard.Load() < int64(limits.PingTimeout/activityEvery) {
		return
	}
	c.heard.Store(now.UnixNano())
	c.socket.readBy(now.Add(limits.PingEvery + limits.PingTimeout))
	if c.shut.Load() { // do not undo what close has set
		c.socket.readBy(now.Add(closeTimeout))
	}
}

// close ends the connection from our side: the writer writes what is queued and a close
// frame, and the reader waits for the peer's.
func (c *conn) close(end *closing) {
	c.endMu.Lock()
	first := c.end == nil
	if first {
		c.end = end
	}
	c.endMu.Unlock()
	if !first {
		return
	}
	if end.err != nil {
		c.out.text(wire.Encode(nil, &wire.Failure{Error: wire.NewError(end.err)}))
	}
	c.out.close()
}

func (c *conn) ending() *closing {
	c.endMu.Lock()
	defer c.endMu.Unlock()
	return c.end
}

// awaitClose discards messages until the peer has closed, too. Closing the socket while
// data is unread would reset it, and the peer would lose what we wrote last.
func (c *conn) awaitClose() {
	c.shut.Store(true)
	c.socket.readBy(time.Now().Add(closeTimeout))
	for range 1000 {
		_, message, err := c.socket.read(helloBytes)
		switch {
		case err == nil:
			message.Free()
		case !errors.Is(err, requests.ErrTooLarge):
			return
		}
	}
}

// write is the writer: it alone writes to the socket. It also watches the clock,
// for pings and for requests that take too long.
func (c *conn) write() {
	limits := &c.config.Limits
	ping := time.NewTicker(limits.PingEvery)
	defer ping.Stop()
	deadline := time.NewTimer(time.Hour)
	defer deadline.Stop()
	var l load
	var pings uint64
	var armed time.Time // what deadline is set to; zero when it is over
	for {
		select {
		case <-c.out.wake:
		case <-ping.C:
			pings++
			c.ping(pings)
		case <-deadline.C:
			armed = time.Time{}
			c.expire(time.Now())
		}
		if next := c.calls.nextDeadline(); !next.IsZero() && !next.Equal(armed) {
			deadline.Reset(time.Until(next))
			armed = next
		}
		if err := c.writeOut(&l); err != nil {
			c.broken(err)
			return
		}
		if c.out.isClosed() {
			c.writeClose()
			return
		}
	}
}

// writeOut writes what there is, up to maxWrites times. If there is more, it has the
// writer woken again: who always has something to write watches the clock, too.
func (c *conn) writeOut(l *load) error {
	for range maxWrites {
		c.serve()
		if !c.out.take(l) {
			return nil
		}
		if err := c.send(l); err != nil {
			return err
		}
	}
	c.out.notify()
	return nil
}

// send writes all of l.
func (c *conn) send(l *load) error {
	// A block and its header have to be in one piece, to be one frame.
	joined := requests.NewBuffer()
	defer joined.Free()
	rest := l.arena.B
	for _, e := range l.entries {
		message := rest[:e.n]
		rest = rest[e.n:]
		if e.block != nil {
			joined.B = append(append(joined.B[:0], message...), e.block...)
			message = joined.B
		}
		if err := c.socket.write(e.binary, message, c.writeBy()); err != nil {
			return err
		}
	}
	c.out.written(l)
	return nil
}

func (c *conn) writeBy() time.Time { return time.Now().Add(c.config.Limits.IOTimeout) }

// ping asks for a sign of life after a time of silence, in both ways there are:
// browsers do not see the protocol's own, proxies do not see ours.
func (c *conn) ping(n uint64) {
	silence := time.Since(time.Unix(0, c.heard.Load()))
	if !c.welcomed.Load() || silence < c.config.Limits.PingEvery/2 {
		return
	}
	c.out.text(wire.Encode(nil, &wire.Ping{N: n}))
	// If it cannot be written, the next message cannot either.
	_ = c.socket.ping(c.writeBy())
}

// broken ends a connection that cannot be written to.
func (c *conn) broken(err error) {
	if isTimeout(err) {
		c.close(closeWith(closeSlowWriter, core.Errorf(core.CodeSlowWriter, "the socket was blocked")))
		c.socket.writeClose(closeSlowWriter, "4001 slow_writer", time.Now())
	}
	c.out.close()
	c.abort()
}

// stop ends everything that the connection does.
func (c *conn) stop() {
	c.cancel()
	c.calls.interruptAll()
}

// abort ends the connection at once.
func (c *conn) abort() {
	c.stop()
	c.socket.close()
}

// writeClose sends the close frame.
func (c *conn) writeClose() {
	code, reason := websocket.CloseNormalClosure, ""
	if end := c.ending(); end != nil {
		code, reason = end.code, end.reason()
	}
	c.socket.writeClose(code, reason, c.writeBy())
	c.shut.Store(true)
	c.socket.readBy(time.Now().Add(closeTimeout))
}

// drain says goaway and takes no new requests. A client that waits for its welcome
// would not understand; it is told by the close that follows.
func (c *conn) drain(reconnectInMs int64) {
	if !c.draining.Swap(true) && c.welcomed.Load() {
		c.out.text(wire.Encode(nil, &wire.Goaway{Reason: "shutdown", ReconnectInMs: reconnectInMs, Nodes: c.config.Nodes()}))
	}
}
