package sdk_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// busy is the error of an overloaded node.
func busy(after time.Duration) error {
	e := core.Errorf(core.CodeOverloaded, "the node has as much as it takes now")
	e.RetryAfter = after
	return e
}

// ids receives a COMMIT, and returns the ids of it and of its events.
func (c *scriptedConn) ids() (id uint64, events []core.ID) {
	_, message, err := c.socket.ReadMessage()
	var f wire.CommitFrame
	frames := wire.NewFrames(message, wire.Uncompressed, 0)
	if _, ok := frames.Kind(); err != nil || !ok || frames.Commit(&f) != nil {
		c.t.Errorf("%x, %v", message, err)
	}
	for i := range f.Commit.Appends {
		for j := range f.Commit.Appends[i].Events {
			events = append(events, f.Commit.Appends[i].Events[j].ID)
		}
	}
	return f.ID, events
}

// TestOverloadedNodeIsAskedAgain: an append has the same events each time, and takes the first
// other answer. Reads and follows are asked again, too.
func TestOverloadedNodeIsAskedAgain(t *testing.T) {
	c := dial(t, scripted(t, func(c *scriptedConn) {
		id, events := c.ids()
		for range 2 {
			c.refuse(id, busy(time.Millisecond))
			again, same := c.ids()
			if again == id || !slices.Equal(events, same) {
				c.t.Errorf("commit %d of %v is sent again as %d of %v", id, events, again, same)
			}
			id = again
		}
		r := core.Result{Position: 2, Appends: []core.Appended{
			{FirstVersion: 1, LastVersion: 1, FirstPosition: 1, LastPosition: 1}, {FirstVersion: 1, LastVersion: 1, FirstPosition: 2, LastPosition: 2},
		}}
		if err := c.socket.WriteMessage(websocket.BinaryMessage, wire.AppendCommitted(nil, id, &r)); err != nil {
			c.t.Error(err)
		}
		for _, last := range []bool{false, true} {
			_, message, err := c.socket.ReadMessage()
			_, m, decodeErr := wire.DecodeClient(message)
			read, ok := m.(*wire.ReadRequest)
			switch {
			case err != nil || !ok:
				c.t.Errorf("%s: %v, %v", message, err, decodeErr)
			case last:
				c.say(&wire.OK{ID: read.ID, PageFields: wire.PageFields{End: true}})
			default:
				c.refuse(read.ID, busy(time.Millisecond))
			}
		}
		for _, last := range []bool{false, true} {
			_, message, err := c.socket.ReadMessage()
			_, m, decodeErr := wire.DecodeClient(message)
			follow, ok := m.(*wire.Subscribe)
			switch {
			case err != nil || !ok:
				c.t.Errorf("%s: %v, %v", message, err, decodeErr)
			case last:
				c.say(&wire.OK{ID: follow.ID, Sub: follow.Sub})
			default:
				c.refuse(follow.ID, busy(time.Millisecond))
			}
		}
		_, _, _ = c.socket.ReadMessage() // the end of the follow, or of the connection
	}), sdk.Options{})
	if r, err := c.Append(t.Context(), two()); err != nil || r.Position != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	if page, err := c.Read(t.Context(), core.ReadRequest{Stream: "s"}); err != nil || !page.End {
		t.Errorf("%+v, %v", page, err)
	}
	follower, err := c.Follow(t.Context(), core.FollowRequest{Stream: "s"})
	if err != nil {
		t.Fatal(err)
	}
	_ = follower.Close()
	_ = c.Close()
}

// TestOverloadedWithoutTime: nobody waits for a try that would come too late, and appends that
// are submitted in an order are not tried again.
func TestOverloadedWithoutTime(t *testing.T) {
	c := dial(t, scripted(t, func(c *scriptedConn) {
		c.refuse(c.commit(), busy(time.Minute))
		c.refuse(c.commit(), busy(time.Millisecond))
		c.left()
	}), sdk.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
	defer cancel()
	if _, err := c.Append(ctx, two()); !errors.Is(err, core.CodeOverloaded) || core.AsError(err).RetryAfter != time.Minute {
		t.Errorf("%v, want overloaded", err)
	}
	answered := make(chan error, 1)
	c.Submit(ctx, two(), func(_ core.Result, err error) { answered <- err })
	if err := <-answered; !errors.Is(err, core.CodeOverloaded) {
		t.Errorf("%v, want overloaded", err)
	}
	_ = c.Close()
}
