package sdk

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const (
	writeTimeout = 10 * time.Second
	// maxJoined is up to where binary frames are joined into one message.
	maxJoined = 256 << 10
	// maxMessage bounds what a server may send at once.
	maxMessage = 16 << 20
	// heardEvery is the part of the time of silence within which a second message
	// changes nothing: a deadline is not moved for every message.
	heardEvery = 20
	// keptBytes is the largest buffer kept for the next message.
	keptBytes = 512 << 10
	// socketBuffer is how much the writer gives to the system at once.
	socketBuffer = 16 << 10
	// maxDirect bounds the messages that a caller writes itself. Any system's
	// buffer takes as much at once, unless the other side has stopped reading.
	maxDirect = socketBuffer
)

// session is one connection, from welcome to its end. read and write are its two
// goroutines; everyone else puts messages into the queue.
type session struct {
	at      address
	conn    *websocket.Conn
	bin     bool
	codec   wire.Codec // how frames may be compressed
	welcome wire.Welcome
	wake    chan struct{}
	gone    chan struct{} // closed by the reader when it ends
	left    atomic.Bool   // goodbye was said

	writing sync.Mutex // held while writing to the socket; protects spare
	spare   outgoing   // room for what is queued next

	mu    sync.Mutex // protects the fields below
	queue outgoing
	away  time.Duration // what goaway said; 0 = nothing
}

// outgoing is messages in order.
type outgoing struct {
	bytes   []byte
	entries []entry
}

// entry is one message: the next n bytes. Before some of it was
// compressed it had raw bytes, which the server bounds, too.
type entry struct {
	binary bool
	n, raw int
}

// connectTo makes a connection and says hello. Each stage ends with ctx, also where
// the other side accepts and then says nothing.
func (c *Client) connectTo(ctx context.Context, at address) (*session, error) {
	protocol := wire.Bin
	if c.options.JSON {
		protocol = wire.JSON
	}
	peer, proxy := c.options.Peer, http.ProxyFromEnvironment
	if peer != nil {
		proxy = nil
	}
	header, err := c.upgradeHeader(at)
	if err != nil {
		return nil, err
	}
	letGo := func() bool { return true }
	dialer := websocket.Dialer{
		NetDialContext: func(dialing context.Context, network, address string) (net.Conn, error) {
			conn, err := peer.dial(dialing, network, address)
			if err == nil {
				letGo = context.AfterFunc(ctx, func() { _ = conn.Close() })
			}
			return conn, err
		},
		Proxy:            proxy,
		HandshakeTimeout: writeTimeout,
		Subprotocols:     []string{protocol},
		TLSClientConfig:  c.options.TLS,
		ReadBufferSize:   32 << 10,
		WriteBufferSize:  socketBuffer,
	}
	conn, answer, err := dialer.DialContext(ctx, at.ws, header)
	if err != nil {
		letGo()
		return nil, dialError(ctx, at.http, answer, err)
	}
	s := newSession(conn)
	s.at = at
	if err = peer.verify(answer.Header); err == nil {
		err = s.greet(ctx, &c.options, c.currentToken())
	}
	if !letGo() {
		err = dialError(ctx, at.http, nil, context.Cause(ctx))
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return s, nil
}

func newSession(conn *websocket.Conn) *session {
	return &session{conn: conn, bin: conn.Subprotocol() == wire.Bin, wake: make(chan struct{}, 1), gone: make(chan struct{})}
}

// dialError returns why there is no connection: the caller canceled, or the server's reason
// if it gave one.
func dialError(ctx context.Context, where string, answer *http.Response, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return core.AsError(ctx.Err())
	}
	if answer != nil { // with what could be read of the body of a refused handshake
		return refusal(where, answer)
	}
	return Unreachable(where, err)
}

