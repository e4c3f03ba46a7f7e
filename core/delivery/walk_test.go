package delivery

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gyre-events/gyre/core"
)

// TestSoakWalk does random things to machines, and holds every answer to the
// model's, the stores to what was really acked, and the machines to their
// invariants. To see a failure again, run it with -rapid.failfile as it says.
func TestSoakWalk(t *testing.T) {
	steps, want := 0, 20_000
	if os.Getenv("GYRE_SOAK") == "1" {
		want = 1_000_000
	}
	// A walk has to be long enough for a window to fill and owners to follow each
	// other; rapid's default is 30.
	if f := flag.Lookup("rapid.steps"); f.Value.String() == f.DefValue {
		if err := f.Value.Set("200"); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Value.Set(f.DefValue) }()
	}
	for steps < want && !t.Failed() {
		rapid.Check(t, func(t *rapid.T) {
			w := newWalk(t)
			t.Repeat(w.actions())
			w.drain()
			steps += w.steps
		})
	}
	t.Logf("%d steps", steps)
}

// walk is a world around machines that own a subscription one after the other.
type walk struct {
	*rapid.T
	m     *Machine
	model *model
	now   time.Time
	steps int

	log    []logged
	read   int        // events of log that were read
	asked  core.Limit // by the read under way
	out    Output
	config Config

	store   *Store // under way
	retryAt time.Time
	failed  int

	// disk is what is durable, and truth what really happened to events, over all
	// owners.
	disk    uint64
	onPark  map[uint64]Parked
	failing map[uint64]FailedEvent
	truth   map[uint64]bool
	gone    []Lease
}

// logged is an event in the log.
type logged struct {
	Item
	match bool
}

// n is a number below most; small ones are likelier.
func (w *walk) n(most int, label string) int { return rapid.IntRange(0, most-1).Draw(w.T, label) }

// chance is true in about n of 100 cases. What shrinks is false.
func (w *walk) chance(n int, label string) bool {
	if n == 50 {
		return rapid.Bool().Draw(w.T, label)
	}
	return w.n(100, label) >= 100-n
}

func newWalk(t *rapid.T) *walk {
	w := &walk{T: t, now: epoch, onPark: map[uint64]Parked{}, failing: map[uint64]FailedEvent{}, truth: map[uint64]bool{}}
	o := Options{
		PartitionBy:         rapid.SampledFrom([]string{"none", "stream"}).Draw(t, "partitionBy"),
		ConcurrencyLimit:    1 + w.n(4, "concurrencyLimit"),
		BufferSize:          1 + w.n(5, "bufferSize"),
		CheckpointThreshold: rapid.SampledFrom([]int{1, 3, 20}).Draw(t, "threshold"),
		CheckpointAfterMs:   rapid.SampledFrom([]int64{0, 25, 2000}).Draw(t, "after"),
		AckTimeoutMs:        rapid.SampledFrom([]int64{50, 1000, 30_000, NoLimit}).Draw(t, "ackTimeout"),
		Retry: Retry{
			Max:   rapid.SampledFrom([]int{1, 2, 3, 4, NoLimit}).Draw(t, "max"),
			MinMs: rapid.SampledFrom([]int64{0, 100}).Draw(t, "min"),
			MaxMs: rapid.SampledFrom([]int64{100, 300}).Draw(t, "max"),
			Then:  rapid.SampledFrom([]Then{ThenPark, ThenPark, ThenSkip, ThenStop}).Draw(t, "then"),
		},
		OnPark: Continue,
		Paused: w.chance(5, "paused"),
	}
	if o.partitioned() && w.chance(60, "holdKey") {
		o.OnPark = HoldKey
	}
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	w.config = Config{Options: o, Window: core.Limit{Events: 2 + w.n(40, "window"), Bytes: 50 + w.n(2000, "windowBytes")}}
	w.own()
	return w
}

// own begins a machine from what is stored.
func (w *walk) own() {
	w.config.Checkpoint, w.config.Parked = w.disk, nil
	for _, p := range w.onPark {
		w.config.Parked = append(w.config.Parked, p.ParkedRef)
	}
	w.config.Failed = slices.SortedFunc(maps.Values(w.failing), func(a, b FailedEvent) int { return cmp.Compare(a.Position, b.Position) })
	w.config.Lease += 1000
	w.m, w.model = New(w.now, w.config), newModel(w.now, w.config)
	w.store, w.asked, w.out = nil, core.Limit{}, Output{}
	w.retryAt, w.failed = time.Time{}, 0
	w.read, _ = slices.BinarySearchFunc(w.log, w.disk+1, func(e logged, p uint64) int { return int(e.Position) - int(p) })
}

