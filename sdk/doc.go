// Package sdk is the Go client of a Gyre node. A Client is a core.Log: code that uses a
// store in its own process works with a node over a WebSocket, too.
//
//	client, err := sdk.Dial(ctx, "localhost:4973", sdk.Options{})
//	result, err := client.AppendTo(ctx, "order-42", core.AnyVersion,
//		core.NewEvent{Type: "OrderPaid", Data: []byte(`{"amount":10}`)})
//	for event, err := range core.FollowEvents(ctx, client, core.FollowRequest{Stream: core.All}) {
//		…
//	}
//
// A named subscription keeps its consumers' place, and redelivers events that they do not
// ack:
//
//	sub, err := client.Subscribe(ctx, "billing", sdk.SubscribeOptions{})
//	for d, err := range sub.Events(ctx) {
//		…
//		err = d.Ack()
//	}
//
// Consume handles events with several workers and acks them. AckDurable waits until an ack
// is stored. Client.Subscriptions manages subscriptions.
//
// A worker that appends what it makes of the events can keep its place in the log, too: a
// Commit with a core.Progress moves it, all or nothing. Client.Progress reads it, and its From
// is where a follow goes on. examples/progress is such a worker.
//
// Where the nodes have keys, Options.Token is the client's, and Client.Refresh goes on with
// another. Client.Ticket lets one request be made without one.
//
// The package promises:
//
//   - One connection carries everything. When it breaks, the client reconnects with
//     jittered, growing backoff until Close; Options.OnState reports it.
//   - With the addresses of several nodes of a ring ("a:4973,b:4973,c:4973") the client goes
//     to the next when its node is gone, and to those that the node names when it shuts down.
//     Requests over HTTP go to another node if one has not done them.
//   - Follows go on after the last event that arrived, without a gap or a repeat.
//   - Subscribers join again. Events that were not acked are redelivered, and acks of
//     events from before the break are lease_lost.
//   - Appends in flight are sent again. The client gives ids to events that have none
//     before it sends them, so nothing is written twice (P5). If an append that was sent again
//     is refused, and its first try could still be written, the error is unknown_outcome.
//   - A node that is overloaded is asked again, with jittered, growing backoff, within the time
//     of the call: by Append, Read, Follow, and what asks over HTTP without changing anything.
//     Submit reports overloaded, since it keeps the order of appends.
//   - Errors are *core.Error with the server's code.
//   - Every queue has a bound: the credit of a follow or a subscriber, the window of
//     requests.
//   - Every call ends with its context, and after 30 s if that has no deadline. If there
//     is no connection then, the error says why.
//
// Everything exported is safe for concurrent use. A Follower, and a Subscriber's Next,
// Events and Consume, are for one goroutine at a time.
package sdk
