//go:build unix

package main

import (
	"slices"
	"testing"

	"github.com/gyre-events/gyre/internal/pgtest"
)

// TestFiles compares the files of examples/cluster with what its README and docs/cluster.md say,
// and with the PostgreSQL that make database starts.
func TestFiles(t *testing.T) {
	t.Chdir("../../..")
	config, port, err := read(files)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"127.0.0.1:4973", "127.0.0.1:4974", "127.0.0.1:4975"}; !slices.Equal(config.Listen, want) {
		t.Errorf("the nodes listen at %q, want %q", config.Listen, want)
	}
	if want := []string{"127.0.0.1:7946", "127.0.0.1:7947", "127.0.0.1:7948"}; !slices.Equal(config.Gossip, want) {
		t.Errorf("gossip is at %q, want %q", config.Gossip, want)
	}
	if want := pgtest.URLAt(port); config.Postgres != want {
		t.Errorf("the database is %s, want %s", config.Postgres, want)
	}
}
