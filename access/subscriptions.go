package access

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// Subscriptions is what a SubscriptionGuard does for principals.
type Subscriptions interface {
	subscriptions.Joiner
	Put(ctx context.Context, name string, d *subscriptions.Definition) (info subscriptions.Info, created bool, err error)
	Info(ctx context.Context, name string) (subscriptions.Info, error)
	List(ctx context.Context, r subscriptions.ListRequest) (subscriptions.ListPage, error)
	Delete(ctx context.Context, name string) error
	SubscriptionControls
}

// SubscriptionControls are an operator's.
type SubscriptionControls interface {
	Pause(ctx context.Context, name string) error
	Resume(ctx context.Context, name string) error
	Reset(ctx context.Context, name string, to core.From) error
	Redefine(ctx context.Context, name string, d *subscriptions.Definition) error
	Parked(ctx context.Context, name string, r subscriptions.ParkedRequest) (subscriptions.ParkedPage, error)
	Replay(ctx context.Context, name string, which subscriptions.Selection) (int, error)
	Drop(ctx context.Context, name string, which subscriptions.Selection) (int, error)
}

// Guarded are Subscriptions as they are behind a SubscriptionGuard.
type Guarded interface {
	Subscriptions
	// DefinitionOf is subscriptions.Owner.DefinitionOf, at any node of a ring.
	DefinitionOf(ctx context.Context, name string) (subscriptions.Definition, error)
}

// SubscriptionGuard is Subscriptions that do for the principal of a call's context what that
// may do. Who may consume a subscription may join and fetch it, and create it so; who may
// steer subscriptions may do everything else. It is safe for concurrent use.
type SubscriptionGuard struct {
	subs Guarded
	log  core.Log // with what a principal may not read
	// created is called after a principal has created a subscription by joining it. nil: nobody
	// wants to know.
	created func(ctx context.Context, name string)
	// reasons returns why a principal may not see the reasons for which a plugin parked the events
	// of a subscription. nil: there are no plugins.
	reasons func(ctx context.Context, name string) error
}

var _ Subscriptions = SubscriptionGuard{}

// NewSubscriptionGuard returns a SubscriptionGuard before s, whose events are those of log. created
// and reasons may be nil.
func NewSubscriptionGuard(s Guarded, log core.Log, created func(ctx context.Context, name string), reasons func(ctx context.Context, name string) error) SubscriptionGuard {
	return SubscriptionGuard{s, log, created, reasons}
}

// Join is subscriptions.Joiner.Join. An event whose stream the principal may not read ends its
// subscriber with forbidden, and is given back: a linked one, or the first after the definition
// was changed. What was fetched is answered by the principal that fetched it, and by no other, an
// admin included.
func (g SubscriptionGuard) Join(ctx context.Context, r subscriptions.JoinRequest) (subscriptions.Subscriber, error) {
	p := Of(ctx)
	r.Principal = p.Name
	if err := p.Check(Consume, ""); err != nil {
		return nil, err
	}
	creates, err := g.admit(ctx, p, &r)
	if err != nil {
		return nil, err
	}
	s, err := g.subs.Join(ctx, r)
	if err != nil {
		return nil, err
	}
	if creates && g.created != nil {
		g.created(ctx, r.Name)
	}
	if p.Free() {
		return s, nil
	}
	return guarded{s, p}, nil
}

// admit checks that a principal may consume what it joins, and reports whether that is created so.
func (g SubscriptionGuard) admit(ctx context.Context, p *Principal, r *subscriptions.JoinRequest) (creates bool, err error) {
	switch {
	case p.Free() && (r.Definition == nil || r.Transient || g.created == nil || p.Name == Anonymous):
		return false, nil
	case r.Transient:
		// A stored one of its name says nothing about it. One that is there is as it is asked for,
		// or not joined.
		if r.AnyOptions = false; r.Definition == nil {
			r.Definition = new(subscriptions.DefaultDefinition())
		}
		return false, p.checkConsume(r.Name, r.Definition)
	}
	d, err := g.subs.DefinitionOf(ctx, r.Name)
	if errors.Is(err, core.CodeSubscriptionNotFound) && r.Definition != nil {
		creates, d, err = true, *r.Definition, nil
	}
	if err == nil && !p.Free() {
		err = p.checkConsume(r.Name, &d)
	}
	if err == nil && creates && !p.Free() {
		err = g.checkFirst(ctx, p, r)
	}
	return creates, err
}