// actions are what may happen, the likeliest first. Some are there more than once.
func (w *walk) actions() map[string]func(*rapid.T) {
	kinds := []struct {
		name   string
		weight int
		do     func()
	}{
		{"read", 4, w.reads}, {"ack", 3, w.ack}, {"stored", 3, w.stored}, {"append", 2, w.append},
		{"join", 2, w.join}, {"tick", 2, w.tick}, {"nack", 2, w.nack}, {"credit", 1, w.credit}, {"replay", 1, w.replay},
		{"leave", 1, w.leave}, {"recall", 1, w.recall}, {"ack up to", 1, w.ackUpTo}, {"extend", 1, w.extend}, {"lose", 1, w.lose},
		{"late", 1, w.late}, {"drop", 1, w.drop}, {"pause", 1, w.pause}, {"flush", 1, w.flush},
		{"drain", 1, w.drains}, {"expire", 1, w.expire},
	}
	all := map[string]func(*rapid.T){}
	for i, k := range kinds {
		for j := range k.weight {
			all[fmt.Sprintf("%02d%d %s", i, j, k.name)] = func(t *rapid.T) {
				w.T = t
				k.do()
				w.steps++
				if !w.chance(15, "together") {
					w.advance()
				}
			}
		}
	}
	return all
}

func (w *walk) flush() { w.m.Flush() }

func (w *walk) append() {
	for range 1 + w.n(8, "count") {
		e := logged{match: !w.chance(25, "other")}
		e.Position = 1 + uint64(w.n(3, "gap"))
		if len(w.log) > 0 {
			e.Position += w.log[len(w.log)-1].Position
		}
		e.Raw = make([]byte, 1+w.n(60, "size"))
		if w.config.Options.partitioned() {
			e.Key = string(rune('a' + w.n(4, "key")))
		}
		if w.chance(3, "fault") {
			e.Fault = "fault"
		}
		w.log = append(w.log, e)
	}
}

// reads asks for what the last Advance wanted to be read, or feeds it.
func (w *walk) reads() {
	if w.asked == (core.Limit{}) {
		w.asked = w.out.Read
		return
	}
	w.feed(1 + w.n(12, "scanned"))
	w.asked, w.out.Read = core.Limit{}, core.Limit{}
}

// feed feeds from so many events of the log what was asked for.
func (w *walk) feed(scan int) {
	var items []Item
	bytes, cursor := 0, w.model.cursor
	for ; scan > 0 && w.read < len(w.log); scan-- {
		e := w.log[w.read]
		if e.match {
			if len(items) == w.asked.Events || len(items) > 0 && bytes+len(e.Raw) > w.asked.Bytes {
				break
			}
			items = append(items, e.Item)
			bytes += len(e.Raw)
		}
		cursor = e.Position
		w.read++
	}
	if err := w.m.Feed(items, cursor, w.read == len(w.log)); err != nil {
		w.Fatal(err)
	}
	w.model.feed(items, cursor, w.now)
}

func (w *walk) join() {
	c := Credit{int64(1 + w.n(20, "events")), int64(50 + w.n(400, "bytes"))}
	workers := 1 + w.n(10, "workers")/6*2 // 1 or 3
	buffer := max(0, w.n(8, "buffer")-3)  // mostly the subscription's
	l, err := w.m.Join(Consumer{"w", workers, buffer}, c)
	if limit := w.config.Options.ConcurrencyLimit; len(w.model.workers) >= limit {
		want := core.CodeTooManySubscribers
		if limit == 1 {
			want = core.CodeSubscriptionInUse
		}
		w.wants(err, want)
		return
	}
	w.wants(err, "")
	w.model.workers = append(w.model.workers, &worker{l, c, workers, buffer, w.model.next(), map[uint64]int{}})
}

func (w *walk) wants(err error, code core.Code) {
	if (code == "") != (err == nil) || err != nil && core.AsError(err).Code != code {
		w.Fatalf("answered %v, want %q", err, code)
	}
}

