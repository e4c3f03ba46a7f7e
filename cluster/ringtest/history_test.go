package ringtest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
)

// recorder makes a History by calls to an engine. Call n takes place in second n, and so
// does its answer.
type recorder struct {
	t      *testing.T
	engine *memory.Engine
	h      History
	calls  int
	// by and epoch are what appends are stamped with.
	by, epoch uint64
}

func record(t *testing.T) *recorder { return &recorder{t: t, engine: memory.New()} }

func (r *recorder) span() (from, to time.Duration) {
	r.calls++
	from = time.Duration(r.calls) * time.Second
	return from, from + time.Second/2
}

// append commits n events to each stream, on a connection, and keeps the answer.
func (r *recorder) append(conn, n int, expect core.Expect, streams ...string) *Append {
	a := &Append{Number: len(r.h.Appends) + 1, Conn: conn, Node: "a"}
	for _, stream := range streams {
		appended := core.Append{Stream: stream, Expect: expect}
		for range n {
			appended.Events = append(appended.Events, Event(a.Number, core.NewID(), "T"))
		}
		a.Commit.Appends = append(a.Commit.Appends, appended)
	}
	return r.send(a)
}

func (r *recorder) send(a *Append) *Append {
	a.Invoked, a.Returned = r.span()
	a.Commit.Epoch = r.epoch
	step := r.engine.Commit(r.t.Context(), Stamp([]*core.Commit{&a.Commit}, r.by))
	a.Result, a.Err = step.Outcomes[0].Result, step.Outcomes[0].Err
	r.h.Appends = append(r.h.Appends, a)
	return a
}

func (r *recorder) read(stream string) *Read {
	read := &Read{Conn: 9, Node: "a", Stream: stream, From: 1}
	read.Invoked, read.Returned = r.span()
	page, err := r.engine.Read(r.t.Context(), core.ReadRequest{Stream: stream, Limit: core.Limit{Events: 1000, Bytes: 1 << 20}})
	if err != nil {
		r.t.Fatal(err)
	}
	for e := range page.Events() {
		read.IDs = append(read.IDs, e.ID)
	}
	read.Version = page.Version
	r.h.Reads = append(r.h.Reads, read)
	return read
}

func (r *recorder) readLog() {
	page, err := r.engine.ReadLog(r.t.Context(), 1, core.Limit{Events: 1000, Bytes: 1 << 20})
	if err != nil {
		r.t.Fatal(err)
	}
	r.h.Log = page.Slice()
}

// wants checks that an error is nil, or says something.
func wants(t *testing.T, err error, says string) {
	t.Helper()
	switch {
	case says == "" && err != nil:
		t.Errorf("a good run is refused: %v", err)
	case says != "" && (err == nil || !strings.Contains(err.Error(), says)):
		t.Errorf("got %v, want one that says %q", err, says)
	}
}

// unknown makes the outcome of an append unknown to its caller.
func unknown(a *Append) {
	a.Result, a.Err = core.Result{}, core.Errorf(core.CodeUnknownOutcome, "lost")
}

// A plant changes one thing of a good run: five appends of connection 1 to s, and one to s and
// p. before may make more calls; after runs when the log was read.
type plant struct {
	before, after func(r *recorder)
	says          string // what the checkers have to report; "" is nothing
}

func after(f func(r *recorder), says string) plant { return plant{after: f, says: says} }

// answer returns a plant in which the third append was answered an error.
func answer(code core.Code, says string) plant {
	return after(func(r *recorder) { r.h.Appends[2].Err = core.Errorf(code, "planted") }, says)
}

// swap exchanges two appends in the order in which they were sent.
func swap(r *recorder) { r.h.Appends[1], r.h.Appends[2] = r.h.Appends[2], r.h.Appends[1] }

