package sdk_test

import (
	"errors"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi/wire"
)

func TestClientChangesStreams(t *testing.T) {
	for name, o := range modes {
		t.Run(name, func(t *testing.T) {
			r := &restarting{t: t, store: newStore(t)}
			r.start()
			defer r.stop(t.Context())
			c := dial(t, r.addr, o)
			defer c.Close()
			if _, err := c.Append(t.Context(), one("s", core.NoStream, "1")); err != nil {
				t.Fatal(err)
			}
			for i, step := range []struct {
				err  error
				want core.Code
			}{
				{c.DeleteStream(t.Context(), "s", 7), core.CodeWrongExpectedVersion},
				{c.DeleteStream(t.Context(), "s", 1), ""},
				{c.RemoveStream(t.Context(), "s", 1), core.CodeStreamDeleted},
				{c.UndeleteStream(t.Context(), "s", core.AnyVersion), ""},
				{c.RemoveStream(t.Context(), "s", 1), ""},
				{c.UndeleteStream(t.Context(), "s", core.AnyVersion), core.CodeStreamNotFound},
				{c.TombstoneStream(t.Context(), "s", core.NoStream), ""},
				{c.DeleteStream(t.Context(), "s", core.AnyVersion), core.CodeStreamTombstoned},
			} {
				if step.want == "" && step.err != nil || step.want != "" && !errors.Is(step.err, step.want) {
					t.Errorf("step %d: %v, want %q", i, step.err, step.want)
				}
			}
		})
	}
}

// TestChangesOfStreamsAreNotSentAgain: nobody could tell whether the try before has made one, and
// another could be done to the stream's next incarnation. With events beside it, ids tell.
func TestChangesOfStreamsAreNotSentAgain(t *testing.T) {
	first := make(chan uint64, 1)
	c := dial(t, scripted(t, func(c *scriptedConn) {
		c.commit()
	}, func(c *scriptedConn) {
		first <- c.commit()
	}, func(c *scriptedConn) {
		again, first := c.commit(), <-first
		if again != first {
			c.t.Errorf("commit %d is sent, want %d again", again, first)
		}
		c.say(&wire.OK{ID: first, Appends: []wire.Appended{{Version: 1, Position: 1, Count: 1}}, Count: 1, Position: 1})
		c.left()
	}), sdk.Options{})
	if err := c.RemoveStream(t.Context(), "s", 3); !errors.Is(err, core.CodeUnknownOutcome) {
		t.Errorf("%v, want unknown_outcome", err)
	}
	commit := one("a", core.AnyVersion, "1")
	commit.Streams = []core.StreamOp{{Stream: "s", Expect: 3, Action: core.RemoveStream}}
	if r, err := c.Append(t.Context(), commit); err != nil || r.Position != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	_ = c.Close()
}
