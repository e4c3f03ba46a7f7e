package ws

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/gyre-events/gyre/wsapi/requests"
)

// socket is a WebSocket as a connection uses it. One goroutine reads and one
// writes; close and readBy may be called from others.
type socket interface {
	// read waits for the next message, which the caller frees. Beyond limit bytes
	// it fails with requests.ErrTooLarge, and the next can still be read.
	read(limit int) (binary bool, message *requests.Buffer, err error)
	// write sends one message as one frame.
	write(binary bool, message []byte, by time.Time) error
	// ping sends a protocol-level ping.
	ping(by time.Time) error
	// writeClose sends a close frame; nothing can be written after it.
	writeClose(code int, reason string, by time.Time)
	// readBy sets the deadline of reads, also of one that waits.
	readBy(t time.Time)
	// close ends the connection at once.
	close()
}

// gorilla is a socket of package websocket.
type gorilla struct {
	conn *websocket.Conn
	grow func(n int) error // asks for the memory of a large message
	// inMessage is owned by the reader. A peer that sends pings between the parts of a
	// message gets no more time for its rest.
	inMessage bool
}

// writeBuffers are shared by all connections: an idle one has none.
var writeBuffers = new(sync.Pool)

const writeBufferBytes = 4 << 10

func newGorilla(conn *websocket.Conn, active func(), grow func(n int) error) *gorilla {
	g := &gorilla{conn: conn, grow: grow}
	heard := func() {
		if !g.inMessage {
			active()
		}
	}
	pong := conn.PingHandler()
	conn.SetPingHandler(func(data string) error { heard(); return pong(data) })
	conn.SetPongHandler(func(string) error { heard(); return nil })
	// We answer a close frame ourselves (conn.go). One with a single byte, which is a
	// protocol error, cannot be told from one without any here: both are answered 1000 (RATIONALE.md).
	conn.SetCloseHandler(func(int, string) error { return nil })
	return g
}

func (g *gorilla) read(limit int) (bool, *requests.Buffer, error) {
	kind, r, err := g.conn.NextReader()
	if err != nil {
		return false, nil, err
	}
	// Only now that there is a message does the connection take a buffer.
	g.inMessage = true
	message, err := requests.Read(r, limit, g.grow)
	g.inMessage = false
	return kind == websocket.BinaryMessage, message, err
}

func (g *gorilla) write(binary bool, message []byte, by time.Time) error {
	kind := websocket.TextMessage
	if binary {
		kind = websocket.BinaryMessage
	}
	if err := g.conn.SetWriteDeadline(by); err != nil {
		return err
	}
	return g.conn.WriteMessage(kind, message)
}

func (g *gorilla) ping(by time.Time) error {
	return g.conn.WriteControl(websocket.PingMessage, nil, by)
}

func (g *gorilla) writeClose(code int, reason string, by time.Time) {
	// A peer that is gone does not hear it.
	_ = g.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), by)
}

func (g *gorilla) readBy(t time.Time) {
	// It fails only where the next read does.
	_ = g.conn.SetReadDeadline(t)
}

func (g *gorilla) close() { _ = g.conn.Close() }

// isTimeout tells a deadline from other ends of a connection.
func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}
