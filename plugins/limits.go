package plugins

import "time"

// Limits bound what a binding may use. In JSON, 0 or nothing is the default.
type Limits struct {
	MemoryBytes uint64 `json:"memoryBytes,omitempty"` // of a handler
	Fuel        int64  `json:"fuel,omitempty"`        // of a batch, about one per instruction
	TimeMs      int64  `json:"timeMs,omitempty"`      // of a batch
	InitMs      int64  `json:"initMs,omitempty"`      // of starting a handler
	BatchEvents int    `json:"batchEvents,omitempty"`
	BatchBytes  int    `json:"batchBytes,omitempty"`
	StateBytes  int64  `json:"stateBytes,omitempty"` // of all lanes: keys and values
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
