package wsapi

import (
	"errors"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/wsapi/requests"
)

// Store is what the API serves: the node's core.Store, or a router before many.
type Store = access.Store

var _ Store = (*core.Store)(nil)

// Subscriptions are what the API serves of named subscriptions.
type Subscriptions = access.Subscriptions

var _ access.Guarded = (*subscriptions.Owner)(nil)

// Config is what an API needs. Store is required, the rest has defaults.
type Config struct {
	Store Store
	// Subscriptions are the node's subscriptions.Owner, or a router before many. They may be nil:
	// then there are none.
	Subscriptions access.Guarded

	// Access knows who may do what; nil: everybody may do everything.
	Access access.Authenticator
	// Audit records what was done; nil: nothing is recorded.
	Audit Auditor

	// Ring answers questions about the ring that the node is in; nil: there is none.
	Ring ring.Reporter
	// Peers are the other nodes of the ring, for its links; nil: none.
	Peers Peers
	// Owners find who serves what in the ring; nil: this node serves everything.
	Owners Owners
	// NotReady returns why the node takes no calls at the moment, for /readyz, or nil. It
	// may be nil itself.
	NotReady func() error

	// Extensions add to what the API serves.
	Extensions []Extension

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

	// Insecure is shown on the pages: everybody may do everything.
	Insecure bool
	// Admin moves /metrics to API.Admin.
	Admin bool
	// MetricsOpen gives /metrics to everybody.
	MetricsOpen bool

	// Version and Node are shown in welcome, /v1/server and the landing page.
	Version string
	Node    string
	// Nodes returns host:port of the other nodes of the ring, for welcome and goaway. It
	// must not block. nil: there are none.
	Nodes func() []string

	Limits Limits
}

// Limits are the API's bounds. A zero field takes its default.
type Limits = requests.Limits

// Load is the part of Limits for requests in flight.
type Load = requests.Load

// DefaultTarget is the default of Load.Target.
const DefaultTarget = requests.DefaultTarget

// prepare checks c and fills in what is not set.
func (c Config) prepare() (Config, error) {
	if c.Store == nil {
		return c, errors.New("wsapi: no store")
	}
	c.Limits = c.Limits.WithDefaults()
	if err := c.Limits.Validate(); err != nil {
		return c, err
	}
	if c.Access == nil {
		c.Access = access.Everybody{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Store = access.NewGuard(c.Store)
	if c.Node == "" {
		c.Node = "gyre"
	}
	if c.Version == "" {
		c.Version = "unknown"
	}
	return c, nil
}
