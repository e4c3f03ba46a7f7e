package jointest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// System is a Joiner, and what its subscriptions stand on.
type System struct {
	subscriptions.Joiner
	Log     Log
	Manager Manager
}

// Log is where the suite appends events.
type Log interface {
	Append(ctx context.Context, c core.Commit) (core.Result, error)
}

// Manager manages the subscriptions of the Joiner.
type Manager interface {
	Put(ctx context.Context, name string, d *subscriptions.Definition) (info subscriptions.Info, created bool, err error)
	Info(ctx context.Context, name string) (subscriptions.Info, error)
	Pause(ctx context.Context, name string) error
	Resume(ctx context.Context, name string) error
	Reset(ctx context.Context, name string, to core.From) error
	Delete(ctx context.Context, name string) error
	Parked(ctx context.Context, name string, r subscriptions.ParkedRequest) (subscriptions.ParkedPage, error)
}

// Run holds a Joiner to the contract. open makes an empty System; it also sees to its
// end, with t.Cleanup.
func Run(t *testing.T, open func(t testing.TB) System) {
	groups := []struct {
		name  string
		tests []test
	}{
		{"join", joinTests}, {"deliver", deliverTests}, {"answer", answerTests}, {"end", endTests}, {"expire", expireTests},
	}
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			for _, x := range g.tests {
				t.Run(x.name, func(t *testing.T) {
					t.Parallel()
					ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
					defer cancel()
					x.run(&suite{T: t, System: open(t), ctx: ctx})
				})
			}
		})
	}
}

// testTimeout is how long a test may take. It turns a hang into a failure and is
// generous, for slow machines.
const testTimeout = time.Minute

type test struct {
	name string
	run  func(s *suite)
}

// suite is one test's hold on one System.
type suite struct {
	*testing.T
	System
	ctx context.Context // of the whole test

	appended int
}

// name is that of the subscription.
const name = "orders"

// append appends events, which have the next positions.
func (s *suite) append(count int) {
	s.Helper()
	var c core.Commit
	for range count {
		s.appended++
		c.Appends = append(c.Appends, core.Append{
			Stream: fmt.Sprintf("s-%d", s.appended%3), Expect: core.AnyVersion,
			Events: []core.NewEvent{{Type: "T", Data: fmt.Appendf(nil, `{"n":%d}`, s.appended)}},
		})
	}
	if _, err := s.Log.Append(s.ctx, c); err != nil {
		s.Fatal(err)
	}
}

// remove removes the events of streams, and links to them.
func (s *suite) remove(streams ...string) {
	s.Helper()
	var c core.Commit
	for _, stream := range streams {
		c.Streams = append(c.Streams, core.StreamOp{Stream: stream, Expect: core.AnyVersion, Action: core.RemoveStream})
	}
	if _, err := s.Log.Append(s.ctx, c); err != nil {
		s.Fatal(err)
	}
	s.appended += len(streams) // notices have positions
}

// define is the default definition, changed.
func define(change func(*subscriptions.Definition)) *subscriptions.Definition {
	d := subscriptions.DefaultDefinition()
	if change != nil {
		change(&d)
	}
	return &d
}

// put creates the subscription.
func (s *suite) put(change func(*subscriptions.Definition)) {
	s.Helper()
	if _, _, err := s.Manager.Put(s.ctx, name, define(change)); err != nil {
		s.Fatal(err)
	}
}

func (s *suite) info() subscriptions.Info {
	s.Helper()
	info, err := s.Manager.Info(s.ctx, name)
	if err != nil {
		s.Fatal(err)
	}
	return info
}

// wants checks an error; "" is none.
func (s *suite) wants(err error, code core.Code) {
	s.Helper()
	if (code == "") != (err == nil) || code != "" && !errors.Is(err, code) {
		s.Fatalf("the error is %v, want %q", err, code)
	}
}

var unlimited = delivery.Credit{Events: delivery.Unlimited, Bytes: delivery.Unlimited}

// anything is a limit that is none.
var anything = core.Limit{Events: core.MaxReadEvents, Bytes: core.MaxPageBytes}

// consumer is a subscriber and what it was sent.
type consumer struct {
	*subscriptions.Waiting
	s *suite

	last  subscriptions.Delivery
	queue []sent // that take has not returned
}

// sent is one event that was sent.
type sent struct{ position, attempt uint64 }

// firsts are first attempts.
func firsts(from, to uint64) (list []sent) {
	for p := from; p <= to; p++ {
		list = append(list, sent{p, 1})
	}
	return list
}

