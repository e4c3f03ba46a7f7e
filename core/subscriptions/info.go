package subscriptions

import (
	"context"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
)

// Info is what an operator sees of a subscription. Its JSON form is the API's.
type Info struct {
	Name      string    `json:"name"`
	Transient bool      `json:"transient,omitzero"`
	Created   time.Time `json:"created"`
	// Incarnation tells it from an earlier or later one of its name.
	Incarnation string `json:"incarnation"`
	// Bound says that it belongs to the plugin binding of its name.
	Bound bool `json:"bound,omitzero"`
	Definition

	State      delivery.State `json:"state"`
	Reason     string         `json:"reason,omitempty"` // of stopped, or why no more is read
	Start      uint64         `json:"start"`            // the position that from was
	Checkpoint uint64         `json:"checkpoint"`
	// Finished is the position up to which everything is finished: the checkpoint
	// follows it when that is stored.
	Finished uint64 `json:"finished"`
	// Lag is how many positions the checkpoint is behind the head: no fewer than
	// events. LagSeconds is the age of the oldest unfinished event.
	Lag        uint64  `json:"lag"`
	LagSeconds float64 `json:"lagSeconds"`
	InFlight   int     `json:"inFlight"`
	Waiting    int     `json:"waiting"` // read and not sent
	// Retrying failed, and wait to be sent again. Of a subscription that nobody has joined
	// lately, they are all that failed and are not finished.
	Retrying int `json:"retrying"`
	Parked   int `json:"parked"`

	Totals      Totals           `json:"totals"`
	Subscribers []SubscriberInfo `json:"subscribers"`
}

// Totals count since the subscription is active on this node.
type Totals struct {
	Sent        uint64  `json:"sent"` // attempts
	Redelivered uint64  `json:"redelivered"`
	Acked       uint64  `json:"acked"`
	Failed      uint64  `json:"failed"` // attempts
	Skipped     uint64  `json:"skipped"`
	Parked      uint64  `json:"parked"`
	Expired     uint64  `json:"expired"`    // gone from the log before they were finished
	AckSeconds  float64 `json:"ackSeconds"` // from send to ack, summed over acked
}

// SubscriberInfo is one subscriber.
type SubscriberInfo struct {
	Consumer string     `json:"consumer,omitempty"`
	Lease    uint64     `json:"lease"`
	InFlight int        `json:"inFlight"`
	Acked    uint64     `json:"acked"`
	LastAck  *time.Time `json:"lastAck,omitempty"`
	// Credit is how many events it is ready to be sent; absent if without bound.
	Credit *int64 `json:"credit,omitempty"`
}

// Info returns the state of a subscription, or subscription_not_found.
func (o *Owner) Info(ctx context.Context, name string) (Info, error) {
	if err := o.owned(name); err != nil {
		return Info{}, err
	}
	l, err := o.records.incarnation(ctx, name)
	if err != nil {
		return Info{}, err
	}
	return o.info(ctx, l, o.hostOf(l))
}

// DefinitionOf returns the definition of a subscription as it is stored, whoever owns it, or
// subscription_not_found.
func (o *Owner) DefinitionOf(ctx context.Context, name string) (Definition, error) {
	if err := ValidateName(name); err != nil {
		return Definition{}, err
	}
	l, err := o.records.incarnation(ctx, name)
	if err != nil {
		return Definition{}, err
	}
	return l.Definition, nil
}

// ListRequest asks for a page of subscriptions.
type ListRequest struct {
	Prefix string
	After  string // the last name of the page before
	Limit  int    // core.DefaultReadEvents if 0, core.MaxReadEvents at most
	// Transient asks for the transient ones that this Owner has, and no others.
	Transient bool
	// Hosted asks for the stored ones that this Owner hosts, and no others. No storage is
	// asked.
	Hosted bool
}

// ListPage is the answer, in the order of names.
type ListPage struct {
	Subscriptions []Info `json:"subscriptions"`
	End           bool   `json:"end"`
}

// List returns the states of many subscriptions.
func (o *Owner) List(ctx context.Context, r ListRequest) (ListPage, error) {
	if err := core.ValidateListing(r.Prefix, r.After); err != nil {
		return ListPage{}, err
	}
	if r.Limit <= 0 {
		r.Limit = core.DefaultReadEvents
	}
	r.Limit = min(r.Limit, core.MaxReadEvents)
	if r.Transient || r.Hosted {
		return o.listHosted(&r), nil
	}
	found, err := o.store.Records(ctx, core.RecordsRequest{Table: definitionsTable, Prefix: r.Prefix, After: r.After, Limit: r.Limit})
	if err != nil {
		return ListPage{}, err
	}
	page := ListPage{Subscriptions: make([]Info, 0, len(found)), End: len(found) < r.Limit}
	for i := range found {
		l := &incarnation{key: stored(found[i].Key)}
		if err := decode(definitionsTable, &found[i], l); err != nil {
			return ListPage{}, err
		}
		info, err := o.info(ctx, l, o.hostOf(l))
		if core.AsError(err) != nil && core.AsError(err).Code == core.CodeSubscriptionNotFound {
			continue // it was deleted meanwhile
		}
		if err != nil {
			return ListPage{}, err
		}
		page.Subscriptions = append(page.Subscriptions, info)
	}
	return page, nil
}

