package sdk

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// subscribed is a Subscriber of c, whose subscribe a node has answered.
func subscribed(t *testing.T, c *Client) *Subscriber {
	t.Helper()
	var s *Subscriber
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		s, err = c.Subscribe(t.Context(), "w", SubscribeOptions{})
	}()
	synctest.Wait()
	c.answered(newest(c).id, answer{ok: &wire.OK{State: "live"}})
	<-done
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// newest is the newest call of c.
func newest(c *Client) *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	calls := c.inOrder()
	return calls[len(calls)-1]
}

// TestCloseBeforeTheAnswer: a Subscriber that joins again is closed before the node has
// answered. The answer is nobody's any more.
func TestCloseBeforeTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := idle()
		c.attach(stalled(t))
		s := subscribed(t, c)
		c.detach(core.Errorf(core.CodeUnavailable, "the connection broke"))
		c.attach(stalled(t))
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		subscribe := newest(c)
		if err := s.Close(ended); err == nil {
			t.Error("it was closed, and nobody has answered")
		}
		c.answered(subscribe.id, answer{ok: &wire.OK{State: "live"}})
		if now := s.Status(); now.State != delivery.Idle {
			t.Errorf("it is %s, and was closed", now.State)
		}
		if !bytes.Contains(c.session.queue.bytes, []byte(`"unsubscribe"`)) {
			t.Errorf("the node does not know: %s", c.session.queue.bytes)
		}
	})
}

// TestCloseSendsAcksFirst: acks that another goroutine is about to send are sent before
// the node learns of the end.
func TestCloseSendsAcksFirst(t *testing.T) {
	for range 50_000 {
		c := idle()
		c.session = &session{wake: make(chan struct{}, 1), gone: make(chan struct{})}
		s := &Subscriber{client: c, num: 1, start: newStart(), wake: make(chan struct{}, 1)}
		s.lease = &lease{joined: newJoined(c, 1, c.session, nil), by: s, acks: []uint64{7}}
		c.subs[1] = s
		close(c.session.gone) // nobody answers
		var running sync.WaitGroup
		running.Go(s.lease.flush) // as the timer does
		running.Go(func() { _ = s.Close(t.Context()) })
		running.Wait()
		ack, end := bytes.Index(c.session.queue.bytes, []byte(`"ack"`)), bytes.Index(c.session.queue.bytes, []byte(`"unsubscribe"`))
		if ack < 0 || ack > end {
			t.Fatalf("sent: %s", c.session.queue.bytes)
		}
	}
}
