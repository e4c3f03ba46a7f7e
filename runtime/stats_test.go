package runtime_test

import (
	"encoding/json"
	"testing"

	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/runtime"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// Stats of a node have what its store, its subscriptions and its files say.
func TestStats(t *testing.T) {
	node := start(t, runtime.Config{Data: t.TempDir(), Node: "n1"})
	for range 3 {
		if _, err := node.Store().Append(t.Context(), commit("order-1", "A")); err != nil {
			t.Fatal(err)
		}
	}
	d := subscriptions.DefaultDefinition()
	if _, _, err := node.Subscriptions().Put(t.Context(), "billing", &d); err != nil {
		t.Fatal(err)
	}
	_, body := get(t, node.URL()+"/v1/stats")
	var s wire.Stats
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		t.Fatal(err)
	}
	if s.Store.Events != 3 || s.Store.Steps < 3 || s.Store.StepSeconds <= 0 || s.Store.Commits < 4 {
		t.Errorf("store: %+v", s.Store)
	}
	if s.Subscriptions.Count != 1 || s.Subscriptions.Lag != 3 || s.Subscriptions.Lagging != 1 || s.Subscriptions.Parked != 0 {
		t.Errorf("subscriptions: %+v", s.Subscriptions)
	}
	if s.Storage.Log == 0 || s.Storage.Database != 0 {
		t.Errorf("storage: %+v", s.Storage)
	}
	if s.Plugins.Count != 0 || s.Plugins.States == nil {
		t.Errorf("plugins: %+v", s.Plugins)
	}
}
