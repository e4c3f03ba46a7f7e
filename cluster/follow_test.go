package cluster

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
)

// A follow says once that the node delivers nothing, and goes on afterwards where it was,
// whether it waited at the head or was behind.
func TestFollowWithoutQuorum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 0)
		n := w.nodes[0]
		w.awaitOwner("any")
		ctx := t.Context()
		closed := core.Errorf(core.CodeNoNodeAvailable, "1 of 2 members is alive")
		n.append(ctx, 0, 3)
		f, err := n.router.Follow(ctx, core.FollowRequest{Stream: core.All})
		if err != nil {
			t.Fatal(err)
		}
		next := func(count int) core.Delivery {
			t.Helper()
			d, err := f.Next(ctx, core.Limit{Events: count, Bytes: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
		if d := next(2); d.Last != 2 {
			t.Fatalf("%+v", d)
		}
		n.shut(closed) // behind
		if d := next(2); d.NoQuorum != closed.Detail || d.Cursor != 2 || d.Count > 0 || d.Live {
			t.Fatalf("%+v", d)
		}
		within, cancel := context.WithTimeout(ctx, time.Minute)
		if d, err := f.Next(within, core.Limit{Events: 2, Bytes: 1 << 20}); !errors.Is(err, core.CodeTimeout) {
			t.Fatalf("%+v, %v from a node that does not serve", d, err)
		}
		cancel()
		n.shut(nil)
		if d := next(2); d.NoQuorum != "" || d.Cursor != 2 || d.Count > 0 || d.Live {
			t.Fatalf("%+v", d)
		}
		if d := next(2); d.Last != 3 || d.NoQuorum != "" || !d.Live {
			t.Fatalf("%+v", d)
		}
		go func() { // at the head
			time.Sleep(time.Second)
			n.shut(closed)
			time.Sleep(time.Second)
			n.shut(nil)
		}()
		if d := next(2); d.NoQuorum == "" || d.Cursor != 3 {
			t.Fatalf("%+v", d)
		}
		if d := next(2); d.NoQuorum != "" || d.Count > 0 || !d.Live {
			t.Fatalf("%+v", d)
		}
		n.append(ctx, 3, 1)
		if d := next(2); d.Last != 4 || !d.Live {
			t.Fatalf("%+v", d)
		}
		ended := make(chan error, 1)
		n.shut(closed)
		next(2)
		go func() {
			_, err := f.Next(ctx, core.Limit{Events: 2, Bytes: 1 << 20})
			ended <- err
		}()
		synctest.Wait()
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, core.CodeCanceled) {
			t.Errorf("a follow that was closed while the node does not serve: %v", err)
		}
	})
}
