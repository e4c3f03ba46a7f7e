package host_test

import (
	"context"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins"
)

// TestRefusedAppends: what a lane appends is judged as anybody's appends are. The event whose
// appends are refused is parked with the reason, alone, and those behind it go on.
func TestRefusedAppends(t *testing.T) {
	refuse := func(c *core.Commit) core.Judge {
		return func(_ context.Context, done func(error)) {
			for _, a := range c.Appends {
				for i := range a.Events {
					if a.Stream == "copies" && strings.Contains(string(a.Events[i].Data), `"of":3`) {
						go done(core.Errorf(core.CodeAppendRefused, "the third is refused"))
						return
					}
				}
			}
			go done(nil)
		}
	}
	n := newNodeOf(t, core.NewStore(memory.New(), core.StoreConfig{Admit: refuse}))
	n.append("Good", 5, 1)
	n.add("copier", "1", copierManifest, copier)
	n.deploy("copier", plugins.Deploy{Version: "1", Grants: []string{"append:copies", "state"}})
	n.await("copier", 5)
	parked, err := n.subs.Parked(t.Context(), "copier", subscriptions.ParkedRequest{})
	if err != nil || len(parked.Parked) != 1 || parked.Parked[0].Position != 3 || !strings.Contains(parked.Parked[0].Reason, "append_refused: the third is refused") {
		t.Errorf("parked %+v, %v", parked.Parked, err)
	}
	page, err := n.store.Read(t.Context(), core.ReadRequest{Stream: "copies"})
	if err != nil || page.Version != 4 {
		t.Errorf("%d events are copied, %v", page.Version, err)
	}
}
