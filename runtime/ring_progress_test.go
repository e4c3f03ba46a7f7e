package runtime_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/runtime"
)

// movesProgress moves places through all nodes of a ring. Of two workers of one name at
// different nodes one makes each move, whoever owns what they append to.
func movesProgress(t *testing.T, nodes ...*runtime.Node) {
	t.Helper()
	const last = 9 // the log has more
	made := make([][]uint64, len(nodes))
	var workers sync.WaitGroup
	for i, n := range nodes {
		client := dial(t, n)
		workers.Go(func() {
			for at := uint64(0); at < last; {
				c := oneEvent(0)
				c.Appends[0].Stream, c.Appends[0].Expect = fmt.Sprintf("moved-%d", at), core.AnyVersion
				c.Progress = &core.Progress{Name: "worker", From: at, To: at + 1}
				switch _, err := client.Append(t.Context(), c); {
				case err == nil:
					at++
					made[i] = append(made[i], at)
				case errors.Is(err, core.CodeProgressConflict):
					at = *core.AsError(err).Actual
				default:
					t.Errorf("move from %d: %v", at, err)
					return
				}
			}
		})
	}
	workers.Wait()
	times := map[uint64]int{}
	for _, list := range made {
		for _, to := range list {
			times[to]++
		}
	}
	for to := uint64(1); to <= last; to++ {
		page, err := dial(t, nodes[0]).Read(t.Context(), core.ReadRequest{Stream: fmt.Sprintf("moved-%d", to-1)})
		if err != nil || page.Version != 1 || times[to] != 1 {
			t.Errorf("the move to %d was made %d times, with %d events, %v", to, times[to], page.Version, err)
		}
	}
	movesAlone(t, nodes)
}

// movesAlone moves places without events, whose names have different owners, and looks at
// them from other nodes.
func movesAlone(t *testing.T, nodes []*runtime.Node) {
	t.Helper()
	for i := range 6 {
		p := &core.Progress{Name: fmt.Sprintf("alone-%d", i), To: 1, ID: core.NewID()}
		for k := range nodes {
			r, err := dial(t, nodes[(i+k)%len(nodes)]).Append(t.Context(), core.Commit{Progress: p})
			if err != nil || r.Duplicate != (k > 0) {
				t.Errorf("%s try %d: %+v, %v", p.Name, k+1, r, err)
			}
		}
		other := dial(t, nodes[(i+1)%len(nodes)])
		if info, err := other.Progress(t.Context(), p.Name); err != nil || info.Position != 1 || info.ID != p.ID {
			t.Errorf("%s elsewhere: %+v, %v", p.Name, info, err)
		}
		if err := other.DeleteProgress(t.Context(), p.Name); err != nil {
			t.Errorf("%s deleted elsewhere: %v", p.Name, err)
		}
	}
}
