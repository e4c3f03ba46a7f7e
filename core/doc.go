// Package core defines Gyre's terms and promises, and the store that keeps them.
// It imports only the standard library and does no I/O of its own. Storage is
// an Engine (core/disk, core/postgres, core/memory); the network is in wsapi.
//
// # Two ideas
//
// Everything that can be read or written is a [Log]: the [Store] here, and the
// client in package sdk.
// Every change is a [Commit]: an atomic set of appends, checks and operations on
// records. There is no other way to write.
//
// # Terms
//
//	stream, event      a named sequence of immutable events; $all is every event in
//	                   commit order. An event has its own time and the time at which it
//	                   was recorded
//	version            an event's number in its stream: 1, 2, 3, … A stream's version is
//	                   the last that was given; 0 = no events
//	position           the number of an event or link in the log: unique and increasing;
//	                   cursors and checkpoints are positions
//	expected version   a number (0 = must be empty or absent), any, no_stream, stream_exists
//	event id           a UUID chosen by the client, else by the server; the key of idempotency
//	follow             a reader that keeps its own place: catch-up, then live
//	head               the last position; the tail is the newest events, in memory
//	record             a small value under (table, key), written only by Commits
//	blob               content named by its SHA-256, written before the Commit that names it
//	progress           a client's own place in the log, a record that moves by
//	                   compare-and-set in the Commit of what the client appends
//	snapshot           the state that a client has made of a stream's events up to a version; a
//	                   record of the stream and a kind, which a greater version replaces
//	epoch              a number of the log that rises whenever its owners change
//	deleted            said of a stream that can be neither read by its name nor appended to.
//	                   $all and links have its events; it can be undeleted
//	removed            said of events that are gone from their stream, from $all and from
//	                   every stream that had a link to them, as a hard delete does
//	incarnation        the count of a stream's removals, plus 1. Each begins at version 1
//	tombstoned         said of a removed stream that nobody can append to any more
//	scavenge           gives back the storage of what nobody can read any more
//	retention          a policy of a stream or, as a default, of a category: which events expire
//	expired            said of events that no read, follow or list has any more, though storage
//	                   has them until a scavenge. The stream's version stays
//	system's stream    one whose name begins with '$'. Only the node writes it, by a Commit
//	                   with System. It is read by its name; $all skips its events unless
//	                   the reader asks for them, as a reader of the whole log does
//	judged             said of a Commit that StoreConfig.Admit may refuse before it is written;
//	                   what shares a stream or a record with it waits until then
//	notice             an event of $streams that says which stream was deleted, undeleted,
//	                   removed or tombstoned, or whose retention was changed. Each node's tail
//	                   begins anew behind it
//	link               an entry of a stream, with a version and a position of its own, that
//	                   names an event elsewhere. A reader of the stream gets that event;
//	                   $all skips links, so its positions have gaps there
//
// # Promises
//
//	P1  The versions of an incarnation of a stream are 1, 2, 3, … in the order of its events.
//	    Each is given once, and missing only where it has expired, or where a link's event
//	    was removed.
//	P2  The order of $all agrees with the order of every stream.
//	P3  Once a reader has seen position p, no event with a position ≤ p appears later.
//	P4  An acknowledged append is on disk (fsync).
//	P5  Ids are looked up before versions. A Commit whose ids are all known, in the same
//	    streams, in the same order, in unbroken runs, returns the first result and writes
//	    nothing, whatever it expects and whoever would refuse it now. Any other known
//	    id is duplicate_event, which says what the streams have already, and nothing is
//	    written. An id is known for as long as its event exists. A link is identified by its stream and its event's id, and counts
//	    as an event here.
//	P6  A Commit is all or nothing; of two with the same exact expected version one wins.
//	P7  Storage that several nodes share refuses a Commit made under another epoch than
//	    the log's. Epochs never go back.
//	P8  A follow delivers each matching event once, in order, and never blocks an append.
//	P9  A subscription's checkpoint passes no event that is not acked or parked, and
//	    moves only forward, unless somebody resets it (core/delivery).
//	P10 A handler's outputs, state and ack are one Commit. (With plugins.)
//	P11 Every wait has a deadline, every queue a bound, and every error a code of the
//	    catalogue (catalogue.go).
//	P12 Bad input gets a clear error and changes nothing.
//
// # Concurrency
//
// Everything exported is safe for concurrent use unless it says otherwise.
// Batches and the events read from them are immutable and shared: nobody
// modifies what they point to.
package core
