// Package postgres is the Engine that keeps a log in PostgreSQL, in one schema
// for each store: shared storage for nodes on several machines.
//
// It keeps every promise of package core. P3, P6 and P7 rest on row locks and on
// the epoch of the log row, never on what a node believes: COMMIT.md says how a
// group becomes one round trip, which locks it takes in which order, and what
// happens to conflicts, retries, lost connections and writers that stop.
// migrations/ has the schema.
//
// # Who else may write
//
// Several Stores, of several processes, may use one schema at once. Each sees
// the others' events: a page is read from the log as it is, and core.HeadWatcher
// tells a Store that the head has moved. Who queries with SQL uses the view
// events_json:
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
// text, or a number beyond its range. Indexes lists those that serve such searches;
// a store need not have them. Nobody writes to the tables but Gyre.
//
// # Fail-over
//
// Calls are bounded by Config.CallTimeout. A Commit is tried again for as long as
// Config.RetryFor, on another connection and, where the URL has several hosts,
// another server; one whose outcome is unknown is looked up by its ids first.
// A read whose connection breaks is made again from its beginning on a new one, and
// waits for a server, from when it went away, as long as Config.ReadRetryFor.
// Every new connection is compared with what is known of the log: where acknowledged
// events are missing, because the new primary did not have them, the log gets a
// new identity, and cursors and follows of the old one end with log_changed.
//
// # Concurrency
//
// All methods are safe for concurrent use. One goroutine watches the head; Close
// waits for it and for the calls under way.
package postgres
