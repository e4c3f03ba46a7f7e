package plugins

import (
	"encoding/json"
	"time"

	"github.com/gyre-events/gyre/core"
)

// DryRun asks for a dry run: a version handles stored events, and nothing is written.
type DryRun struct {
	// Version is that of the binding if it is left out. What else the binding is stays: grants,
	// config, limits, lanes and input. Without a binding, the version is run as its manifest asks.
	Version string `json:"version,omitzero"`
	// Against is another version, which handles the same events. What it does otherwise is listed.
	Against string `json:"against,omitzero"`
	// From is the position of the first event; that of the binding's generation if it is 0.
	From uint64 `json:"from,omitzero"`
	// To is the position of the last event, and Count the most events of the input; by default
	// the run goes to the end of the log. At most MaxDryRunEvents are handled.
	To    uint64    `json:"to,omitzero"`
	Count int       `json:"count,omitzero"`
	State BaseState `json:"state,omitzero"` // EmptyState by default
	// Show is how many outputs, changes of state, failures, differences and lines of the log are
	// listed at most; all are counted. 0 is DefaultShown.
	Show int `json:"show,omitzero"`

	// Admit refuses to run a version as the binding that it would be. A nil Admit admits all.
	Admit func(b *Binding) error `json:"-"`
}

// BaseState is the state that a dry run begins with.
type BaseState string

// The states to begin with.
const (
	EmptyState  BaseState = "empty"  // none
	StoredState BaseState = "now"    // a copy of what the binding has stored
	StateBefore BaseState = "before" // what the version makes of the events before the first
)

// The bounds of a dry run.
const (
	MaxDryRunEvents = 1_000_000
	// MaxDryRunBytes bounds the state of each version, which is in memory.
	MaxDryRunBytes = 128 << 20
	// MaxDryRunTime is after which a dry run ends where it is.
	MaxDryRunTime = 10 * time.Minute
	MaxShown      = 1000
	DefaultShown  = 20
	// DryRunBuckets is how many parts of the range outputs are counted by at most.
	DryRunBuckets = 60
)

// Validate checks what can be checked without a log. The error is invalid_request.
func (d *DryRun) Validate() error {
	switch {
	case d.State != "" && d.State != EmptyState && d.State != StoredState && d.State != StateBefore:
		return core.Errorf(core.CodeInvalidRequest, "state is %q, it may be empty, now or before", core.Clip(string(d.State)))
	case d.Count < 0 || d.Count > MaxDryRunEvents:
		return core.Errorf(core.CodeInvalidRequest, "count is %d, it may be from 1 to %d, or 0 for all", d.Count, MaxDryRunEvents)
	case d.Show < 0 || d.Show > MaxShown:
		return core.Errorf(core.CodeInvalidRequest, "show is %d, it may be from 1 to %d, or 0 for %d", d.Show, MaxShown, DefaultShown)
	case d.To != 0 && d.To < d.From:
		return core.Errorf(core.CodeInvalidDryRunRange, "the range ends at position %d, before it begins at %d", d.To, d.From)
	}
	return nil
}

// DryRunProgress is how far a dry run is.
type DryRunProgress struct {
	Events   int    `json:"events"`   // handled
	Position uint64 `json:"position"` // of the last of them
	To       uint64 `json:"to"`       // the last of the range
	Outputs  int    `json:"outputs"`
	Parked   int    `json:"parked"`
	Before   bool   `json:"before,omitzero"` // they are those before the range
}

// DryRunResult is what came of a dry run.
type DryRunResult struct {
	Binding string  `json:"binding"`
	From    uint64  `json:"from"` // the range that was handled
	To      uint64  `json:"to"`
	Events  int     `json:"events"` // of the input
	Seconds float64 `json:"seconds"`
	// Ended is why the run ended before the range did, if so.
	Ended       string       `json:"ended,omitzero"`
	Tried       Trial        `json:"tried"`
	Against     *Trial       `json:"against,omitzero"`
	Differences *Differences `json:"differences,omitzero"` // if there is Against
}

// Trial is what a version did in a dry run.
type Trial struct {
	Version     string    `json:"version"`
	SHA256      string    `json:"sha256,omitzero"`
	Acked       int       `json:"acked"` // events
	Skipped     int       `json:"skipped"`
	Parked      int       `json:"parked"`
	Failures    int       `json:"failures"` // attempts that failed
	Batches     int       `json:"batches"`
	Fuel        int64     `json:"fuel"`
	MaxFuel     int64     `json:"maxFuel"` // of a batch
	Seconds     float64   `json:"seconds"` // in handlers
	MemoryBytes int64     `json:"memoryBytes"`
	StateBytes  int64     `json:"stateBytes"` // at the end
	Outputs     Outputs   `json:"outputs"`
	State       StateDiff `json:"state"` // from what it began with
	// Stored is how the state differs from what the binding has stored now, which comes before.
	Stored  *StateDiff    `json:"stored,omitzero"`
	Failed  []FailedTry   `json:"failed"` // the first events that were not handled
	Logs    LoggedLines   `json:"logs"`
	Metrics []MetricValue `json:"metrics,omitempty"`
}

