// Package enginetest is the contract of core.Engine as tests. Every engine passes the
// suite, so code above engines need not know which one it has.
//
//	func TestEngine(t *testing.T) {
//		enginetest.Run(t, func(t testing.TB) core.Engine { return memory.New() })
//	}
//
// Tests are grouped by the promise of package core that they check, and carry the number
// of the behavior that they port (A append, B link, C read). Every test ends with a check
// of the whole log: positions and versions have no gaps, times never go back, and all
// ways to read agree.
//
// # What the suite requires beyond core's documentation
//
//   - A Commit is a retry (P5) if it has events, each has a known id, each Append's
//     events are an unbroken run of versions of its own stream, in its order, and each
//     run begins after the one before it has ended. A retry writes nothing, not even
//     the Commit's records.
//   - A link counts as an event in all of this. It is known if its event is linked in
//     the stream. Otherwise duplicate_event (its event is in the stream) or
//     event_not_found is returned before any expectation. Of several such errors, and
//     of known ids, the first in the Commit's order is returned.
//   - Appends are evaluated in order, each seeing the ones before it; then Checks
//     and then records, both against the state before the Commit. The first that
//     fails is returned. Element is its index among all three, in that order.
//   - Two operations on one record in one Commit are applied in order. A put with an
//     expectation raises the revision by 1, without one by 1 or more. A record that
//     was deleted begins again: NoStream makes revision 1.
//   - Ids, then the epoch, then expectations. A retry is answered under any epoch;
//     every refusal under another epoch than the log's is stale_epoch.
//   - Engines ignore Lazy.
//   - After an empty page, Next is the From of the request. A backward From beyond the
//     end is the last event.
//   - The head is always between two Commits.
//
// The walk is twenty times as long if GYRE_SOAK=1. GYRE_SEED repeats one that failed.
package enginetest
