//go:build unix

package main

import "testing"

// TestMonitoringDocs runs the session of docs/monitoring.md.
func TestMonitoringDocs(t *testing.T) {
	t.Parallel() // it waits, most of the time
	addresses := documented(freeAddresses(t, 1))
	s := startShell(t, t.TempDir(), addresses.use.Replace("export GYRE_SERVER=127.0.0.1:4973; unset GYRE_TLS_CA"))
	steps := session(t, "../../docs/monitoring.md")
	for _, step := range steps {
		s.follow(step, addresses)
	}
	if len(steps) != 9 {
		t.Errorf("the session has %d commands", len(steps))
	}
}
