// Package ws serves the WebSocket protocol gyre.v1 over a Store: JSON messages, and
// binary frames for clients that ask for them. Package wsapi, which serves HTTP, finds
// the route, checks the origin, and calls Server.Accept.
//
// It promises:
//
//   - Appends of one connection keep their order per stream and pipeline without
//     waiting for each other.
//   - A follow holds its reader's cursor and nothing else: what is sent is bounded by
//     the client's credit and by the connection's outbox.
//   - Every wait has a deadline, every queue a bound (requests.Limits).
//
// # Where things are
//
//	server.go      Server: it accepts connections and closes them
//	conn.go        a connection: its reader and its writer
//	ops.go         the table of ops: a new one goes here
//	dispatch.go    how a message becomes an op, and a request a call
//	calls.go       requests that wait for their answers
//	appends.go, reads.go, follow.go, named.go    the ops, by what they serve
//	sub.go         what follows, consumers and the streams of extensions share
//	consumer.go    consumers of named subscriptions
//	extension.go   ops and subs that other packages add
//	outbox.go      what waits to be written
//	socket.go      the WebSocket itself
//
// # Goroutines
//
// A connection has one reader, which also submits its appends, and one writer, which
// alone writes to the socket. Everybody else puts messages into the outbox between
// them. Each follow has a goroutine that waits for events, credit or room, and each read
// has one while it runs. A consumer of a named subscription has none: its deliveries are
// in memory, and the writer takes them when it can write them. All goroutines belong to
// their connection, which waits for them, and all connections to the Server, whose Close
// returns when they are gone.
package ws