// greet says hello, with the token if there is one, and waits for welcome.
func (s *session) greet(ctx context.Context, o *Options, token string) error {
	by := time.Now().Add(writeTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(by) {
		by = d
	}
	accept := &wire.Accept{Batch: true, Owner: true}
	if o.Compress {
		accept.Compress = []string{wire.Zstd.String(), wire.Deflate.String()}
	}
	hello := wire.Encode(nil, &wire.Hello{ID: 1, Client: &wire.Agent{Name: o.Name, Version: o.Version}, Auth: auth(token), Accept: accept})
	_ = s.conn.SetWriteDeadline(by) // it fails only where the write does
	_ = s.conn.SetReadDeadline(by)
	err := s.conn.WriteMessage(websocket.TextMessage, hello)
	if err != nil {
		return core.Errorf(core.CodeUnavailable, "the connection broke: %w", err)
	}
	s.conn.SetReadLimit(maxMessage)
	_, text, err := s.conn.ReadMessage()
	if err != nil {
		return closeError(err)
	}
	m, err := wire.DecodeServer(text)
	switch m := m.(type) {
	case *wire.Welcome:
		s.welcome = *m
		if o.Compress {
			s.codec = wire.ChooseCodec(m.Compress)
		}
		return nil
	case *wire.Failure:
		return m.Error.Err()
	}
	return core.Errorf(core.CodeProtocolError, "hello was answered with something else: %w", err)
}

// closeError is the end of a connection as an error. Those that are not Retryable
// are not worth coming back from.
func closeError(err error) *core.Error {
	var c *websocket.CloseError
	if !errors.As(err, &c) {
		return core.Errorf(core.CodeUnavailable, "the connection broke: %w", err)
	}
	_, name, _ := strings.Cut(c.Text, " ")
	switch code := core.Code(name); {
	case c.Code >= 4500 && c.Code <= 4999 && code.Known():
		return core.Errorf(code, "the server closed the connection: %d", c.Code)
	case c.Code >= 4500 && c.Code <= 4999,
		c.Code == websocket.CloseMessageTooBig, c.Code == websocket.CloseInvalidFramePayloadData, c.Code == websocket.CloseProtocolError:
		return core.Errorf(core.CodeProtocolError, "the server closed the connection: %s", closeText(c))
	}
	return core.Errorf(core.CodeUnavailable, "the server closed the connection: %s", closeText(c))
}

// closeText is what the server said, which begins with the code if it is Gyre.
func closeText(c *websocket.CloseError) string {
	if c.Code >= 4000 && c.Text != "" {
		return c.Text
	}
	return fmt.Sprintf("%d %s", c.Code, c.Text)
}

// send queues a message. It copies it.
func (s *session) send(binary bool, message []byte) { s.sendCoded(binary, message, len(message)) }

// sendCoded is send for a message that had raw bytes before it was compressed.
func (s *session) sendCoded(binary bool, message []byte, raw int) {
	s.add(binary, message, raw)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// add is sendCoded for a caller that calls flush.
func (s *session) add(binary bool, message []byte, raw int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := &s.queue
	last := len(q.entries) - 1
	if binary && last >= 0 && q.entries[last].binary && q.entries[last].raw+raw <= maxJoined {
		q.entries[last].n += len(message)
		q.entries[last].raw += raw
	} else {
		q.entries = append(q.entries, entry{binary, len(message), raw})
	}
	q.bytes = append(q.bytes, message...)
}

// sendCredit queues a credit in the session's form.
func (s *session) sendCredit(credit *wire.Credit) {
	if s.bin {
		s.send(true, wire.AppendCredit(nil, *credit))
	} else {
		s.send(false, wire.Encode(nil, credit))
	}
}

// sendNow writes a message itself if nothing else is to be written, which spares a lone
// request the hop through the writer. It blocks only if the peer has stopped reading, and
// drops the connection at by.
func (s *session) sendNow(by time.Time, binary bool, message []byte) {
	if !s.writing.TryLock() {
		s.send(binary, message)
		return
	}
	defer s.writing.Unlock()
	s.mu.Lock()
	busy := len(s.queue.entries) > 0
	s.mu.Unlock()
	if busy {
		s.send(binary, message)
		return
	}
	if limit := time.Now().Add(writeTimeout); limit.Before(by) {
		by = limit
	}
	if err := s.writeMessage(by, binary, message); err != nil {
		_ = s.conn.Close() // the reader notices, and the client comes back
	}
}

// write is the writer. It ends with the reader, and ends the reader when the
// socket cannot be written to.
func (s *session) write() {
	interval := time.Duration(s.welcome.Ping.IntervalMs) * time.Millisecond
	if interval <= 0 {
		interval = 25 * time.Second
	}
	ping := time.NewTicker(interval)
	defer ping.Stop()
	for pings := uint64(1); ; {
		select {
		case <-s.gone:
			return
		case <-ping.C:
			s.send(false, wire.Encode(nil, &wire.Ping{N: pings}))
			pings++
		case <-s.wake:
		}
		s.flush()
	}
}

// flush writes all that is queued. If that fails, the connection ends.
func (s *session) flush() {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	now := s.queue
	s.queue = outgoing{s.spare.bytes[:0], s.spare.entries[:0]}
	s.mu.Unlock()
	rest := now.bytes
	for _, e := range now.entries {
		if err := s.writeMessage(time.Now().Add(writeTimeout), e.binary, rest[:e.n]); err != nil {
			_ = s.conn.Close() // the reader notices, and ends the writer
			break
		}
		rest = rest[e.n:]
	}
	if cap(now.bytes) > keptBytes {
		now.bytes = nil
	}
	s.spare = now
}

func (s *session) writeMessage(by time.Time, binary bool, message []byte) error {
	kind := websocket.TextMessage
	if binary {
		kind = websocket.BinaryMessage
	}
	if err := s.conn.SetWriteDeadline(by); err != nil {
		return err
	}
	return s.conn.WriteMessage(kind, message)
}

// read is the reader: it hands what comes to the client until the connection ends.
func (s *session) read(c *Client) error {
	defer close(s.gone)
	silence := time.Duration(s.welcome.Ping.IntervalMs+s.welcome.Ping.TimeoutMs) * time.Millisecond
	if silence <= 0 {
		silence = 35 * time.Second
	}
	var buf []byte
	var heard time.Time // when the deadline was last moved
	for {
		if now := time.Now(); now.Sub(heard) > silence/heardEvery {
			heard = now
			if err := s.conn.SetReadDeadline(now.Add(silence)); err != nil {
				return closeError(err)
			}
		}
		if s.left.Load() || c.closing.Err() != nil { // do not undo what goodbye has set
			_ = s.conn.SetReadDeadline(time.Now().Add(time.Second))
		}
		kind, r, err := s.conn.NextReader()
		if err != nil {
			return closeError(err)
		}
		if buf, err = readInto(buf[:0], r); err != nil {
			return closeError(err)
		}
		if kind == websocket.BinaryMessage {
			err = s.frames(c, buf)
		} else {
			err = s.texts(c, buf)
		}
		if err != nil {
			return err
		}
		if cap(buf) > keptBytes {
			buf = nil
		}
	}
}

// readInto is io.ReadAll into a buffer that is there.
func readInto(buf []byte, r io.Reader) ([]byte, error) {
	for {
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, max(4<<10, len(buf)))
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if errors.Is(err, io.EOF) {
			return buf, nil
		}
		if err != nil {
			return buf, err
		}
	}
}

// frames hands on a binary message.
func (s *session) frames(c *Client, message []byte) error {
	var results []wire.Result
	frames := wire.NewFrames(message, s.codec, maxMessage)
	for owned := false; ; {
		kind, ok := frames.Kind()
		if !ok {
			return nil
		}
		switch kind {
		case wire.FrameResults:
			var err error
			if results, err = frames.Results(results[:0], c.window.maxCount); err != nil {
				return err
			}
			for _, r := range results {
				c.answered(r.ID, answer{result: s.by(resultOfOne(r))})
			}
		case wire.FrameCommitted:
			id, r, err := frames.Committed()
			if err != nil {
				return err
			}
			c.answered(id, answer{result: s.by(r)})
		case wire.FrameEvents:
			if !owned { // events stay in the message
				frames = frames.Clone()
				owned = true
			}
			e, err := frames.Events()
			if err != nil {
				return err
			}
			if e.Answer {
				c.page(e.Sub, e.Batch)
			} else {
				c.receive(e.Sub, parcel{batch: e.Batch, attempts: e.Attempts, replay: e.Replay, cursor: e.Batch.Last, bytes: len(e.Batch.Block)})
			}
		default:
			return frames.Unknown()
		}
	}
}

func resultOfOne(r wire.Result) core.Result {
	at := core.Appended{FirstVersion: r.Version, LastVersion: r.Version, FirstPosition: r.Position, LastPosition: r.Position}
	return core.Result{Position: r.Position, Appends: []core.Appended{at}, Node: r.Node}
}

// by is r with the name of the session's node, if it names no other one.
func (s *session) by(r core.Result) core.Result {
	r.Node = cmp.Or(r.Node, s.welcome.Server.Node)
	return r
}

// texts hands on a text message: one JSON object, or several on lines of their own.
func (s *session) texts(c *Client, message []byte) error {
	for len(message) > 0 {
		text, rest, _ := bytes.Cut(message, []byte{'\n'})
		message = rest
		m, err := wire.DecodeServer(text)
		if err != nil {
			return err
		}
		if err := s.text(c, m, len(text)); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) text(c *Client, m wire.Message, size int) error {
	switch m := m.(type) {
	case *wire.OK:
		m.Node = cmp.Or(m.Node, s.welcome.Server.Node)
		return c.ok(m)
	case *wire.Failure:
		if m.ID != 0 {
			c.answered(m.ID, answer{err: m.Error.Err()})
		}
	case *wire.Events:
		p, err := parcelOf(m, size)
		if err != nil {
			return err
		}
		c.receive(m.Sub, p)
	case *wire.Status:
		if f := c.sub(m.Sub); f != nil {
			f.reported(m)
		}
	case *wire.End:
		c.ended(m.Sub, m.Error.Err())
	case *wire.Ping:
		s.send(false, wire.Encode(nil, &wire.Pong{N: m.N}))
	case *wire.Goaway:
		s.goAway(time.Duration(m.ReconnectInMs) * time.Millisecond)
		c.goAway(s, m.Nodes)
	}
	return nil
}

// goAway notes that the server wants the client to leave, and when to come back.
func (s *session) goAway(reconnectIn time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = max(reconnectIn, s.away, time.Millisecond)
}

// isAway reports whether the server wants the client to leave.
func (s *session) isAway() bool { return s.comeBackIn() > 0 }

// comeBackIn is when the server wants us back; 0 if it did not say.
func (s *session) comeBackIn() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.away
}

// goodbye ends the session from our side. The server answers with its close frame.
func (s *session) goodbye() {
	s.left.Store(true)
	by := time.Now().Add(time.Second)
	// If it cannot be written, the connection is over anyway.
	_ = s.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), by)
	_ = s.conn.SetReadDeadline(by)
}
