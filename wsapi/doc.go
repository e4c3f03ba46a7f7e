// Package wsapi is the network side of a node: the HTTP API, and the routes under which
// WebSocket connections (package ws) and pages for people are served, over any Store.
//
// It promises:
//
//   - Every error is a code of core's catalogue, on both protocols alike.
//   - A request that is refused has changed nothing (P12).
//   - Every wait has a deadline, every queue a bound (Limits).
//
// # Where things are
//
//	routes.go           the table of routes: a new one goes here
//	extension.go        what other packages add: routes, ops and subs
//	http_*.go           the handlers, by what they serve
//	problem.go          how an error is answered
//	auth.go, tickets.go who asks, by a token or by a ticket
//	guard.go            which hosts and origins are served
//	ws                  WebSocket connections
//	requests            what HTTP and WebSocket requests have in common
//	wire, cloudevents   how they are encoded
//	docs                openapi.json, asyncapi.json and the pages
//
// # Serving
//
// API is an http.Handler. Its http.Server sets ReadHeaderTimeout (5 s) and IdleTimeout
// (120 s) and leaves ReadTimeout and WriteTimeout at zero: a follow may last for weeks.
// API sets the deadlines of every body, wanted or not, and of every response itself, by
// Limits.IOTimeout through http.ResponseController. http.Server.Shutdown knows nothing of
// WebSockets: call API.Close first. Until the Store is open, Starting answers.
package wsapi
