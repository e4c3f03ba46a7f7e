package sdk_test

import (
	"errors"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/core/subscriptions/jointest"
	"github.com/gyre-events/gyre/sdk"
)

func TestClientIsAJoiner(t *testing.T) {
	for name, o := range modes {
		t.Run(name, func(t *testing.T) {
			jointest.Run(t, func(t testing.TB) jointest.System {
				n := startNode(t)
				return jointest.System{Joiner: dial(t, n.addr, o), Log: n.store, Manager: n.owner}
			})
		})
	}
}

// TestJoinEndsWithItsConnection: the lease, and answers that wait, end with the connection;
// the client comes back and a new lease can begin.
func TestJoinEndsWithItsConnection(t *testing.T) {
	n := startNode(t)
	n.fill(t, 2, 1)
	states := make(chan sdk.State, 10)
	c := dial(t, n.addr, sdk.Options{OnState: func(s sdk.State) { states <- s }})
	if !(<-states).Connected {
		t.Fatal("it is not connected")
	}
	r := subscriptions.JoinRequest{
		Name: "w", Definition: definition(func(*subscriptions.Definition) {}), Consumer: "c",
		Credit: delivery.Credit{Events: delivery.Unlimited, Bytes: delivery.Unlimited},
	}
	s, err := subscriptions.JoinWaiting(t.Context(), c, r)
	if err != nil {
		t.Fatal(err)
	}
	for taken := 0; taken < 2; {
		d, err := s.Next(within(t), core.Limit{Events: 2, Bytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		taken += d.Count
	}
	outcome := make(chan error, 1)
	s.Answer(subscriptions.Answer{Kind: subscriptions.Ack, Positions: []uint64{2}, Durable: true}, func(err error) { outcome <- err })
	n.server.CloseClientConnections() // 1 is not acked, so the answer waits
	n.stop(within(t))
	if (<-states).Connected {
		t.Error("it is connected still")
	}
	if err := <-outcome; !errors.Is(err, core.CodeLeaseLost) {
		t.Errorf("the answer that waits: %v, want lease_lost", err)
	}
	if _, _, err := s.Take(core.Limit{}); !errors.Is(err, core.CodeUnavailable) {
		t.Errorf("take: %v, want unavailable", err)
	}
	if err := s.Do(within(t), subscriptions.Answer{Kind: subscriptions.Ack, Positions: []uint64{1}}); !errors.Is(err, core.CodeLeaseLost) {
		t.Errorf("an answer: %v, want lease_lost", err)
	}
	n.start()
	again, err := subscriptions.JoinWaiting(within(t), c, r) // waits for the connection
	if err != nil {
		t.Fatal(err)
	}
	again.Leave(true)
	if _, err := c.Join(within(t), subscriptions.JoinRequest{Name: "w", Detached: true}); !errors.Is(err, core.CodeNotSupported) {
		t.Errorf("detached: %v, want not_supported", err)
	}
}