// hostOf is the host of an incarnation, if it has one.
func (o *Owner) hostOf(l *incarnation) *host {
	o.mu.Lock()
	defer o.mu.Unlock()
	if lock := o.names[l.key]; lock != nil && lock.host != nil && lock.host.incarnation.ID == l.ID {
		return lock.host
	}
	return nil
}

// info is what is known of an incarnation without its progress.
func (l *incarnation) info() Info {
	return Info{
		Name: l.key.name, Transient: l.key.transient, Created: l.Created, Incarnation: l.ID, Bound: l.Bound, Start: l.Start, Definition: l.Definition,
		Subscribers: []SubscriberInfo{},
	}
}

// info is the state of an incarnation and its host, which may be nil.
func (o *Owner) info(ctx context.Context, l *incarnation, h *host) (Info, error) {
	i := l.info()
	if h != nil && h.describe(&i) {
		return i, nil
	}
	p, _, err := o.records.progress(ctx, l.ID)
	if err != nil {
		return Info{}, err
	}
	i.State, i.Reason = delivery.Idle, p.Reason
	switch p.Mode {
	case paused:
		i.State = delivery.Paused
	case stopped:
		i.State = delivery.Stopped
	}
	i.Paused = p.Mode == paused
	i.Checkpoint, i.Finished, i.Parked = p.Checkpoint, p.Checkpoint, p.Parked
	if err = o.lag(ctx, l, &i); err == nil && i.Lag+uint64(i.Parked) > 0 { // else nothing is unfinished
		i.Retrying, err = o.retrying(ctx, l, p.Checkpoint)
	}
	return i, err
}

// retrying counts the stored failed events that the next machine goes on with.
func (o *Owner) retrying(ctx context.Context, l *incarnation, checkpoint uint64) (n int, err error) {
	failed, err := o.records.failed(ctx, l.ID)
	for i := range failed {
		if failed[i].Replay || failed[i].Position > checkpoint {
			n++
		}
	}
	return n, err
}

// lag fills in how far the checkpoint is behind where no machine knows it, and the age of
// the first event of the stream that is.
func (o *Owner) lag(ctx context.Context, l *incarnation, i *Info) error {
	state, err := o.stateAt(ctx, i.Checkpoint)
	if err != nil {
		return err
	}
	from := core.From{Kind: core.AfterPosition, N: min(i.Checkpoint, state.Head)}
	follower, err := o.store.Follow(ctx, core.FollowRequest{Stream: l.Definition.Stream, From: from, Filter: l.filter()})
	if err != nil {
		return err
	}
	defer func() { _ = follower.Close() }() // it only ends the wait
	d, err := follower.Next(ctx, core.Limit{Events: 1, Bytes: 1})
	if err != nil {
		return err
	}
	head := max(d.Head, d.Cursor)
	i.Lag = head - min(i.Checkpoint, head)
	if d.Count > 0 {
		i.LagSeconds = max(0, time.Since(d.Slice()[0].Recorded).Seconds())
	}
	return nil
}

// describe fills in what the machine knows; it is false if the host has ended.
func (h *host) describe(i *Info) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended != nil {
		return false
	}
	m := h.machine.Info(time.Now(), h.head())
	i.State, i.Reason, i.Paused = m.State, m.Reason, m.State == delivery.Paused
	i.Checkpoint, i.Finished, i.Lag, i.LagSeconds = m.Checkpoint, m.Finished, m.Lag, m.LagTime.Seconds()
	if i.Bound { // its lanes have stored what is finished
		i.Checkpoint, i.Lag = m.Finished, h.head()-min(m.Finished, h.head())
	}
	i.InFlight, i.Waiting, i.Retrying, i.Parked = m.InFlight, m.Waiting, m.Retrying, h.saver.saved.Parked
	t := &m.Totals
	i.Totals = Totals{t.Sent, t.Redelivered, t.Acked, t.Failed, t.Skipped, t.Parked, t.Expired, t.AckTime.Seconds()}
	for _, s := range m.Subscribers {
		info := SubscriberInfo{Consumer: s.Consumer, Lease: uint64(s.Lease), InFlight: s.InFlight, Acked: s.Acked}
		if !s.LastAck.IsZero() {
			at := moment(s.LastAck)
			info.LastAck = &at
		}
		if s.Credit.Events != delivery.Unlimited {
			info.Credit = &s.Credit.Events
		}
		i.Subscribers = append(i.Subscribers, info)
	}
	return true
}
