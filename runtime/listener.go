package runtime

import (
	"net"
	"sync"
)

// limitListener accepts at most a number of connections at a time; the others
// wait in the system's queue.
type limitListener struct {
	*net.TCPListener
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once
}

func newLimitListener(l *net.TCPListener, limit int) *limitListener {
	return &limitListener{TCPListener: l, slots: make(chan struct{}, limit), closed: make(chan struct{})}
}

// Accept waits for a slot first, and then for a connection.
func (l *limitListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	conn, err := l.AcceptTCP()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{TCPConn: conn, release: func() { <-l.slots }}, nil
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
	once    sync.Once
	release func()
}

func (c *limitedConn) Close() error {
	err := c.TCPConn.Close()
	c.once.Do(c.release)
	return err
}
