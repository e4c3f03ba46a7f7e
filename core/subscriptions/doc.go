// Package subscriptions makes named, durable subscriptions of delivery machines: it
// keeps their definitions, checkpoints and parked events in the log's records, reads
// the log for them, and gives subscribers what they are sent. An [Owner] does so for
// the subscriptions that its node owns.
//
// It promises, beside what a delivery.Machine does:
//
//   - What is stored of a subscription moves forward only, and only by its owner: every
//     Commit names the revision that it follows (P9). An owner that another has
//     overtaken ends, and its subscribers end with subscription_interrupted.
//   - A parked event is stored before anything passes it. The event stays in the log;
//     its record has the reason, the attempts and their failures.
//   - An event that its filter, key or map fails on, or costs too much for, is parked with
//     the reason, and never skipped. A transient subscription has nothing parked: it passes
//     the event over and counts it.
//   - Ending a subscription or the Owner never waits for an expression.
//   - A subscription that is deleted and created again never meets what was left.
//   - Subscribers pull: a slow one costs its buffer, and only its own subscription.
//
// # The life of a delivery
//
//  1. The reader of the host (one goroutine) reads as much as the machine asks for from
//     a core.Follower, which has filtered by stream and type already. Unless there are
//     expressions, keys or a map, events are not decoded: items are places in the block
//     that was read.
//  2. It feeds them to the machine, under the host's lock, and carries out what follows:
//     sends go to the pending block of a subscriber. Events that lie behind each other
//     stay one block, which is not copied.
//  3. The writer of the subscriber's connection, woken by that, takes the block and sends
//     it as it is.
//  4. An Answer is applied by the goroutine that brings it, and leads to the next sends
//     there and then. It is done at once, unless it waits for something to be stored: a
//     parked event, or the checkpoint of a durable ack.
//  5. The checkpointer (one goroutine for all subscriptions) stores the checkpoint: one
//     Commit at a time for each, with everything that was finished meanwhile. It is lazy
//     where nobody waits for it.
//
// An event that a host has sent and that no subscriber took counts as never sent: when its
// subscriber leaves, or has fetched its one batch, the machine takes it back. Until it is
// taken it does not time out: a slow connection keeps it for as long as the connection's
// own write timeout allows. After a wait, the time to ack begins with Take.
//
// Parked events are kept by their positions. One that is named by its id is looked up in the
// log's own index of ids, links included, however many are parked.
//
// A host begins with the first subscriber, or with work on the subscription such as
// pausing it, and ends some seconds after the last has left and everything is stored. It
// also ends with Redefine, which begins a new machine, and with Release, after which this
// Owner stores nothing more.
//
// # Transient subscriptions
//
// Of a transient one nothing is stored: it begins with its first subscriber and is over when
// its last one has left, or when it stops itself. Nobody could resume that one, and nobody
// else would see it stand still, so its subscribers are ended with subscription_stopped and
// the reason, for which clients do not come back. Who joins later begins it anew.
//
// # Concurrency
//
// Everything exported is safe for concurrent use but Subscriber.Take, which is one
// goroutine's at a time. Work on one subscription as a whole is done one at a time.
package subscriptions
