package runtime

import (
	"os"
	goruntime "runtime"
	"runtime/debug"
	"runtime/metrics"
)

// leastGarbage, in bytes, may be there before the collector runs, beside as much as is
// in use. What a node has in use is small, and appends that meet the collector wait
// for it. RATIONALE.md has the figures.
const leastGarbage = 128 << 20

// TuneProcess sets the garbage collector of a process that is a node and little else.
// GOGC in the environment takes its place, and GOMEMLIMIT bounds it.
func TuneProcess() {
	if os.Getenv("GOGC") == "" {
		tuneCollector()
	}
}

// tuneCollector says when the next collection is due, and does so again after it: the
// collector itself knows of a proportion only.
func tuneCollector() {
	const leastInUse = 4 << 20 // it is 0 before the first collection
	debug.SetGCPercent(100 + int(100*leastGarbage/max(bytesInUse(), leastInUse)))
	goruntime.AddCleanup(&collected{}, func(struct{}) { tuneCollector() }, struct{}{})
}

// collected is found to be garbage by the next collection. The pointer keeps it apart
// from other small objects, with which it would stay.
type collected struct{ _ *byte }

// bytesInUse is what the last collection left of the heap.
func bytesInUse() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
