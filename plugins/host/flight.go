package host

import (
	"context"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins/effects"
)

// flight is the Commit of a batch that is under way. The lane goes on with the batch behind
// it meanwhile, on the state that it will leave.
type flight struct {
	events []queued // of the batch
	staged effects.Staged
	before uint64 // the revision of the lane that it expects
	next   laneRecord
	answer chan answer // holds 1
	// followed is what the shadow made of it; nil if it was not given it.
	followed *followed
}

const (
	// maxFlights bounds the Commits of a lane that are under way.
	maxFlights = 8
	// maxFlightBytes bounds their effects, but for the last of them.
	maxFlightBytes = 1 << 20
)

func (f *flight) first() uint64 { return f.events[0].position }
func (f *flight) last() uint64  { return f.events[len(f.events)-1].position }

// goesAhead reports whether the next batch is handled while Commits are under way. One that
// has room waits for more, as it would without them. So does everything but a plain batch,
// which may not be right if one of them is not made.
func (l *lane) goesAhead(full bool) bool {
	if !l.fenced || l.wary > 0 || !full || len(l.flights) == maxFlights {
		return false
	}
	bytes := 0
	for _, f := range l.flights {
		bytes += f.staged.Bytes()
	}
	return bytes < maxFlightBytes && l.isPlain(&l.front[0])
}

// launch makes the Commit of what is staged, with other operations, and does not wait for it.
// The lane is from now on as it is behind it.
func (l *lane) launch(events []queued, next laneRecord, ops []core.RecordOp) {
	f := &flight{answer: make(chan answer, 1)}
	if n := len(l.spare); n > 0 {
		f, l.spare = l.spare[n-1], l.spare[:n-1]
	}
	f.events, f.followed = append(f.events[:0], events...), nil
	f.before, f.next = l.stored.revision, next
	c := core.Commit{Appends: l.stage.Appends(), Records: l.guard(l.changes(ops), next)}
	l.stage.Take(&f.staged)
	if l.holds(ruleAhead) {
		l.ground.launch(f)
	}
	l.goOn(next)
	l.flights = append(l.flights, f)
	answers := f.answer
	l.sub.Submit(c, func(r core.Result, err error) { answers <- answer{r, err} })
}

// goOn has the lane stand behind a Commit.
func (l *lane) goOn(next laneRecord) {
	l.stateBytes.Add(next.StateBytes - l.stored.StateBytes)
	l.stored.laneRecord = next
	l.stored.revision++
}

// oldest has the answer to the oldest Commit under way; nil if there is none.
func (l *lane) oldest() <-chan answer {
	if len(l.flights) == 0 {
		return nil
	}
	return l.flights[0].answer
}

// hasLanded reports whether there is an answer to the oldest.
func (l *lane) hasLanded() bool { return len(l.oldest()) > 0 }

// drain waits until no Commit is under way. ok is false if one was not made: then what to do
// about that is done, and the error ends the runner.
func (l *lane) drain(ctx context.Context) (ok bool, err error) {
	switch {
	case l.caughtUp(ctx):
		return true, nil
	case ctx.Err() != nil:
		return false, ctx.Err()
	}
	a := <-l.oldest() // caughtUp has left it
	return false, l.lost(ctx, a.err)
}

// caughtUp waits until no Commit is under way. It returns false if one was not made, whose
// answer it leaves, or when ctx ends.
func (l *lane) caughtUp(ctx context.Context) bool {
	for len(l.flights) > 0 {
		select {
		case a := <-l.oldest():
			if !l.isMade(a) {
				l.flights[0].answer <- a
				return false
			}
			l.land()
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// land tells the machine of the oldest Commit, which was made.
func (l *lane) land() {
	f := l.flights[0]
	l.flights = append(l.flights[:0], l.flights[1:]...)
	l.settled(f.next)
	l.succeeded(f)
	l.shown.committed(len(f.events), &f.staged)
	l.ground.land(f)
	l.following.landed(f.followed)
	l.tellOf(&f.staged)
	l.ack(f.events)
	clear(f.events) // they hold their blocks in memory
	f.staged.Reset()
	l.spare = append(l.spare, f)
}

// lost goes on after the oldest Commit was not made, as far as is known. Those behind it stand
// on it: none of them can be made, unless it was, so all are thrown away (L13).
func (l *lane) lost(ctx context.Context, err error) error {
	f, behind := l.flights[0], l.flights[1:]
	l.following.lost(l.flights)
	l.flights = nil
	for _, b := range behind {
		select {
		case <-b.answer:
		case <-ctx.Done():
			return ctx.Err()
		}
		if !l.holds(ruleAllBack) {
			l.ack(b.events)
		}
	}
	return l.refused(ctx, f.events, f.before, err)
}

// isMade reports whether a Commit with effects was made. A duplicate was not, or not by it (L11).
func (l *lane) isMade(a answer) bool {
	return a.err == nil && (!a.result.Duplicate || !l.holds(ruleDuplicate))
}
