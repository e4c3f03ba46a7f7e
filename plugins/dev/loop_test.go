package dev

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/effects"
	"github.com/gyre-events/gyre/plugins/project"
	"github.com/gyre-events/gyre/plugins/trial"
	"github.com/gyre-events/gyre/plugins/wasm/guests"
)

// manifest is that of a plugin whose build copies a module, with members of its own.
const manifest = `{"name":"p","version":"0.1.0","abi":"gyre_1","kind":"handler","capabilities":["append:*","state"],"subscription":{"stream":"s"},
	"build":["cp","module.bin","module.wasm"],"module":"module.wasm"%s}`

// looping is a Loop at work.
type looping struct {
	*directory
	log     *countedLog
	source  Source
	rounds  chan *Round
	fetched chan struct{} // told when a round has its events
}

// Window is Source.Window.
func (l *looping) Window(ctx context.Context, input *plugins.Input) (*Window, error) {
	w, err := l.source.Window(ctx, input)
	select {
	case l.fetched <- struct{}{}:
	default:
	}
	return w, err
}

// within is more than any round takes.
const within = time.Minute

func (l *looping) next() *Round {
	l.Helper()
	select {
	case r := <-l.rounds:
		return r
	case <-time.After(within):
		l.Fatal("there is no round")
		return nil
	}
}

// ran is the next round, which has gone well.
func (l *looping) ran() *Round {
	l.Helper()
	r := l.next()
	if r.Err != nil {
		l.Fatalf("round %d: %v", r.Round, r.Err)
	}
	return r
}

func (l *looping) module(module []byte) { l.write("module.bin", string(module)) }

// startLoop runs a Loop over a log of 40 events. end ends it.
func startLoop(t *testing.T) (l *looping, end func()) {
	l = &looping{directory: newDirectory(t, map[string]string{project.ManifestFile: fmt.Sprintf(manifest, "")}), log: newLog(t), rounds: make(chan *Round), fetched: make(chan struct{}, 1)}
	l.module(guests.Totals)
	l.log.fill(1, 40)
	l.source = NewLast(l.log, 40, compile)
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error)
	enough := errors.New("enough")
	watch := l.watch()
	go func() {
		ended <- New(Config{Dir: l.dir, Source: l, Show: 5}).Run(ctx, watch, func(r *Round) error {
			select {
			case l.rounds <- r:
			case <-ctx.Done():
			}
			return nil
		})
	}()
	return l, func() {
		cancel(enough)
		if err := <-ended; !errors.Is(err, enough) {
			t.Errorf("the loop ended with %v", err)
		}
	}
}

func TestLoop(t *testing.T) {
	l, end := startLoop(t)
	defer end()

	r := l.ran()
	if r.Round != 1 || r.Events != 40 || r.From != 1 || r.To != 40 || r.Changes != nil || r.Tried.Acked != 40 || r.Tried.Outputs.Count != 2 || r.Tried.State.Added != 1 {
		t.Errorf("the first round: %+v, %+v", r, r.Tried)
	}
	fetches := l.log.follows

	l.write(project.ManifestFile, fmt.Sprintf(manifest, `,"description":"new"`))
	if r = l.ran(); r.Changes == nil || r.Changes.Against != 1 || r.Changes.Same || r.Changes.Events != 0 || !slices.Equal(r.Files, []string{project.ManifestFile}) {
		t.Errorf("a new description: %+v, %+v", r, r.Changes)
	}

	l.module(guests.Words)
	if r = l.ran(); r.Changes.Removed != 2 || r.Changes.Added != 0 || r.Changes.Outputs != 2 || r.Changes.State.Added != 1 || r.Changes.State.Removed != 1 || len(r.Tried.Logs.First) == 0 {
		t.Errorf("another module: %+v", r.Changes)
	}

	l.remove("module.bin")
	if r = l.next(); core.AsError(r.Err).Code != core.CodePluginBuildFailed || !strings.Contains(r.Err.Error(), "cp: ") || r.Tried != nil {
		t.Errorf("no module: %+v", r)
	}
	if l.log.follows != fetches {
		t.Errorf("events were fetched %d times more", l.log.follows-fetches)
	}

	l.log.fill(41, 41)
	l.module(guests.Totals)
	if r = l.ran(); r.Round != 5 || r.New != 1 || r.Events != 41 || r.Changes.Against != 3 || r.Changes.Added != 2 || len(r.Changes.First) == 0 {
		t.Errorf("the module before: %+v, %+v", r, r.Changes)
	}
}

// A run is cut off when a file changes, and what is shown next is what came of the newest files.
func TestLoopCutsARunOff(t *testing.T) {
	l, end := startLoop(t)
	defer end()
	l.ran()
	<-l.fetched
	l.write(project.ManifestFile, fmt.Sprintf(manifest, `,"limits":{"timeMs":30000,"fuel":10000000000}`))
	l.ran()
	<-l.fetched
	l.module(guests.Hostile) // it loops
	<-l.fetched
	l.module(guests.Totals)
	if r := l.ran(); r.Round != 3 || r.Tried.Acked != 40 || !r.Changes.Same {
		t.Errorf("after a loop: %+v, %+v", r, r.Tried)
	}
}

// A handler that fails at each event does so ten times.
func TestLoopEndsARun(t *testing.T) {
	l, end := startLoop(t)
	defer end()
	l.ran()
	l.write(project.ManifestFile, fmt.Sprintf(manifest, `,"limits":{"fuel":20000000}`))
	l.ran()
	l.module(guests.Hostile)
	r := l.ran()
	if r.Ended == "" || r.Tried.Parked != maxCrashes || len(r.Tried.Failed) != 5 || r.Tried.Failed[0].Attempts != 1 || r.Changes.Fates != maxCrashes {
		t.Errorf("a loop at each event: %+v, %+v", r.Tried, r.Changes)
	}
}

