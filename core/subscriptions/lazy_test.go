package subscriptions_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/disk"
)

// What somebody waits for is stored at once, on a node where nothing else happens:
// time passes in the bubble only while everything waits.
func TestWhatIsWaitedForIsNotLazy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, err := disk.Open(t.Context(), disk.Config{Dir: t.TempDir(), SegmentBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		n := newNode(t, engine)
		n.fill(5, 1)
		atOnce := func(name string, do func(ctx context.Context) error) {
			t.Helper()
			begun := time.Now()
			if err := do(t.Context()); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if waited := time.Since(begun); waited != 0 {
				t.Errorf("%s waited %v", name, waited)
			}
		}
		atOnce("put", func(ctx context.Context) error { _, _, err := n.Put(ctx, "s", definition(nil)); return err })
		atOnce("pause", func(ctx context.Context) error { return n.Pause(ctx, "s") })
		atOnce("resume", func(ctx context.Context) error { return n.Resume(ctx, "s") })
		c := n.join("s", unlimited)
		wantPositions(t, c.take(5), numbers(1, 5))
		atOnce("reset", func(ctx context.Context) error { return n.Reset(ctx, "s", core.From{}) })
		c = n.join("s", unlimited)
		wantPositions(t, c.take(5), numbers(1, 5))
		c.ack(1, 2, 3)
		c.Leave(true)
		atOnce("pause with a checkpoint under way", func(ctx context.Context) error { return n.Pause(ctx, "s") })
		atOnce("delete", func(ctx context.Context) error { return n.Delete(ctx, "s") })
		n.close(n.Owner)
		if err := n.store.Close(); err != nil {
			t.Error(err)
		}
	})
}
