package dev

import (
	"context"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/project"
)

// Verdict is an event about which a plugin that judges decides otherwise than before.
type Verdict struct {
	Position uint64 `json:"position"`
	Stream   string `json:"stream"`
	Type     string `json:"type"`
	Before   string `json:"before"`
	Now      string `json:"now"`
}

// judge has a module that judges events judge those of a window.
func (l *Loop) judge(ctx context.Context, r *Round, built *project.Built) (*ran, error) {
	if l.config.Base != nil {
		return nil, core.Errorf(core.CodeInvalidRequest, "plugin %q is %s, which has no state to begin with", built.Version.Plugin, built.Version.Manifest.Kind.A())
	}
	window, err := l.window(ctx, r, &built.Version.Manifest.Subscription)
	if err != nil {
		return nil, err
	}
	program, err := built.Load(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = program.Close() }() // frees memory only
	began := time.Now()
	t, err := built.Judge(ctx, program.Plugin(), window.Items, maxCrashes)
	if err != nil {
		return nil, err
	}
	if len(t.Parked) >= maxCrashes {
		r.Ended = errCrashes.Error()
	}
	r.Judged = t.Judged[:min(l.config.Show, len(t.Judged))]
	r.Tried = triedOf(t, built, l.config.Show)
	r.Tried.Seconds = time.Since(began).Seconds()
	now := &ran{round: r, window: window, verdicts: make(map[uint64]project.Judged, len(window.Items))}
	for _, v := range t.Judged {
		now.verdicts[v.Position] = v
	}
	for _, f := range t.Parked {
		now.verdicts[f.Position] = project.Judged{Position: f.Position, Stream: f.Stream, Type: f.Type, Verdict: "fails:", Value: f.Reason}
	}
	return now, nil
}

// triedOf is what a module that judges events did, as that of a handler.
func triedOf(t *project.Trial, built *project.Built, show int) *plugins.Trial {
	tried := &plugins.Trial{
		Version: built.Version.Version, SHA256: built.Version.SHA256, Acked: t.Acked, Skipped: t.Skipped, Parked: len(t.Parked), Failures: len(t.Parked),
		Batches: t.Batches, Fuel: t.Fuel, MaxFuel: t.MostFuel, Failed: []plugins.FailedTry{},
	}
	tried.Outputs.First, tried.Outputs.Buckets, tried.State.First, tried.Logs.First = []plugins.OutputEvent{}, []int{}, []plugins.StateChange{}, []plugins.LogLine{}
	for _, f := range t.Parked[:min(show, len(t.Parked))] {
		tried.Failed = append(tried.Failed, plugins.FailedTry{Position: f.Position, Stream: f.Stream, Type: f.Type, Attempts: 1, Parked: true, Reason: f.Reason})
	}
	tried.Logs.Count = len(t.Logs)
	for _, line := range t.Logs[:min(show, len(t.Logs))] {
		tried.Logs.First = append(tried.Logs.First, plugins.LogLine{Level: line.Level, Text: line.Text})
	}
	return tried
}

// compareVerdicts lists the events about which two modules decide otherwise.
func (c *Changes) compareVerdicts(before, now *ran, show int) {
	c.First, c.State.First = []plugins.Difference{}, []plugins.StateChange{}
	for i := range now.window.Items {
		position := now.window.Items[i].Position
		does, ok := now.verdicts[position]
		did, had := before.verdicts[position]
		if !ok || !had || does == did {
			continue
		}
		c.Events++
		if len(c.Verdicts) < show {
			c.Verdicts = append(c.Verdicts, Verdict{does.Position, does.Stream, does.Type, wordsOf(did), wordsOf(does)})
		}
	}
}

func wordsOf(j project.Judged) string {
	if j.Value == "" {
		return j.Verdict
	}
	return j.Verdict + " " + j.Value
}