var plants = map[string]plant{
	"none":                    {},
	"an outcome is not known": after(func(r *recorder) { unknown(r.h.Appends[1]) }, ""),
	"not written, not known":  {before: func(r *recorder) { unknown(r.append(1, 1, 99, "s")) }},
	"a refusal":               {before: func(r *recorder) { r.append(1, 1, 99, "s") }},
	"a read":                  {before: func(r *recorder) { r.read("s") }},

	"a lost event":              after(func(r *recorder) { r.drop(2) }, "is lost"),
	"an event twice":            after(func(r *recorder) { r.h.Log[5].ID = r.h.Log[1].ID }, "is at positions"),
	"a version twice":           after(func(r *recorder) { r.h.Log[3].Version-- }, "version"),
	"another place":             after(func(r *recorder) { r.h.Appends[2].Result.Appends[0].FirstVersion++ }, "answered"),
	"written, answered timeout": answer(core.CodeTimeout, "and was answered timeout"),
	"written, answered cancel":  answer(core.CodeCanceled, "and was answered canceled"),
	"written, not available":    answer(core.CodeNoNodeAvailable, "and was answered no_node"),
	"an unexpected version":     after(func(r *recorder) { r.h.Appends[2].Commit.Appends[0].Expect = 1 }, "and expected 1"),
	"an unexpected check": after(func(r *recorder) {
		r.h.Appends[5].Commit.Checks = []core.Check{{Stream: "q", Expect: core.StreamExists}}
	}, "with q at 0"),
	"a check that holds":   after(func(r *recorder) { r.h.Appends[5].Commit.Checks = []core.Check{{Stream: "q", Expect: core.NoStream}} }, ""),
	"a torn commit":        after(func(r *recorder) { r.h.Log[11].Data = []byte("1") }, "1 events in the log, and 2 were sent"),
	"an event of nobody":   after(func(r *recorder) { r.h.Log[11].Data = []byte("77") }, "written by nobody"),
	"an answer of another": after(func(r *recorder) { r.h.Appends[0].Number, r.h.Appends[1].Number = 2, 1 }, "acknowledged as written, and"),
	"a wrong refusal": {before: func(r *recorder) {
		r.append(2, 1, 0, "s").Err = core.NewWrongVersion("s", 11, 11)
	}, says: "what it expected held"},

	"out of order": after(swap, "before"),
	"out of order, not known": after(func(r *recorder) {
		unknown(r.h.Appends[1])
		swap(r)
	}, "before"),
	"refused for want of an earlier one": {before: func(r *recorder) {
		first, refused := r.append(1, 1, core.AnyVersion, "s"), r.append(1, 1, 0, "s") // first is at 12
		refused.Err = core.NewWrongVersion("s", 12, 11)
		first.Returned = refused.Returned
	}, says: "sent before it, was written at 12"},

	"a stale read":   {before: func(r *recorder) { read := r.read("s"); read.Version, read.IDs = 8, read.IDs[:8] }, says: "not linearizable"},
	"an early read":  {before: func(r *recorder) { read := r.read("s"); read.Invoked, read.Returned = 0, 1 }, says: "not linearizable"},
	"a torn read":    {before: func(r *recorder) { read := r.read("s"); read.Version, read.IDs = 1, read.IDs[:1] }, says: "a part of append 1"},
	"a foreign read": {before: func(r *recorder) { r.read("s").IDs[3] = core.NewID() }, says: "another event"},
	"a short read":   {before: func(r *recorder) { read := r.read("s"); read.IDs = read.IDs[:3] }, says: "3 events and version 11"},
	"a stale refusal": {before: func(r *recorder) {
		r.append(2, 1, 0, "s").Err = core.NewWrongVersion("s", 0, 2)
	}, says: "a refusal"},
	"a retry that found it":                 {before: func(r *recorder) { r.retry() }},
	"a retry that found it before it began": {before: func(r *recorder) { first, again := r.retry(); first.Invoked = again.Returned + 1 }, says: "not linearizable"},
}

// retry makes an append whose outcome is unknown, and one that finds it.
func (r *recorder) retry() (first, again *Append) {
	first = r.append(3, 1, core.AnyVersion, "s")
	again = r.send(&Append{Number: first.Number + 1, Conn: 4, Node: "b", Commit: first.Commit})
	unknown(first)
	return first, again
}

func TestPlantedFaults(t *testing.T) {
	for name, p := range plants {
		t.Run(name, func(t *testing.T) {
			r := record(t)
			for range 5 {
				r.append(1, 2, core.AnyVersion, "s")
			}
			r.append(1, 1, core.AnyVersion, "s", "p")
			if p.before != nil {
				p.before(r)
			}
			r.readLog()
			if p.after != nil {
				p.after(r)
			}
			wants(t, r.h.Check(), p.says)
		})
	}
}

// drop removes from the log what an append wrote.
func (r *recorder) drop(n int) {
	r.h.Log = slices.DeleteFunc(r.h.Log, func(e core.Event) bool { return number(&e) == n })
}