// Outputs are events that a version would append.
type Outputs struct {
	Count   int   `json:"count"`
	Streams Tally `json:"streams"`
	Types   Tally `json:"types"`
	// Buckets count them over the range, by the position of the event that they are of. Each is
	// of BucketSize positions.
	Buckets    []int         `json:"buckets"`
	BucketSize uint64        `json:"bucketSize"`
	First      []OutputEvent `json:"first"`
}

// Tally counts by name: the MaxTally names with the most, in this order, and the others together.
// Of names that come after MaxNames others, all are among these.
type Tally struct {
	Names  []Counted `json:"names"`
	Others int       `json:"others,omitzero"`
}

// The bounds of the names of a Tally.
const (
	MaxTally = 50
	MaxNames = 10_000
)

// Counted is a name with a count.
type Counted struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}

// OutputEvent is an event that a version would append.
type OutputEvent struct {
	Source   uint64  `json:"source,omitzero"` // the position of the event that it is of
	Stream   string  `json:"stream"`
	Expected int64   `json:"expected"` // as in an append; what the log has is not looked at
	ID       core.ID `json:"id"`
	Type     string  `json:"type"`
	Content
	Metadata json.RawMessage `json:"metadata,omitempty"`
}

// Content is a value in JSON, or any bytes. JSON has it in value or in valueBase64.
type Content struct {
	Value  json.RawMessage `json:"value,omitzero"`
	Base64 []byte          `json:"valueBase64,omitzero"`
}

// ContentOf returns a value as content.
func ContentOf(value []byte) Content {
	if IsJSON(value) {
		return Content{Value: value}
	}
	if value == nil {
		value = []byte{}
	}
	return Content{Base64: value}
}

// StateDiff is how a state differs from another: counts, and the first by lane and key.
type StateDiff struct {
	Added   int           `json:"added"`
	Changed int           `json:"changed"`
	Removed int           `json:"removed"`
	First   []StateChange `json:"first"`
}

// StateChange is a key whose value differs. One that is not there is nil.
type StateChange struct {
	Lane   int      `json:"lane"`
	Key    string   `json:"key"`
	Before *Content `json:"before,omitzero"`
	After  *Content `json:"after,omitzero"`
}

// FailedTry is an event that was not handled, or attempts at one that then was.
type FailedTry struct {
	Position uint64 `json:"position"`
	Stream   string `json:"stream"`
	Type     string `json:"type"`
	Lane     int    `json:"lane"`
	Attempts int    `json:"attempts"`
	Parked   bool   `json:"parked"`
	Reason   string `json:"reason"` // of the last attempt
	Stack    string `json:"stack,omitzero"`
}

// LoggedLines are lines that a version has logged.
type LoggedLines struct {
	Count int       `json:"count"`
	First []LogLine `json:"first"`
}

// MetricValue is what a version has reported: the sum of a counter, or the last value.
type MetricValue struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
}

// Differences are how two versions differ.
type Differences struct {
	Events  int          `json:"events"`  // that they did something different for
	Outputs int          `json:"outputs"` // of those, with other outputs
	Writes  int          `json:"writes"`  // of those, with other changes of state
	Fates   int          `json:"fates"`   // of those, parked by one, or skipped
	First   []Difference `json:"first"`
	State   StateDiff    `json:"state"` // from Against to Tried, at the end
}

// Difference is an event that two versions did something different for.
type Difference struct {
	Position uint64 `json:"position"`
	Stream   string `json:"stream"`
	Type     string `json:"type"`
	Lane     int    `json:"lane"`
	Tried    Deed   `json:"tried"`
	Against  Deed   `json:"against"`
}

// Deed is what a version did with an event.
type Deed struct {
	Fate    Fate          `json:"fate"`
	Reason  string        `json:"reason,omitzero"` // why it was parked
	Outputs []OutputEvent `json:"outputs"`
	Writes  []Write       `json:"writes"`
}

// Fate is what became of an event.
type Fate string

// The fates.
const (
	Acked   Fate = "acked"
	Skipped Fate = "skipped"
	Parked  Fate = "parked"
)

// Write is a change of state; without content the key is deleted.
type Write struct {
	Key string `json:"key"`
	*Content
}
