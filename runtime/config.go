package runtime

import (
	"context"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/wsapi"
)

// The engines.
const (
	EngineDisk     = "disk"     // a log of segment files in Data
	EngineMemory   = "memory"   // nothing survives the process
	EnginePostgres = "postgres" // a schema of a PostgreSQL database
)

// Defaults of a Config.
const (
	DefaultListen = "127.0.0.1:4973"
	DefaultData   = "data"
	// DefaultPostgresWait is for a command that is started together with its database.
	DefaultPostgresWait = 30 * time.Second

	defaultMaxConnections = 10_000
	// DefaultMaxConnectionsPerAddress is enough for the machines behind one NAT.
	DefaultMaxConnectionsPerAddress = 1024
	// DefaultTargetLatency is some times what an append takes on a disk.
	DefaultTargetLatency = wsapi.DefaultTarget
	reservedConnections  = 256 // for other nodes of the ring
	lookupTimeout        = 5 * time.Second
	maxNodeBytes         = 128
)

// Load bounds connections, and what is in flight on them. A zero field takes its default.
type Load struct {
	// MaxConnections bounds the open connections; further ones wait to be
	// accepted. The default is 10,000. A node of a ring accepts 256 more, so that clients
	// whose connections stay leave room for other nodes.
	MaxConnections int
	// MaxConnectionsPerAddress bounds those of one IPv4 address, or of one IPv6 /64; further
	// ones are told too_many_connections. Loopback addresses have 32 times as many. The default
	// is DefaultMaxConnectionsPerAddress.
	MaxConnectionsPerAddress int
	// ConnectionMemory bounds the bytes that wait to be read or written. The default is a
	// quarter of GOMEMLIMIT, else of the memory of the control group or of the machine.
	ConnectionMemory int64
	// TargetLatency is how long most appends and reads may take before the node takes fewer at
	// once. The default is DefaultTargetLatency.
	TargetLatency time.Duration
}

// Config says what node to run. The zero value is a good one.
type Config struct {
	// Listen is the host and port to serve on; the default is DefaultListen.
	// Port 0 takes a free one, which Node.Addr tells.
	Listen string
	// Data is the directory of the disk engine; the default is DefaultData. It
	// is made if it is not there. The other engines do not use it.
	Data string
	// Engine is one of the engines. The default is EnginePostgres where there is a
	// Postgres.URL, and EngineDisk where there is none.
	Engine string
	// Postgres is for EnginePostgres only. Start sets its Node, Version and Logger.
	Postgres postgres.Config
	// PostgresWait is for how long Start tries again when the server cannot be reached
	// or takes no writes, or another node has the store. 0 means once.
	PostgresWait time.Duration
	// Ring makes the node a member of a ring.
	Ring RingConfig
	// Plugins says whether and how the node runs plugins.
	Plugins PluginConfig
	// TLS says whether and how the node serves TLS.
	TLS TLSConfig
	// Insecure allows addresses that other machines can reach, without keys and without
	// TLS: whoever reaches them may read and write everything.
	Insecure bool
	// Admin says who gets metrics and profiles, and where.
	Admin AdminConfig
	// AllowHosts are the names, beside loopback ones and the address that the
	// node listens on, by which requests may call this node.
	AllowHosts []string
	// AllowOrigins are the origins, beside the node's own, whose web pages may
	// call this node.
	AllowOrigins []string
	// Load bounds connections and what is in flight.
	Load Load
	// HardDeletes allows clients to remove the events of streams. Without it a stream can
	// only be deleted in a way that can be undone.
	HardDeletes bool
	// SegmentBytes is the size of the disk engine's files; 0 leaves it to the
	// engine. Tests make it small.
	SegmentBytes int64
	// Node is the id of the node, which clients, /v1/server and the other nodes of a
	// PostgreSQL store are told. In a ring no two nodes have the same; one that is started
	// again gets what it owned under its id. The default is the address that the node
	// listens on, or advertises, with the machine's name for a loopback host.
	Node string
	// Version is the version of the program, which is told with it.
	Version string
	// Logger gets what happens; the default discards it.
	Logger *slog.Logger
	// Progress reports, on the goroutine of Start, how far the opening of the
	// log is, in bytes read of those to be read.
	Progress func(done, total int64)
}

