package project

import (
	"context"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/effects"
	"github.com/gyre-events/gyre/plugins/judge"
)

// Judged is what a plugin that judges events has decided about one.
type Judged struct {
	Position uint64 `json:"position"`
	Stream   string `json:"stream"`
	Type     string `json:"type"`
	// Verdict is keep or drop of a filter, accept or refuse of a validator, and value of a map or
	// a partitioner.
	Verdict string `json:"verdict"`
	// Value is the data of a map, the key of a partitioner, or why a validator refuses.
	Value string `json:"value,omitempty"`
}

// Judge has the module, which judges events, judge those that were delivered, until it has failed
// on so many; 0 is no bound. What it fails on is parked.
func (b *Built) Judge(ctx context.Context, program plugins.Program, items []delivery.Item, mostFailed int) (*Trial, error) {
	t := newTried(b.Version.Manifest.Kind, len(items))
	j := judge.New(program, &b.Version, t)
	defer func() { _ = j.Close() }() // frees memory only
	sources, batch := make([]core.Event, len(items)), make([]abi.Event, len(items))
	for i := range items {
		if _, err := core.DecodeEvent(items[i].Raw, &sources[i]); err != nil {
			return nil, err
		}
		batch[i] = effects.EventOf(&sources[i], nil)
		batch[i].Attempt = 1
	}
	for done := 0; done < len(batch) && (mostFailed == 0 || len(t.Parked) < mostFailed); {
		verdicts, err := j.Judge(ctx, batch[done:])
		if err != nil {
			return nil, err
		}
		t.Batches++
		for i := range verdicts {
			t.judged(&sources[done], &verdicts[i])
			done++
		}
	}
	t.Fuel, t.MostFuel = j.Fuel()
	return t.Trial, nil
}

// judged takes a verdict.
func (t *tried) judged(e *core.Event, v *judge.Verdict) {
	if v.Fault != "" {
		t.Parked = append(t.Parked, failedOf(e, v.Fault))
		return
	}
	text, value := "value", string(v.Value)
	switch {
	case v.Action == abi.Skip:
		text, value = "drop", ""
		t.Skipped++
	case v.Action == abi.Park:
		text = "refuse"
		t.Skipped++
	case t.Kind == plugins.KindFilter:
		text, value = "keep", ""
	case t.Kind == plugins.KindValidate:
		text, value = "accept", ""
	}
	if v.Action == abi.Ack {
		t.Acked++
	}
	t.Judged = append(t.Judged, Judged{e.Position, e.Stream, e.Type, text, value})
}

// Log is plugins.Output.Log, of a plugin that judges events.
func (t *tried) Log(level abi.Level, line []byte) {
	t.Logs = append(t.Logs, Line{level.String(), string(line)})
}

// Metric is plugins.Output.Metric. A module that judges events cannot import it.
func (t *tried) Metric(abi.Kind, []byte, float64) abi.Errno { return abi.Unsupported }
