package subscriptions

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/gyre-events/gyre/core"
)

// judging is the Program of a task of a host, with plugins in it. A plugin may end the whole
// process, if its sandbox does not hold. So that the event at which it does is found and parked,
// and the subscription does not end the process for ever:
//
//   - A record is there while the task judges. If it is there at the beginning, the process has
//     ended since, and any event up to the head of that moment may be why.
//   - Then, before each run over such events, the record says which they are. Events that it has
//     named are judged one by one the next time, each after it was counted in the record.
//   - An event at which the process has ended mostDeaths times while it was judged alone is not
//     judged any more: it has a fault.
//
// Otherwise it costs a Commit at the beginning and one at the end.
type judging struct {
	Program
	owner *Owner
	key   string // of the record

	begun       bool
	until       uint64 // positions up to here are suspect
	first, last uint64 // of the run that was not ended, if that was said
	now         judged // what the record says
	revision    uint64
}

// judged is the record of a judging.
type judged struct {
	// First and Last are the positions of the events of a run; zero if it was not said.
	First uint64 `json:"first,omitzero"`
	Last  uint64 `json:"last,omitzero"`
	// Alone are events that were judged alone, or are, and how often that was not ended.
	Alone map[uint64]int `json:"alone"`
}

const (
	mostDeaths = 3
	// mostAlone bounds judged.Alone. What is over it is found later.
	mostAlone = 64
	// endWithin bounds the Commit that takes the record away. If that cannot be, the next
	// beginning finds it, which costs some Commits.
	endWithin = 500 * time.Millisecond
)

// judging returns the Program of a task: the reader or the replayer.
func (h *host) judging(task string, p Program) *judging {
	return &judging{Program: p, owner: h.owner, key: h.incarnation.ID + "/" + task}
}

// Run is Program.Run.
func (j *judging) Run(ctx context.Context, b core.Batch, dst []Verdict) ([]Verdict, error) {
	if !j.begun {
		if err := j.begin(ctx); err != nil {
			return dst, err
		}
	}
	if b.First > j.until {
		return j.Program.Run(ctx, b, dst)
	}
	deaths, counted := j.now.Alone[b.First]
	if deaths >= mostDeaths {
		reason := fmt.Sprintf("the node has stopped %d times while the plugin judged this event", deaths)
		return append(dst, Verdict{Keep: true, Fault: reason}), nil
	}
	if counted || j.suspects(b.First) {
		return j.runAlone(ctx, b, dst)
	}
	b = j.unsuspected(b)
	j.now.First, j.now.Last = b.First, b.Last
	if err := j.store(ctx); err != nil {
		return dst, err
	}
	return j.Program.Run(ctx, b, dst)
}

// begin finds out whether the record is there, and writes it if it is not.
func (j *judging) begin(ctx context.Context) error {
	record, err := j.owner.records.get(ctx, judgingTable, j.key)
	if err != nil {
		return err
	}
	j.revision, j.until, j.first, j.last, j.now = 0, 0, 0, 0, judged{Alone: map[uint64]int{}}
	j.begun = true
	if record == nil {
		return j.store(ctx)
	}
	j.revision, j.until = record.Revision, j.owner.store.State().Head
	if err := decode(judgingTable, record, &j.now); err != nil {
		return err
	}
	j.first, j.last = j.now.First, j.now.Last
	return nil
}

// suspects reports whether the process may have ended at an event, of those of one run.
func (j *judging) suspects(position uint64) bool {
	return j.first <= position && position <= j.last
}

// unsuspected returns the first events of a batch, up to one that is to be judged alone or not at
// all.
func (j *judging) unsuspected(b core.Batch) core.Batch {
	n := 0
	for p := range b.Places() {
		if _, counted := j.now.Alone[p.Position]; counted || j.suspects(p.Position) {
			break
		}
		n++
	}
	head, _ := b.Cut(core.Limit{Events: n, Bytes: math.MaxInt})
	return head
}

// runAlone judges the first event of a batch, after it was counted.
func (j *judging) runAlone(ctx context.Context, b core.Batch, dst []Verdict) ([]Verdict, error) {
	b, _ = b.Cut(core.Limit{Events: 1, Bytes: math.MaxInt})
	if _, counted := j.now.Alone[b.First]; counted || len(j.now.Alone) < mostAlone {
		j.now.Alone[b.First]++
	}
	j.now.First, j.now.Last = b.First, b.First
	if err := j.store(ctx); err != nil {
		return dst, err
	}
	dst, err := j.Program.Run(ctx, b, dst)
	if err == nil {
		delete(j.now.Alone, b.First)
	}
	return dst, err
}

// store writes the record as it is to be. After an error it is not known, and begun again.
func (j *judging) store(ctx context.Context) error {
	value, err := json.Marshal(&j.now)
	if err != nil {
		return err
	}
	expect := core.NoStream
	if j.revision > 0 {
		expect = core.Expect(j.revision)
	}
	err = j.owner.commit(ctx, core.RecordOp{Table: judgingTable, Key: j.key, Expect: expect, Value: value})
	j.revision++
	j.begun = err == nil
	return err
}

// Close takes the record away.
func (j *judging) Close() error {
	err := j.Program.Close()
	if !j.begun {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), endWithin)
	defer cancel()
	if err := j.owner.commit(ctx, core.RecordOp{Table: judgingTable, Key: j.key, Expect: core.Expect(j.revision), Action: core.DeleteRecord}); err != nil {
		j.owner.config.Logger.Debug("a subscription begins suspect next", "key", j.key, "error", err)
	}
	return err
}
