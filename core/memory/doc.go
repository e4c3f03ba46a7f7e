// Package memory is the Engine that keeps a log in memory and nowhere else. It is for
// tests, for trying things out, and the reference that other engines are compared
// with. It is written to be obviously right.
//
// It keeps every promise of package core but P4: what it acknowledges lives as
// long as the process.
//
// [New] makes an [Engine] with a log of its own. [NewLog] makes a [Log] that several
// engines share, as nodes share a database: each [Handle] is opened under an epoch, sees
// what the others write, and can be made slow, lose calls and be cut off. Handles have
// no goroutines and hold no lock while they wait, so they work in a testing/synctest
// bubble. A Handle is a cluster.Arbiter, too: its Log keeps the sessions and views of a
// ring. A test takes one of the Log's rules out (Log.Without) to show that it would notice.
//
// # What happens to a Commit
//
// The Commits of a group are taken one by one, in order, under one lock; each
// sees what those before it did. For each:
//
//  1. Ids are looked up (P5). All known, each Append's in an unbroken run of
//     versions of its own stream, each run after the one before it in the log:
//     the Commit is a retry. It is answered with where its events are, and
//     nothing of it is written, its records included, whatever it expects. Any
//     other known id, or an id sent twice, is duplicate_event. The zero ID asks
//     for a new one and is known nowhere. A link is known by its stream and the id
//     of its event; that the event is at home in the stream, or linked there
//     already, is duplicate_event, and that there is no such event, event_not_found.
//     Of several such, the first in the Commit's order is the answer.
//  2. The epoch: a Commit made under another epoch than the log's is stale_epoch, also
//     where its ids refuse it. A retry is answered under any epoch.
//  3. Expectations: of the Appends in order, each seeing the ones before it;
//     then of the Checks and of the records, which see what was there before the
//     Commit. The first that does not hold is the answer. Its Element counts
//     Appends, Checks and Records on, from 0.
//  4. Events and links are encoded at the next positions, and records are changed in order.
//
// All methods are safe for concurrent use. One lock guards everything, and what
// has been written never changes, so pages need no lock.
package memory
