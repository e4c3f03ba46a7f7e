package access_test

import (
	"slices"
	"testing"

	"github.com/gyre-events/gyre/access"
)

// TestActions: what Actions lists is what Check allows with some target.
func TestActions(t *testing.T) {
	for _, role := range access.Roles() {
		p := &access.Principal{Role: role, Streams: []string{"*"}}
		for _, a := range access.Actions() {
			if listed, allowed := slices.Contains(p.Actions(), a), p.Check(a, "") == nil; listed != allowed {
				t.Errorf("%s %s: listed %t, allowed %t", role, a, listed, allowed)
			}
		}
	}
}
