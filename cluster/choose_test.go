package cluster

import (
	"slices"
	"testing"
)

// TestAddressesAreTriedOnce: two sessions may have one address, such as a node's that began
// anew. It is tried by one at a time.
func TestAddressesAreTriedOnce(t *testing.T) {
	m := &Membership{gossip: &gossip{}}
	m.asked.joining = make(map[string]*joinAttempt)
	if got := m.choose([]string{"10.0.0.1:7946", "10.0.0.1:7946", "10.0.0.2:7946"}); !slices.Equal(got, []string{"10.0.0.1:7946", "10.0.0.2:7946"}) {
		t.Errorf("%q are tried", got)
	}
	if got := m.choose([]string{"10.0.0.1:7946"}); len(got) > 0 {
		t.Errorf("%q are tried once more", got)
	}
}
