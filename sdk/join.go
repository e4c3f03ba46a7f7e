package sdk

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/wsapi/wire"
)

var _ subscriptions.Joiner = (*Client)(nil)

// Join is subscriptions.Joiner.Join: it begins a lease on the node. The lease ends with its
// connection, and the Client does not join again; Subscribe is for consumers that outlive
// connections. Detached subscribers are not_supported.
func (c *Client) Join(ctx context.Context, r subscriptions.JoinRequest) (subscriptions.Subscriber, error) {
	if err := ctx.Err(); err != nil {
		return nil, core.AsError(err)
	}
	if r.Detached || r.Lease != 0 {
		return nil, core.Errorf(core.CodeNotSupported, "a client has no detached subscribers; fetch over HTTP")
	}
	m, err := subscribeOf(&r)
	if err != nil {
		return nil, err
	}
	j := &join{client: c, message: m, wake: r.Wake, start: newStart()}
	m.Sub = c.lastID.Add(1)
	if err := c.begin(ctx, m.Sub, j, &j.start); err != nil {
		return nil, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return nil, j.err
	}
	return j.joined, nil
}

// subscribeOf is the message for a JoinRequest, without its numbers.
func subscribeOf(r *subscriptions.JoinRequest) (*wire.Subscribe, error) {
	if err := subscriptions.ValidateName(r.Name); err != nil {
		return nil, err
	}
	m := &wire.Subscribe{
		Subscription: r.Name, Transient: r.Transient, Consumer: r.Consumer, Workers: r.Workers, BufferSize: r.BufferSize,
		Ack: "explicit", AnyOptions: r.AnyOptions, Incarnation: r.Incarnation,
		Credit: amountOf(r.Credit),
	}
	if r.Definition == nil {
		return m, nil
	}
	if err := r.Definition.Validate(); err != nil {
		return nil, err
	}
	var err error
	m.Options, err = wire.Marshal(r.Definition)
	return m, err
}

// amountOf is credit on the wire, where numbers end at 2^53-1.
func amountOf(c delivery.Credit) *wire.Amount {
	return &wire.Amount{Events: min(c.Events, core.MaxNumber), Bytes: min(c.Bytes, core.MaxNumber)}
}

// join is the sub of one lease. It outlives connections until it is answered, and ends with
// the connection afterwards.
type join struct {
	client  *Client
	message *wire.Subscribe
	wake    func()
	start

	mu       sync.Mutex // protects the fields below
	joined   *joined
	accepted bool
	err      error // why it was refused
}

// request is part of sub.
func (j *join) request(on *session) *wire.Subscribe {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.joined = newJoined(j.client, j.message.Sub, on, j.wake)
	m := *j.message
	m.TimeoutMs = j.timeoutMs()
	return &m
}

func (j *join) now() *joined {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.joined
}

// answered is part of sub.
func (j *join) answered(ok *wire.OK, _ string) {
	j.now().accept(ok)
	j.mu.Lock()
	j.accepted = true
	j.mu.Unlock()
	j.done()
}

// receive is part of sub.
func (j *join) receive(p parcel) {
	if err := j.now().receive(p); err != nil {
		j.client.ended(j.message.Sub, err)
	}
}

// reported is part of sub.
func (j *join) reported(m *wire.Status) { j.now().report(m) }

// disconnected is part of sub.
func (j *join) disconnected(*core.Error) (again bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return !j.accepted
}

// interrupted is part of sub. A node that shuts down has not taken the join.
func (j *join) interrupted(err *core.Error) (again bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return !j.accepted && err.Code == core.CodeShuttingDown
}

// end is part of sub.
func (j *join) end(err error) {
	j.mu.Lock()
	joined := j.joined
	if !j.accepted {
		j.err = err
	}
	j.mu.Unlock()
	if joined != nil {
		joined.end(err)
	}
	j.done()
}

// joined is one consumer's lease of a subscription: a subscriptions.Subscriber on one
// connection.
type joined struct {
	client *Client
	num    uint64
	on     *session
	wake   func() // called on deliveries and the end; may be nil

	mu          sync.Mutex // protects the fields below
	queue       []Deliveries
	status      Status
	taken       delivery.State // the last that Take returned
	place       core.Cursor    // of status.Checkpoint, as the server named it
	incarnation string
	gone        error // why it has ended
}

func newJoined(c *Client, num uint64, on *session, wake func()) *joined {
	if wake == nil {
		wake = func() {}
	}
	return &joined{client: c, num: num, on: on, wake: wake}
}

// accept takes the answer to the subscribe.
func (j *joined) accept(ok *wire.OK) {
	j.mu.Lock()
	j.incarnation = ok.Incarnation
	j.status = Status{State: delivery.State(ok.State), Reason: ok.Reason, Head: ok.Head}
	j.locate(ok.Cursor)
	j.mu.Unlock()
	j.wake()
}

// locate takes a cursor of the checkpoint. mu is held.
func (j *joined) locate(text string) {
	if cursor, err := core.ParseCursor(text); err == nil {
		j.place, j.status.Checkpoint = cursor, cursor.Position
	}
}

// receive queues what was sent.
func (j *joined) receive(p parcel) *core.Error {
	attempts, replay, err := p.tries()
	if err == nil && len(attempts) != p.batch.Count {
		err = core.Errorf(core.CodeProtocolError, "%d events were sent, with %d attempts", p.batch.Count, len(attempts))
	}
	if err != nil {
		return core.AsError(err)
	}
	j.mu.Lock()
	if j.gone == nil {
		j.queue = append(j.queue, Deliveries{Batch: p.batch, attempts: attempts, replay: replay, credit: p.bytes})
	}
	j.mu.Unlock()
	j.wake()
	return nil
}