// request is a JoinRequest with unlimited credit.
func (s *suite) join(change func(*subscriptions.JoinRequest)) *consumer {
	s.Helper()
	c, err := s.tryJoin(change)
	s.wants(err, "")
	return c
}

func (s *suite) tryJoin(change func(*subscriptions.JoinRequest)) (*consumer, error) {
	r := subscriptions.JoinRequest{Name: name, Consumer: "c", Credit: unlimited}
	if change != nil {
		change(&r)
	}
	w, err := subscriptions.JoinWaiting(s.ctx, s, r)
	if err != nil {
		return nil, err
	}
	s.Cleanup(func() { w.Leave(true) })
	return &consumer{Waiting: w, s: s}, nil
}

// next waits for a delivery.
func (c *consumer) next() subscriptions.Delivery {
	c.s.Helper()
	d, err := c.Next(c.s.ctx, anything)
	if err != nil {
		c.s.Fatal(err)
	}
	c.took(d)
	return d
}

func (c *consumer) took(d subscriptions.Delivery) {
	c.s.Helper()
	if len(d.Attempts) != d.Count || d.Lease == 0 || d.Incarnation == "" || d.Count == 0 && !d.Changed {
		c.s.Fatalf("took %+v", d)
	}
	c.last = d
	i := 0
	for e := range d.Events() {
		c.queue = append(c.queue, sent{e.Position, d.Attempts[i]})
		i++
	}
}

// takes waits for events, which have to be these.
func (c *consumer) takes(want ...sent) {
	c.s.Helper()
	for len(c.queue) < len(want) {
		c.next()
	}
	if got := c.queue[:len(want)]; !slices.Equal(got, want) {
		c.s.Fatalf("took %v, want %v", got, want)
	}
	c.queue = c.queue[len(want):]
}

// until waits for a state, without events before it.
func (c *consumer) until(state delivery.State) {
	c.s.Helper()
	for c.last.State != state {
		if d := c.next(); d.Count > 0 {
			c.s.Fatalf("took %v while it waits for %s", c.queue, state)
		}
	}
}

// ends waits for the end, without events before it.
func (c *consumer) ends(code core.Code) {
	c.s.Helper()
	for {
		d, err := c.Next(c.s.ctx, anything)
		if err != nil {
			c.s.wants(err, code)
			return
		}
		if c.took(d); d.Count > 0 {
			c.s.Fatalf("took %v while it waits for the end", c.queue)
		}
	}
}

func ack(positions ...uint64) subscriptions.Answer {
	return subscriptions.Answer{Kind: subscriptions.Ack, Positions: positions}
}

func ackUpTo(position uint64) subscriptions.Answer {
	return subscriptions.Answer{Kind: subscriptions.AckUpTo, UpTo: position}
}

func nack(action delivery.Action, positions ...uint64) subscriptions.Answer {
	return subscriptions.Answer{
		Kind: subscriptions.Nack, Positions: positions,
		Nack: delivery.Nack{Action: action, Reason: "broken"},
	}
}

func extend(d time.Duration, positions ...uint64) subscriptions.Answer {
	return subscriptions.Answer{Kind: subscriptions.Extend, Positions: positions, Extend: d}
}

func durable(a subscriptions.Answer) subscriptions.Answer {
	a.Durable = true
	return a
}

// versions makes an answer name events by their versions.
func versions(a subscriptions.Answer) subscriptions.Answer {
	a.ByVersion = true
	return a
}

// does gives an answer, and waits until it is done.
func (c *consumer) does(a subscriptions.Answer, code core.Code) {
	c.s.Helper()
	c.s.wants(c.Do(c.s.ctx, a), code)
}

// unexpected gives an answer to positions of which some are not in flight.
func (c *consumer) unexpected(a subscriptions.Answer, positions ...uint64) {
	c.s.Helper()
	err := c.Do(c.s.ctx, a)
	c.s.wants(err, core.CodeUnexpectedAck)
	if got := core.AsError(err).Positions; !slices.Equal(got, positions) {
		c.s.Fatalf("not in flight are %d, want %d", got, positions)
	}
}

// unexpectedVersions is unexpected of an answer by versions.
func (c *consumer) unexpectedVersions(a subscriptions.Answer, want ...uint64) {
	c.s.Helper()
	err := c.Do(c.s.ctx, versions(a))
	c.s.wants(err, core.CodeUnexpectedAck)
	if got := core.AsError(err); !slices.Equal(got.Versions, want) || len(got.Positions) > 0 {
		c.s.Fatalf("not in flight are versions %d and positions %d, want versions %d", got.Versions, got.Positions, want)
	}
}
