package cluster

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// askHosted bounds the wait for one node's part of a list.
const askHosted = time.Second

// Subscriptions are those of a ring at one node. They are listed and joined whoever hosts
// them. Every other method is the Owner's: it is about one subscription, and asked where
// that is hosted.
type Subscriptions struct {
	*subscriptions.Owner
	Router *Router
	// Ask lists what another node hosts (ListRequest.Hosted).
	Ask func(ctx context.Context, of ring.Member, r subscriptions.ListRequest) (subscriptions.ListPage, error)
}

// Join is Router.Join.
func (s *Subscriptions) Join(ctx context.Context, r subscriptions.JoinRequest) (subscriptions.Subscriber, error) {
	return s.Router.Join(ctx, r)
}

// List is Owner.List of the ring. The state of a subscription is that at its owner, and
// unknown if that node does not answer within a second. Transient ones are known to their owners
// only: then the error is not_serving.
func (s *Subscriptions) List(ctx context.Context, r subscriptions.ListRequest) (subscriptions.ListPage, error) {
	if r.Hosted {
		return s.Owner.List(ctx, r)
	}
	if err := s.Router.Admit(ctx); err != nil {
		return subscriptions.ListPage{}, err
	}
	page, err := s.Owner.List(ctx, r)
	if err != nil || !r.Transient && len(page.Subscriptions) == 0 {
		return page, err
	}
	if r.Transient {
		return s.listTransient(ctx, r, page)
	}
	// Another node hosts no more of the page than it has.
	ask := subscriptions.ListRequest{Prefix: r.Prefix, After: r.After, Limit: len(page.Subscriptions)}
	state := s.Router.config.Ring.State()
	silent := map[uint64]error{}
	hosted := map[string]subscriptions.Info{}
	for _, a := range s.askAll(ctx, state, ask) {
		if a.err != nil {
			silent[a.member.Session] = a.err
		}
		for _, i := range a.page.Subscriptions {
			hosted[i.Incarnation] = i
		}
	}
	for n := range page.Subscriptions {
		i := &page.Subscriptions[n]
		if other, ok := hosted[i.Incarnation]; ok {
			*i = other
			continue
		}
		if owner, ok := state.Owner(i.Name); ok && silent[owner.Session] != nil {
			i.State, i.Reason = delivery.Unknown, core.AsError(silent[owner.Session]).Detail
		}
	}
	return page, nil
}

// listTransient merges the transient subscriptions of other nodes into those of this one.
func (s *Subscriptions) listTransient(ctx context.Context, r subscriptions.ListRequest, page subscriptions.ListPage) (subscriptions.ListPage, error) {
	for _, a := range s.askAll(ctx, s.Router.config.Ring.State(), r) {
		if a.err != nil {
			return subscriptions.ListPage{}, core.Errorf(core.CodeNotServing, "node %q did not list its subscriptions: %w", a.member.Node, a.err)
		}
		page.Subscriptions = append(page.Subscriptions, a.page.Subscriptions...)
		page.End = page.End && a.page.End
	}
	slices.SortStableFunc(page.Subscriptions, func(a, b subscriptions.Info) int { return strings.Compare(a.Name, b.Name) })
	page.Subscriptions = slices.CompactFunc(page.Subscriptions, func(a, b subscriptions.Info) bool { return a.Name == b.Name })
	if r.Limit <= 0 {
		r.Limit = core.DefaultReadEvents
	}
	if r.Limit = min(r.Limit, core.MaxReadEvents); len(page.Subscriptions) > r.Limit {
		page.Subscriptions, page.End = page.Subscriptions[:r.Limit], false
	}
	return page, nil
}

// part is one node's part of a list.
type part struct {
	member ring.Member
	page   subscriptions.ListPage
	err    error
}

// askAll asks the other members, side by side.
func (s *Subscriptions) askAll(ctx context.Context, state *State, r subscriptions.ListRequest) []part {
	r.Hosted = true
	ctx, cancel := context.WithTimeout(ctx, askHosted)
	defer cancel()
	var parts []part
	for _, m := range state.View.Members {
		if m.Session != state.Self.Session {
			parts = append(parts, part{member: m})
		}
	}
	var asking sync.WaitGroup
	for i := range parts {
		p := &parts[i]
		asking.Go(func() { p.page, p.err = s.Ask(ctx, p.member, r) })
	}
	asking.Wait()
	return parts
}
