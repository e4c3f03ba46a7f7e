// Package census counts the events of a log by their types, and by the categories of their
// streams.
//
// # Words
//
//	category  what a stream's name has before its first '-', such as order of order-10482
//	          (core.CategoryOf)
//	count     what the log has of one type or category: events, and for a category its streams
//	          and links; and the position and the time of the last
//	others    the count of all types, or categories, beyond the first MaxNames
//	fold      the reader that goes over the log and adds to the counts
//	up to     the position that the counts are complete up to
//
// # Rules
//
//   - An append waits for no fold. A fold reads what is in the log, some time after it.
//   - A step of the fold is stored by one Commit of its position and of the counts that changed. It
//     expects the revision that the last step left, so each event is counted exactly once,
//     whatever happens to the process, and whoever else folds.
//   - A step is stored once it has counted 20 times the bytes of its Commit, and after 10 seconds
//     anyway: records that change make a log longer.
//   - In a ring one node folds: the owner of Name. That is only to save work: of two that fold,
//     the slower one is refused with record_conflict and begins with what is stored.
//   - Every node reads the counts. The one that folds has them in memory, a second old; to others
//     they are what is stored.
//   - Streams of the system are not counted. A link is counted in its stream's category, and not
//     by its type: the event is, where it was written.
//   - Names are bounded. A type or category that comes after MaxNames others is counted as one of
//     the others for good, so that the counts do not depend on what is counted when.
//   - A log that is older than the census is folded from its start, with pauses nine times as
//     long as the work between them.
//
// # Where things are
//
//	count.go  Count and its record
//	fold.go   the fold: what a step reads and writes
//	census.go Census, which runs the fold
//	list.go   pages of counts
package census
