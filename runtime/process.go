package runtime

import (
	"os"
	"runtime/debug"
)

// gcPercent is how much garbage there may be for each 100 bytes that are in use. What
// a node has in use is small, and an append that meets the collector waits for it: at
// Go's 100 that is one in fifty beside a thousand subscriptions, at 200 half of them.
const gcPercent = 200

// TuneProcess sets the garbage collector of a process that is a node and little else.
// GOGC in the environment takes precedence.
func TuneProcess() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
