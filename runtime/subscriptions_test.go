package runtime_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/runtime"
)

// TestSubscriptionsSurviveTheNode: what was acked before a node stopped is not delivered
// again after it, and what was not is; and /metrics tells of each subscription.
func TestSubscriptionsSurviveTheNode(t *testing.T) {
	config := runtime.Config{Data: t.TempDir()}
	node := start(t, config)
	for range 5 {
		if _, err := node.Store().Append(t.Context(), commit("s", "A")); err != nil {
			t.Fatal(err)
		}
	}
	d := subscriptions.DefaultDefinition()
	d.CheckpointThreshold = 100
	take := func(n *runtime.Node) (subscriptions.Subscriber, string) {
		s, err := subscriptions.JoinWaiting(t.Context(), n.Subscriptions(), subscriptions.JoinRequest{
			Name: "billing", Definition: &d, Credit: delivery.Credit{Events: delivery.Unlimited, Bytes: delivery.Unlimited}})
		if err != nil {
			t.Fatal(err)
		}
		for {
			got, err := s.Next(t.Context(), core.Limit{Events: 10, Bytes: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			if got.Count > 0 {
				return s, fmt.Sprintf("%d-%d", got.First, got.Last)
			}
		}
	}
	s, got := take(node)
	if got != "1-5" || subscriptions.Do(t.Context(), s, subscriptions.Answer{Kind: subscriptions.AckUpTo, UpTo: 3}) != nil {
		t.Fatalf("got %s", got)
	}
	_, text := get(t, node.URL()+"/metrics")
	for _, line := range []string{
		"gyre_subscriptions 1", `gyre_subscription_lag_events{subscription="billing"} 5`, `gyre_subscription_in_flight{subscription="billing"} 2`,
		`gyre_subscription_ack_seconds_count{subscription="billing"} 3`, `gyre_subscription_subscribers{subscription="billing"} 1`,
	} {
		if !strings.Contains(text, "\n"+line) {
			t.Errorf("/metrics has no %q", line)
		}
	}
	stop(t, node)
	if _, got = take(start(t, config)); got != "4-5" {
		t.Errorf("after a restart: got %s", got)
	}
}
