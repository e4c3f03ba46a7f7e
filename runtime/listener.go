package runtime

import (
	"context"
	"net"
	"sync"

	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/requests"
)

// spareConnections is how many connections of an address, beyond its bound, are told so. More
// are closed at once: who does not stop does not read it either.
const spareConnections = 16

// limitListener accepts at most a number of connections at a time; the others
// wait in the system's queue. Those of one address have a bound of their own.
type limitListener struct {
	*net.TCPListener
	slots  chan struct{}
	places *requests.Places
	closed chan struct{}
	once   sync.Once
}

func newLimitListener(l *net.TCPListener, limit, perAddress int) *limitListener {
	return &limitListener{
		TCPListener: l, slots: make(chan struct{}, limit), closed: make(chan struct{}),
		places: requests.NewPlaces(perAddress, spareConnections),
	}
}

// Accept waits for a slot first, and then for a connection of an address that has a place.
func (l *limitListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	for {
		conn, err := l.AcceptTCP()
		if err != nil {
			<-l.slots
			return nil, err
		}
		from := requests.AddressOf(conn.RemoteAddr().String())
		if spare, ok := l.places.Take(from); ok {
			return &limitedConn{TCPConn: conn, spare: spare, release: func() {
				l.places.Give(from)
				<-l.slots
			}}, nil
		}
		_ = conn.Close() // nobody has used it
	}
}

// Close ends Accept also where it waits for a slot.
func (l *limitListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.TCPListener.Close()
}

// limitedConn gives its slot back when it is closed, once. It is a TCPConn and not
// any Conn because package net writes several buffers in one system call only to
// those it knows.
type limitedConn struct {
	*net.TCPConn
	spare   bool // beyond the bound of its address
	once    sync.Once
	release func()
}

func (c *limitedConn) Close() error {
	err := c.TCPConn.Close()
	c.once.Do(c.release)
	return err
}

// connContext is http.Server.ConnContext of a limitListener.
func connContext(ctx context.Context, c net.Conn) context.Context {
	if outer, ok := c.(interface{ NetConn() net.Conn }); ok { // TLS
		c = outer.NetConn()
	}
	if limited, ok := c.(*limitedConn); ok && limited.spare {
		return wsapi.WithoutPlace(ctx)
	}
	return ctx
}
