package cluster

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
)

// The node that has forwarded an append learns the log's head from its answer. Only the
// others are sent a HEAD.
func TestHeadsGoToWhomNoAnswerGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		routers, heads := nearNodes(t, 3)
		synctest.Wait() // there are links
		owner := routers[1]
		stream := names("s", 1, owner.isHere)[0]
		for i, want := range []struct {
			at    int
			sent  []uint64
			hints []uint64
		}{
			{0, []uint64{0, 0, 1}, []uint64{1, 0, 1}},
			{1, []uint64{2, 0, 2}, []uint64{2, 0, 2}},
		} {
			if _, err := routers[want.at].Append(t.Context(), appendTo(stream, core.Expect(i))); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * headsApart)
			heads.mu.Lock()
			if !slices.Equal(heads.sent, want.sent) || !slices.Equal(heads.hints, want.hints) {
				t.Errorf("after an append at node %d the nodes were sent %v and know %v, want %v and %v",
					want.at, heads.sent, heads.hints, want.sent, want.hints)
			}
			heads.mu.Unlock()
		}
	})
}
