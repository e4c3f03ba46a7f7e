// Package disk is the embedded storage engine: a log in a directory of its own, which is
// appended to and whose sealed segments a scavenge may rewrite. The index and the records are
// derived from the log and are rebuilt when they are lost. One Engine has the directory to itself.
//
//	engine, err := disk.Open(ctx, disk.Config{Dir: "data"})
//	store := core.NewStore(engine, core.StoreConfig{})
//
// # Promises
//
//   - What was acknowledged was synced, and is found after any crash (P4). A Commit
//     is one frame with checksums, so it is found whole or not at all (P6).
//   - Damage to anything acknowledged is refused with the file and the byte, and
//     never skipped. Each event has its own checksum, which every read verifies.
//   - After a failed write or sync, the engine trusts only what the disk confirmed
//     before. The callers get unknown_outcome, the segment is given up, and the log
//     goes on in a new one by itself.
//   - The index and the records are verified wherever they are read. Damage there is
//     never a wrong answer: the index is mended at once, records are refused until the
//     next start makes them anew. Beside a log that was restored from an older
//     copy, those of the lost tail are not used.
//   - A scavenge removes events and changes for good, while everything else goes on. What
//     stays keeps its place in the log. Whatever ends a scavenge leaves a log that is right.
//   - A blob is synced before it gets its name, and compared with it wherever it is read.
//   - A backup is copied beside appends, and checked frame by frame. Whatever ends it leaves the
//     earlier one or the new one. A restore makes a log with an identity of its own, whole or
//     not at all.
//   - Each opening of the log begins a timeline (core.Timeline), so cursors and ETags
//     of a lost tail are recognized.
//   - Memory does not grow with the log, apart from 2 bytes an event of filters and
//     fences, 8 bytes for 511 kept parts of rewritten segments, and a hash of each stream that
//     was deleted or removed. Nor does the time of an append. At most 64 MiB of changes to records
//     wait for their database. A million records cost little more than a thousand.
//
// FORMAT.md specifies all files, and says why each power cut is safe.
//
// # Life of a Commit
//
//		Commit ─► decide ─► encode ─► WriteAt ─┬─► wait: fdatasync, one for all ─► answer
//		          (decide.go) (commit.go)      │         (appender.go)
//		          └── under Engine.mu ─────────┘
//
//	 1. decide looks the ids up, finds the streams' versions, checks what the
//	    Commit expects. It sees what was decided before, durable or not.
//	 2. encode lays the frame into a buffer and enters its events into the
//	    memtable (memtable.go), where the next decision finds them.
//	 3. The group's frames are written with one call. When the segment is full,
//	    the next one, prepared ahead (preparer.go), is begun.
//	 4. Without Engine.mu, the caller waits until the log is durable behind its
//	    frames. The first to come syncs for all that was written by then; another
//	    step is decided meanwhile.
//	 5. The durable mark moves. Readers load it first and see nothing behind it.
//
// # Reading
//
// A reader loads the mark, then the view (view.go): which memtables and runs
// know which segments. Both are immutable or append-only, so it needs no lock
// but the brief ones of memtables. A stream's page comes from its postings, a
// page of $all from the nearest sample on.
//
//	newest ◄──────────────────────────────────────────────► oldest
//	memtable │ memtables, sealed │ run │ run │    run    │      run
//	         └─ flusher makes runs ─┘   └─ merger: 3 become 1 ─┘
//
// # Concurrency
//
// All methods of Engine are safe for concurrent use. One goroutine at a time
// decides and writes, as the owner of Engine.mu. Locks are taken in this order:
// Engine.inUse, the turn of the scavenger, blobStore.working, Engine.mu, index.working,
// kindStore.replacing, policyPuts.mu, index.mu, index.reading, and last those of a memtable, the
// appender, the records, the kinds, the recovery and the pace, whose owners call nothing that
// takes another.
//
//	goroutine   owner          what it does                              ends
//	preparer    preparer       fills the next segment with zeros         preparer.close
//	flusher     index          writes runs of sealed memtables           index.close
//	merger      index          merges runs                               index.close
//	flusher     recordStore    writes runs of changed records            recordStore.close
//	merger      recordStore    merges runs of records                    recordStore.close
//	recovery    recovery       goes on after the disk has failed         recovery.close
//
// Engine.Close calls these and returns when all have ended.
package disk
