//go:build race

package project

import (
	"os/exec"
	"testing"
)

// The sandbox compiles modules in a second, and in a minute with the race detector: its tests
// run without.
func TestWithoutRaceDetector(t *testing.T) {
	if out, err := exec.Command("go", "test", "-count=1", "-run", "TestTry|TestTemplates|TestMissingToolchains|TestSDKsAreThoseOfTheTree", ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}
