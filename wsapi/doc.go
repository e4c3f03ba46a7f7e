// Package wsapi is the network side of a node: the WebSocket protocol gyre.v1 and
// the HTTP API, over any Store.
//
// It promises:
//
//   - Every error is a code of core's catalogue, on both protocols alike.
//   - A request that is refused has changed nothing (P12).
//   - Appends of one connection keep their order per stream and pipeline without
//     waiting for each other.
//   - A follow costs its reader's cursor: what is sent is bounded by the client's
//     credit and by the connection's out-queue, never buffered beyond.
//   - Every wait has a deadline, every queue a bound (Limits).
//
// # Goroutines
//
// A connection has one reader, which also submits its appends, and one writer, which
// alone touches the socket's write side; everything else is put into the outbox
// between them. Each follow has a goroutine that waits for events, credit or room, and
// each read has one for as long as it takes. A named subscriber has none: what there is
// for it is in memory, and the writer takes it when it can write it. All goroutines
// belong to their connection, which waits for them, and all connections to the API,
// whose Close returns when they are gone.
//
// # Serving
//
// API is an http.Handler. Its http.Server sets ReadHeaderTimeout (5 s) and
// IdleTimeout (120 s) and leaves ReadTimeout and WriteTimeout at zero: a follow may
// last for weeks. API sets the deadlines of every body, wanted or not, and of every
// response itself, by Limits.IOTimeout through http.ResponseController. http.Server.Shutdown knows nothing of
// WebSockets: call API.Close first. Until the Store is open, Starting answers.
package wsapi
