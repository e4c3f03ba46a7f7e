package wsapi

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// Store is what the API serves: the node's core.Store, or a router before many.
type Store interface {
	core.Log
	core.LogReader
	// Submit is core.Store.Submit: an append whose answer is called back.
	Submit(ctx context.Context, c core.Commit, done func(core.Result, error))
	Event(ctx context.Context, id core.ID) (core.Event, error)
	Streams(ctx context.Context, r core.StreamsRequest) (core.StreamsPage, error)
	State() core.State
}

var _ Store = (*core.Store)(nil)

// Subscriptions are what the API serves of named subscriptions: those of the node's
// subscriptions.Owner, or a router before many.
type Subscriptions interface {
	Join(ctx context.Context, r subscriptions.JoinRequest) (subscriptions.Subscriber, error)
	Put(ctx context.Context, name string, d *subscriptions.Definition) (info subscriptions.Info, created bool, err error)
	Info(ctx context.Context, name string) (subscriptions.Info, error)
	List(ctx context.Context, r subscriptions.ListRequest) (subscriptions.ListPage, error)
	Delete(ctx context.Context, name string) error
	SubscriptionControls
}

// SubscriptionControls are an operator's.
type SubscriptionControls interface {
	Pause(ctx context.Context, name string) error
	Resume(ctx context.Context, name string) error
	Reset(ctx context.Context, name string, to core.From) error
	Parked(ctx context.Context, name string, r subscriptions.ParkedRequest) (subscriptions.ParkedPage, error)
	Replay(ctx context.Context, name string, which subscriptions.Selection) (int, error)
	Drop(ctx context.Context, name string, which subscriptions.Selection) (int, error)
}

var _ Subscriptions = (*subscriptions.Owner)(nil)

// Config is what an API needs. Store is required, the rest has defaults.
type Config struct {
	Store Store
	// Subscriptions may be nil: then there are none.
	Subscriptions Subscriptions

	// Logger gets what nobody is answered: nil discards it.
	Logger *slog.Logger
	// Registry takes the API's metrics and is what /metrics serves. nil makes a
	// new one, with the Go runtime's and the process's metrics.
	Registry *prometheus.Registry

	// AllowHosts are the names, beside IP addresses and localhost, that a Host
	// header may have: the node's own and those of proxies before it. Without the
	// check any web page could reach a loopback node by DNS rebinding.
	AllowHosts []string
	// AllowOrigins are the origins (scheme://host[:port]), beside the request's
	// own, whose pages may open WebSockets and write; "*" allows any.
	AllowOrigins []string

	// Version and Node are told by welcome, /v1/server and the landing page.
	Version string
	Node    string

	Limits Limits
}

// Limits are the API's bounds. A zero field takes its default.
type Limits struct {
	Connections int           // WebSocket connections at once: 10,000
	Subs        int           // follows of one connection: 128
	Inflight    int           // requests of one connection without an answer: 256
	Reads       int           // of them, reads that run at once: 8
	Frame       int           // bytes of a WebSocket message from a client: 5 MiB
	Queue       int           // bytes that wait to be written to one connection: 1 MiB
	Hello       time.Duration // from connect to hello: 5 s
	Request     time.Duration // a request's deadline where it names none: 30 s
	MaxRequest  time.Duration // the longest it may name: 5 min
	IOTimeout   time.Duration // a write that is blocked: 10 s; a body may take three times as long
	PingEvery   time.Duration // silence before a ping: 25 s
	PingTimeout time.Duration // silence after a ping: 10 s
	Heartbeat   time.Duration // between the comments of an idle event stream: 15 s
}

func (l Limits) withDefaults() Limits {
	for _, f := range []struct {
		value *int
		def   int
	}{
		{&l.Connections, 10_000}, {&l.Subs, 128}, {&l.Inflight, 256},
		{&l.Reads, 8}, {&l.Frame, 5 << 20}, {&l.Queue, 1 << 20},
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
	} {
		if *f.value == 0 {
			*f.value = f.def
		}
	}
	return l
}

// prepare checks c and fills in what is not set.
func (c Config) prepare() (Config, error) {
	if c.Store == nil {
		return c, errors.New("wsapi: no store")
	}
	c.Limits = c.Limits.withDefaults()
	l := c.Limits
	for _, n := range []int64{
		int64(l.Connections), int64(l.Subs), int64(l.Inflight), int64(l.Reads), int64(l.Frame), int64(l.Queue),
		int64(l.Hello), int64(l.Request), int64(l.MaxRequest), int64(l.IOTimeout),
		int64(l.PingEvery), int64(l.PingTimeout), int64(l.Heartbeat),
	} {
		if n < 0 {
			return c, core.Errorf(core.CodeInvalidConfig, "a limit of the API is negative")
		}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Node == "" {
		c.Node = "gyre"
	}
	if c.Version == "" {
		c.Version = "unknown"
	}
	return c, nil
}