// Once begins with the state of a base, which stays as it is, in its lanes.
func TestOnceFromAState(t *testing.T) {
	d := newDirectory(t, map[string]string{project.ManifestFile: fmt.Sprintf(manifest, ""), "module.bin": string(guests.Totals)})
	log := newLog(t)
	log.fill(1, 20)
	state := trial.NewState(2)
	if err := state.Set(1, "totals", effects.Value{Bytes: make([]byte, 8*64), OK: true}); err != nil {
		t.Fatal(err)
	}
	base := func(_ context.Context, v *plugins.Version) (plugins.Binding, *trial.State, error) {
		b, err := project.Binding(v)
		b.Lanes, b.Input.PartitionBy = 2, "expr:string(data.n)"
		return b, state, err
	}
	loop := New(Config{Dir: d.dir, Source: NewLast(log, 10, compile), Base: base, Show: 5})
	r := loop.Once(t.Context())
	if r.Err != nil || r.Tried.State.Added != 1 || r.Tried.State.Changed != 1 || r.Events != 10 {
		t.Fatalf("%+v, %v", r.Tried, r.Err)
	}
	for _, value := range state.Lane(1) {
		if strings.Trim(string(value), "\x00") != "" {
			t.Error("the state that it began with has changed")
		}
	}
	failure := errors.New("no binding")
	loop = New(Config{Dir: d.dir, Source: NewLast(log, 10, compile), Show: 5, Base: func(context.Context, *plugins.Version) (plugins.Binding, *trial.State, error) {
		return plugins.Binding{}, nil, failure
	}})
	if r := loop.Once(t.Context()); !errors.Is(r.Err, failure) {
		t.Errorf("without a binding: %v", r.Err)
	}
}

// What a filter, a map, a partitioner or a validator decides is compared, too.
func TestLoopOfAJudge(t *testing.T) {
	d := newDirectory(t, map[string]string{"module.bin": string(guests.Orders)})
	judges := func(kind string) {
		d.write(project.ManifestFile, strings.Replace(fmt.Sprintf(manifest, ""), `"handler","capabilities":["append:*","state"]`, `"`+kind+`"`, 1))
	}
	log := newLog(t)
	for total := range 20 {
		log.add(fmt.Sprintf(`{"total":%d}`, 90+total))
	}
	loop := New(Config{Dir: d.dir, Source: NewLast(log, 20, compile), Show: 5})
	judges("filter")
	r := loop.Once(t.Context())
	if r.Err != nil || r.Tried.Acked != 10 || r.Tried.Skipped != 10 || len(r.Judged) != 5 || r.Judged[0].Verdict != "drop" || r.Changes != nil {
		t.Fatalf("a filter: %+v, %+v, %v", r, r.Tried, r.Err)
	}
	d.write("module.bin", string(guests.Unfit)) // its filter keeps all
	if r = loop.Once(t.Context()); r.Err != nil || r.Changes.Events != 10 || len(r.Changes.Verdicts) != 5 || r.Changes.Verdicts[0] != (Verdict{1, "s", "T", "drop", "keep"}) {
		t.Errorf("another filter: %+v, %+v", r.Changes, r.Err)
	}
	for range maxCrashes {
		log.addTyped("Trap", "{}")
	}
	if r = loop.Once(t.Context()); r.Err != nil || r.Ended == "" || r.Tried.Parked != maxCrashes || len(r.Tried.Failed) != 5 || r.New != maxCrashes || r.Changes.Events != 0 {
		t.Errorf("events that it fails on: %+v, %+v", r, r.Tried)
	}
	judges("map")
	if r = loop.Once(t.Context()); r.Err != nil || r.Changes == nil || r.Changes.Verdicts[0].Now != `value "T"` {
		t.Errorf("a map: %+v, %+v", r.Changes, r.Err)
	}
	loop.config.Base = func(context.Context, *plugins.Version) (b plugins.Binding, s *trial.State, err error) {
		return b, s, err
	}
	if r = loop.Once(t.Context()); core.AsError(r.Err).Code != core.CodeInvalidRequest {
		t.Errorf("from a state: %v", r.Err)
	}
}

// Outputs in the same place with other content are changed, others are added or removed.
func TestOutputsAreCounted(t *testing.T) {
	out := func(stream string, content byte) output {
		return output{stream: stream, typ: "T", content: [32]byte{content}}
	}
	for _, c := range []struct {
		before, now             []output
		added, removed, changed int
	}{
		{nil, []output{out("a", 1)}, 1, 0, 0},
		{[]output{out("a", 1)}, nil, 0, 1, 0},
		{[]output{out("a", 1)}, []output{out("a", 2)}, 0, 0, 1},
		{[]output{out("a", 1)}, []output{out("b", 1)}, 1, 1, 0},
		{[]output{out("a", 1), out("a", 1), out("b", 1)}, []output{out("a", 1), out("a", 2), out("a", 3)}, 1, 1, 1},
	} {
		var got Changes
		got.count(c.before, c.now)
		if got.Added != c.added || got.Removed != c.removed || got.Changed != c.changed {
			t.Errorf("%v, then %v: %d added, %d removed, %d changed", c.before, c.now, got.Added, got.Removed, got.Changed)
		}
	}
}
