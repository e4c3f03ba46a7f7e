// Package postgres is the Engine that keeps a log in PostgreSQL, in one schema
// for each store: shared storage for nodes on several machines.
//
// It keeps every promise of package core. P3, P6 and P7 rest on row locks and on
// the epoch of the log row, never on what a node believes. COMMIT.md describes how
// a group becomes one round trip, which locks it takes in which order, and what
// happens to conflicts, retries, lost connections and stopped writers. migrations/
// has the schema, settings.go what a connection sets.
//
// # Other writers
//
// A store belongs to one process, or to those of one ring (Config.Ring), which use it at
// once. Each sees the others' events: a page is read from the log as it is, and
// core.HeadWatcher reports that the head has moved. Each has a session, which it keeps up.
// The Engine is the ring's cluster.Arbiter, too.
//
// SQL queries use the view events_json:
//
//	-- how many events of each type
//	SELECT type, count(*) FROM gyre.events_json GROUP BY type;
//
//	-- one stream, with a value out of the data
//	SELECT version, time, data ->> 'total' FROM gyre.events_json WHERE stream = 'order-1' ORDER BY version;
//
//	-- everything that one request caused
//	SELECT position, stream, type FROM gyre.events_json WHERE correlation_id = 'c-17' ORDER BY position;
//
// data and metadata are NULL where jsonb cannot hold them: a zero character in a
// text, or a number beyond its range. Indexes lists optional indexes that serve such
// searches. Only Gyre writes to the tables.
//
// # Removed streams
//
// A removal changes two rows. What was removed is in the tables until a node deletes it,
// soon after, and no statement finds it. Backups, archives of the WAL and, up to a VACUUM FULL,
// free space of the tables still have it.
//
// # Scavenges
//
// A scavenge deletes the rows of events that go, in short transactions. The server's autovacuum
// gives their room to new events; VACUUM FULL gives it back to the disk.
//
// # Fail-over
//
// Calls are bounded by Config.CallTimeout. A Commit is retried for Config.RetryFor, on
// another connection and, if the URL has several hosts, another server; one whose
// outcome is unknown is looked up by its ids first. A read whose connection breaks
// begins again on a new one, and waits for a server for Config.ReadRetryFor, counted
// from when it went away.
//
// Every new connection is compared with what is known of the log. If the new primary
// lacks acknowledged events, the log gets a new identity, and cursors and follows of
// the old one end with log_changed. If it lacks an epoch, that is written again.
//
// # Concurrency
//
// All methods are safe for concurrent use. One goroutine watches the head, another
// keeps the session up, a third deletes what was removed; Close waits for them and for the
// calls under way.
package postgres
