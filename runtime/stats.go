package runtime

import (
	"context"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const (
	// sumsFor is for how long Stats are answered from one look at subscriptions and bindings, and
	// sizesFor from one at the files of the store.
	sumsFor  = 5 * time.Second
	sizesFor = 10 * time.Second
	// statsWait is how long Stats wait for a look before they have the last one.
	statsWait = 100 * time.Millisecond
)

// seen is what /metrics and Stats have of storage.
type seen struct {
	subscriptions *looks[[]subscriptions.Info]
	bindings      *looks[[]plugins.Status]
	sizes         *looks[core.Sizes]
}

func (n *Node) newSeen() *seen {
	s := &seen{
		subscriptions: newLooks(func(ctx context.Context) ([]subscriptions.Info, error) {
			return n.ownSubscriptions(ctx)
		}),
		bindings: newLooks(func(ctx context.Context) ([]plugins.Status, error) {
			if n.plugins == nil {
				return nil, nil
			}
			return n.plugins.Bindings.Owned(ctx)
		}),
		sizes: newLooks(n.store.Sizes),
	}
	return s
}

// ownSubscriptions are those that this node owns, the first maxSubscriptionSeries by name.
func (n *Node) ownSubscriptions(ctx context.Context) (own []subscriptions.Info, err error) {
	for after := ""; len(own) < maxSubscriptionSeries; {
		page, err := n.subs.List(ctx, subscriptions.ListRequest{After: after, Limit: maxSubscriptionSeries})
		if err != nil {
			return own, err
		}
		for _, info := range page.Subscriptions {
			if after = info.Name; n.owns(info.Name) && len(own) < maxSubscriptionSeries {
				own = append(own, info)
			}
		}
		if page.End {
			break
		}
	}
	return own, nil
}

func (s *seen) close() {
	if s != nil {
		s.subscriptions.close()
		s.bindings.close()
		s.sizes.close()
	}
}

// stats is wsapi.Extension.Stats.
func (n *Node) stats(s *wire.Stats) {
	c := n.store.Stats()
	s.Store = wire.StoreStats{
		Commits: c.Commits, Events: c.Events, Conflicts: c.Conflicts, Duplicates: c.Duplicates, Failures: c.Failures,
		Steps: c.Steps, StepSeconds: c.StepTime.Seconds(), Queued: c.Queued, Followers: c.Followers,
	}
	// All of them look at once: the first ones may take a while.
	n.seen.sizes.begin(sizesFor)
	n.seen.subscriptions.begin(sumsFor)
	n.seen.bindings.begin(sumsFor)
	// What a look does not find, an earlier one has found: counters do not go back.
	sizes, _ := n.seen.sizes.get(sizesFor, statsWait)
	s.Storage = wire.StorageStats(sizes)
	infos, _ := n.seen.subscriptions.get(sumsFor, statsWait)
	s.Subscriptions = sumSubscriptions(infos)
	bindings, _ := n.seen.bindings.get(sumsFor, statsWait)
	s.Plugins = sumBindings(bindings)
}

func sumSubscriptions(infos []subscriptions.Info) wire.SubscriptionStats {
	s := wire.SubscriptionStats{Count: len(infos)}
	for i := range infos {
		info := &infos[i]
		s.Subscribers += len(info.Subscribers)
		s.InFlight += info.InFlight
		s.Parked += info.Parked
		s.Lag = max(s.Lag, info.Lag)
		for _, count := range []struct {
			to *int
			is bool
		}{{&s.Lagging, info.Lag > 0}, {&s.ParkedIn, info.Parked > 0}, {&s.Stopped, info.State == "stopped"}} {
			if count.is {
				*count.to++
			}
		}
		t := &info.Totals
		s.Sent += t.Sent
		s.Acked += t.Acked
		s.Redelivered += t.Redelivered
		s.Failed += t.Failed
		s.AckSeconds += t.AckSeconds
	}
	return s
}

func sumBindings(bindings []plugins.Status) wire.PluginStats {
	s := wire.PluginStats{Count: len(bindings), States: map[string]int{}}
	for i := range bindings {
		b := &bindings[i]
		s.States[string(b.State)]++
		s.Lag = max(s.Lag, b.Lag)
		s.Parked += b.Parked
		s.State += b.StateBytes
		t := &b.Totals
		s.Batches += t.Batches
		s.Events += t.Events
		s.Appended += t.Appended
		s.Writes += t.Writes
		s.Failures += t.Failures
		s.Starts += t.Starts
		s.Fuel += t.Fuel
		s.Seconds += t.Seconds
	}
	return s
}
