package requests

import (
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// Limits bound what clients may take. A zero field takes its default.
type Limits struct {
	Connections int           // WebSocket connections at once: 10,000
	Handshakes  int           // of one address, WebSocket connections that have not said hello: 64
	WrongKeys   int           // of one address within a minute: 20
	Subs        int           // follows of one connection: 128
	Inflight    int           // requests of one connection without an answer: 256
	Reads       int           // of them, reads and ops of extensions that run at once: 8
	Frame       int           // bytes of a WebSocket message from a client: 5 MiB
	Queue       int           // bytes that wait to be written to one connection: 1 MiB
	Memory      int           // bytes that wait to be read or written on all connections: 256 MiB
	Load        Load          // of all connections together
	Hello       time.Duration // from connect to hello: 5 s
	Request     time.Duration // a request's deadline where it names none: 30 s
	MaxRequest  time.Duration // the longest it may name: 5 min
	IOTimeout   time.Duration // a write that is blocked: 10 s; a body may take three times as long
	PingEvery   time.Duration // silence before a ping: 25 s
	PingTimeout time.Duration // silence after a ping: 10 s
	Heartbeat   time.Duration // between the comments of an idle event stream: 15 s
}

// DefaultTarget is the default of Load.Target.
const DefaultTarget = 10 * time.Millisecond

// Load bounds the requests in flight on all connections together. One principal may have a
// part of each bound.
type Load struct {
	Requests int // 16,384
	// Appends and Reads, which are at work, are the most of limits that adapt: 4,096 and 1,024.
	Appends, Reads int
	// Target is how long most appends and reads may take before fewer are let in: 10 ms.
	Target time.Duration
}

// WithDefaults returns l with its zero fields set.
func (l Limits) WithDefaults() Limits {
	for _, f := range []struct {
		value *int
		def   int
	}{
		{&l.Connections, 10_000}, {&l.Subs, 128}, {&l.Inflight, 256},
		{&l.Reads, 8}, {&l.Frame, 5 << 20}, {&l.Queue, 1 << 20},
		{&l.Memory, 256 << 20},
		{&l.Handshakes, 64}, {&l.WrongKeys, 20},
		{&l.Load.Requests, 16 << 10}, {&l.Load.Appends, 4 << 10}, {&l.Load.Reads, 1 << 10},
	} {
		if *f.value == 0 {
			*f.value = f.def
		}
	}
	for _, f := range []struct {
		value *time.Duration
		def   time.Duration
	}{
		{&l.Hello, 5 * time.Second}, {&l.Request, 30 * time.Second}, {&l.MaxRequest, 5 * time.Minute},
		{&l.IOTimeout, 10 * time.Second}, {&l.PingEvery, 25 * time.Second},
		{&l.PingTimeout, 10 * time.Second}, {&l.Heartbeat, 15 * time.Second},
		{&l.Load.Target, DefaultTarget},
	} {
		if *f.value == 0 {
			*f.value = f.def
		}
	}
	return l
}

// Validate refuses negative limits.
func (l Limits) Validate() error {
	if min(l.Connections, l.Subs, l.Inflight, l.Reads, l.Frame, l.Queue, l.Memory, l.Handshakes, l.WrongKeys, l.Load.Requests, l.Load.Appends, l.Load.Reads) < 0 ||
		min(l.Hello, l.Request, l.MaxRequest, l.IOTimeout, l.PingEvery, l.PingTimeout, l.Heartbeat, l.Load.Target) < 0 {
		return core.Errorf(core.CodeInvalidConfig, "a limit of the API is negative")
	}
	return nil
}

// Timeout returns how long a request may take that asks for ms milliseconds; 0 asks
// for the default.
func (l *Limits) Timeout(ms int64) (time.Duration, error) {
	return wire.ClientTimeout(ms, l.Request, l.MaxRequest)
}
