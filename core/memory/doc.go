// Package memory is the Engine that keeps everything in memory and nothing
// anywhere else: for tests, for trying things out, and as the reference that
// other engines are compared with. It is written to be obviously right.
//
// It keeps every promise of package core but P4: what it acknowledges lives as
// long as the process.
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
//  2. Expectations: of the Appends in order, each seeing the ones before it;
//     then of the Checks and of the records, which see what was there before the
//     Commit. The first that does not hold is the answer. Its Element counts
//     Appends, Checks and Records on, from 0.
//  3. Events and links are encoded at the next positions, and records are changed in order.
//
// All methods are safe for concurrent use: one lock guards everything, and what
// has been written is never changed, so that what was read needs no lock.
package memory