// withDefaults fills in what was left out.
func (c Config) withDefaults() Config {
	if c.Listen == "" {
		c.Listen = DefaultListen
	}
	if c.Data == "" {
		c.Data = DefaultData
	}
	if c.Engine == "" {
		c.Engine = EngineDisk
		if c.Postgres.URL != "" {
			c.Engine = EnginePostgres
		}
	}
	if c.Load.MaxConnections == 0 {
		c.Load.MaxConnections = defaultMaxConnections
	}
	if c.Load.MaxConnectionsPerAddress == 0 {
		c.Load.MaxConnectionsPerAddress = DefaultMaxConnectionsPerAddress
	}
	if c.Load.ConnectionMemory == 0 {
		c.Load.ConnectionMemory = connectionMemory()
	}
	if c.Version == "" {
		c.Version = "devel"
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Progress == nil {
		c.Progress = func(done, total int64) {}
	}
	return c
}

// openConnections is how many connections the listener accepts at a time.
func (c *Config) openConnections() int {
	if c.Ring.Enabled {
		return c.Load.MaxConnections + reservedConnections
	}
	return c.Load.MaxConnections
}

// Validate checks a Config as Start does: the error is invalid_config or
// insecure_listen.
func (c Config) Validate(ctx context.Context) error { return c.withDefaults().validate(ctx) }

// validate checks a Config that has its defaults.
func (c Config) validate(ctx context.Context) error {
	if err := c.validateEngine(); err != nil {
		return err
	}
	if c.Load.MaxConnections < 0 {
		return core.Errorf(core.CodeInvalidConfig, "max connections is %d", c.Load.MaxConnections)
	}
	if c.Load.MaxConnectionsPerAddress < 0 {
		return core.Errorf(core.CodeInvalidConfig, "max-connections-per-address is %d, and at least 1", c.Load.MaxConnectionsPerAddress)
	}
	if !isName(c.Node) {
		return core.Errorf(core.CodeInvalidConfig, "node %.100q is not a name: it has at most %d bytes, all of them printable", c.Node, maxNodeBytes)
	}
	if c.Load.ConnectionMemory != 0 && c.Load.ConnectionMemory < minConnectionMemory {
		return core.Errorf(core.CodeInvalidConfig, "connection-memory is %d bytes, and at least 16MiB", c.Load.ConnectionMemory)
	}
	if c.SegmentBytes < 0 {
		return core.Errorf(core.CodeInvalidConfig, "segment bytes is %d", c.SegmentBytes)
	}
	for _, o := range c.AllowOrigins {
		if !isOrigin(o) {
			return core.Errorf(core.CodeInvalidConfig, "allow-origin %q is not an origin, which has a scheme, a host and perhaps a port, such as https://app.example.com", o)
		}
	}
	for _, h := range c.AllowHosts {
		if h == "" || strings.ContainsAny(h, "/ ") {
			return core.Errorf(core.CodeInvalidConfig, "allow-host %q is not a host name", h)
		}
	}
	if _, err := c.openTLS(slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	if _, err := c.adminKey(); err != nil {
		return err
	}
	if _, err := c.Plugins.openSecrets(slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	if err := c.validateAddresses(ctx); err != nil {
		return err
	}
	return c.validateRing(ctx)
}

// isOrigin reports whether a text has a scheme, a host, perhaps a port, and nothing else, as
// browsers send it. A '/' at its end is harmless.
func isOrigin(text string) bool {
	text = strings.TrimSuffix(text, "/")
	u, err := url.Parse(text)
	return err == nil && u.Hostname() != "" && strings.EqualFold(text, u.Scheme+"://"+u.Host)
}

// isName reports whether a text can name a node or a ring; an empty one can.
func isName(s string) bool {
	return len(s) <= maxNodeBytes && !strings.ContainsFunc(s, func(r rune) bool { return r == utf8.RuneError || !unicode.IsGraphic(r) })
}

func (c Config) validateEngine() error {
	switch c.Engine {
	case EngineDisk, EngineMemory:
		if c.Postgres.URL != "" {
			return core.Errorf(core.CodeInvalidConfig, "engine %s and the URL of a PostgreSQL server contradict each other: leave one of them out", c.Engine)
		}
		if c.Postgres.Store != "" || c.Postgres.NoMigrate {
			return core.Errorf(core.CodeInvalidConfig, "store and migrate are for PostgreSQL, and the engine is %s", c.Engine)
		}
		return nil
	case EnginePostgres:
		if c.PostgresWait < 0 {
			return core.Errorf(core.CodeInvalidConfig, "postgres-wait is %s", c.PostgresWait)
		}
		_, err := c.Postgres.Target()
		return err
	}
	return core.Errorf(core.CodeInvalidConfig, "engine %q is none of disk, memory, postgres", c.Engine)
}

// isLoopback reports whether only this machine can reach host.
func isLoopback(ctx context.Context, host string) (bool, error) {
	if host == "" || strings.Contains(host, "%") {
		return false, nil
	}
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsLoopback(), nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	ips, err := net.DefaultResolver.LookupIP(ctx, "ip", host)
	if err != nil {
		return false, err
	}
	return !slices.ContainsFunc(ips, func(ip net.IP) bool { return !ip.IsLoopback() }), nil
}
