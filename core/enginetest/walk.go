package enginetest

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gyre-events/gyre/core"
)

var walkTests = []test{{"all", "walk", walk}}

// walkSteps is the length of a walk at full length.
const walkSteps = 20_000

func soaking() bool { return os.Getenv("GYRE_SOAK") == "1" }

// scaled is n at full length, and a twentieth of it otherwise.
func scaled(n int) int {
	if soaking() {
		return n
	}
	return n / 20
}

// walk does random things to an engine and compares every answer with the model's.
func walk(s *suite) {
	w := newWalker(s)
	for range scaled(walkSteps) {
		w.step()
	}
	w.compareAll()
}

type walker struct {
	s       *suite
	model   *model
	rand    *rand.Rand
	seed    uint64
	steps   int
	history []*core.Commit // some that were sent, to be sent again
}

func newWalker(s *suite) *walker {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("GYRE_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			s.Fatalf("GYRE_SEED: %v", err)
		}
	}
	return &walker{s: s, model: newModel(), rand: rand.New(rand.NewPCG(seed, 0)), seed: seed}
}

func (w *walker) fatal(err error) {
	w.s.Helper()
	w.s.Fatalf("step %d of the walk with GYRE_SEED=%d: %v", w.steps, w.seed, err)
}

// step commits one group and reads a little.
func (w *walker) step() {
	w.s.Helper()
	w.steps++
	var group []*core.Commit
	for range 1 + w.rand.IntN(4) {
		group = append(group, w.commit())
	}
	step := w.s.group(group...)
	rest := step.Written.Slice()
	for i, c := range group {
		var err error
		if rest, err = w.model.take(c, step.Outcomes[i], rest); err != nil {
			w.fatal(fmt.Errorf("commit %d of %d, %+v: %w", i, len(group), *c, err))
		}
	}
	w.learnRevisions()
	w.read()
	if w.steps%50 == 0 {
		w.compareLists()
	}
}

// learnRevisions reads the revisions that the engine chose.
func (w *walker) learnRevisions() {
	w.s.Helper()
	for name := range w.model.raised {
		table, key, _ := strings.Cut(name, "\x00")
		got, err := w.s.engine.Records(w.s.ctx(), core.RecordsRequest{Table: table, Keys: []string{key}, Limit: 2})
		least := w.model.records[name].Revision
		if err != nil || len(got) != 1 || got[0].Key != key || got[0].Revision < least {
			w.fatal(fmt.Errorf("record %q of %s: %v, %w, want revision %d or more", key, table, got, err, least))
		}
		w.model.raise(name, got[0].Revision)
	}
}

// chance is true in n of 100 cases.
func (w *walker) chance(n int) bool { return w.rand.IntN(100) < n }

func (w *walker) stream() string {
	if w.chance(5) {
		return w.mortal()
	}
	return []string{"a", "b", "b/1", "c", "ü", "z"}[w.rand.IntN(6)]
}

// mortal is a stream that may be tombstoned; there are always new ones.
func (w *walker) mortal() string { return fmt.Sprint("m-", w.steps/200) }

// appended is a stream to append to, seldom one of the system.
func (w *walker) appended() string {
	if w.chance(10) {
		return "$s"
	}
	return w.stream()
}

func (w *walker) commit() *core.Commit {
	c := &core.Commit{System: true}
	if len(w.history) > 0 && w.chance(20) {
		c = w.retry()
	} else {
		for range w.rand.IntN(4) {
			stream := w.appended()
			a := core.Append{Stream: stream, Expect: w.expect(stream), Incarnation: w.incarnation(stream)}
			if a.Links = w.links(c, stream); len(a.Links) == 0 {
				a.Events = w.events()
			}
			c.Appends = append(c.Appends, a)
		}
	}
	if w.chance(20) {
		stream := w.stream()
		c.Checks = append(c.Checks, core.Check{Stream: stream, Expect: w.expect(stream)})
	}
	if w.chance(10) {
		c.Streams = w.withoutAppended(c, w.streamOps())
	}
	for len(c.Records) < 4 && (w.chance(20) || len(c.Appends)+len(c.Streams)+len(c.Records) == 0) {
		c.Records = append(c.Records, w.recordOp())
	}
	w.history = append(w.history, c)
	if len(w.history) > 40 {
		w.history = w.history[1:]
	}
	return c
}

