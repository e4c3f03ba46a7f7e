package dev

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/project"
	"github.com/gyre-events/gyre/plugins/trial"
)

// Round is a build, and what its module did with the events.
type Round struct {
	Round        int          `json:"round"`           // from 1
	Files        []string     `json:"files,omitempty"` // that have changed since the round before
	Plugin       string       `json:"plugin,omitzero"`
	Version      string       `json:"version,omitzero"`
	Kind         plugins.Kind `json:"kind,omitzero"`
	SHA256       string       `json:"sha256,omitzero"`
	Bytes        int64        `json:"bytes,omitzero"`
	BuildSeconds float64      `json:"buildSeconds"`
	Seconds      float64      `json:"seconds"` // of the whole round
	Events       int          `json:"events"`
	New          int          `json:"new"`  // of them, those that the log has had since the round before
	From         uint64       `json:"from"` // the positions of the first and the last
	To           uint64       `json:"to"`
	// Ended is why the run ended before the events did, if so.
	Ended string `json:"ended,omitzero"`
	// Tried is what the module did; nil if it was not built, or did not start.
	Tried *plugins.Trial `json:"tried,omitempty"`
	// Judged are the first events that a plugin which judges them has decided about.
	Judged []project.Judged `json:"judged,omitempty"`
	// Changes are against the last round that has Tried; nil if there is none over the same events.
	Changes *Changes `json:"changes,omitempty"`
	// Err is why there is no Tried.
	Err error `json:"-"`
}

// Changes are what a module does otherwise than the one of a round before, with the same events.
type Changes struct {
	Against int `json:"against"` // that round
	// Same is true if the modules are the same bytes.
	Same    bool `json:"same"`
	Added   int  `json:"added"`   // outputs that only this one appends
	Removed int  `json:"removed"` // outputs that only the other did
	Changed int  `json:"changed"` // outputs that are in the same place, with other content
	// Verdicts are the first events about which a plugin that judges them decides otherwise.
	Verdicts []Verdict `json:"verdicts,omitempty"`
	// Differences are those of events that both have handled, and of the state at the end.
	plugins.Differences
	Fuel    int64   `json:"fuel"`    // of the other one
	Seconds float64 `json:"seconds"` // in handlers, of the other one
}

// Config is what a Loop needs.
type Config struct {
	Dir    string
	Source Source
	// Base returns what a version is run as, and the state that it begins with, which is not
	// changed; nil is empty. A nil Base has what the manifest says.
	Base func(ctx context.Context, v *plugins.Version) (plugins.Binding, *trial.State, error)
	// Show is how many of each thing are listed.
	Show int
}

// Loop makes rounds. It belongs to one goroutine.
type Loop struct {
	config Config
	rounds int // that were shown
	before *ran
}

// New returns a Loop that has made no round.
func New(config Config) *Loop {
	return &Loop{config: config}
}

// ran is what a module did in a round.
type ran struct {
	round  *Round
	window *Window
	lanes  int
	deeds  map[uint64]deed // by the position of the event
	state  *trial.State
	// verdicts are those of a module that judges events, by position; nil of another.
	verdicts map[uint64]project.Judged
}

// deed is what it did with an event.
type deed struct {
	trial.Described
	outputs []output
}

// output is an event that it appended.
type output struct {
	stream, typ string
	content     [sha256.Size]byte
}

// maxCrashes is after how many events that crash a run ends: each may take all of its time.
const maxCrashes = 10

// errCrashes ends a run.
var errCrashes = fmt.Errorf("the handler failed at %d events", maxCrashes)

// build begins a round. If the plugin cannot be built, the Round says so, and there is nothing to
// run.
func (l *Loop) build(ctx context.Context, files []string) (*Round, *project.Built) {
	r := &Round{Round: l.rounds + 1, Files: files}
	began := time.Now()
	p, err := project.Open(l.config.Dir)
	if err != nil {
		r.Err = err
		return r, nil
	}
	r.Plugin, r.Version, r.Kind = p.Manifest.Name, p.Manifest.Version, p.Manifest.Kind
	built, err := p.BuildQuickly(ctx)
	r.BuildSeconds = time.Since(began).Seconds()
	r.Seconds = r.BuildSeconds
	if err != nil {
		r.Err = err
		return r, nil
	}
	r.SHA256, r.Bytes = built.Version.SHA256, built.Version.Bytes
	return r, built
}

// run ends a round: the module handles the events. An error is r.Err, and leaves what the next
// round is compared with as it is.
func (l *Loop) run(ctx context.Context, r *Round, built *project.Built) {
	began := time.Now()
	now, err := l.handle(ctx, r, built)
	r.Seconds += time.Since(began).Seconds()
	if err == nil {
		r.Changes, err = now.against(ctx, l.before, l.config.Show)
	}
	if r.Err = err; err == nil {
		l.before = now
	}
}

// base is what a version is run as, and the state that it begins with.
func (l *Loop) base(ctx context.Context, v *plugins.Version) (plugins.Binding, *trial.State, error) {
	if l.config.Base != nil {
		return l.config.Base(ctx, v)
	}
	b, err := project.Binding(v)
	return b, nil, err
}

