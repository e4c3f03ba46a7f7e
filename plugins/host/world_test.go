package host_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/host"
)

// fate is what happens to a Commit or a read of an engine.
type fate int

const (
	fine        fate = iota
	lost             // it does not reach the log: unknown_outcome
	answerLost       // it is made: unknown_outcome
	late             // it is answered unknown_outcome, and made later
	killBefore       // the process is killed before it
	killAfter        // the process is killed when it was made
	unavailable      // it is refused
)

// engine is one of a log that others write to, too.
type engine interface {
	core.Engine
	core.HeadWatcher
}

// wire is the engine of one process, with faults. One that is dead does nothing any more, as a
// process that was killed.
type wire struct {
	engine
	// fate decides what happens to a Commit, which takes so long; nil is fine.
	fate func(c *core.Commit) (f fate, after time.Duration)
	late *sync.WaitGroup
	// deep counts the Commits that met a fault while one of the same lane was behind them.
	deep *atomic.Int64

	mu   sync.Mutex // protects the field below
	dead chan struct{}
}

func (w *wire) kill() {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.dead:
	default:
		close(w.dead)
	}
}

func (w *wire) gone() error {
	select {
	case <-w.dead:
		return core.Errorf(core.CodeStoreClosed, "the process was killed")
	default:
		return nil
	}
}

// Commit gives each Commit of a group a fate of its own. Those that are fine are one step, as
// an engine has to make them.
func (w *wire) Commit(ctx context.Context, group []*core.Commit) core.Step {
	outcomes := make([]core.Outcome, len(group))
	var step []*core.Commit
	var places []int
	var longest time.Duration
	for i, c := range group {
		if err := w.gone(); err != nil {
			return core.FailStep(group, err)
		}
		f, after := fine, time.Duration(0)
		if w.fate != nil {
			f, after = w.fate(c)
		}
		if f == fine {
			step, places = append(step, c), append(places, i)
			longest = max(longest, after)
			continue
		}
		if slices.ContainsFunc(group[i+1:], func(next *core.Commit) bool { return laneOf(next) == laneOf(c) }) && laneOf(c) != "" {
			w.deep.Add(1)
		}
		outcomes[i].Err = w.fail(ctx, c, f, after)
	}
	time.Sleep(longest)
	if err := w.gone(); err != nil {
		return core.FailStep(group, err)
	}
	if len(step) == 0 {
		return core.Step{Outcomes: outcomes}
	}
	made := w.engine.Commit(ctx, step)
	for i, place := range places {
		outcomes[place] = made.Outcomes[i]
	}
	return core.Step{Outcomes: outcomes, Written: made.Written}
}

// laneOf is the key of the lane whose Commit it is, or "".
func laneOf(c *core.Commit) string {
	for i := range c.Records {
		if r := &c.Records[i]; r.Table == "plugin_lanes" && len(r.Value) > 0 {
			return r.Key
		}
	}
	return ""
}

// fail lets a Commit fail, and returns its answer.
func (w *wire) fail(ctx context.Context, c *core.Commit, f fate, after time.Duration) error {
	if f != late {
		time.Sleep(after)
	}
	switch f {
	case killBefore:
		w.kill()
		return w.gone()
	case unavailable:
		return core.Errorf(core.CodeStoreUnavailable, "not now")
	case late:
		copied := clone(c)
		w.late.Go(func() {
			time.Sleep(after)
			w.engine.Commit(context.Background(), []*core.Commit{copied})
		})
	case answerLost, killAfter:
		w.engine.Commit(ctx, []*core.Commit{c})
	}
	if f == killAfter {
		w.kill()
		return w.gone()
	}
	return core.Errorf(core.CodeUnknownOutcome, "no answer")
}

// clone is a Commit that shares nothing with c: what it came from may be used again.
func clone(c *core.Commit) *core.Commit {
	n := &core.Commit{Checks: slices.Clone(c.Checks), Records: slices.Clone(c.Records), Epoch: c.Epoch}
	for i := range n.Records {
		n.Records[i].Value = slices.Clone(n.Records[i].Value)
	}
	for _, a := range c.Appends {
		a.Events = slices.Clone(a.Events)
		for i := range a.Events {
			a.Events[i].Data, a.Events[i].Metadata = slices.Clone(a.Events[i].Data), slices.Clone(a.Events[i].Metadata)
		}
		n.Appends = append(n.Appends, a)
	}
	return n
}

func (w *wire) Records(ctx context.Context, r core.RecordsRequest) ([]core.Record, error) {
	if err := w.gone(); err != nil {
		return nil, err
	}
	return w.engine.Records(ctx, r)
}

