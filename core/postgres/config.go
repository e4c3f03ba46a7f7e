package postgres

import (
	"log/slog"
	"regexp"
	"time"

	"github.com/gyre-events/gyre/core"
)

// Config says where a store is and how it is used.
type Config struct {
	// URL is how to connect: postgres://user:password@host:port/database?…, with
	// everything libpq knows, among it sslmode and other TLS parameters, and
	// several hosts. Only a server that takes writes is used, so that with several
	// hosts a node finds the new primary after a fail-over.
	// default_query_exec_mode=exec does without prepared statements.
	URL string
	// Store is the name of the store: the schema it is in. "" means gyre.
	Store string
	// Node is the node's name: part of application_name, in pg_stat_activity, and of
	// the list of Nodes.
	Node string
	// Ring is the name of the ring that the node is part of, whose nodes share the store.
	// "" is a node that has the store alone.
	Ring string
	// OnlyReads is for who reads beside the nodes that have the store, and writes nothing.
	OnlyReads bool
	// Version is the version of the program, for the list of Nodes.
	Version string
	// NoMigrate refuses a schema that is behind with schema_outdated, where it
	// would otherwise be migrated.
	NoMigrate bool
	// ReadConns bounds the connections that reads use; 0 means 8. Commits have three
	// of their own, so that no reader can hold them up, the session has one, and a node
	// of a ring two.
	ReadConns int
	// CallTimeout bounds each call to the server; 0 means 30 s. A Commit may take
	// several.
	CallTimeout time.Duration
	// RetryFor is how long a Commit tries again while the server cannot be
	// reached or does not take writes; 0 means 10 s.
	RetryFor time.Duration
	// ReadRetryFor is how long after the server went away reads wait for it, or for
	// another; 0 means 3 s. Later reads fail at once.
	ReadRetryFor time.Duration
	// Logger gets migrations, fail-overs and stuck writers. Nil discards them.
	Logger *slog.Logger
	// Locked gets how long each step held the log row: from the moment it had the lock
	// until the commit was acknowledged. It may be nil.
	Locked func(time.Duration)
}

const (
	defaultStore       = "gyre"
	defaultReadConns   = 8
	defaultCallTimeout = 30 * time.Second
	defaultRetryFor    = 10 * time.Second
	// A server restarts in less, mostly.
	defaultReadRetryFor = 3 * time.Second

	// stepConns are one for each of two steps, and one for the watch over the head
	// and for stuck writers.
	stepConns = 3
	// sessionConns is the one that the session is kept up on.
	sessionConns = 1
	// ringConns are those of a node in a ring: for its beats, and for views.
	ringConns = 2
)

// storeName is what a store may be called: a schema name that needs no quotes anywhere but
// for reserved words, and cannot be one of PostgreSQL's.
var storeName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,47}$`)

// schema is the store's schema in SQL.
func (c *Config) schema() string { return quoted(c.Store) }

// quoted is the name of a store in SQL, where it may be a reserved word.
func quoted(store string) string { return `"` + store + `"` }

func (c *Config) validate() error {
	if c.URL == "" {
		return core.Errorf(core.CodeInvalidConfig, "the URL of the PostgreSQL server is not set")
	}
	if c.Store == "" {
		c.Store = defaultStore
	}
	if !storeName.MatchString(c.Store) || len(c.Store) > 2 && c.Store[:3] == "pg_" {
		return core.Errorf(core.CodeInvalidConfig, "%q is not a store's name: a letter, then letters, digits and '_', 48 at most, all lower-case", c.Store)
	}
	if c.OnlyReads && c.Ring != "" {
		return core.Errorf(core.CodeInvalidConfig, "who only reads is in no ring, and ring is %q", c.Ring)
	}
	if c.ReadConns == 0 {
		c.ReadConns = defaultReadConns
	}
	if c.CallTimeout == 0 {
		c.CallTimeout = defaultCallTimeout
	}
	if c.RetryFor == 0 {
		c.RetryFor = defaultRetryFor
	}
	if c.ReadRetryFor == 0 {
		c.ReadRetryFor = defaultReadRetryFor
	}
	if c.ReadConns < 0 || c.CallTimeout < 0 || c.RetryFor < 0 || c.ReadRetryFor < 0 {
		return core.Errorf(core.CodeInvalidConfig, "%d read connections, a call timeout of %s, and retries for %s and, of reads, for %s cannot be",
			c.ReadConns, c.CallTimeout, c.RetryFor, c.ReadRetryFor)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}