// window has the events of a round.
func (l *Loop) window(ctx context.Context, r *Round, input *plugins.Input) (*Window, error) {
	window, err := l.config.Source.Window(ctx, input)
	if err != nil {
		return nil, err
	}
	r.Events = len(window.Items)
	r.From, r.To = window.positions()
	return window, nil
}

// handle has the module handle the events.
func (l *Loop) handle(ctx context.Context, r *Round, built *project.Built) (*ran, error) {
	if built.Version.Manifest.Kind.Judges() {
		return l.judge(ctx, r, built)
	}
	binding, base, err := l.base(ctx, &built.Version)
	if err != nil {
		return nil, err
	}
	window, err := l.window(ctx, r, &binding.Input)
	if err != nil {
		return nil, err
	}
	program, err := built.Load(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = program.Close() }() // frees memory only
	if base != nil {
		base = base.Copy()
	}
	binding.OnError = plugins.ErrorPolicy{Attempts: 1, MinMs: 1, MaxMs: 1, Then: plugins.ThenPark}
	return r.handle(ctx, window, trial.Config{Binding: &binding, Program: program.Plugin(), State: base, Read: window.Read, Show: l.config.Show, From: r.From})
}

// handle has a version handle a window.
func (r *Round) handle(ctx context.Context, window *Window, config trial.Config) (*ran, error) {
	now := &ran{round: r, window: window, lanes: config.Binding.Lanes, deeds: make(map[uint64]deed, len(window.Items))}
	limited, enough := context.WithCancelCause(ctx)
	defer enough(nil)
	crashes := 0
	config.Watch = func(s *trial.Settled) {
		now.deeds[s.Event.Position] = deed{trial.DescribedOf(s), outputsOf(s)}
		if s.Failure != nil && (s.Failure.Batch || !s.Failure.Park) {
			crashes++
		}
		if crashes == maxCrashes {
			enough(errCrashes)
		}
	}
	version := trial.New(config)
	defer version.Close()
	err := version.Handle(limited, window.Items)
	if err == nil {
		err = version.Flush(limited)
	}
	stopped, isStopped := errors.AsType[*trial.Stopped](err)
	switch {
	case err == nil:
	case isStopped:
		r.Ended = fmt.Sprintf("event %d stopped it: %s", stopped.Event.Position, stopped.Reason)
	case ctx.Err() == nil && limited.Err() != nil:
		r.Ended = errCrashes.Error()
	default:
		return nil, err
	}
	t, err := version.Result(ctx)
	r.Tried, now.state = &t, version.State()
	return now, err
}

func outputsOf(s *trial.Settled) (list []output) {
	for a := range s.Appends() {
		for i := range a.Events {
			e := &a.Events[i]
			sum := sha256.New()
			for _, part := range [][]byte{{byte(e.Format)}, e.Data, e.Metadata} {
				fmt.Fprintf(sum, "%d:%s", len(part), part)
			}
			o := output{stream: a.Stream, typ: e.Type}
			sum.Sum(o.content[:0])
			list = append(list, o)
		}
	}
	return list
}

// against compares what a module did with what another did before; nil if they had other events.
func (now *ran) against(ctx context.Context, before *ran, show int) (*Changes, error) {
	r := now.round
	if before == nil || before.window.first != now.window.first || before.lanes != now.lanes || (before.verdicts == nil) != (now.verdicts == nil) {
		return nil, nil
	}
	r.New = len(now.window.Items) - len(before.window.Items)
	c := &Changes{Against: before.round.Round, Same: r.SHA256 == before.round.SHA256, Fuel: before.round.Tried.Fuel, Seconds: before.round.Tried.Seconds}
	if now.verdicts != nil {
		c.compareVerdicts(before, now, show)
		return c, nil
	}
	both := trial.NewComparison(math.MaxInt)
	for i := range now.window.Items {
		position := now.window.Items[i].Position
		does, ok := now.deeds[position]
		did, had := before.deeds[position]
		if ok && had && both.Add(does.Described, did.Described) {
			c.count(did.outputs, does.outputs)
		}
	}
	c.Differences = both.Differences
	c.First = c.First[:min(show, len(c.First))]
	var err error
	c.Differences.State, err = trial.Diff(ctx, now.lanes, before.state.Pages, now.state.Pages, show)
	return c, err
}

// count counts how the outputs of an event differ.
func (c *Changes) count(before, now []output) {
	type name struct{ stream, typ string }
	same := map[output]int{}
	for _, o := range before {
		same[o]++
	}
	added := map[name]int{}
	for _, o := range now {
		if same[o] > 0 {
			same[o]--
		} else {
			added[name{o.stream, o.typ}]++
			c.Added++
		}
	}
	for o, n := range same {
		c.Removed += n
		of := name{o.stream, o.typ}
		changed := min(n, added[of])
		added[of] -= changed
		c.Added, c.Removed, c.Changed = c.Added-changed, c.Removed-changed, c.Changed+changed
	}
}
