package cluster

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core/ring"
)

// nearDialer makes Links as its node has them. Each closes the one before, as Dialer says.
type nearDialer struct {
	node *hostNode
	last map[uint64]*nearLink // by session
}

// Dial is Dialer's.
func (d *nearDialer) Dial(_ context.Context, to ring.Member, _ uint64) (Link, error) {
	w := d.node.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if before := d.last[to.Session]; before != nil {
		before.cut()
	}
	l := &nearLink{to: w.nodes[to.Session-1], hop: w.hop, broken: make(chan struct{})}
	d.last[to.Session] = l
	return l, nil
}

// TestLeasesOutliveADrainThatIsLearnedLate: a view that leaves out a node may come before the news
// that the node drains. The Link that leases use stays, until they have ended.
func TestLeasesOutliveADrainThatIsLearnedLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, time.Millisecond)
		n, leaves := w.nodes[0], w.nodes[2]
		r := NewRouter(RouterConfig{
			Ring: n, Store: n.store, Subscriptions: n.hosting, Dialer: &nearDialer{node: n, last: map[uint64]*nearLink{}},
		})
		defer r.Close(t.Context())
		link, done, err := r.linkForLease(t.Context(), leaves.self.Session)
		if err != nil {
			t.Fatal(err)
		}
		w.setView(w.nodes[:2]...)
		synctest.Wait()
		leaves.drains(true)
		w.republish()
		time.Sleep(time.Minute)
		if again, err := r.link(t.Context(), leaves.self.Session); err != nil || again != link || link.(*nearLink).ended() {
			t.Errorf("the Link is %p, %v, was %p, ended %v", again, err, link, link.(*nearLink).ended())
		}
		leaves.drains(false)
		w.republish()
		time.Sleep(time.Minute)
		if link.(*nearLink).ended() {
			t.Error("the Link has ended before the lease")
		}
		done()
		time.Sleep(time.Minute)
		if !link.(*nearLink).ended() {
			t.Error("the Link has not ended after the lease")
		}
	})
}
