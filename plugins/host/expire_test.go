package host_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins/host"
)

// remove removes the events of a stream.
func (w *world) remove(stream string) {
	w.t.Helper()
	op := core.StreamOp{Stream: stream, Expect: core.AnyVersion, Action: core.RemoveStream}
	if _, err := w.client.Append(w.t.Context(), core.Commit{Epoch: w.client.State().Epoch, Streams: []core.StreamOp{op}}); err != nil {
		w.t.Fatal(err)
	}
}

// expired checks what the machine has counted, and that the lane goes on behind it.
func (w *world) expired(want uint64) (problem string) {
	w.add([]core.Append{stream("s-0", "Plain", 1, "0", nil)})
	time.Sleep(time.Minute)
	info, err := w.now.subs.Info(w.t.Context(), "fold")
	if err != nil || info.Totals.Expired != want || info.Checkpoint < w.last || info.Parked > 0 {
		return fmt.Sprintf("%d expired, the checkpoint is %d of %d, %d are parked: %v", info.Totals.Expired, info.Checkpoint, w.last, info.Parked, err)
	}
	return ""
}

func removedWhileQueued(t testing.TB, without host.Rules) (problem string) {
	var removed atomic.Int32
	return scene(t, without, func(c *call) error {
		switch string(c.Data) {
		case "1":
			time.Sleep(50 * time.Millisecond)
		case "2":
			removed.Add(1)
		}
		return nil
	}, func(w *world) string {
		w.add([]core.Append{stream("s-0", "Plain", 20, "1", nil), stream("s-1", "Plain", 3, "2", nil)})
		time.Sleep(200 * time.Millisecond)
		w.remove("s-1")
		time.Sleep(time.Minute)
		if removed.Load() > 0 {
			return fmt.Sprintf("%d removed events were handled", removed.Load())
		}
		return w.expired(3)
	})
}

func removedWhileTried(t testing.TB, without host.Rules) (problem string) {
	var attempts atomic.Int32
	return scene(t, without, func(c *call) error {
		if string(c.Data) == "2" {
			attempts.Add(1)
			time.Sleep(100 * time.Millisecond)
			return errors.New("not now")
		}
		return nil
	}, func(w *world) string {
		w.add([]core.Append{stream("s-1", "Plain", 1, "2", nil)})
		time.Sleep(50 * time.Millisecond)
		w.remove("s-1")
		time.Sleep(time.Minute)
		if attempts.Load() != 1 {
			return fmt.Sprintf("there were %d attempts at a removed event", attempts.Load())
		}
		return w.expired(1)
	})
}