// expect mostly holds.
func (w *walker) expect(stream string) core.Expect {
	switch n := w.rand.IntN(20); n {
	case 0:
		return core.NoStream
	case 1, 2:
		return core.StreamExists
	case 3:
		return core.Expect(w.rand.IntN(5))
	case 4, 5, 6, 7, 8:
		return core.Expect(w.model.versions[stream])
	}
	return core.AnyVersion
}

// incarnation mostly expects any, else seldom another than the stream's.
func (w *walker) incarnation(stream string) uint32 {
	switch present := w.model.states[stream].Incarnation(); {
	case w.chance(80):
		return 0
	case w.chance(20):
		return present ^ 1
	default:
		return present
	}
}

func (w *walker) events() []core.NewEvent {
	events := make([]core.NewEvent, 1+w.rand.IntN(4))
	for i := range events {
		e := newEvent()
		switch {
		case w.chance(10):
			e.ID = core.ID{}
		case w.chance(3) && len(w.model.events) > 0:
			e.ID = w.model.events[w.rand.IntN(len(w.model.events))].ID
		case w.chance(5) && len(w.model.removed) > 0:
			e.ID = w.model.removed[w.rand.IntN(len(w.model.removed))].ID
		}
		switch {
		case w.chance(5):
			e.Time = time.UnixMicro(w.rand.Int64N(1 << 50))
		case w.chance(5):
			e.Format, e.ContentType, e.Data = core.Bytes, "text/plain", make([]byte, w.rand.IntN(2000))
		case w.chance(5):
			e.Metadata = nil
		}
		events[i] = e
	}
	return events
}

// links names some events that are there, seldom one that is not; mostly it is none.
func (w *walker) links(c *core.Commit, stream string) (ids []core.ID) {
	if !w.chance(20) || len(w.model.events) == 0 {
		return nil
	}
	for range 1 + w.rand.IntN(4) {
		switch e := w.model.events[w.rand.IntN(len(w.model.events))]; {
		case w.chance(2):
			ids = append(ids, core.NewID())
		case w.chance(10) && len(c.Appends) > 0 && len(c.Appends[0].Events) > 0 && !c.Appends[0].Events[0].ID.IsZero():
			ids = append(ids, c.Appends[0].Events[0].ID)
		case e.Stream != stream || w.chance(5):
			ids = append(ids, e.ID)
		}
	}
	return ids
}

// retry is an earlier Commit again, whole or in part, or with more to it.
func (w *walker) retry() *core.Commit {
	old := w.history[w.rand.IntN(len(w.history))]
	c := &core.Commit{System: true, Records: slices.Clone(old.Records)}
	for _, a := range old.Appends {
		a.Events, a.Links = slices.Clone(a.Events), slices.Clone(a.Links)
		if w.chance(50) {
			a.Expect = w.expect(a.Stream)
		}
		switch n := len(a.Events); {
		case w.chance(5):
			continue
		case w.chance(5) && n > 1:
			a.Events = a.Events[1:]
		case w.chance(5) && n > 1:
			a.Events = a.Events[:n-1]
		case w.chance(5):
			if len(a.Links) == 0 {
				a.Events = append(a.Events, w.events()...)
			} else {
				a.Links = append(a.Links, core.NewID())
			}
		case w.chance(2):
			slices.Reverse(a.Events)
			slices.Reverse(a.Links)
		case w.chance(2):
			a.Stream = w.stream()
		}
		c.Appends = append(c.Appends, a)
	}
	if w.chance(3) {
		slices.Reverse(c.Appends)
	}
	c.Streams = w.withoutAppended(c, old.Streams)
	return c
}

