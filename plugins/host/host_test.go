package host_test

import (
	"fmt"
	"maps"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
)

// counter counts events per type, and appends one for each tenth.
func counter(c *call) error {
	if string(c.Type) == "Tenth" {
		return nil
	}
	n, err := c.count(string(c.Type))
	if err != nil || n%10 != 0 {
		return err
	}
	return c.append("tenths-"+string(c.Type), -1, "Tenth", fmt.Sprintf(`{"n":%d}`, n))
}

var counterManifest = plugins.Manifest{Subscription: plugins.Input{Stream: core.All}}

var counterGrants = []string{"append:tenths-*", "state"}

func TestHandlerAppendsAndKeepsState(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.add("counter", "1", counterManifest, counter)
		n.append("A", 25, 3)
		n.append("B", 13, 3)
		n.deploy("counter", plugins.Deploy{Version: "1", Grants: counterGrants, AllowLoops: new(true)})
		n.await("counter", 38)
		n.append("A", 30, 3)
		s := n.await("counter", 68+6)
		if got := n.state("counter", 0); !maps.Equal(got, map[string]string{"A": "55", "B": "13"}) {
			t.Errorf("the state is %v", got)
		}
		if a, b := len(n.events("tenths-A")), len(n.events("tenths-B")); a != 5 || b != 1 {
			t.Errorf("%d and %d events were appended", a, b)
		}
		if s.State != plugins.Running || s.StateBytes != 6 || s.Totals.Appended != 6 || s.Parked != 0 {
			t.Errorf("%+v", s)
		}
		n.stop()
		n.start()
		n.append("A", 5, 1)
		n.await("counter", 79+1)
		if got := n.state("counter", 0)["A"]; got != "60" {
			t.Errorf("after a restart, state is %s", got)
		}
	})
}