func (w *wire) Read(ctx context.Context, r core.ReadRequest) (core.Page, error) {
	if err := w.gone(); err != nil {
		return core.Page{}, err
	}
	return w.engine.Read(ctx, r)
}

// world is a log with the processes that share it.
type world struct {
	t       testing.TB
	open    func() engine
	log     *memory.Log // if it is one in memory
	lib     *library
	without host.Rules
	mu      sync.Mutex // protects the field below, and its calls
	fate    func(c *core.Commit) (fate, time.Duration)
	late    sync.WaitGroup
	deep    atomic.Int64
	closing sync.WaitGroup
	client  *core.Store // of who appends and looks; it has no faults
	last    uint64      // the position of the last source
	now     *process    // the present owner
	all     []*process
}

// process is a node.
type process struct {
	wire  *wire
	store *core.Store
	subs  *subscriptions.Owner
	host  *host.Host
}

// newWorld is a world in memory.
func newWorld(t testing.TB, lib *library, without host.Rules) *world {
	log := memory.NewLog()
	return begin(&world{t: t, open: func() engine { return log.Open() }, log: log, lib: lib, without: without})
}

func begin(w *world) *world {
	w.client = core.NewStore(w.open(), core.StoreConfig{})
	w.now = w.start()
	return w
}

// start starts a process.
func (w *world) start() *process {
	p := &process{wire: &wire{engine: w.open(), late: &w.late, deep: &w.deep, dead: make(chan struct{})}}
	p.wire.fate = func(c *core.Commit) (fate, time.Duration) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.fate == nil {
			return fine, 0
		}
		return w.fate(c)
	}
	p.store = core.NewStore(p.wire, core.StoreConfig{})
	var err error
	if p.subs, err = subscriptions.New(subscriptions.Config{Store: p.store}); err != nil {
		panic(err)
	}
	p.host = host.Without(host.Config{Store: p.store, Subscriptions: p.subs, Programs: w.lib, Versions: w.lib, Logger: slog.New(slog.DiscardHandler)}, w.without)
	w.all = append(w.all, p)
	return p
}

// end ends a process in the background: cleanly, unless it is dead.
func (w *world) end(p *process) {
	w.closing.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = p.host.Close(ctx)
		if p.wire.gone() != nil {
			cancel() // it stores nothing any more
		}
		_ = p.subs.Close(ctx)
		_ = p.store.Close()
	})
}

// restart goes on with another process, if the present one is dead.
func (w *world) restart() {
	if w.now.wire.gone() != nil {
		w.end(w.now)
		w.now = w.start()
	}
}

// have has Commits go as f says from now on; nil is fine.
func (w *world) have(f func(c *core.Commit) (fate, time.Duration)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fate = f
}

// close ends everything.
func (w *world) close() {
	w.have(nil)
	w.end(w.now)
	w.closing.Wait()
	w.late.Wait()
	_ = w.client.Close()
}