func (w *walker) recordOp() core.RecordOp {
	op := core.RecordOp{
		Table:  []string{"t", "u"}[w.rand.IntN(2)],
		Key:    []string{"k", "k/1", "k/2", "l"}[w.rand.IntN(4)],
		Expect: core.AnyVersion,
	}
	switch {
	case w.chance(20):
		op.Action = core.DeleteRecord
	case w.chance(20):
		op.Action = core.CheckRecord
	default:
		op.Value = fmt.Append(nil, w.rand.Uint32())
	}
	if w.chance(50) {
		op.Expect = core.Expect(w.model.records[op.Table+"\x00"+op.Key].Revision)
	} else if w.chance(10) {
		op.Expect = core.Expect(w.rand.IntN(4) - 3)
	}
	return op
}

// read compares a page from anywhere.
func (w *walker) read() {
	w.s.Helper()
	if w.chance(20) {
		w.readLog()
		return
	}
	r := core.ReadRequest{Stream: core.All, Backward: w.chance(50), System: w.chance(50), Limit: core.Limit{Events: 1 + w.rand.IntN(30), Bytes: 1 + w.rand.IntN(5000)}}
	all, last := w.model.events, w.model.head
	if !r.System {
		all = withoutSystem(all)
	}
	if w.chance(70) {
		r.Stream = w.appended()
		all, last = w.model.streams[r.Stream], w.model.versions[r.Stream]
	}
	r.From = uint64(w.rand.IntN(int(last) + 3))
	page, err := w.s.engine.Read(w.s.ctx(), r)
	if code := cmp.Or(w.model.closed(r.Stream), core.CodeStreamNotFound); r.Stream != core.All && (last == 0 || code != core.CodeStreamNotFound) {
		if !errors.Is(err, code) {
			w.fatal(fmt.Errorf("read %+v: %v, want %s", r, err, code))
		}
		if next := w.model.states[r.Stream].Incarnation(); code == core.CodeStreamNotFound && page.Incarnation != next {
			w.fatal(fmt.Errorf("read %+v: %s with incarnation %d, want %d", r, code, page.Incarnation, next))
		}
		return
	}
	if err == nil {
		err = checkPageTo(r, page, all, last, w.model.head)
	}
	if want := w.model.states[r.Stream].Incarnation(); err == nil && r.Stream != core.All && page.Incarnation != want {
		err = fmt.Errorf("a page of incarnation %d, want %d", page.Incarnation, want)
	}
	if err != nil {
		w.fatal(fmt.Errorf("read %+v: %w", r, err))
	}
}

// readLog compares a page of what was written.
func (w *walker) readLog() {
	w.s.Helper()
	from := uint64(w.rand.IntN(int(w.model.head) + 3))
	limit := core.Limit{Events: 1 + w.rand.IntN(30), Bytes: 1 + w.rand.IntN(5000)}
	page, err := w.s.engine.ReadLog(w.s.ctx(), from, limit)
	if err == nil {
		err = checkLogPage(from, limit, page, w.model.written, w.model.head)
	}
	if err != nil {
		w.fatal(err)
	}
}

