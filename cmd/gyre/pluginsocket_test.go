package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// nodeSocket is a WebSocket connection to a node that was greeted. It speaks JSON.
type nodeSocket struct {
	*websocket.Conn
	t  *testing.T
	id int // of the last message
}

// dialSocket opens one that ends with the test.
func (n *ringNode) dialSocket(t *testing.T) *nodeSocket {
	t.Helper()
	conn, answer, err := websocket.DefaultDialer.DialContext(t.Context(), "ws://"+n.listen+"/v1/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close() // it was read
	t.Cleanup(func() { _ = conn.Close() })
	s := &nodeSocket{Conn: conn, t: t}
	s.must("hello", "")
	return s
}

// must sends a message with fields, and returns the next that comes.
func (s *nodeSocket) must(op, fields string) []byte {
	s.t.Helper()
	s.send(op, fields)
	return s.next()
}

// send sends a message with fields.
func (s *nodeSocket) send(op, fields string) {
	s.t.Helper()
	s.id++
	if fields != "" {
		fields = "," + fields
	}
	if err := s.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"op":%q,"id":%d%s}`, op, s.id, fields)); err != nil {
		s.t.Fatal(err)
	}
}

// next returns the next message.
func (s *nodeSocket) next() []byte {
	s.t.Helper()
	_ = s.SetReadDeadline(time.Now().Add(time.Minute)) // the read fails where this does
	text, err := s.read()
	if err != nil {
		s.t.Fatal(err)
	}
	return text
}

// read reads the next message, and answers pings.
func (s *nodeSocket) read() ([]byte, error) {
	for {
		_, text, err := s.ReadMessage()
		if err != nil || !bytes.HasPrefix(text, []byte(`{"op":"ping"`)) {
			return text, err
		}
		if err := s.WriteMessage(websocket.TextMessage, bytes.Replace(text, []byte("ping"), []byte("pong"), 1)); err != nil {
			return nil, err
		}
	}
}

// ask decodes the answer of an op into to.
func (s *nodeSocket) ask(op, fields string, to any) {
	s.t.Helper()
	text := s.must(op, fields)
	if bytes.Contains(text, []byte(`"op":"error"`)) {
		s.t.Fatalf("%s %s is answered with %s", op, fields, text)
	}
	if err := json.Unmarshal(text, to); err != nil {
		s.t.Fatalf("%s: %v", text, err)
	}
}
