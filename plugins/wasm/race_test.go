//go:build race

package wasm

import (
	"os/exec"
	"testing"
)

// Compiling the Go runtime takes a second, and a minute with the race detector: its test runs
// without.
func TestWithoutRaceDetector(t *testing.T) {
	if out, err := exec.Command("go", "test", "-count=1", "-run", "TestGuestOfTheGoToolchain", ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}
