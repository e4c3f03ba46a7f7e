// Package delivery is one named subscription as a pure state machine. It decides which
// subscriber gets which event when, what is acknowledged, retried or parked, and how far
// the checkpoint may go. A [Machine] has no goroutine, clock, I/O or randomness: its
// outputs depend on its inputs alone. A host feeds it events and the time, and carries
// out what it returns.
//
// # The host
//
// The host reads the log with an ordinary core.Follower that begins after the
// stored checkpoint: catch-up, then live, in order and without a gap. After any
// number of inputs it calls Advance, once, and carries out the Output:
//
//	m := delivery.New(now, delivery.Config{Options: o, Checkpoint: stored, Parked: parked, Failed: failed, Lease: lease})
//	for {
//		select input
//			a subscriber:     m.Join, m.Credit, m.Ack, m.AckUpTo, m.Nack, m.Extend, m.Leave
//			an operator:      m.Pause, m.Resume, m.Stop, m.Replay, m.Drop
//			a read is done:   m.Feed(items, delivery.Cursor, delivery.Live)
//			a Commit is done: m.Stored(now, err)
//			the time to wake: nothing
//		out := m.Advance(now)
//		send out.Sends, then tell out.State if out.Changed
//		begin the Commit of out.Store, if there is one
//		begin a read of at most out.Read, if that is not zero and none is under way
//		set the timer to out.Wake
//	}
//
// Events have one way in, so a timer or a wake-up cannot confuse catching up, live and
// too far behind: where the reader stands only decides the State that subscribers see.
// Filters are the host's: the cursor of Feed passes over events that do not match.
//
// To end, the host calls Flush and goes on until Flushed. When the subscription moves to
// another owner, the host drops the machine: the next one begins with what is stored. A
// Store that is refused with record_conflict means that another owner has written: the
// machine is Lost and does nothing any more. A reset is a new machine, too, and so are
// other options: the host calls Drain, and waits until InFlight is 0, before.
//
// # States of an event
//
//	          Feed                Replay (of a parked one)
//	           │                     │
//	           ▼                     ▼
//	     ┌──────────┐  Advance  ┌───────────┐  ack, skip
//	┌───►│ waiting  │──────────►│ in flight │─────────────────────► finished
//	│    └──────────┘           └───────────┘                          ▲
//	│      ▲    │                 │   │   │                            │
//	│      │    │ fault, or its   │   │   │ park, or failed            │
//	│      │    │ key is held     │   │   │ for the last time          │
//	│      │    │                 │   │   ▼                            │
//	│      │    │                 │   │ ┌─────────┐    the store that  │
//	│      │    └─────────────────┼───┼►│ parking │────────────────────┘
//	│      │                      │   │ └─────────┘    parks it is done
//	│      │ Leave, stop,         │   │
//	│      └──────────────────────┘   │ nack, ack timeout
//	│        or no backoff            ▼
//	│                            ┌──────────┐
//	└────────────────────────────│ retrying │
//	         its time is over    └──────────┘
//
// A replayed event that is acked, skipped or dropped is removing until the store
// that takes it from the parked is done.
//
// # States of a machine
//
//	          Join                     all is sent,
//	┌──────┐  ────►  ┌─────────┐  and the reader live   ┌──────┐
//	│ idle │         │ catchup │ ─────────────────────► │ live │
//	└──────┘  ◄────  └─────────┘ ◄───────────────────── └──────┘
//	       the last Leave         the reader is not live
//
//	any of these ── Pause ──────────────────────────────► paused  ── Resume ─► one of these
//	any of these ── Stop, nack stop, Retry.Then stop ───► stopped ── Resume ─► one of these
//	any ── a Store is refused with record_conflict ─────► lost
//
// # What holds
//
// After every Advance, and for every machine of a subscription:
//
//  1. Each event fed is waiting, in flight, retrying, parking, or finished; and it
//     is finished by an ack or skip under the lease it was in flight under, by a
//     retry policy that skips, or by a store that parked it.
//  2. The checkpoint of a Store passes no unfinished event, except those that the
//     same Store parks, and is never lower than the one before (P9).
//  3. An event that is finished is not sent again by this machine, unless it was
//     parked and is replayed.
//  4. First deliveries are in order of position; with keys, those of each key are
//     (P8). What comes back comes before what is newer.
//  5. With keys, the events of a key that are in flight are its first unfinished ones,
//     sent in order, all to one subscriber. When one of them fails or is given back,
//     those behind it are taken back, and are sent again behind it: through timeouts,
//     crashes and backoffs, and when it is parked, once that is stored. An ack of an
//     event that was taken back is unexpected until the event is sent again. With
//     HoldKey, and to a subscriber with several workers, one event of a key is in
//     flight at most. Replays are apart from this, unless the key is held.
//  6. Sent is what somebody has credit and buffer for, under a lease that has not
//     ended, while running; and if that is so and an event may be sent, it was.
//  7. What is read and not finished is within Config.Window, one event more in
//     bytes; what is finished behind it, and not stored, within eight times that.
//     Everything else kept grows with these and with the subscribers, but for the
//     keys that are held (1<<16) and failures, ten an event.
//  8. One Store is under way at most. A checkpoint timer begins one, and changes
//     nothing else.
//  9. Wake is at or before the next thing that time alone will bring.
//  10. A lost subscriber fails what it can have begun, and nothing else: the oldest
//     event of each key and, without keys, the oldest, as many as it has workers.
//     The time to ack of an event begins when those before it of its key are finished.
//
// Failed attempts and backoffs go on with the next machine: the Store that follows a
// failure has a record of it, until the event is finished and the checkpoint has passed it.
//
// What is not promised: the order of redeliveries across owners, the number of attempts
// across an owner that is killed before it has stored a failure, and exactly one delivery. An event is delivered again if it was not acked
// in time, if its subscriber left, and to the next owner if the checkpoint had not
// passed it.
//
// # Cost
//
// Events stand in a ring in order of position. Without keys none costs a map, heap or
// allocation on its way: those never sent are the end of the ring, acks find their
// event behind the last one, and deadlines are in order of sending because the time
// to ack is the same for all. Only what comes back, backs off or was extended is in a
// heap. With keys each costs two accesses to a map, and a heap if it had to wait for
// another of its key.
package delivery
