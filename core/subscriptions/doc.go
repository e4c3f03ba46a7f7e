// Package subscriptions hosts named, durable subscriptions. It keeps their definitions,
// checkpoints and parked events in the log's records, reads the log for them, and gives
// subscribers their events. What is sent to whom is decided by a delivery.Machine. An
// [Owner] hosts the subscriptions that its node owns.
//
// Beside what a delivery.Machine promises, the following holds:
//
//   - The stored state of a subscription moves forward only, and only its owner writes it:
//     every Commit names the revision that it follows (P9). An owner that another has
//     overtaken ends, and its subscribers end with subscription_interrupted.
//   - A parked event is stored before anything passes it. The event stays in the log;
//     its record has the reason, the attempts and their failures.
//   - An event that its filter, key or map fails on, or costs too much for, is parked with
//     the reason, and never skipped. A transient subscription parks nothing: it skips
//     the event and counts it.
//   - So is one that ends the process while plugins judge it, once that is found (judging.go).
//   - Ending a subscription or the Owner never waits for an expression or a plugin.
//   - A subscription that is deleted and created again never sees what was stored before.
//   - Subscribers pull: a slow one costs its buffer, and only its own subscription.
//
// # The way of an event
//
//  1. The reader of the host (one goroutine) reads as much as the machine asks for from
//     a core.Follower, which filters by stream and type. Without expressions, keys and a
//     map, events are not decoded: items are parts of the block that was read.
//  2. It feeds them to the machine, under the host's lock, and carries out what follows:
//     sends go to the pending block of a subscriber. Events that are neighbours stay
//     one block, which is not copied.
//  3. The writer of the subscriber's connection is woken, takes the block and sends it as
//     it is.
//  4. The goroutine that brings an Answer applies it, and the next sends follow at once. So
//     does the reply, unless something has to be stored first: a parked event, or the
//     checkpoint of a durable ack.
//  5. The checkpointer (one goroutine for all subscriptions) stores the checkpoint, one
//     Commit at a time for each subscription, with everything that was finished meanwhile.
//     The Commit is lazy if nobody waits for it.
//
// An event that was sent and that no subscriber took counts as never sent: when its
// subscriber leaves, or has fetched its one batch, the machine takes it back. Until it is
// taken it does not time out: a slow connection keeps it for as long as the connection's
// own write timeout allows. After a wait, the time to ack begins with Take.
//
// While its one stream is deleted, a subscription hands out nothing of what its machine has read,
// sends again or replays. All of that counts as sent and not taken until the stream is undeleted.
//
// Parked events are stored by position. One that is named by its id is looked up in the
// log's own index of ids, links included, however many are parked.
//
// A host begins with the first subscriber, or with work on the subscription such as pausing it. The
// loader (one goroutine for all subscriptions) reads what is stored of it: thousands may move to a
// node at once, and share its requests. A host ends some seconds after the last subscriber has left
// and everything is stored. It also ends with Redefine, which begins a new machine, and with
// Release, after which this Owner stores nothing more.
//
// # Transient subscriptions
//
// Nothing of a transient subscription is stored. It begins with its first subscriber, and
// ends when the last one has left, or when it stops itself. Nobody could resume it then, so
// its subscribers end with subscription_stopped and the reason, and clients do not come
// back. The next subscriber begins it anew.
//
// # Concurrency
//
// Everything exported is safe for concurrent use, except Subscriber.Take, which one
// goroutine at a time may call. Work on one subscription as a whole is done one at a time.
package subscriptions
