//go:build race

package plugin_test

import (
	"os/exec"
	"testing"
)

// The sandbox compiles modules in a second, and in a minute with the race detector: its test
// runs without.
func TestWithoutRaceDetector(t *testing.T) {
	if out, err := exec.Command("go", "test", "-count=1", "-run", "Sandbox", ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}
