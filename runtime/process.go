package runtime

import (
	"os"
	"runtime/debug"
)

// gcPercent is how much garbage there may be for each 100 bytes that are in use. What
// a node has in use is small, and appends that meet the collector wait for it.
// RATIONALE.md has the figures.
const gcPercent = 200

// TuneProcess sets the garbage collector of a process that is a node and little else.
// GOGC in the environment takes precedence.
func TuneProcess() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
