//go:build unix

package main

import "testing"

// TestFindingStreamsDocs runs the session of docs/finding-streams.md.
func TestFindingStreamsDocs(t *testing.T) {
	t.Parallel() // it waits, most of the time
	addresses := documented(freeAddresses(t, 1))
	s := startShell(t, t.TempDir(), addresses.use.Replace("export GYRE_SERVER=127.0.0.1:4973; unset GYRE_TLS_CA"))
	steps := session(t, "../../docs/finding-streams.md")
	for _, step := range steps {
		s.follow(step, addresses)
	}
	if len(steps) != 8 {
		t.Errorf("the session has %d commands", len(steps))
	}
}