// checkConsume checks that a principal may consume a named subscription with a definition.
func (p *Principal) checkConsume(name string, d *subscriptions.Definition) error {
	if err := p.Check(Consume, d.Stream); err != nil {
		return err
	}
	if err := p.checkSubscription(name); err != nil {
		return err
	}
	if isEvery(p.Streams) || d.Stream != core.All && !looksInside(d) {
		return nil
	}
	if len(d.Filter.Streams) == 0 {
		return p.forbidden(Consume, "subscription "+name, "its filter names no streams, and would see links to others; the key is granted "+list(p.Streams))
	}
	for _, pattern := range d.Filter.Streams {
		if err := p.Covers(Consume, pattern); err != nil {
			return err
		}
	}
	return nil
}

// looksInside reports whether an expression or a plugin of a definition sees events. What it makes of
// one is seen by who may not read that.
func looksInside(d *subscriptions.Definition) bool {
	return d.Filter.Expr != "" || d.Map.Expr != "" || strings.HasPrefix(d.PartitionBy, subscriptions.ByExpression) ||
		d.Filter.Plugin != "" || d.Map.Plugin != "" || strings.HasPrefix(d.PartitionBy, subscriptions.ByPlugin)
}

// guarded is the Subscriber of a principal that may not read everything.
type guarded struct {
	subscriptions.Subscriber
	principal *Principal
}

// Take is subscriptions.Subscriber.Take.
func (g guarded) Take(limit core.Limit) (subscriptions.Delivery, bool, error) {
	d, ok, err := g.Subscriber.Take(limit)
	if err != nil || !ok {
		return d, ok, err
	}
	if err := g.principal.checkEvents(d.Batch); err != nil {
		g.Leave(true)
		return subscriptions.Delivery{}, false, err
	}
	return d, ok, nil
}

// steer checks that the principal of a context may steer a subscription.
func steer(ctx context.Context, name string) error { return Check(ctx, SteerSubscriptions, name) }

// define checks that the principal of a context may give a subscription a definition. One that
// looks inside events is for who may read them.
func define(ctx context.Context, name string, d *subscriptions.Definition) error {
	if err := steer(ctx, name); err != nil || !looksInside(d) || Of(ctx).Free() {
		return err
	}
	return Of(ctx).checkConsume(name, d)
}

// Put is subscriptions.Owner.Put. Expressions need what consuming the subscription needs.
func (g SubscriptionGuard) Put(ctx context.Context, name string, d *subscriptions.Definition) (info subscriptions.Info, created bool, err error) {
	if err := define(ctx, name, d); err != nil {
		return info, false, err
	}
	info, created, err = g.subs.Put(ctx, name, d)
	Of(ctx).hideReason(&info)
	return info, created, err
}

// notShown stands for a reason that may have what is in events.
const notShown = "not shown: the key may not consume the subscription"

// hideReason leaves the reason of a subscription to who may consume it: a consumer has written it,
// unless the state is not known.
func (p *Principal) hideReason(i *subscriptions.Info) {
	if i.Reason != "" && i.State != delivery.Unknown && !p.Free() && p.checkConsume(i.Name, &i.Definition) != nil {
		i.Reason = notShown
	}
}