// report takes a status.
func (j *joined) report(m *wire.Status) {
	j.mu.Lock()
	j.locate(m.Cursor)
	j.status.Head = m.Head
	if m.State != wire.StateCheckpoint {
		j.status.State, j.status.Reason = delivery.State(m.State), m.Reason
	}
	j.mu.Unlock()
	j.wake()
}

// end ends the lease from either side.
func (j *joined) end(err error) {
	j.mu.Lock()
	if j.gone == nil {
		j.gone = err
	}
	j.queue = nil
	j.mu.Unlock()
	j.wake()
}

// take removes the first events from the queue, at most limit of them. more says that
// there are others.
func (j *joined) take(limit core.Limit) (d Deliveries, more bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.takeFirst(limit)
}

func (j *joined) takeFirst(limit core.Limit) (d Deliveries, more bool) {
	if len(j.queue) == 0 {
		return d, false
	}
	d, rest := j.queue[0].cut(core.Limit{Events: max(limit.Events, 1), Bytes: max(limit.Bytes, 1)})
	j.queue[0] = rest
	if rest.Count == 0 {
		j.queue = j.queue[1:]
	}
	return d, len(j.queue) > 0
}

// retire drops the events that were not taken, and returns how many.
func (j *joined) retire() (dropped int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := range j.queue {
		dropped += j.queue[i].Count
	}
	j.queue = nil
	return dropped
}

// putBack gives events that were taken back to the queue.
func (j *joined) putBack(d Deliveries) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.gone == nil {
		j.queue = slices.Insert(j.queue, 0, d)
	}
}

// where is the status, with the cursor of its checkpoint.
func (j *joined) where() (Status, core.Cursor) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.status, j.place
}

// Take is subscriptions.Subscriber.Take.
func (j *joined) Take(limit core.Limit) (d subscriptions.Delivery, ok bool, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.gone != nil {
		return d, false, j.gone
	}
	events, more := j.takeFirst(limit)
	d = subscriptions.Delivery{
		Batch: events.Batch, Attempts: events.attempts, Replay: events.replay,
		State: j.taken, Checkpoint: j.status.Checkpoint, Head: j.status.Head, Lease: j.num, Incarnation: j.incarnation,
	}
	if !more && j.taken != j.status.State { // the state is reported after the events
		j.taken = j.status.State
		d.State, d.Reason, d.Changed = j.taken, j.status.Reason, true
	}
	return d, d.Count > 0 || d.Changed, nil
}

// Answer is subscriptions.Subscriber.Answer.
func (j *joined) Answer(a subscriptions.Answer, done func(error)) {
	k := &call{bound: true, answered: true, done: func(a answer) { done(a.err) }}
	if !a.Durable { // which waits for as long as earlier events are unfinished
		k.deadline = time.Now().Add(requestTimeout)
	}
	c := j.client
	c.mu.Lock()
	if lost := j.lostOn(c.session); lost != nil {
		c.mu.Unlock()
		done(lost)
		return
	}
	k.id = c.lastID.Add(1) + 1
	c.calls[k.id] = k
	j.send(k.id, &a)
	c.mu.Unlock()
}

// send puts an answer on the connection.
func (j *joined) send(id uint64, a *subscriptions.Answer) {
	var m wire.Message
	positions, versions := a.Positions, []uint64(nil)
	if a.ByVersion {
		positions, versions = nil, a.Positions
	}
	switch a.Kind {
	case subscriptions.Nack:
		n := &wire.Nack{ID: id, Sub: j.num, Positions: positions, Versions: versions, Action: string(a.Nack.Action), Reason: a.Nack.Reason}
		if a.Nack.Delay >= 0 {
			ms := a.Nack.Delay.Milliseconds()
			n.DelayMs = &ms
		}
		m = n
	case subscriptions.Extend:
		m = &wire.Extend{ID: id, Sub: j.num, Positions: positions, Versions: versions, Ms: max(a.Extend.Milliseconds(), 1)}
	default:
		ack := &wire.Ack{ID: id, Sub: j.num, Durable: a.Durable}
		switch {
		case a.Kind != subscriptions.AckUpTo:
			ack.Positions, ack.Versions = positions, versions
		case a.ByVersion:
			ack.UpToVersion = a.UpTo
		default:
			ack.UpTo = a.UpTo
		}
		if j.on.bin {
			j.on.send(true, wire.AppendAck(nil, ack))
			return
		}
		m = ack
	}
	j.on.send(false, wire.Encode(nil, m))
}

// lostOn is why the lease is over, where the client's session is another by now or it has
// ended.
func (j *joined) lostOn(session *session) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.gone != nil {
		return core.Errorf(core.CodeLeaseLost, "the subscriber has ended: %w", j.gone)
	}
	if session != j.on {
		return core.Errorf(core.CodeLeaseLost, "the connection was lost after the event was sent")
	}
	return nil
}

// Credit is subscriptions.Subscriber.Credit.
func (j *joined) Credit(more delivery.Credit) error {
	c := j.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if lost := j.lostOn(c.session); lost != nil {
		return lost
	}
	amount := amountOf(more)
	j.on.sendCredit(&wire.Credit{Sub: j.num, Events: amount.Events, Bytes: amount.Bytes})
	return nil
}

// Leave is subscriptions.Subscriber.Leave.
func (j *joined) Leave(clean bool) {
	j.client.leave(&wire.Unsubscribe{Sub: j.num, Lost: !clean}, func(answer) {})
	j.end(core.Errorf(core.CodeCanceled, "the subscriber has left"))
}
