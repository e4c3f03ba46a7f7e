package subscriptions

import (
	"slices"
	"strings"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
)

// validateTransient checks what cannot be of a subscription of which nothing is stored.
func (r *JoinRequest) validateTransient() error {
	d := r.Definition
	switch {
	case r.Detached:
		return core.Errorf(core.CodeInvalidRequest,
			"a transient subscription ends with its connection, so there is nothing to fetch from; leave transient out, or subscribe over a WebSocket")
	case d != nil && d.Paused:
		return core.Errorf(core.CodeInvalidRequest, "a transient subscription cannot begin paused: nobody could resume it")
	case d != nil && d.OnPark == delivery.HoldKey:
		return core.Errorf(core.CodeInvalidRequest, "a transient subscription has nothing parked, so onPark cannot be hold_key")
	}
	return nil
}

// takes checks that a JoinRequest means this subscription. Where a transient one has
// begun does not matter to who comes later, or comes again.
func (l *incarnation) takes(r *JoinRequest) error {
	switch {
	case l.Bound && !r.bound:
		return core.Errorf(core.CodeSubscriptionInUse,
			"the subscription %q belongs to the plugin binding %q, which is its only subscriber; make a subscription of another name to read the same events", core.Clip(l.key.name), core.Clip(l.key.name))
	case r.bound && !l.Bound:
		return core.Errorf(core.CodeSubscriptionNotFound, "the subscription %q belongs to no binding", core.Clip(l.key.name))
	case r.Incarnation != "" && r.Incarnation != l.ID:
		return core.Errorf(core.CodeSubscriptionNotFound,
			"the subscription %q that was joined was deleted; there is a new one of that name", core.Clip(l.key.name))
	case r.Incarnation != "" || r.AnyOptions || r.Definition == nil:
		return nil
	}
	other := *r.Definition
	if l.key.transient {
		other.From = l.Definition.From
	}
	return l.Definition.Same(&other)
}

// keepNothing takes what the machine of a transient subscription wants to store for
// stored, and reports whether there was something. One that has stopped itself is over:
// nobody could resume it, and what it leaves behind is what its last subscriber would.
// mu is held.
func (h *host) keepNothing(out *delivery.Output, now time.Time) bool {
	p := &h.saver.saved
	p.Mode, p.Reason = modeOf(out.State), h.machine.Reason()
	if out.Store != nil {
		p.Checkpoint = out.Store.Checkpoint
		h.waiting.stored(out.Store)
		h.machine.Stored(now, nil)
	}
	h.waiting.settle(&h.saver)
	if out.State == delivery.Stopped {
		h.finish(core.Errorf(core.CodeSubscriptionStopped, "subscription %q has stopped: %s", core.Clip(h.incarnation.key.name), h.machine.Reason()))
	}
	return out.Store != nil
}

// listed are the hosts that a list asks for, in the order of names: of transient
// subscriptions, or of stored ones.
func (o *Owner) listed(r *ListRequest) []*host {
	hosts := slices.DeleteFunc(o.hosts(), func(h *host) bool {
		key := h.incarnation.key
		return key.transient != r.Transient || key.unnamed != "" || !strings.HasPrefix(key.name, r.Prefix) || key.name <= r.After
	})
	slices.SortFunc(hosts, func(a, b *host) int { return strings.Compare(a.incarnation.key.name, b.incarnation.key.name) })
	return hosts
}

// listHosted is List of those that are hosted.
func (o *Owner) listHosted(r *ListRequest) ListPage {
	page := ListPage{Subscriptions: []Info{}, End: true}
	for _, h := range o.listed(r) {
		if len(page.Subscriptions) == r.Limit {
			page.End = false
			break
		}
		i := h.incarnation.info()
		if h.describe(&i) { // else it has ended meanwhile
			page.Subscriptions = append(page.Subscriptions, i)
		}
	}
	return page
}