// Info is subscriptions.Owner.Info, for who may see subscriptions or consume this one. The reason
// is for the latter.
func (g SubscriptionGuard) Info(ctx context.Context, name string) (subscriptions.Info, error) {
	p := Of(ctx)
	see := p.Check(SeeSubscriptions, "")
	if see != nil && !p.Role.may(Consume) {
		return subscriptions.Info{}, see
	}
	info, err := g.subs.Info(ctx, name)
	if err == nil && see != nil {
		err = p.checkConsume(name, &info.Definition)
	}
	if err != nil {
		return subscriptions.Info{}, err
	}
	p.hideReason(&info)
	return info, nil
}

// List is subscriptions.Owner.List, with the reasons of those that the principal may consume.
func (g SubscriptionGuard) List(ctx context.Context, r subscriptions.ListRequest) (subscriptions.ListPage, error) {
	if err := Check(ctx, SeeSubscriptions, ""); err != nil {
		return subscriptions.ListPage{}, err
	}
	page, err := g.subs.List(ctx, r)
	for i := range page.Subscriptions {
		Of(ctx).hideReason(&page.Subscriptions[i])
	}
	return page, err
}

// Delete is subscriptions.Owner.Delete.
func (g SubscriptionGuard) Delete(ctx context.Context, name string) error {
	if err := steer(ctx, name); err != nil {
		return err
	}
	return g.subs.Delete(ctx, name)
}

// Pause is subscriptions.Owner.Pause.
func (g SubscriptionGuard) Pause(ctx context.Context, name string) error {
	if err := steer(ctx, name); err != nil {
		return err
	}
	return g.subs.Pause(ctx, name)
}

// Resume is subscriptions.Owner.Resume.
func (g SubscriptionGuard) Resume(ctx context.Context, name string) error {
	if err := steer(ctx, name); err != nil {
		return err
	}
	return g.subs.Resume(ctx, name)
}

// Reset is subscriptions.Owner.Reset.
func (g SubscriptionGuard) Reset(ctx context.Context, name string, to core.From) error {
	if err := steer(ctx, name); err != nil {
		return err
	}
	return g.subs.Reset(ctx, name, to)
}

// Redefine is subscriptions.Owner.Redefine.
func (g SubscriptionGuard) Redefine(ctx context.Context, name string, d *subscriptions.Definition) error {
	if err := define(ctx, name, d); err != nil {
		return err
	}
	return g.subs.Redefine(ctx, name, d)
}

// Parked is subscriptions.Owner.Parked. Of events that the principal may not read it says where
// they are, and nothing else. The reasons of a plugin are for who is granted what that is.
func (g SubscriptionGuard) Parked(ctx context.Context, name string, r subscriptions.ParkedRequest) (subscriptions.ParkedPage, error) {
	if err := steer(ctx, name); err != nil {
		return subscriptions.ParkedPage{}, err
	}
	page, err := g.subs.Parked(ctx, name, r)
	p := Of(ctx)
	if err != nil || p.Free() {
		return page, err
	}
	filter := core.Filter{Within: p.within("")}
	page.Parked = slices.Clone(page.Parked)
	hidden := g.reasons != nil && g.reasons(ctx, name) != nil
	for i := range page.Parked {
		e := &page.Parked[i]
		if e.Event = e.Event.Matching(&filter); e.Event.Count == 0 {
			e.Key = "" // it may have what is in it, as reasons may
		}
		if hidden || e.Event.Count == 0 {
			e.Reason, e.Failures = "", nil
		}
	}
	return page, nil
}

// Replay is subscriptions.Owner.Replay.
func (g SubscriptionGuard) Replay(ctx context.Context, name string, which subscriptions.Selection) (int, error) {
	if err := steer(ctx, name); err != nil {
		return 0, err
	}
	return g.subs.Replay(ctx, name, which)
}

// Drop is subscriptions.Owner.Drop.
func (g SubscriptionGuard) Drop(ctx context.Context, name string, which subscriptions.Selection) (int, error) {
	if err := steer(ctx, name); err != nil {
		return 0, err
	}
	return g.subs.Drop(ctx, name, which)
}