// retry does something until it succeeds, at the owner of the moment.
func (w *world) retry(what string, do func(p *process) error) string {
	var err error
	for range 200 {
		w.restart()
		ctx := w.now
		if err = do(ctx); err == nil {
			return ""
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Sprintf("%s: %v", what, err)
}

// settled waits until no generation is beside the live one.
func (w *world) settled() string {
	return w.retry("waiting until no rebuild is under way", func(p *process) error {
		s, err := p.host.Status(context.Background(), "fold")
		switch {
		case err != nil:
			return err
		case s.Beside == nil:
			return nil
		case s.Beside.Hold:
			_, err = p.host.Switch(context.Background(), "fold")
		}
		return cmp.Or(err, fmt.Errorf("%+v beside %+v", s.Beside, s))
	})
}

// anyParked has drained wait for no number of parked events.
const anyParked = -1

// drained waits until everything is handled, and nothing is parked but so many events.
func (w *world) drained(name string, parked int) string {
	var s plugins.Status
	return w.retry("waiting until all is handled", func(p *process) (err error) {
		s, err = p.host.Status(context.Background(), name)
		if err == nil && (s.Checkpoint < w.last || parked != anyParked && s.Parked != parked || s.State != plugins.Running) {
			err = fmt.Errorf("%+v", s)
		}
		return err
	})
}

// outcome is what came of a run: the events of each stream, and the state of each lane.
type outcome struct {
	streams map[string][]string
	state   map[string]string
}

func (w *world) outcome(name string, lanes int) outcome {
	o := outcome{streams: map[string][]string{}, state: map[string]string{}}
	for _, e := range readAll(w.t, w.client, core.All) {
		if !strings.HasPrefix(e.Stream, "s-") {
			o.streams[e.Stream] = append(o.streams[e.Stream], fmt.Sprintf("%s %d %s %s %s", e.ID, e.Version, e.Type, e.Data, e.Metadata))
		}
	}
	for lane := range lanes {
		after := ""
		for {
			page, err := w.now.host.Entries(context.Background(), name, plugins.StateRequest{Lane: lane, After: after})
			if err != nil {
				o.state["error"] = err.Error()
				return o
			}
			for _, e := range page.Entries {
				o.state[fmt.Sprintf("%d/%s", lane, e.Key)] = string(e.Value)
				after = e.Key
			}
			if page.End {
				break
			}
		}
	}
	return o
}

// diff says how an outcome differs from the one that it should be, or nothing.
func (o outcome) diff(want outcome) string {
	if !maps.Equal(o.state, want.state) {
		return fmt.Sprintf("the state is %v, want %v", o.state, want.state)
	}
	for _, stream := range slices.Sorted(maps.Keys(want.streams)) {
		if got := o.streams[stream]; !slices.Equal(got, want.streams[stream]) {
			return fmt.Sprintf("stream %s is\n%s\nwant\n%s", stream, strings.Join(got, "\n"), strings.Join(want.streams[stream], "\n"))
		}
	}
	if len(o.streams) != len(want.streams) {
		return fmt.Sprintf("streams %v, want %v", slices.Sorted(maps.Keys(o.streams)), slices.Sorted(maps.Keys(want.streams)))
	}
	return ""
}

// source is an event that is handled. Its type says how it goes.
type source struct {
	stream, typ string
	id          core.ID
}

// The types. Parked events are handled when they are replayed, a Stubborn one in the second
// round of replays.
var types = []string{"Plain", "Plain", "Plain", "Quiet", "Double", "Exact", "Flaky", "Crash", "Bad", "Stubborn"}

func sources(r *rand.Rand, n int, kinds []string) (events []source) {
	for range n {
		var id core.ID
		for i := range id {
			id[i] = byte(r.Uint32())
		}
		events = append(events, source{fmt.Sprintf("s-%d", r.IntN(5)), kinds[r.IntN(len(kinds))], id})
	}
	return events
}

func (w *world) append(events []source) {
	var c core.Commit
	for _, e := range events {
		c.Appends = append(c.Appends, core.Append{Stream: e.stream, Expect: core.AnyVersion, Events: []core.NewEvent{{ID: e.id, Type: e.typ, Data: []byte(`{}`)}}})
	}
	c.Epoch = w.client.State().Epoch
	r, err := w.client.Append(context.Background(), c)
	if err != nil {
		panic(err)
	}
	w.last = r.Position
}

// folder has the handler of a run. What it writes depends on all that its lane has handled before: on the
// state, on what it remembers, which has to be the same, and on the versions of its streams.
type folder struct{ round atomic.Int32 } // of replays

func (f *folder) handle(c *call) error {
	typ, replay := string(c.Type), c.Flags&abi.Replay != 0
	switch {
	case typ == "Flaky" && c.Attempt < 3 && !replay:
		return c.retry("flaky", 5*time.Millisecond)
	case typ == "Crash" && c.Attempt < 2 && !replay:
		return &plugins.Failure{Reason: "crashed"}
	case (typ == "Bad" || typ == "Stubborn") && !replay:
		return c.park("bad")
	case typ == "Stubborn" && f.round.Load() < 2:
		return c.park("stubborn")
	}
	total, known := c.memory["total"]
	if !known {
		text, _, err := c.get("total")
		if err != nil {
			return err
		}
		total = len(text)
	}
	total++
	c.memory["total"] = total
	if err := c.put("total", strings.Repeat("|", total)); err != nil {
		return err
	}
	n, err := c.count("count-" + string(c.Stream))
	if err != nil {
		return err
	}
	return c.emit(typ, n)
}

// emit appends what an event of a type has for outputs, the nth of its stream.
func (c *call) emit(typ string, n int) error {
	stream := "out-" + string(c.Stream)
	outputs := map[string]int{"Quiet": 0, "Double": 2}
	count, ok := outputs[typ]
	if !ok {
		count = 1
	}
	for i := range count {
		expected := abi.AnyVersion
		written, err := c.count("written-" + string(c.Stream))
		if err != nil {
			return err
		}
		if typ == "Exact" {
			expected = int64(written - 1)
		}
		if err := c.append(stream, expected, "Out"+typ, fmt.Sprintf(`{"n":%d,"i":%d,"total":%d}`, n, i, c.memory["total"])); err != nil {
			return err
		}
	}
	return nil
}

var errAgain = errors.New("again")