// any is one of the subscribers; the action is another one where there is none.
func (w *walk) any() *worker {
	if len(w.model.workers) == 0 {
		w.Skip("nobody is there")
	}
	return w.model.workers[w.n(len(w.model.workers), "worker")]
}

func (w *walk) credit() {
	who := w.any()
	c := Credit{int64(1 + w.n(20, "events")), int64(50 + w.n(400, "bytes"))}
	w.wants(w.m.Credit(who.lease, c), "")
	who.credit.add(c)
}

// recall takes back what was not passed on.
func (w *walk) recall() {
	who := w.any()
	positions := w.some(who)
	w.wants(w.m.Recall(who.lease, positions), "")
	var recalled []*fate
	for _, position := range positions {
		if f := w.model.find(who, position); f != nil && !slices.Contains(recalled, f) {
			f.attempt--
			recalled = append(recalled, f)
		}
	}
	for _, f := range recalled {
		w.model.giveBack(f)
	}
	who.credit = Credit{}
}

func (w *walk) leave() {
	who, clean := w.any(), w.chance(50, "clean")
	w.goes(who, clean)
}

func (w *walk) goes(who *worker, clean bool) {
	w.wants(w.m.Leave(w.now, who.lease, clean), "")
	w.model.now = w.now
	if !clean {
		for _, f := range w.model.begun(who) {
			backoff := time.Duration(0)
			if f.failed > 0 {
				backoff = w.config.Options.Retry.backoff(f.failed)
			}
			if w.model.fail(f, backoff) {
				w.truth[f.Position] = true
			}
		}
	}
	for _, f := range w.model.inFlight(who) {
		w.model.giveBack(f)
	}
	w.model.workers = slices.DeleteFunc(w.model.workers, func(o *worker) bool { return o == who })
	w.gone = append(w.gone, who.lease)
}

// some are positions of which most are in flight to someone.
func (w *walk) some(who *worker) (positions []uint64) {
	fates := w.model.inFlight(who)
	for range 1 + w.n(4, "count") {
		switch {
		case w.chance(5, "wild") && len(w.log) > 0:
			positions = append(positions, w.log[w.n(len(w.log), "position")].Position)
		case len(who.expired) > 0 && w.chance(30, "expired"):
			positions = append(positions, slices.Min(slices.Collect(maps.Keys(who.expired))))
		case len(fates) > 0:
			i := w.n(len(fates), "which")
			if w.chance(50, "newest") {
				i = len(fates) - 1 - i
			}
			positions = append(positions, fates[i].Position)
		}
	}
	return positions
}

// answer compares what each of the positions gets with the model.
func (w *walk) answer(who *worker, positions []uint64, err error, do func(*fate)) {
	w.answerOrExtend(who, positions, err, true, do)
}

// answerOrExtend is answer; answers is false if the events are answered later.
func (w *walk) answerOrExtend(who *worker, positions []uint64, err error, answers bool, do func(*fate)) {
	w.model.now = w.now
	var others []uint64
	for _, position := range positions {
		if f := w.model.find(who, position); f != nil {
			do(f)
		} else if _, ok := who.expired[position]; !ok {
			others = append(others, position)
		} else if answers {
			delete(who.expired, position)
		}
	}
	w.unexpected(others, err)
}

// answerBack is answer, from the last event that was sent to the first.
func (w *walk) answerBack(who *worker, positions []uint64, err error, do func(*fate)) {
	var fates []*fate
	w.answer(who, positions, err, func(f *fate) { fates = append(fates, f) })
	slices.SortFunc(fates, func(a, b *fate) int { return cmp.Compare(b.sent, a.sent) })
	for _, f := range slices.Compact(fates) {
		do(f)
	}
}

// unexpected checks the error for positions that were not in flight.
func (w *walk) unexpected(others []uint64, err error) {
	if len(others) == 0 {
		w.wants(err, "")
		return
	}
	w.wants(err, core.CodeUnexpectedAck)
	if got := core.AsError(err).Positions; !slices.Equal(got, others) {
		w.Fatalf("not in flight are %d, want %d", got, others)
	}
}

func (w *walk) acked(f *fate) {
	w.truth[f.Position] = true
	w.model.end(f)
}

func (w *walk) ack() {
	who := w.any()
	positions := w.some(who)
	w.answer(who, positions, w.m.Ack(w.now, who.lease, positions), w.acked)
}

