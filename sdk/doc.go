// Package sdk is the Go client of a Gyre node, and itself a core.Log: what works
// with the store of the same process works with a node at the other end of a
// WebSocket.
//
//	client, err := sdk.Dial(ctx, "localhost:4973", sdk.Options{})
//	result, err := client.AppendTo(ctx, "order-42", core.AnyVersion,
//		core.NewEvent{Type: "OrderPaid", Data: []byte(`{"amount":10}`)})
//	for event, err := range core.FollowEvents(ctx, client, core.FollowRequest{Stream: core.All}) {
//		…
//	}
//
// A named subscription keeps the place of its consumers, and sends again what they do not
// ack:
//
//	sub, err := client.Subscribe(ctx, "billing", sdk.SubscribeOptions{})
//	for d, err := range sub.Events(ctx) {
//		…
//		err = d.Ack()
//	}
//
// Or sub.Consume handles events with several workers, and acks for them. Client.Subscriptions
// is for who manages subscriptions.
//
// It promises:
//
//   - One connection carries everything. When it breaks it is made again, with
//     jittered and growing pauses, until Close; Options.OnState watches.
//   - Follows go on after the last event that arrived, without a gap or a repeat.
//   - Subscribers subscribe again. What they had not acked is sent again, and acks of what
//     came before the break are lease_lost.
//   - Appends in flight are sent again. The client gives ids to events that have
//     none before it first sends them, so nothing is written twice (P5).
//   - Errors are *core.Error, as the server had them.
//   - Every queue has a bound: a follow's and a subscriber's is its credit, an append
//     waits for a slot.
//   - Every call ends with its context, one without a deadline after 30 s. If there was
//     no connection then, the error says why.
//
// Everything exported is safe for concurrent use; a Follower, and what a Subscriber gives,
// by one goroutine at a time.
package sdk
