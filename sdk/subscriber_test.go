package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/sdk"
)

// node is a node in the process whose API and listener can be replaced.
type node struct {
	restarting
	owner *subscriptions.Owner
}

// startNode starts one with an empty log, for as long as the test lasts.
func startNode(t testing.TB) *node {
	t.Helper()
	n := &node{restarting: restarting{t: t, store: newStore(t)}}
	owner, err := subscriptions.New(subscriptions.Config{Store: n.store})
	if err != nil {
		t.Fatal(err)
	}
	n.owner, n.subscriptions = owner, owner
	n.start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		n.stop(ctx)
		if err := owner.Close(ctx); err != nil {
			t.Errorf("close the owner: %v", err)
		}
	})
	return n
}

// fill appends so many events to so many streams, s-0 and so on, with their number as
// data.
func (n *node) fill(t testing.TB, events, streams int) {
	t.Helper()
	for i := range events {
		if _, err := n.store.Append(t.Context(), one(fmt.Sprintf("s-%d", i%streams), core.AnyVersion, fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
}

// await waits until something is so of a subscription.
func (n *node) await(t testing.TB, name string, is func(*subscriptions.Info) bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		info, err := n.owner.Info(t.Context(), name)
		if err == nil && is(&info) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("it never came to it: %+v, %v", info, err)
		}
	}
}

// stored waits until the checkpoint of a subscription is stored up to position.
func (n *node) stored(t testing.TB, name string, position uint64) {
	t.Helper()
	n.await(t, name, func(i *subscriptions.Info) bool { return i.Checkpoint >= position })
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func subscribe(t testing.TB, c *sdk.Client, name string, o sdk.SubscribeOptions) *sdk.Subscriber {
	t.Helper()
	s, err := c.Subscribe(within(t), name, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// definition is the default one, changed.
func definition(change func(*subscriptions.Definition)) *subscriptions.Definition {
	d := subscriptions.DefaultDefinition()
	change(&d)
	return &d
}

func TestEachEventIsDeliveredOnce(t *testing.T) {
	for name, o := range map[string]sdk.Options{"bin": {}, "json": {JSON: true}, "compressed": {Compress: true}} {
		t.Run(name, func(t *testing.T) {
			n := startNode(t)
			n.fill(t, 1000, 3)
			c := dial(t, n.addr, o)
			live := make(chan sdk.Status, 10)
			s := subscribe(t, c, "billing", sdk.SubscribeOptions{OnStatus: func(s sdk.Status) {
				if s.State == delivery.Live {
					live <- s
				}
			}})
			next := uint64(1)
			for d, err := range s.Events(within(t)) {
				if err != nil {
					t.Fatal(err)
				}
				if d.Position != next || d.Attempt != 1 {
					t.Fatalf("position %d, attempt %d, want position %d for the first time", d.Position, d.Attempt, next)
				}
				if err := d.Ack(); err != nil {
					t.Fatal(err)
				}
				if next++; next > 1000 {
					break
				}
			}
			if status := <-live; status.Head != 1000 || s.Status().State != delivery.Live {
				t.Errorf("live: %+v", status)
			}
			n.stored(t, "billing", 1000)
			if err := s.Close(within(t)); err != nil {
				t.Error(err)
			}
			// Who comes later gets what comes later.
			n.fill(t, 1, 1)
			again := subscribe(t, c, "billing", sdk.SubscribeOptions{})
			got, err := again.Next(within(t), core.Limit{Events: 10, Bytes: 1 << 20})
			if err != nil || got.Count != 1 || got.First != 1001 {
				t.Errorf("%+v, %v", got.Batch, err)
			}
			if err := got.Ack(); err != nil {
				t.Error(err)
			}
			if err := again.Close(within(t)); err != nil {
				t.Error(err)
			}
			n.stored(t, "billing", 1001)
			if info, err := n.owner.Info(t.Context(), "billing"); err != nil || info.Totals.Redelivered != 0 {
				t.Errorf("%+v, %v", info, err)
			}
		})
	}
}

// TestBreakingOffLosesNothing begins a loop over events anew for each of them.
func TestBreakingOffLosesNothing(t *testing.T) {
	n := startNode(t)
	n.fill(t, 100, 1)
	s := subscribe(t, dial(t, n.addr, sdk.Options{}), "broken", sdk.SubscribeOptions{Ahead: 10})
	for next := uint64(1); next <= 100; next++ {
		for d, err := range s.Events(within(t)) {
			if err != nil || d.Position != next || d.Attempt != 1 {
				t.Fatalf("position %d, attempt %d, %v, want position %d for the first time", d.Position, d.Attempt, err, next)
			}
			if err := d.Ack(); err != nil {
				t.Fatal(err)
			}
			break
		}
		info, err := n.owner.Info(t.Context(), "broken")
		if err != nil || info.InFlight > 10 {
			t.Fatalf("%d in flight, %v", info.InFlight, err)
		}
	}
	n.stored(t, "broken", 100)
}

// TestConsumeAfterNext goes on with workers, where the only credit was used.
func TestConsumeAfterNext(t *testing.T) {
	n := startNode(t)
	n.fill(t, 10, 1)
	s := subscribe(t, dial(t, n.addr, sdk.Options{}), "both", sdk.SubscribeOptions{Ahead: 1, Workers: 2})
	first, err := s.Next(within(t), core.Limit{Events: 10, Bytes: 1 << 20})
	if err != nil || first.Count != 1 {
		t.Fatalf("%+v, %v", first.Batch, err)
	}
	if err := first.Ack(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(within(t))
	defer stop()
	next := uint64(2)
	err = s.Consume(ctx, func(_ context.Context, d sdk.Delivery) error {
		if d.Position != next {
			t.Errorf("position %d, want %d", d.Position, next)
		}
		if next++; next > 10 {
			stop()
		}
		return nil
	})
	if !errors.Is(err, core.CodeCanceled) {
		t.Errorf("Consume ended with %v", err)
	}
	n.stored(t, "both", 10)
}

// TestResetUnderASubscriber has what was sent before come again, under another lease.
func TestResetUnderASubscriber(t *testing.T) {
	n := startNode(t)
	n.fill(t, 5, 1)
	c := dial(t, n.addr, sdk.Options{})
	s := subscribe(t, c, "reset", sdk.SubscribeOptions{})
	all := core.Limit{Events: 5, Bytes: 1 << 20}
	before, err := s.Next(within(t), all)
	if err != nil {
		t.Fatal(err)
	}
	if err := before.Ack(); err != nil {
		t.Fatal(err)
	}
	n.stored(t, "reset", before.Last)
	if err := c.Subscriptions().Reset(within(t), "reset", core.From{}); err != nil {
		t.Fatal(err)
	}
	again, err := s.Next(within(t), all)
	if err != nil || again.First != 1 {
		t.Errorf("%+v, %v", again.Batch, err)
	}
	if err := before.Ack(); !errors.Is(err, core.CodeLeaseLost) {
		t.Errorf("an ack from before: %v", err)
	}
	if err := again.Ack(); err != nil {
		t.Error(err)
	}
	n.stored(t, "reset", again.Last)
}

func TestAnswersOfAHandler(t *testing.T) {
	n := startNode(t)
	n.fill(t, 4, 1)
	c := dial(t, n.addr, sdk.Options{})
	s := subscribe(t, c, "answers", sdk.SubscribeOptions{Consumer: "w1", Definition: definition(func(d *subscriptions.Definition) {
		d.Retry.MinMs = 1
	})})
	ctx, stop := context.WithCancel(within(t))
	defer stop()
	var order []string
	err := s.Consume(ctx, func(_ context.Context, d sdk.Delivery) error {
		order = append(order, fmt.Sprintf("%d/%d", d.Position, d.Attempt))
		switch {
		case d.Position == 2 && d.Attempt == 1:
			return errors.New("not now")
		case d.Position == 3:
			return &sdk.Refusal{Action: delivery.ActionPark, Reason: "poison"}
		case d.Position == 4:
			return &sdk.Refusal{Action: delivery.ActionSkip}
		case d.Position == 2:
			stop()
		}
		return nil
	})
	if !errors.Is(err, core.CodeCanceled) {
		t.Errorf("Consume ended with %v", err)
	}
	slices.Sort(order)
	if got := strings.Join(order, " "); got != "1/1 2/1 2/2 3/1 4/1" {
		t.Errorf("handled: %s", got)
	}
	page, err := c.Subscriptions().Parked(t.Context(), "answers", subscriptions.ParkedRequest{})
	if err != nil || len(page.Parked) != 1 || !page.End {
		t.Fatalf("%+v, %v", page, err)
	}
	p := page.Parked[0]
	if p.Position != 3 || p.Reason != "poison" || len(p.Failures) != 1 || p.Failures[0].Consumer != "w1" || string(p.Event.Slice()[0].Data) != "2" {
		t.Errorf("parked: %+v", p)
	}
	if err := s.Close(within(t)); err != nil {
		t.Error(err)
	}
}

func TestStoppedSubscriptionSaysWhy(t *testing.T) {
	n := startNode(t)
	n.fill(t, 2, 1)
	c := dial(t, n.addr, sdk.Options{})
	statuses := make(chan sdk.Status, 10)
	s := subscribe(t, c, "stops", sdk.SubscribeOptions{OnStatus: func(s sdk.Status) { statuses <- s }})
	d, err := s.Next(within(t), core.Limit{Events: 1, Bytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	for one := range d.Events() {
		if err := one.Nack(delivery.Nack{Action: delivery.ActionStop, Reason: "enough"}); err != nil {
			t.Fatal(err)
		}
	}
	await := func(want delivery.State) sdk.Status {
		for {
			select {
			case status := <-statuses:
				if status.State == want {
					return status
				}
			case <-within(t).Done():
				t.Fatalf("never %s", want)
			}
		}
	}
	if status := await(delivery.Stopped); status.Reason != "enough" {
		t.Errorf("stopped: %+v", status)
	}
	if err := c.Subscriptions().Resume(t.Context(), "stops"); err != nil {
		t.Fatal(err)
	}
	await(delivery.Live)
	if err := c.Subscriptions().Pause(t.Context(), "stops"); err != nil {
		t.Fatal(err)
	}
	await(delivery.Paused)
	if err := s.Close(within(t)); err != nil {
		t.Error(err)
	}
}

// TestSubscriberOutlivesItsServer breaks the connection while events are in flight.
// Their acks come too late, and they come again.
func TestSubscriberOutlivesItsServer(t *testing.T) {
	for name, o := range modes {
		t.Run(name, func(t *testing.T) {
			n := startNode(t)
			n.fill(t, 10, 1)
			states := make(chan sdk.State, 100)
			o.OnState = func(s sdk.State) { states <- s }
			c := dial(t, n.addr, o)
			<-states
			s := subscribe(t, c, "billing", sdk.SubscribeOptions{OnRefused: func(err error) { t.Errorf("refused: %v", err) }})
			first, err := s.Next(within(t), core.Limit{Events: 3, Bytes: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			if err := first.Ack(); err != nil {
				t.Fatal(err)
			}
			n.stored(t, "billing", first.Last)
			late, err := s.Next(within(t), core.Limit{Events: 1, Bytes: 1})
			if err != nil {
				t.Fatal(err)
			}
			n.stop(within(t))
			if state := <-states; state.Connected {
				t.Errorf("%+v", state)
			}
			if err := late.Ack(); !errors.Is(err, core.CodeLeaseLost) {
				t.Errorf("a late ack: %v", err)
			}
			if state := s.Status().State; state != delivery.Idle {
				t.Errorf("without a connection it is %s", state)
			}
			n.start()
			for next := first.Last + 1; next <= 10; {
				d, err := s.Next(within(t), core.Limit{Events: 3, Bytes: 1 << 20})
				if err != nil {
					t.Fatal(err)
				}
				for e := range d.Events() {
					if e.Position != next {
						t.Fatalf("position %d, want %d", e.Position, next)
					}
					next++
				}
				if err := d.Ack(); err != nil {
					t.Fatal(err)
				}
			}
			if err := late.Ack(); !errors.Is(err, core.CodeLeaseLost) {
				t.Errorf("an ack of an earlier connection: %v", err)
			}
			n.stored(t, "billing", 10)
			if err := s.Close(within(t)); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestComingBackCreatesNothing deletes a subscription while its subscriber has no
// connection. The subscriber then ends; it neither creates the subscription anew, nor
// joins another of its name.
func TestComingBackCreatesNothing(t *testing.T) {
	named := definition(func(d *subscriptions.Definition) { d.Stream = "s-0" })
	for name, o := range modes {
		for what, so := range map[string]sdk.SubscribeOptions{
			"as it is": {}, "with options": {Definition: named}, "with any options": {Definition: named, AnyOptions: true},
		} {
			for _, isThereAnother := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/%v", name, what, isThereAnother), func(t *testing.T) {
					t.Parallel()
					n := startNode(t)
					n.fill(t, 3, 1)
					if _, _, err := n.owner.Put(within(t), "w", named); err != nil {
						t.Fatal(err)
					}
					c := dial(t, n.addr, o)
					s := subscribe(t, c, "w", so)
					n.stop(within(t))
					if err := n.owner.Delete(within(t), "w"); err != nil {
						t.Fatal(err)
					}
					if isThereAnother {
						if _, _, err := n.owner.Put(within(t), "w", definition(func(d *subscriptions.Definition) { d.Paused = true })); err != nil {
							t.Fatal(err)
						}
					}
					n.start()
					var err error
					for err == nil {
						_, err = s.Next(within(t), core.Limit{Events: 10, Bytes: 1 << 20})
					}
					if !errors.Is(err, core.CodeSubscriptionNotFound) {
						t.Errorf("it ended with %v, want subscription_not_found", err)
					}
					info, err := n.owner.Info(within(t), "w")
					if exists := err == nil; exists != isThereAnother || len(info.Subscribers) > 0 {
						t.Errorf("afterwards: %+v, %v", info, err)
					}
				})
			}
		}
	}
}

// TestPlaceThatIsTaken has another take the only place while the connection is lost. The
// subscriber goes on trying until it is free again.
func TestPlaceThatIsTaken(t *testing.T) {
	n := startNode(t)
	n.fill(t, 3, 1)
	states := make(chan sdk.State, 100)
	c := dial(t, n.addr, sdk.Options{OnState: func(s sdk.State) { states <- s }})
	s := subscribe(t, c, "only", sdk.SubscribeOptions{})
	n.stop(within(t))
	rival, err := n.owner.Join(within(t), subscriptions.JoinRequest{Name: "only", Consumer: "rival"})
	if err != nil {
		t.Fatal(err)
	}
	await := func(connected bool) {
		for state := range states {
			if state.Connected == connected {
				return
			}
		}
	}
	await(false)
	n.start()
	await(true)
	rival.Leave(true)
	d, err := s.Next(within(t), core.Limit{Events: 10, Bytes: 1 << 20})
	if err != nil || d.First != 1 {
		t.Errorf("%+v, %v", d.Batch, err)
	}
	if err := s.Close(within(t)); err != nil {
		t.Error(err)
	}
}

// TestWorkerThatDies has the connection of one of two consumers break, and the other
// take over what it had.
func TestWorkerThatDies(t *testing.T) {
	n := startNode(t)
	n.fill(t, 200, 10)
	o := sdk.SubscribeOptions{Definition: definition(func(d *subscriptions.Definition) {
		d.PartitionBy, d.ConcurrencyLimit, d.BufferSize = subscriptions.ByStream, 2, 16
	})}
	dies := dial(t, n.addr, sdk.Options{})
	held, err := subscribe(t, dies, "shared", o).Next(within(t), core.Limit{Events: 5, Bytes: 1 << 20})
	if err != nil || held.Count == 0 {
		t.Fatalf("%+v, %v", held.Batch, err)
	}
	works := subscribe(t, dial(t, n.addr, sdk.Options{}), "shared", o)
	ctx, stop := context.WithCancel(within(t))
	defer stop()
	var mu sync.Mutex
	last, seen := map[string]uint64{}, 0
	finished := make(chan error)
	go func() {
		finished <- works.Consume(ctx, func(_ context.Context, d sdk.Delivery) error {
			mu.Lock()
			defer mu.Unlock()
			if d.Version != last[d.Stream]+1 {
				t.Errorf("%s@%d comes after @%d", d.Stream, d.Version, last[d.Stream])
			}
			last[d.Stream] = d.Version
			if seen++; seen == 200 {
				stop()
			}
			return nil
		})
	}()
	if err := dies.Close(); err != nil {
		t.Error(err)
	}
	if err := held.Ack(); !errors.Is(err, core.CodeLeaseLost) {
		t.Errorf("the ack of a closed client: %v", err)
	}
	if err := <-finished; !errors.Is(err, core.CodeCanceled) {
		t.Errorf("Consume ended with %v after %d", err, seen)
	}
	if err := works.Close(within(t)); err != nil {
		t.Error(err)
	}
	n.stored(t, "shared", 200)
}

// TestHandlersFinish ends Consume while handlers run.
func TestHandlersFinish(t *testing.T) {
	n := startNode(t)
	n.fill(t, 10, 1)
	s := subscribe(t, dial(t, n.addr, sdk.Options{}), "drained", sdk.SubscribeOptions{Ahead: 4, Workers: 4})
	ctx, stop := context.WithCancel(within(t))
	defer stop()
	var together sync.WaitGroup
	together.Add(4)
	var handled atomic.Int64
	err := s.Consume(ctx, func(handling context.Context, _ sdk.Delivery) error {
		together.Done()
		together.Wait() // all four run
		stop()
		handled.Add(1)
		return handling.Err()
	})
	if !errors.Is(err, core.CodeCanceled) || handled.Load() != 4 {
		t.Errorf("%v after %d", err, handled.Load())
	}
	if err := s.Close(within(t)); err != nil {
		t.Error(err)
	}
	n.stored(t, "drained", 4)
	if info, err := n.owner.Info(t.Context(), "drained"); err != nil || info.Checkpoint != 4 {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestRefusalsOfSubscribe(t *testing.T) {
	n := startNode(t)
	c := dial(t, n.addr, sdk.Options{})
	only := subscribe(t, c, "only", sdk.SubscribeOptions{Consumer: "first"})
	shared := definition(func(d *subscriptions.Definition) { d.ConcurrencyLimit = 2 })
	for range 2 {
		subscribe(t, c, "shared", sdk.SubscribeOptions{Definition: shared})
	}
	invalid := definition(func(d *subscriptions.Definition) { d.BufferSize = -1 })
	for _, c2 := range []struct {
		name string
		d    *subscriptions.Definition
		code core.Code
	}{
		{"only", nil, core.CodeSubscriptionInUse},
		{"only", shared, core.CodeSubscriptionOptionsDiffer},
		{"shared", nil, core.CodeTooManySubscribers},
		{"new", invalid, core.CodeInvalidRequest},
		{"$x", nil, core.CodeInvalidRequest},
		{"new", definition(func(d *subscriptions.Definition) { d.From = core.From{Kind: core.AfterPosition, N: 99} }), core.CodeInvalidCursor},
	} {
		if _, err := c.Subscribe(within(t), c2.name, sdk.SubscribeOptions{Definition: c2.d}); !errors.Is(err, c2.code) {
			t.Errorf("%s: %v, want %s", c2.name, err, c2.code)
		}
	}
	if err := c.Subscriptions().Delete(t.Context(), "only"); err != nil {
		t.Fatal(err)
	}
	if _, err := only.Next(within(t), core.Limit{}); !errors.Is(err, core.CodeSubscriptionNotFound) {
		t.Errorf("the subscriber of a deleted subscription: %v", err)
	}
}

// TestAckThatIsTooLate has an event redelivered before its ack.
func TestAckThatIsTooLate(t *testing.T) {
	n := startNode(t)
	n.fill(t, 1, 1)
	refused := make(chan error, 1)
	s := subscribe(t, dial(t, n.addr, sdk.Options{}), "slow", sdk.SubscribeOptions{
		OnRefused: func(err error) { refused <- err },
		Definition: definition(func(d *subscriptions.Definition) {
			d.AckTimeoutMs, d.Retry.MinMs, d.Retry.MaxMs = 20, 3_600_000, 3_600_000
		}),
	})
	d, err := s.Next(within(t), core.Limit{Events: 1, Bytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	n.await(t, "slow", func(i *subscriptions.Info) bool { return i.Retrying == 1 })
	if err := d.Ack(); err != nil {
		t.Error(err)
	}
	var coded *core.Error
	if err := <-refused; !errors.As(err, &coded) || coded.Code != core.CodeUnexpectedAck || !slices.Equal(coded.Positions, []uint64{1}) {
		t.Errorf("refused: %+v", err)
	}
}

// TestExtend extends the time of one of two events. When that of the other is over,
// the one may still be acked.
func TestExtend(t *testing.T) {
	n := startNode(t)
	n.fill(t, 2, 1)
	s := subscribe(t, dial(t, n.addr, sdk.Options{}), "long", sdk.SubscribeOptions{
		OnRefused:  func(err error) { t.Errorf("refused: %v", err) },
		Definition: definition(func(d *subscriptions.Definition) { d.AckTimeoutMs, d.Retry.MinMs = 1000, 0 }),
	})
	var sent []sdk.Delivery
	for d, err := range s.Events(within(t)) {
		if err != nil {
			t.Fatal(err)
		}
		if sent = append(sent, d); d.Position == 1 {
			if err := d.Extend(time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		if d.Attempt == 2 {
			break
		}
	}
	if len(sent) != 3 || sent[0].Position != 1 || sent[2].Position != 2 {
		t.Fatalf("sent %+v", sent)
	}
	for _, d := range []sdk.Delivery{sent[0], sent[2]} {
		if err := d.Ack(); err != nil {
			t.Error(err)
		}
	}
	n.stored(t, "long", 2)
}

// TestAheadBoundsWhatIsSent: the server sends no more than is asked for.
func TestAheadBoundsWhatIsSent(t *testing.T) {
	n := startNode(t)
	n.fill(t, 50, 1)
	s := subscribe(t, dial(t, n.addr, sdk.Options{}), "few", sdk.SubscribeOptions{Ahead: 3})
	next := uint64(1)
	for d, err := range s.Events(within(t)) {
		if err != nil {
			t.Fatal(err)
		}
		info, err := n.owner.Info(t.Context(), "few")
		if err != nil || info.InFlight > 3 {
			t.Fatalf("%d in flight, %v", info.InFlight, err)
		}
		if d.Position != next {
			t.Fatalf("position %d, want %d", d.Position, next)
		}
		if err := d.Ack(); err != nil {
			t.Fatal(err)
		}
		if next++; next > 50 {
			break
		}
	}
	n.stored(t, "few", 50)
}

// TestDurableAcks acks until what is acked is stored, with a threshold that no other ack
// would reach.
func TestDurableAcks(t *testing.T) {
	n := startNode(t)
	n.fill(t, 6, 1)
	for name, o := range map[string]sdk.Options{"bin": {}, "json": {JSON: true}} {
		t.Run(name, func(t *testing.T) {
			d := definition(func(d *subscriptions.Definition) { d.CheckpointThreshold, d.CheckpointAfterMs = 1000, 0 })
			s := subscribe(t, dial(t, n.addr, o), name, sdk.SubscribeOptions{Definition: d})
			checkpoint := func(want uint64) {
				t.Helper()
				if info, err := n.owner.Info(t.Context(), name); err != nil || info.Checkpoint != want {
					t.Errorf("the checkpoint is %d, not %d: %v", info.Checkpoint, want, err)
				}
			}
			batch, err := s.Next(within(t), core.Limit{Events: 1})
			if err != nil {
				t.Fatal(err)
			}
			for one := range batch.Events() {
				if err := one.AckDurable(within(t)); err != nil {
					t.Error(err)
				}
				checkpoint(1)
				if err := one.AckDurable(within(t)); !errors.Is(err, core.CodeUnexpectedAck) {
					t.Errorf("acked again: %v", err)
				}
			}
			if batch, err = s.Next(within(t), core.Limit{Events: 4, Bytes: 1 << 20}); err != nil {
				t.Fatal(err)
			}
			if err := batch.AckDurable(within(t)); err != nil {
				t.Error(err)
			}
			checkpoint(uint64(1 + batch.Count))
			if err := s.Close(within(t)); err != nil {
				t.Error(err)
			}
			if err := batch.AckDurable(within(t)); !errors.Is(err, core.CodeLeaseLost) {
				t.Errorf("after Close: %v", err)
			}
		})
	}
}

// TestBufferOfOneSubscriber bounds what is in flight to it, below the subscription's own
// buffer.
func TestBufferOfOneSubscriber(t *testing.T) {
	n := startNode(t)
	n.fill(t, 5, 1)
	s := subscribe(t, dial(t, n.addr, sdk.Options{}), "few", sdk.SubscribeOptions{BufferSize: 2})
	batch, err := s.Next(within(t), core.Limit{Events: 5, Bytes: 1 << 20})
	if err != nil || batch.Count > 2 {
		t.Fatalf("%d events, %v", batch.Count, err)
	}
	n.await(t, "few", func(i *subscriptions.Info) bool { return i.InFlight == 2 && i.BufferSize > 2 })
}

func TestManagement(t *testing.T) {
	n := startNode(t)
	n.fill(t, 20, 2)
	all := dial(t, n.addr, sdk.Options{}).Subscriptions()
	ctx := within(t)
	d := definition(func(d *subscriptions.Definition) { d.Filter.Types, d.Retry.Max = []string{"A"}, 1 })
	info, created, err := all.Put(ctx, "a/b ü", d)
	if err != nil || !created || info.Name != "a/b ü" || info.Retry.Max != 1 || info.State != delivery.Idle {
		t.Errorf("%+v, %v, %v", info, created, err)
	}
	if _, created, err = all.Put(ctx, "a/b ü", d); err != nil || created {
		t.Errorf("again: %v, %v", created, err)
	}
	if _, _, err = all.Put(ctx, "b", definition(func(d *subscriptions.Definition) { d.Paused = true })); err != nil {
		t.Error(err)
	}
	page, err := all.List(ctx, subscriptions.ListRequest{Limit: 1})
	if err != nil || page.End || len(page.Subscriptions) != 1 || page.Subscriptions[0].Name != "a/b ü" {
		t.Errorf("%+v, %v", page, err)
	}
	page, err = all.List(ctx, subscriptions.ListRequest{After: "a/b ü", Prefix: "b"})
	if err != nil || !page.End || len(page.Subscriptions) != 1 || page.Subscriptions[0].State != delivery.Paused {
		t.Errorf("%+v, %v", page, err)
	}
	if err := all.Reset(ctx, "a/b ü", core.From{Kind: core.AfterPosition, N: 10}); err != nil {
		t.Error(err)
	}
	if info, err = all.Info(ctx, "a/b ü"); err != nil || info.Checkpoint != 10 {
		t.Errorf("%+v, %v", info, err)
	}
	d.BufferSize = 3
	if err := all.Redefine(ctx, "a/b ü", d); err != nil {
		t.Error(err)
	}
	if info, err = all.Info(ctx, "a/b ü"); err != nil || info.BufferSize != 3 || info.Checkpoint != 10 {
		t.Errorf("redefined: %+v, %v", info, err)
	}
	if err := all.Redefine(ctx, "none", d); !errors.Is(err, core.CodeSubscriptionNotFound) {
		t.Errorf("redefining none: %v", err)
	}
	if err := all.Delete(ctx, "b"); err != nil {
		t.Error(err)
	}
	if err := all.Delete(ctx, "b"); !errors.Is(err, core.CodeSubscriptionNotFound) {
		t.Errorf("deleting none: %v", err)
	}
	if _, err := all.Info(ctx, "b"); !errors.Is(err, core.CodeSubscriptionNotFound) {
		t.Errorf("a deleted one: %v", err)
	}
}

// overdue is a context whose deadline passes when a channel is closed.
type overdue struct {
	context.Context
	passed chan struct{}
}

func (o overdue) Done() <-chan struct{} { return o.passed }

func (o overdue) Err() error {
	select {
	case <-o.passed:
		return context.DeadlineExceeded
	default:
		return o.Context.Err()
	}
}

// TestManagementWithoutAnAnswer has a server that does not answer what it was asked to do.
func TestManagementWithoutAnAnswer(t *testing.T) {
	n := startNode(t)
	behind, err := url.Parse("http://" + n.addr)
	if err != nil {
		t.Fatal(err)
	}
	through := httputil.NewSingleHostReverseProxy(behind)
	short := overdue{t.Context(), make(chan struct{})} // its deadline passes once the server has the request
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch _, verb := path.Split(r.URL.Path); verb {
		case "silent":
			close(short.passed)
			<-r.Context().Done()
		case "pause":
			panic(http.ErrAbortHandler) // the connection ends
		default:
			through.ServeHTTP(w, r)
		}
	}))
	defer front.Close()
	c := dial(t, front.URL, sdk.Options{})
	defer c.Close()
	all := c.Subscriptions()
	if err := all.Delete(short, "silent"); !errors.Is(err, core.CodeUnknownOutcome) {
		t.Errorf("a delete that timed out: %v", err)
	}
	if _, err := all.Info(short, "silent"); !errors.Is(err, core.CodeTimeout) {
		t.Errorf("a question that timed out: %v", err)
	}
	if err := all.Delete(short, "later"); !errors.Is(err, core.CodeTimeout) {
		t.Errorf("a delete that was not sent: %v", err)
	}
	if err := all.Pause(within(t), "any"); !errors.Is(err, core.CodeUnknownOutcome) {
		t.Errorf("a pause whose connection was lost: %v", err)
	}
}

func TestParkedAreReplayedAndDropped(t *testing.T) {
	n := startNode(t)
	n.fill(t, 6, 2)
	c := dial(t, n.addr, sdk.Options{})
	all := c.Subscriptions()
	s := subscribe(t, c, "poisoned", sdk.SubscribeOptions{})
	ctx, stop := context.WithCancel(within(t))
	defer stop()
	replayed := make(chan uint64, 10)
	var parked atomic.Int64
	finished := make(chan error)
	go func() {
		finished <- s.Consume(ctx, func(_ context.Context, d sdk.Delivery) error {
			if d.Replay != (d.Attempt > 1) {
				t.Errorf("attempt %d of event %d: replay is %t", d.Attempt, d.Position, d.Replay)
			}
			if d.Attempt == 1 {
				parked.Add(1)
				return &sdk.Refusal{Action: delivery.ActionPark}
			}
			replayed <- d.Position
			return nil
		})
	}()
	n.stored(t, "poisoned", 6)
	page, err := all.Parked(ctx, "poisoned", subscriptions.ParkedRequest{Limit: 4})
	if err != nil || page.End || len(page.Parked) != 4 {
		t.Fatalf("%d parked, %v", len(page.Parked), err)
	}
	page, err = all.Parked(ctx, "poisoned", subscriptions.ParkedRequest{After: 4})
	if err != nil || !page.End || len(page.Parked) != 2 {
		t.Fatalf("%d parked, %v", len(page.Parked), err)
	}
	id := page.Parked[0].Event.Slice()[0].ID
	if count, err := all.Replay(ctx, "poisoned", subscriptions.Selection{IDs: []core.ID{id}}); err != nil || count != 1 {
		t.Errorf("replay by id: %d, %v", count, err)
	}
	if position := <-replayed; position != 5 {
		t.Errorf("replayed %d", position)
	}
	if count, err := all.Drop(ctx, "poisoned", subscriptions.Selection{Positions: []uint64{1, 2}}); err != nil || count != 2 {
		t.Errorf("drop: %d, %v", count, err)
	}
	if count, err := all.Replay(ctx, "poisoned", subscriptions.Selection{Filter: core.Filter{Streams: []string{"s-1"}}}); err != nil || count != 2 {
		t.Errorf("replay by filter: %d, %v", count, err)
	}
	if got := []uint64{<-replayed, <-replayed}; !slices.Equal(got, []uint64{4, 6}) {
		t.Errorf("replayed %d", got)
	}
	n.await(t, "poisoned", func(i *subscriptions.Info) bool { return i.Parked == 1 }) // the others' acks are stored
	for _, which := range []subscriptions.Selection{{}, {All: true, Positions: []uint64{3}}} {
		if _, err := all.Drop(ctx, "poisoned", which); !errors.Is(err, core.CodeInvalidRequest) {
			t.Errorf("drop of %+v: %v", which, err)
		}
	}
	if count, err := all.Drop(ctx, "poisoned", subscriptions.Selection{All: true}); err != nil || count != 1 {
		t.Errorf("drop all: %d, %v", count, err)
	}
	stop()
	if err := <-finished; !errors.Is(err, core.CodeCanceled) || parked.Load() != 6 {
		t.Errorf("Consume ended with %v after %d for the first time", err, parked.Load())
	}
	if err := s.Close(within(t)); err != nil {
		t.Error(err)
	}
}
