package plugins

import (
	"cmp"
	"time"

	"github.com/gyre-events/gyre/core"
)

// Limits bound what a binding may use. In JSON, 0 or nothing is the default.
type Limits struct {
	MemoryBytes uint64 `json:"memoryBytes,omitzero"` // of a handler
	Fuel        int64  `json:"fuel,omitzero"`        // of a batch, about one per instruction
	TimeMs      int64  `json:"timeMs,omitzero"`      // of a batch
	InitMs      int64  `json:"initMs,omitzero"`      // of starting a handler
	BatchEvents int    `json:"batchEvents,omitzero"`
	BatchBytes  int    `json:"batchBytes,omitzero"`
	StateBytes  int64  `json:"stateBytes,omitzero"` // of all lanes: keys and values
}

// DefaultLimits are those of a binding that asks for none.
func DefaultLimits() Limits {
	return Limits{
		MemoryBytes: 64 << 20, Fuel: 500_000_000, TimeMs: 1000, InitMs: 5000,
		BatchEvents: 64, BatchBytes: 1 << 20, StateBytes: 256 << 20,
	}
}

// MaxLimits are the most that a binding may ask for.
func MaxLimits() Limits {
	return Limits{
		MemoryBytes: 512 << 20, Fuel: 10_000_000_000, TimeMs: 30_000, InitMs: 30_000,
		BatchEvents: 256, BatchBytes: 8 << 20, StateBytes: 4 << 30,
	}
}

// Time is the time that a batch has.
func (l *Limits) Time() time.Duration { return time.Duration(l.TimeMs) * time.Millisecond }

// InitTime is the time that starting a handler has.
func (l *Limits) InitTime() time.Duration { return time.Duration(l.InitMs) * time.Millisecond }

// Validate checks that each limit is the default or at most that of MaxLimits. The error is
// invalid_request, and begins with the name of the limit.
func (l *Limits) Validate() error {
	most := MaxLimits()
	for _, n := range []struct {
		name      string
		got, most int64
	}{
		{"memoryBytes", int64(min(l.MemoryBytes, 1<<62)), int64(most.MemoryBytes)},
		{"fuel", l.Fuel, most.Fuel},
		{"timeMs", l.TimeMs, most.TimeMs},
		{"initMs", l.InitMs, most.InitMs},
		{"batchEvents", int64(l.BatchEvents), int64(most.BatchEvents)},
		{"batchBytes", int64(l.BatchBytes), int64(most.BatchBytes)},
		{"stateBytes", l.StateBytes, most.StateBytes},
	} {
		if n.got < 0 || n.got > n.most {
			return core.Errorf(core.CodeInvalidRequest, "%s is %d, it may be from 1 to %d, or 0 for the default", n.name, n.got, n.most)
		}
	}
	return nil
}

// OrDefaults returns l with the defaults of what it leaves out.
func (l *Limits) OrDefaults() Limits {
	d := DefaultLimits()
	return Limits{
		MemoryBytes: cmp.Or(l.MemoryBytes, d.MemoryBytes), Fuel: cmp.Or(l.Fuel, d.Fuel),
		TimeMs: cmp.Or(l.TimeMs, d.TimeMs), InitMs: cmp.Or(l.InitMs, d.InitMs),
		BatchEvents: cmp.Or(l.BatchEvents, d.BatchEvents), BatchBytes: cmp.Or(l.BatchBytes, d.BatchBytes),
		StateBytes: cmp.Or(l.StateBytes, d.StateBytes),
	}
}
