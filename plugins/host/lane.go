package host

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/effects"
)

// lane handles its events one batch after another. Everything but the queue and what is
// published belongs to its goroutine, run.
type lane struct {
	*runner
	number int
	queue  queue
	woken  chan struct{} // holds 1: the queue has more
	out    Output
	shown  published

	standing
	bounds
	handler plugins.Handler
	ground  ground
	stage   *effects.Stage
	flying
	following *follower // the lane of the shadow; nil while it has none

	batch effects.Batch
	tried tried // of the last batch, if it had one event
	caution
	pace
	answers   chan answer // holds 1
	front     []queued    // scratch
	positions []uint64    // scratch
}

// flying are the Commits of a lane.
type flying struct {
	flights []*flight // under way, in order
	spare   []*flight // to be used again
}

// standing is the lane as it is when the Commits under way are made. What a lane has computed
// depends on it.
type standing struct {
	read   bool // it is up to date; if not, nothing that was computed is (L2)
	stored storedLane
	fenced bool       // the fence is from a Commit since the lane was read (L13)
	made   laneRecord // without the Commits under way
	began  uint64     // the checkpoint when the runner began
}

// caution is what a lane does not handle as it would.
type caution struct {
	search   effects.Search // for an event that batches fail by
	suspects int            // so many events are handled alone, with their attempts written first
	wary     int            // behind those, so many batches are handled with no Commit under way
	begun    uint64         // position of the event whose attempt was written before it was made, and is not over
}

// pace is when a lane goes on.
type pace struct {
	notBefore time.Time     // the next batch
	backoff   time.Duration // after the next error of storage
	conflicts int           // versions that were not as expected, one after another
	failed    int           // events parked one after another, or handlers that did not start
}

// answer is how a Commit went.
type answer struct {
	result core.Result
	err    error
}

func newLane(r *runner, number int) *lane {
	l := &lane{
		runner: r, number: number, woken: make(chan struct{}, 1), answers: make(chan answer, 1),
		out: r.host.config.Output(&r.binding.Binding, number), pace: pace{backoff: leastBackoff}, shown: published{totals: &r.driver.totals},
		bounds: bounds{moved: make(chan struct{}, 1), upTo: math.MaxUint64},
	}
	l.ground.lane = l
	l.stage = effects.NewStage(r.terms, &l.ground, l.out)
	l.stage.Reach(counted{r.host.config.Outside, &r.driver.totals})
	return l
}

// take takes the stored lane to begin with.
func (l *lane) take(s storedLane) {
	l.stateBytes.Add(s.StateBytes - l.stored.StateBytes)
	l.stored, l.made, l.read, l.fenced = s, s.laneRecord, true, false
	l.publish("", "")
	l.tellOf(nil)
}

// run handles what comes until it cannot go on, and returns why.
func (l *lane) run(ctx context.Context) error {
	defer l.discard()
	defer func() { l.following.close() }()
	defer l.tellRest()
	for {
		if err := l.await(ctx); err != nil {
			return err
		}
		if err := l.step(ctx); err != nil {
			return err
		}
	}
}

