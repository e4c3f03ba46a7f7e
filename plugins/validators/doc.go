// Package validators judges appends. A validator is a version of a plugin of kind validate that
// is bound to patterns of streams, and to types of events if it names some. It may refuse a Commit
// that appends such events, before it is written.
//
// # From a Commit to a verdict
//
//	Store.Submit ─► Admit ─► Judge ─► validator: queue ─► worker: instance ─► next validator
//	      ▲                                                                        │
//	      └────────────────────────── done(refusal) ◄──────────────────────────────┘
//
// Admit is called on the submitter's goroutine, which may be the reader of a connection: it
// compares names and waits for nothing. Those that concern a Commit judge it one after the other,
// in the order of their names, and the first that refuses it has decided. A validator has a few
// workers, each with an instance of its own; they end when nothing is queued. The Store bounds
// what is judged at a time, and holds up nothing but what shares a stream with it.
//
// # Where it judges
//
// Wherever a Commit comes from, the Store that writes it has it judged: in a ring, that of the
// node that owns its first stream. What the system writes, records and links are not judged. Tools
// that open a store without a node judge nothing.
//
// # What a validator sees
//
// Batches of the events that match, in order, as they will be appended. An event has the version
// that it gets if the append expects a number, else 0; its position is 0 and its time now. It has
// its id if the client gave it one. A validator has no state and reads nothing: it is to answer the
// same about the same events.
//
// # Failures
//
// A validator has the time of its limits for each batch, of which most Commits have one, and a
// second for all. One that traps, or runs over its time or fuel, fails: the Commit is refused with
// validator_failed, and the instance is thrown away. One that cannot run here is
// validator_unavailable, which is worth another try. A validator whose error policy is to accept
// lets both through. Each Commit is judged for itself, whatever happened to others: somebody who
// finds events that crash a validator does not decide about the events of others.
//
// # When it is in force
//
// A validator is a record, written by compare-and-set. A node loads all of them before it takes
// appends, and looks for changes every second, so that a change is in force at the node that made
// it when it is answered, and at the others a second later, or once they have compiled it. Until a
// node has loaded a new version, the one before judges, also where the new one cannot be loaded; if
// there was none, it is unavailable.
//
// All methods of a Validators are safe for concurrent use. Close waits for its goroutines.
package validators
