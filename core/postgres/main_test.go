package postgres_test

import (
	"fmt"
	"os"
	"testing"
)

// TestMain runs a node instead of the tests where a test has started this
// binary as one.
func TestMain(m *testing.M) {
	if os.Getenv(nodeEnv) != "" {
		if err := runNode(); err != nil {
			fmt.Fprintln(os.Stderr, "node:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// soaking reports whether tests run at their full length.
func soaking() bool { return os.Getenv("GYRE_SOAK") == "1" }