func (w *walk) ackUpTo() {
	who := w.any()
	fates := w.model.inFlight(who)
	if len(fates) == 0 {
		w.Skip("nothing is in flight")
	}
	i := w.n(len(fates), "which")
	w.wants(w.m.AckUpTo(w.now, who.lease, fates[i].Position), "")
	w.model.now = w.now
	maps.DeleteFunc(who.expired, func(_ uint64, sent int) bool { return sent <= fates[i].sent })
	for _, f := range fates[:i+1] {
		w.acked(f)
	}
}

func (w *walk) nack() {
	who := w.any()
	positions := w.some(who)
	n := Nack{Action: rapid.SampledFrom([]Action{ActionRetry, ActionRetry, ActionRetry, ActionPark, ActionSkip, ActionStop}).Draw(w.T, "action"),
		Delay: rapid.SampledFrom([]time.Duration{ByPolicy, 0, 70 * time.Millisecond}).Draw(w.T, "delay")}
	answer := w.answerBack
	if n.Action == ActionSkip {
		answer = w.answer
	}
	answer(who, positions, w.m.Nack(w.now, who.lease, positions, n), func(f *fate) {
		switch n.Action {
		case ActionRetry:
			if w.model.fail(f, n.Delay) {
				w.truth[f.Position] = true
			}
		case ActionPark:
			w.model.giveBack(f)
			w.model.park(f)
		case ActionSkip:
			w.acked(f)
		case ActionStop:
			w.model.giveBack(f)
			f.changed = true
			w.model.mode = stopped
		}
	})
}

func (w *walk) extend() {
	who := w.any()
	positions := w.some(who)
	d := time.Duration(1+w.n(3000, "ms")) * time.Millisecond
	w.answerOrExtend(who, positions, w.m.Extend(w.now, who.lease, positions, d), false, func(f *fate) {
		if at := w.now.Add(d); at.After(f.due) && w.config.Options.AckTimeoutMs != NoLimit {
			f.due = at
		}
	})
}

// late is from a subscriber whose lease has ended.
func (w *walk) late() {
	if len(w.gone) == 0 || len(w.log) == 0 {
		w.Skip("nobody has left")
	}
	l := w.gone[w.n(len(w.gone), "lease")]
	position := w.log[w.n(len(w.log), "position")].Position
	w.wants(w.m.Ack(w.now, l, []uint64{position}), core.CodeLeaseLost)
	w.wants(w.m.AckUpTo(w.now, l, position), core.CodeLeaseLost)
	w.wants(w.m.Nack(w.now, l, []uint64{position}, Nack{Action: ActionSkip}), core.CodeLeaseLost)
}

// tick goes to when the machine wants to wake, or some time on.
func (w *walk) tick() {
	if w.out.Wake.After(w.now) && w.chance(50, "wake") {
		w.now = w.out.Wake
		return
	}
	w.now = w.now.Add(time.Duration(w.n(200, "ms")) * time.Millisecond)
}

func (w *walk) pause() {
	if w.model.mode == running && w.chance(50, "pause") {
		w.m.Pause()
		w.model.mode = paused
		return
	}
	w.m.Resume()
	w.model.mode = running
}

// drains stops sending, or goes on with it.
func (w *walk) drains() {
	if w.model.draining && w.chance(50, "undrain") {
		w.m.Undrain()
		w.model.draining = false
		return
	}
	var last time.Time
	for _, who := range w.model.workers {
		for _, f := range w.model.inFlight(who) {
			if f.due.After(last) {
				last = f.due
			}
		}
	}
	if deadline := w.m.Drain(); !deadline.Equal(last) {
		w.Fatalf("drained by %v, want %v", deadline, last)
	}
	w.model.draining = true
	if got, want := w.m.InFlight(), w.model.count(inFlight); got != want {
		w.Fatalf("%d in flight, want %d", got, want)
	}
}

func (w *walk) replay() {
	var events []Replay
	for _, e := range w.log {
		if p, ok := w.onPark[e.Position]; ok && w.chance(50, "replay") {
			events = append(events, Replay{Item{Position: e.Position, Raw: p.Raw, Key: p.Key}, p.Attempts, p.Failures})
		}
	}
	if w.chance(50, "backwards") {
		slices.Reverse(events)
	}
	for _, r := range events[:w.m.Replay(events)] {
		early := w.config.Options.holdsKeys() && r.Position > w.model.cursor
		if !early && w.model.replayOf(r.Position) == nil && !w.model.unfinished(r.Position) {
			f := &fate{Item: r.Item, replay: true, ordered: w.config.Options.holdsKeys(), attempt: r.Attempts}
			w.model.restore(f, w.now)
			w.model.replays = append(w.model.replays, f)
		}
	}
}

