// Package core has Gyre's words, its promises, and the store that keeps them.
// It imports only the standard library and does no I/O of its own: storage is
// an Engine (core/disk, core/postgres, core/memory), the network is wsapi's.
//
// # Two ideas
//
// Everything that can be read or written is a [Log]: the [Store] here, the
// client in package sdk, later a router that finds the owner node.
// Everything that changes is a [Commit]: an atomic set of appends, checks and
// records. There is no other way to write.
//
// # Words
//
//	stream, event      a named sequence of immutable events; $all is every event in
//	                   commit order. An event's time is its own, recorded is the server's
//	version            an event's number in its stream: 1, 2, 3, … with no gap.
//	                   A stream's version is its last event's; 0 = no events
//	position           an event's, or link's, number in the log: unique and increasing;
//	                   the one coordinate of cursors and checkpoints
//	expected version   a number (0 = must be empty or absent), any, no_stream, stream_exists
//	event id           a UUID chosen by the client, else by the server; the key of idempotency
//	follow             a reader that keeps its own place: catch-up, then live
//	head               the last position; the tail is what is kept of it in memory
//	record             a small value under (table, key), written only by Commits
//	incarnation        which life of a stream after hard deletes; reserved, always 1 for now
//	link               a record of a stream, with a version and a position of its own, that
//	                   names an event elsewhere. Who reads the stream gets that event;
//	                   $all passes over links, so its positions have gaps there
//
// # Promises
//
//	P1  The versions of a stream are 1, 2, 3, … without a gap.
//	P2  The order of $all agrees with the order of every stream.
//	P3  Once a reader has seen position p, no event with a position ≤ p appears later.
//	P4  An acknowledged append is on disk (fsync). Weaker is opt-in and named so.
//	P5  Ids are looked up before versions: a Commit whose ids are all known, in the same
//	    streams, in the same order, in unbroken runs, gives the first result and writes
//	    nothing, whatever it expects. Any other known id is duplicate_event and nothing
//	    is written. Ids are known for as long as their event is. A link is known by its
//	    stream and its event's id, and counts as an event in this.
//	P6  A Commit is all or nothing; of two with the same exact expected version one wins.
//	P7  A Commit made under an older epoch than the log's is refused by the storage
//	    itself, where nodes share it (core/postgres).
//	P8  A follow gives each matching event, in order, once per place, and never holds up
//	    an append.
//	P9  A subscription's checkpoint passes no event that is not acked or parked, and
//	    moves only forward, unless somebody resets it (core/delivery).
//	P10 A handler's outputs, state and ack are one Commit. (With plugins.)
//	P11 Every wait has a deadline, every queue a bound, every error a code of the one
//	    catalogue (catalogue.go).
//	P12 Bad input gets a clear error and changes nothing.
//
// # Concurrency
//
// Everything exported is safe for concurrent use unless it says otherwise.
// Batches and the events read from them are immutable and shared: nobody
// modifies what they point to.
package core