// compareLists compares streams, records and an event found by its id.
func (w *walker) compareLists() {
	w.s.Helper()
	var streams []core.StreamInfo
	for name, version := range w.model.versions {
		if len(w.model.streams[name]) == 0 {
			continue // it may be listed, or not
		}
		streams = append(streams, core.StreamInfo{Name: name, Version: version, First: 1, State: w.model.states[name].State})
	}
	slices.SortFunc(streams, func(a, b core.StreamInfo) int { return cmp.Compare(a.Name, b.Name) })
	system := w.chance(50)
	if !system {
		streams = slices.DeleteFunc(streams, func(i core.StreamInfo) bool { return core.IsSystem(i.Name) })
	}
	got := slices.DeleteFunc(w.s.streams(core.StreamsRequest{Limit: 1 + w.rand.IntN(10), System: system}), func(i core.StreamInfo) bool {
		return len(w.model.streams[i.Name]) == 0 && w.model.versions[i.Name] == i.Version
	})
	if !slices.Equal(got, streams) {
		w.fatal(fmt.Errorf("streams %v, want %v, with the system's: %v", got, streams, system))
	}
	for _, table := range []string{"t", "u"} {
		var want []core.Record
		for k, r := range w.model.records {
			if strings.HasPrefix(k, table+"\x00") {
				want = append(want, r)
			}
		}
		slices.SortFunc(want, func(a, b core.Record) int { return cmp.Compare(a.Key, b.Key) })
		got, err := w.s.engine.Records(w.s.ctx(), core.RecordsRequest{Table: table, Limit: 100})
		if err != nil || !sameRecords(got, want) {
			w.fatal(fmt.Errorf("records of %s: %v, %w, want %v", table, got, err, want))
		}
	}
	if n := len(w.model.events); n > 0 {
		want := w.model.events[w.rand.IntN(n)]
		if got, err := w.s.engine.Event(w.s.ctx(), want.ID); err != nil || !sameRaw(got, want) {
			w.fatal(fmt.Errorf("event %s: %+v, %w", want.ID, got, err))
		}
	}
	if n := len(w.model.removed); n > 0 {
		id := w.model.removed[w.rand.IntN(n)].ID
		got, err := w.s.engine.Event(w.s.ctx(), id)
		if want, isBack := w.model.known[id]; isBack && (err != nil || !sameRaw(got, want)) || !isBack && !errors.Is(err, core.CodeEventNotFound) {
			w.fatal(fmt.Errorf("event %s, which was removed: %+v, %w, want %+v", id, got, err, want))
		}
	}
}

// compareAll compares the whole log.
func (w *walker) compareAll() {
	w.s.Helper()
	w.compareLists()
	if got := w.s.readAny(core.ReadRequest{Stream: core.All, System: true}); !slices.EqualFunc(got, w.model.events, sameRaw) {
		w.fatal(fmt.Errorf("$all has %d events, want %d, or differs", len(got), len(w.model.events)))
	}
	if got := w.s.readLog(); !slices.EqualFunc(got, w.model.written, sameRaw) {
		w.fatal(fmt.Errorf("the log has %d events and links, want %d, or differs", len(got), len(w.model.written)))
	}
}

// streamOps are changes of some streams, most of which are right.
func (w *walker) streamOps() (ops []core.StreamOp) {
	for range 1 + w.rand.IntN(3) {
		op := core.StreamOp{Stream: w.stream(), Expect: core.AnyVersion, Action: core.DeleteStream}
		isDeleted := w.model.states[op.Stream].State == core.StreamDeleted
		switch {
		case w.chance(2):
			op.Stream, op.Action = w.mortal(), core.TombstoneStream
		case isDeleted && w.chance(80) || w.chance(5):
			op.Action = core.UndeleteStream
		case w.chance(50):
			op.Action = core.RemoveStream
		}
		if w.chance(50) {
			op.Expect, op.Incarnation = w.expect(op.Stream), w.incarnation(op.Stream)
		}
		ops = append(ops, op)
	}
	return ops
}

// withoutAppended are the ops about streams that c has no Append to, one for each stream.
func (w *walker) withoutAppended(c *core.Commit, ops []core.StreamOp) (kept []core.StreamOp) {
	for _, op := range ops {
		if !slices.ContainsFunc(c.Appends, func(a core.Append) bool { return a.Stream == op.Stream }) &&
			!slices.ContainsFunc(kept, func(k core.StreamOp) bool { return k.Stream == op.Stream }) {
			kept = append(kept, op)
		}
	}
	return kept
}
