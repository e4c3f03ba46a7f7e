// Package access says who may do what. A Principal is who asks; an Action is what it asks
// for; Principal.Check is the one place where that is decided, for HTTP, WebSocket, named
// subscriptions, Commits, and plugins.
//
// # Words
//
//	key        a secret that a client sends, with a role and patterns of streams
//	principal  who asks: a key, another node, or anyone
//	role       what a principal may do, by a table of actions (role.go)
//	patterns   of the streams that it may do that with, as those of a core.Filter
//	names      patterns of the subscriptions, progress, plugins and bindings that it may use
//
// # Roles
//
//	admin          everything, keys and the streams of the system ($…) included
//	operator       steers subscriptions, the ring and plugins; reads streams that match,
//	               deletes them, and removes their events
//	writer         appends to, reads, deletes and undeletes streams that match; not $all
//	reader         reads streams that match, and $all, where the others are passed over
//	plugin-author  uploads plugins, and deploys them within its own patterns
//
// Without a key in the store everybody is Anyone, who may do everything. With the first key,
// who has none may do nothing.
//
// # Where things are
//
//	principal.go      Principal: who asks, and the decision
//	role.go           roles, actions, and the table of both
//	pattern.go        patterns of streams
//	context.go        the principal of a request
//	store.go          Guard: what a Store does for a principal
//	follow.go         reads and follows within patterns
//	subscriptions.go  named subscriptions for a principal
//
// A principal is taken from the context of a call. A context without one may do nothing.
// A Principal does not change. It ends when its key is revoked or expires, and whatever
// lasts for it ends with it.
package access