func (w *walk) drop() {
	var refs []ParkedRef
	for _, e := range w.log {
		if p, ok := w.onPark[e.Position]; ok && w.chance(50, "drop") {
			refs = append(refs, p.ParkedRef)
		}
	}
	w.dropped(refs[:w.m.Drop(refs)])
}

// dropped has the model take notice of parked events that are dropped.
func (w *walk) dropped(refs []ParkedRef) {
	for _, r := range refs {
		f := w.model.replayOf(r.Position)
		switch {
		case w.model.unfinished(r.Position) || f != nil && f.state == parking:
			continue
		case f == nil:
			delete(w.model.failing, r.Position)
			w.model.replays = append(w.model.replays, &fate{Item: Item{Position: r.Position, Key: r.Key}, replay: true, state: removing})
		default:
			w.model.end(f)
		}
		w.truth[r.Position] = true
	}
}

// expire removes events from the log.
func (w *walk) expire() {
	if len(w.log) == 0 {
		w.Skip("the log is empty")
	}
	var positions []uint64
	var refs []ParkedRef
	first := w.n(len(w.log), "first")
	for i := first; i < min(first+1+w.n(6, "count"), len(w.log)); i++ {
		e := &w.log[i]
		e.match = false
		positions = append(positions, e.Position)
		if p, ok := w.onPark[e.Position]; ok {
			refs = append(refs, p.ParkedRef)
		}
	}
	w.model.now = w.now
	w.m.Expire(w.now, positions)
	for _, f := range w.model.all() {
		if slices.Contains(positions, f.Position) && f.state != removing {
			w.truth[f.Position] = true
			w.model.expire(f, w.store)
		}
	}
	w.dropped(refs[:w.m.ExpireParked(refs)])
	for position := range w.m.Kept() {
		if slices.Contains(positions, position) {
			w.Fatalf("keeps event %d, which has expired", position)
		}
	}
}

// stored answers the store under way: it is done, or not, or done and not known to
// be.
func (w *walk) stored() {
	if w.store == nil {
		w.Skip("nothing is under way")
	}
	s := w.store
	w.store = nil
	done, known := !w.chance(20, "failed"), !w.chance(5, "unknown")
	if done {
		w.commit(s)
	}
	if done && known {
		w.failed = 0
		w.model.stored(s)
		w.m.Stored(w.now, nil)
		return
	}
	w.model.notStored(s)
	w.retryAt = w.now.Add(min(100*time.Millisecond<<w.failed, 5*time.Second))
	w.failed++
	w.m.Stored(w.now, core.Errorf(core.CodeStoreReadOnly, "no"))
}

// lose is the owner's end: the store under way is done or not, and the next machine
// begins. If the old one learns of it, it is silent.
func (w *walk) lose() {
	if !w.chance(30, "lose") {
		w.Skip("no")
	}
	if w.store != nil {
		if w.chance(50, "done") {
			w.commit(w.store)
		} else {
			w.m.Stored(w.now, core.Errorf(core.CodeRecordConflict, "no"))
			if o := w.m.Advance(w.now); o.State != Lost || len(o.Sends) > 0 || o.Store != nil || o.Read != (core.Limit{}) || !o.Wake.IsZero() {
				w.Fatalf("a machine that lost its subscription answers %+v", o)
			}
			for _, who := range w.model.workers {
				w.wants(w.m.Ack(w.now, who.lease, nil), core.CodeLeaseLost)
			}
		}
	}
	for _, who := range w.model.workers {
		w.gone = append(w.gone, who.lease)
	}
	w.own()
}

// commit makes a store durable.
func (w *walk) commit(s *Store) {
	before := w.disk
	w.disk = s.Checkpoint
	for _, p := range s.Park {
		w.onPark[p.Position] = p
	}
	for _, r := range s.Remove {
		delete(w.onPark, r.Position)
	}
	for _, f := range s.Failed {
		w.failing[f.Position] = f
	}
	for _, position := range s.Forget {
		delete(w.failing, position)
	}
	if w.disk < before {
		w.Fatalf("P9: checkpoint %d after %d", w.disk, before)
	}
	for _, e := range w.log {
		if e.Position > before && e.Position <= w.disk {
			w.accounted(e)
		}
	}
}

