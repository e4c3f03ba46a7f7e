// Package enginetest is the contract of core.Engine as tests: the suite that
// every engine passes, so that nothing above them needs to know which it has.
//
//	func TestEngine(t *testing.T) {
//		enginetest.Run(t, func(t testing.TB) core.Engine { return memory.New() })
//	}
//
// Tests are grouped by the promise of package core that they hold the engine to,
// and carry the number of the behaviour they port (A append, B link, C read; the
// others have none). Every test ends with a check of the whole log: positions and
// versions without a gap, times that never go back, and every way to read
// agreeing with every other.
//
// # What the suite asks beyond core's own words
//
//   - A Commit is a retry (P5) if it has events, each has a known id, each
//     Append's are an unbroken run of versions of its own stream, in its order,
//     and each run begins after the one before it has ended. A retry writes
//     nothing, the Commit's records included.
//   - A link counts as an event in all of this. It is known if its event is linked
//     in the stream already. Else that its event is in the stream, or is not in the
//     log, is the answer, before any expectation; of several such, and of ids that
//     are known, the first in the Commit's order.
//   - Appends are evaluated in order, each seeing the ones before it; then Checks
//     and then records, both against the state before the Commit. The first that
//     fails is the answer. Element counts all three on, from 0.
//   - Two operations on one record in one Commit are applied in order. A put with an
//     expectation raises the revision by 1, without one by 1 or more. A record that
//     was deleted begins again: NoStream makes revision 1.
//   - Ids, then the epoch, then expectations. A retry is answered under any epoch;
//     every refusal under another epoch than the log's is stale_epoch.
//   - Engines ignore Lazy.
//   - A page reads on from From: after an empty page, Next is the From that was
//     asked for. From beyond the end, backward, is the last event.
//   - The head stands between Commits only, never inside one.
//
// The walk is as long as the machine can bear if GYRE_SOAK=1, else a twentieth of
// that. GYRE_SEED repeats one that failed.
package enginetest
