// Package api serves plugins over HTTP and WebSocket: it is an extension of package wsapi.
//
// It promises:
//
//   - Over both protocols the same requests have the same effect, answers and errors.
//   - A request that is refused has changed nothing.
//   - Every wait has a deadline, every body a limit. Two uploads at most are read at a time.
//
// In paths, versions belong to a plugin, and everything else to a binding. In a ring, requests
// about a binding are served by the node that owns its subscription; its state and its log are
// read from any node.
//
// # Where things are
//
//	api.go       what is served, and by whom
//	versions.go  plugins and their versions; uploads
//	kinds.go     validators and bindings with a subscription, as one list; what validators lack
//	guard.go     what a principal may do and see
//	bindings.go  bindings, from deploy to delete
//	state.go     state, by key and by prefix; query.go: queries of it
//	watch.go     watches of state; remote.go: those of another node
//	owner.go     ops that the owner of a binding serves
//	dryrun.go    dry runs, and the sub plugin.dryRun; shadow.go: shadows
//	poison.go    parked events
//	logs.go      logs: pages, server-sent events, and the sub plugin.logs
//
// The routes and ops are described in wsapi/docs, where those of package wsapi are.
package api
