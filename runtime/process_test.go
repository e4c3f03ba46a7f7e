package runtime_test

import (
	goruntime "runtime"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/gyre-events/gyre/runtime"
)

// TestCollectorLetsGarbageBe: what may be garbage beside little is many times as much,
// and beside much it is not.
func TestCollectorLetsGarbageBe(t *testing.T) {
	t.Setenv("GOGC", "")
	runtime.TuneProcess()
	awaitCollector(t, "a few MiB", 300, 100_000)
	inUse := make([]byte, 256<<20)
	awaitCollector(t, "256 MiB", 120, 150)
	goruntime.KeepAlive(inUse)
}

// awaitCollector collects until garbage may be so many percent of what is in use.
func awaitCollector(t *testing.T, inUse string, least, most uint64) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for p := collectorPercent(); p < least || p > most; p = collectorPercent() {
		if time.Now().After(deadline) {
			t.Fatalf("beside %s the collector is at %d %%, want %d to %d", inUse, p, least, most)
		}
		goruntime.GC()
	}
}

func collectorPercent() uint64 {
	sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
