//go:build unix

package main

import "testing"

// TestSecurityDocs runs the session of docs/security.md.
func TestSecurityDocs(t *testing.T) {
	t.Parallel() // it waits, most of the time
	addresses := documented(freeAddresses(t, 2))
	s := startShell(t, t.TempDir(), "unset GYRE_SERVER GYRE_TLS_CA")
	steps := session(t, "../../docs/security.md")
	for _, step := range steps {
		s.follow(step, addresses)
	}
	if len(steps) < 7 {
		t.Errorf("the session has %d commands", len(steps))
	}
}
