package access

import (
	"context"
	"fmt"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// lookWithin bounds the look at the first events of a subscription before it is created.
const lookWithin = time.Second

// checkFirst checks the events that a joiner would be sent first, before the subscription is
// created: one that the principal may not read would end the joiner, and leave a subscription that
// nobody has asked for. A fetch is sent as many events as it has room for, or none. What the look
// does not reach in time is checked when it is sent.
func (g SubscriptionGuard) checkFirst(ctx context.Context, p *Principal, r *subscriptions.JoinRequest) error {
	d := r.Definition
	if isEvery(p.Streams) || d.Stream == core.All {
		return nil // it sees no links to others (checkConsume)
	}
	ctx, cancel := context.WithTimeout(With(ctx, Node(p.Name)), lookWithin) // p would not see what it must not
	defer cancel()
	follower, err := g.log.Follow(ctx, core.FollowRequest{
		Stream: d.Stream, From: d.From, Filter: core.Filter{Streams: d.Filter.Streams, Types: d.Filter.Types},
	})
	if err != nil {
		return nil // Join says what is wrong
	}
	defer func() { _ = follower.Close() }() // it was only read
	left := 1
	if r.Detached {
		left = int(max(1, min(r.Credit.Events, core.MaxReadEvents)))
	}
	for left > 0 {
		first, err := follower.Next(ctx, core.Limit{Events: left, Bytes: core.MaxPageBytes})
		if err != nil {
			return nil
		}
		if err := p.checkEvents(first.Batch); err != nil {
			return err
		}
		if first.Live || first.NoQuorum != "" {
			return nil
		}
		left -= first.Count
	}
	return nil
}

// checkEvents checks that a principal may read all events of a batch. The error says where the
// first is that it may not, as far as it may see that, and nothing about the event.
func (p *Principal) checkEvents(b core.Batch) error {
	filter := core.Filter{Within: p.within("")}
	if b.Matching(&filter).Count == b.Count {
		return nil
	}
	for e := range b.Events() {
		if home := e.Link.Stream; home != "" && !filter.Match(home, e.Type) && filter.Match(e.Stream, e.Type) {
			return p.forbidden(Read, "an event", fmt.Sprintf("version %d of %s, at position %d, is a link to a stream that the key is not granted; it is granted %s",
				e.Version, core.Clip(e.Stream), e.Position, list(p.Streams)))
		}
	}
	return p.forbidden(Read, "an event", "it is granted "+list(p.Streams))
}
