package main

import (
	"net"
	"net/http"
	"time"

	"github.com/gorilla/websocket"
)

// bareServer is a WebSocket server with nothing behind it: the floor of what
// the transport costs.
type bareServer struct {
	listener net.Listener
	server   *http.Server
	clients  []*websocket.Conn
}

func startBare(clients int, serve func(*websocket.Conn)) (*bareServer, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	upgrader := websocket.Upgrader{WriteBufferSize: 16 << 10}
	s := &bareServer{listener: listener, server: &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if conn, err := upgrader.Upgrade(w, r, nil); err == nil {
			serve(conn)
			_ = conn.Close()
		}
	})}}
	go func() { _ = s.server.Serve(listener) }() // ends in close
	for range clients {
		conn, _, err := websocket.DefaultDialer.Dial("ws://"+listener.Addr().String(), nil)
		if err != nil {
			s.close()
			return nil, err
		}
		s.clients = append(s.clients, conn)
	}
	return s, nil
}

func (s *bareServer) close() {
	for _, c := range s.clients {
		_ = c.Close()
	}
	_ = s.server.Close()
}

// echo sends back what comes.
type echo struct{ *bareServer }

func startEcho(clients int) (echo, error) {
	s, err := startBare(clients, func(conn *websocket.Conn) {
		for {
			kind, message, err := conn.ReadMessage()
			if err != nil || conn.WriteMessage(kind, message) != nil {
				return
			}
		}
	})
	return echo{s}, err
}

// run has every client send one message at a time, and counts messages.
func (e echo) run(size int, d time.Duration) (sample, error) {
	message := make([]byte, size)
	return atOnce(len(e.clients), d, func(i int) error {
		if err := e.clients[i].WriteMessage(websocket.BinaryMessage, message); err != nil {
			return err
		}
		_, _, err := e.clients[i].ReadMessage()
		return err
	})
}

// pipe is a server that sends 64 KiB messages as long as it is asked to.
type pipe struct {
	*bareServer
}

const pipeMessage = 64 << 10

func startPipe() (pipe, error) {
	s, err := startBare(1, func(conn *websocket.Conn) {
		message := make([]byte, pipeMessage)
		for {
			// One request asks for a thousand messages.
			if _, _, err := conn.ReadMessage(); err != nil {
				return
			}
			for range 1000 {
				if conn.WriteMessage(websocket.BinaryMessage, message) != nil {
					return
				}
			}
		}
	})
	return pipe{s}, err
}

// run receives for d, and counts the events that fit the bytes.
func (p pipe) run(d time.Duration) (sample, error) {
	conn := p.clients[0]
	begin := time.Now()
	total := 0
	for time.Since(begin) < d {
		if err := conn.WriteMessage(websocket.TextMessage, nil); err != nil {
			return sample{}, err
		}
		for range 1000 {
			_, message, err := conn.ReadMessage()
			if err != nil {
				return sample{}, err
			}
			total += len(message)
		}
	}
	return rate(total/eventBytes, begin), nil
}