// await waits until there is something to do, and it is time to do it. Meanwhile it takes the
// answers to the Commits under way.
func (l *lane) await(ctx context.Context) error {
	late := time.NewTimer(0)
	defer late.Stop()
	for {
		full := l.look()
		late.Reset(time.Until(l.notBefore))
		wait := late.C
		switch {
		case len(l.flights) > 0 && (l.hasLanded() || !l.goesAhead(full)):
			wait = nil
		case len(l.front) == 0:
			l.publish("", "") // what it was blocked by is over
			wake(l.driver.caughtUp)
			wait = nil
		case !time.Now().Before(l.notBefore):
			return ctx.Err()
		}
		select {
		case a := <-l.oldest():
			if l.isMade(a) {
				l.land()
			} else if err := l.lost(ctx, a.err); err != nil {
				return err
			}
		case <-l.woken:
		case <-l.moved:
			if err := l.follow(ctx); err != nil {
				return err
			}
		case <-wait:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// look looks for what is next. full reports whether it is a whole batch.
func (l *lane) look() (full bool) {
	var first, last uint64
	if n := len(l.flights); n > 0 {
		first, last = l.flights[0].first(), l.flights[n-1].last()
	}
	limits := &l.binding.Limits
	l.front, full = l.queue.front(l.front[:0], core.Limit{Events: limits.BatchEvents, Bytes: limits.BatchBytes}, first, last, l.upTo)
	return full
}

// step does what is next: it passes events that were handled before, handles a replay, or
// handles a batch. Only the last is done while Commits are under way.
func (l *lane) step(ctx context.Context) error {
	if !l.read {
		if err := l.reread(ctx); err != nil {
			return l.fail(err)
		}
	}
	if ok, err := l.expire(ctx); !ok || err != nil {
		return err
	}
	first := &l.front[0]
	switch {
	case first.replay:
		return l.replay(ctx, first)
	case first.position <= l.passed():
		return l.pass(ctx)
	case l.isCarried(first):
		return l.carry(ctx, l.front[:1])
	case first.fault != "":
		return l.park(ctx, l.front[:1], effects.Failure{Reason: first.fault})
	}
	n, most := 1, min(l.most(first), len(l.front))
	for n < most && !l.front[n].replay && l.front[n].fault == "" && !l.isCarried(&l.front[n]) {
		n++
	}
	return l.handleBatch(ctx, l.front[:n])
}

// most is how many events are handled at once, of which one is the first. Where there was an
// attempt at it, it is handled alone.
func (l *lane) most(first *queued) int {
	if l.suspects > 0 || l.stored.Attempts > 0 {
		return 1
	}
	return l.search.Most(first.position)
}

// isPlain reports whether an event is handled with as many others as there are.
func (l *lane) isPlain(event *queued) bool {
	return !event.replay && event.fault == "" && event.position > l.passed() && l.most(event) == math.MaxInt && !l.isCarried(event)
}

// passed is the position up to which events are not run: it is judged when one is about to
// be, because an earlier try of its Commit may have been made since it came (L4).
func (l *lane) passed() uint64 {
	if !l.holds(ruleJudgeLate) {
		return l.began
	}
	return l.stored.Checkpoint
}

// reread reads the binding and the lane. The error is errChanged if the binding has changed.
func (l *lane) reread(ctx context.Context) error {
	b, err := l.host.generation(ctx, l.binding.Name, l.binding.role)
	switch {
	case errors.Is(err, core.CodeBindingNotFound):
		return errChanged
	case err != nil:
		return err
	case b.revision != l.binding.revision:
		return errChanged
	}
	found, err := l.host.lanesFrom(ctx, b, l.number, l.number+1)
	if err != nil {
		return err
	}
	l.take(found[0])
	return nil
}

// discard throws away what was computed: the handler has seen events that were not
// committed (L3).
func (l *lane) discard() {
	if l.handler != nil {
		l.handler.Close()
		l.handler = nil
		l.shown.memory.Store(0)
	}
	if l.holds(ruleReadFirst) {
		l.ground = ground{lane: l}
	}
	l.read = false
}

// fail goes on after an error of storage: by waiting, or, if the error is about more than
// that, by ending the runner.
func (l *lane) fail(err error) error {
	l.discard()
	if ends(err) {
		return err
	}
	l.backOff(err)
	return nil
}

// backOff holds the lane back, for longer each time until a Commit is made.
func (l *lane) backOff(err error) {
	l.delay(l.backoff, core.AsError(err).Error())
	l.backoff = min(2*l.backoff, mostStorageBackoff)
}

// mostStorageBackoff bounds the backoff of a lane whose storage is away.
const mostStorageBackoff = 5 * time.Second

// ends reports whether an error of reading ends the runner: it will not be over soon.
func ends(err error) bool { return isOver(err) || !core.AsError(err).Info().Retryable }

// isOver reports whether an error is about the node, or about who owns the subscription, or
// about another binding: the runner has nothing more to do.
func isOver(err error) bool {
	if errors.Is(err, errChanged) || errors.Is(err, context.Canceled) {
		return true
	}
	for _, code := range []core.Code{
		core.CodeStaleEpoch, core.CodeNotOwner, core.CodeNotServing, core.CodeNotMember, core.CodeLeaseLost, core.CodeShuttingDown,
		core.CodeStoreClosed, core.CodeCanceled, core.CodeSubscriptionInterrupted, core.CodeSubscriptionNotFound,
	} {
		if errors.Is(err, code) {
			return true
		}
	}
	return false
}

// delay holds the lane back.
func (l *lane) delay(d time.Duration, why string) {
	l.notBefore = time.Now().Add(d)
	l.publish(plugins.Blocked, why)
}

// ack tells the machine that events are handled, and forgets them.
func (l *lane) ack(events []queued) {
	l.positions = l.positions[:0]
	for i := range events {
		l.positions = append(l.positions, events[i].position)
	}
	l.tell(events, subscriptions.Answer{Kind: subscriptions.Ack, Positions: l.positions})
}

// nackPark tells the machine that an event is parked.
func (l *lane) nackPark(event *queued, t *trace) {
	l.tell([]queued{*event}, subscriptions.Answer{
		Kind: subscriptions.Nack, Positions: []uint64{event.position},
		Nack: delivery.Nack{Action: delivery.ActionPark, Reason: t.Reason, Attempts: t.Attempts},
	})
}

// tell gives the machine an answer, which it takes at once: the events may come again from
// then on. A lease that has ended has no machine to tell; the next one asks again.
func (l *lane) tell(events []queued, a subscriptions.Answer) {
	bytes := 0
	for i := range events {
		bytes += len(events[i].raw)
	}
	l.queue.remove(events)
	l.sub.Answer(a, func(error) {})
	l.answered(bytes)
}