// accounted fails if nothing is known of an event that is behind the checkpoint.
func (w *walk) accounted(e logged) {
	if _, isParked := w.onPark[e.Position]; e.match && !isParked && !w.truth[e.Position] {
		w.Fatalf("P9: checkpoint %d passes event %d, which is neither acked, skipped, dropped nor parked", w.disk, e.Position)
	}
}

// drain gives the machine good subscribers until there is nothing left to do.
func (w *walk) drain() {
	for len(w.model.workers) > 0 {
		w.goes(w.model.workers[0], true)
	}
	w.m.Resume()
	w.m.Undrain()
	w.model.mode, w.model.draining = running, false
	l, err := w.m.Join(Consumer{Name: "last"}, Credit{1 << 30, 1 << 30})
	w.wants(err, "")
	w.model.workers = []*worker{{l, Credit{1 << 30, 1 << 30}, 1, 0, w.model.next(), map[uint64]int{}}}
	head := uint64(0)
	if len(w.log) > 0 {
		head = w.log[len(w.log)-1].Position
	}
	for range 20 + 4*len(w.log) {
		w.advance()
		if w.m.Flushed() && w.m.State() == Live && w.model.cursor == head && len(w.model.all()) == 0 {
			w.settled(head)
			return
		}
		w.drainStep()
	}
	w.Fatalf("stuck at cursor %d of %d, checkpoint %d, with %d events: %+v", w.model.cursor, head, w.disk, len(w.model.all()), w.m.Info(w.now, head))
}

func (w *walk) drainStep() {
	if w.store != nil {
		s := w.store
		w.store = nil
		w.commit(s)
		w.failed = 0
		w.model.stored(s)
		w.m.Stored(w.now, nil)
	}
	w.asked = w.out.Read
	if w.asked != (core.Limit{}) {
		w.feed(12)
	}
	who := w.model.workers[0]
	var positions []uint64
	for _, f := range w.model.inFlight(who) {
		positions = append(positions, f.Position)
	}
	w.answer(who, positions, w.m.Ack(w.now, who.lease, positions), w.acked)
	if len(positions) == 0 && !w.out.Wake.IsZero() {
		w.now = w.out.Wake
	}
	w.m.Flush()
}

// settled checks that no event is lost.
func (w *walk) settled(head uint64) {
	if w.disk != head && len(w.log) > 0 {
		w.Fatalf("the checkpoint is %d at the end, want %d", w.disk, head)
	}
	for _, e := range w.log {
		w.accounted(e)
	}
	for position, f := range w.failing {
		if _, isParked := w.onPark[position]; !isParked || !f.Replay {
			w.Fatalf("the record of failed event %d is left: %+v", position, f)
		}
	}
}

// advance compares what the machine does with the model.
func (w *walk) advance() {
	want, skipped := w.model.advance(w.now)
	for _, position := range skipped {
		w.truth[position] = true
	}
	w.out = w.m.Advance(w.now)
	got := map[Lease][]Delivery{}
	for _, s := range w.out.Sends {
		got[s.Lease] = s.Events
	}
	if err := sameSends(got, want); err != nil {
		w.Fatal(err)
	}
	w.checkRules(want)
	w.checkStore()
	w.checkRead()
	w.checkWake()
	if err := w.m.check(); err != nil {
		w.Fatal(err)
	}
	if o := w.m.Advance(w.now); len(o.Sends) > 0 || o.Store != nil || o.Changed {
		w.Fatalf("a second Advance answers %+v", o)
	}
}

func sameSends(got, want map[Lease][]Delivery) error {
	for l := range want {
		if _, ok := got[l]; !ok {
			got[l] = nil
		}
	}
	for l, events := range got {
		if !slices.EqualFunc(events, want[l], func(a, b Delivery) bool {
			return a.Position == b.Position && a.Attempt == b.Attempt && a.Replay == b.Replay
		}) {
			return fmt.Errorf("sent to %d %+v, want %+v", l, events, want[l])
		}
	}
	return nil
}
