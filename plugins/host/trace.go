package host

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/effects"
)

// trace says that an event was passed without effect, and why, with what is known of the last
// attempt at it.
type trace struct {
	Position uint64    `json:"position"`
	Lane     int       `json:"lane,omitempty"`
	At       time.Time `json:"at,omitzero"` // of the last failure
	Reason   string    `json:"reason"`
	Attempts int       `json:"attempts"`
	Stack    string    `json:"stack,omitempty"`
	// Carried says that the live generation had parked it when a generation beside came to it, and
	// that nobody has tried it in this one (L14).
	Carried bool `json:"carried,omitzero"`
	// Interrupted counts replays that were begun and did not end.
	Interrupted int               `json:"interrupted,omitempty"`
	History     []plugins.Attempt `json:"history,omitempty"`
	tried
}

// tried is what is known of the last attempt at an event, which was handled alone.
type tried struct {
	Fuel   int64         `json:"fuel,omitempty"`
	Micros int64         `json:"micros,omitempty"`
	Steps  plugins.Steps `json:"steps,omitzero"`

	position uint64
}

const (
	// maxTraceBytes bounds a trace as it is stored.
	maxTraceBytes = 64 << 10
	// maxPastReason bounds the reason of an attempt in a history, which is in the record of a lane.
	maxPastReason = 256
)

// fit cuts what a trace has of the last attempt to what can be stored: texts grow when they are
// encoded.
func (t *trace) fit() {
	for {
		text, err := json.Marshal(t)
		if err != nil || len(text) <= maxTraceBytes {
			return
		}
		switch n := len(t.Steps.List); {
		case n > 0:
			t.Steps.Dropped += (n + 1) / 2
			t.Steps.List = t.Steps.List[(n+1)/2:]
		case len(t.Stack) > 0:
			t.Stack = half(t.Stack)
		default:
			t.Reason = half(t.Reason)
		}
	}
}

func half(s string) string { return strings.ToValidUTF8(s[:len(s)/2], "") }

// failed notes an attempt at an event that failed.
func (t *trace) failed(l *lane, attempt int, f *effects.Failure) {
	t.At, t.Attempts, t.Reason, t.Stack, t.tried = time.Now().UTC(), attempt, f.Reason, f.Stack, tried{}
	if l.tried.position == t.Position {
		t.tried = l.tried
		t.Steps = l.stage.Steps()
	}
	t.History = l.past(t.History, attempt, f.Reason)
}

// past is a history with an attempt. One that was noted before it was made is replaced.
func (l *lane) past(history []plugins.Attempt, attempt int, reason string) []plugins.Attempt {
	a := plugins.Attempt{
		Attempt: attempt, At: time.Now().UTC(), Version: l.binding.Version, Generation: l.binding.Generation,
		Reason: strings.ToValidUTF8(reason[:min(len(reason), maxPastReason)], ""),
	}
	if n := len(history); n > 0 && history[n-1].Attempt == attempt && history[n-1].Reason == notEnded {
		history = history[:n-1]
	}
	history = append(slices.Clone(history), a)
	return history[max(len(history)-plugins.MaxHistory, 0):]
}
