package plugins

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/gyre-events/gyre/core"
)

// Binding is a version at work.
type Binding struct {
	Name    string `json:"binding"`
	Plugin  string `json:"plugin"`
	Version string `json:"version"`
	SHA256  string `json:"sha256"`
	Kind    Kind   `json:"kind"`
	Generations
	// Subscription names the subscription, which is made with the binding and has no
	// other subscribers. It has the binding's name. A validator has none, and no lanes.
	Subscription string          `json:"subscription"`
	Input        Input           `json:"input"`
	Lanes        int             `json:"lanes"` // fixed for a generation
	Grants       []string        `json:"grants"`
	Config       json.RawMessage `json:"config,omitempty"`
	Limits       Limits          `json:"limits"`
	OnError      ErrorPolicy     `json:"onError"`
	AllowLoops   bool            `json:"allowLoops,omitzero"`
	Paused       bool            `json:"paused,omitzero"`
	// Stopped is why the binding has stopped, by its handler or its error policy.
	Stopped string `json:"stopped,omitzero"`
	// EmitAfter is the position up to which appends are held back after a rebuild, of the
	// lane that was farthest.
	EmitAfter uint64    `json:"emitAfter,omitzero"`
	Created   time.Time `json:"created"`
	Deployed  time.Time `json:"deployed"`
	// Previous is the version before in this generation, which a rollback can go back to.
	Previous string `json:"previous,omitzero"`
}

// Generations are those of a binding.
type Generations struct {
	// Generation counts from 1. Emitted ids and state belong to one.
	Generation uint64 `json:"generation"`
	// FirstGeneration is the one that the binding was created with. Lower ones were of
	// deleted bindings of its name.
	FirstGeneration uint64 `json:"firstGeneration"`
	// FormerGrants are what the generation was granted to read, and is not any more: its state and
	// its log may be made of it.
	FormerGrants []string `json:"formerGrants,omitempty"`
}

// Regrant has the binding have other grants. The generation keeps its state and its log, and so what it
// was granted to read is noted. The error is invalid_request if that becomes too much.
func (b *Binding) Regrant(grants []string) error {
	granted, err := ParseCapabilities(grants)
	if err != nil {
		return core.Errorf(core.CodeInvalidRequest, "grants: %s", core.AsError(err).Detail)
	}
	var former []string
	for _, text := range slices.Concat(b.FormerGrants, b.Grants) {
		c, err := ParseCapability(text)
		if err != nil {
			return err
		}
		if c.reads() && !granted.covers(c) && !slices.Contains(former, text) {
			former = append(former, text)
		}
	}
	if len(former) > maxCapabilities {
		return core.Errorf(core.CodeInvalidRequest, "grants: generation %d of binding %q was granted to read %d other things; gyre plugin rebuild makes a new one", b.Generation, core.Clip(b.Name), len(former))
	}
	b.Grants, b.FormerGrants = grants, former
	return nil
}

// ErrorPolicy is what happens to an event whose handler fails.
type ErrorPolicy struct {
	Attempts int    `json:"attempts"` // before Then
	MinMs    int64  `json:"minMs"`    // the first backoff; it doubles
	MaxMs    int64  `json:"maxMs"`
	Then     OnFail `json:"then"`
}

// OnFail is what becomes of an event whose attempts have all failed, or of an append that a
// validator has failed to judge.
type OnFail string

// The ends of an error policy.
const (
	ThenPark OnFail = "park" // set the event aside, and go on
	ThenStop OnFail = "stop" // stop the binding

	ThenRefuse OnFail = "refuse" // of a validator: refuse the append
	ThenAccept OnFail = "accept" // of a validator: accept the append, which is not judged then
)

// DefaultErrorPolicy is that of a binding that says nothing about it.
func DefaultErrorPolicy() ErrorPolicy {
	return ErrorPolicy{Attempts: 5, MinMs: 100, MaxMs: 30_000, Then: ThenPark}
}

// State is what a binding is doing.
type State string

// The states.
const (
	Running  State = "running"
	Paused   State = "paused"
	Stopped  State = "stopped"  // by its handler or its error policy; resume goes on
	Blocked  State = "blocked"  // a lane waits to try an event again
	Broken   State = "broken"   // its version cannot run here; deploy another
	Starting State = "starting" // its code is being compiled or its lanes read
)

// Status is a binding and how it is doing. It is about the owner's view of the moment.
type Status struct {
	Binding
	State  State  `json:"state"`
	Reason string `json:"reason,omitzero"` // of Stopped, Blocked and Broken
	// Checkpoint is the lowest of its lanes', and Lag how many positions it is behind
	// the log.
	Checkpoint uint64 `json:"checkpoint"`
	Lag        uint64 `json:"lag"`
	Parked     int    `json:"parked"`
	StateBytes int64  `json:"stateBytes"`
	// MemoryBytes is what its handlers have, at the node that runs it.
	MemoryBytes int64 `json:"memoryBytes"`
	// AtLeastOnce says that it may call other servers: such a call is made again if its batch is.
	AtLeastOnce bool `json:"atLeastOnce,omitzero"`
	// MissingSecrets are those that are granted and that the node which runs it does not have.
	MissingSecrets []string     `json:"missingSecrets,omitempty"`
	LaneStatus     []LaneStatus `json:"laneStatus,omitempty"`
	Totals         Totals       `json:"totals"`
	// Beside is the generation that a rebuild makes; Before the one before the last switch, at
	// rest. There is one of them at most.
	Beside *Beside `json:"beside,omitzero"`
	Before *Before `json:"before,omitzero"`
	// Shadow is the version that runs in the shadow of this one; nil if there is none.
	Shadow *ShadowStatus `json:"shadow,omitzero"`
	// Rollback is what a rollback would go back to; nil if there is nothing.
	Rollback *RollbackPlan `json:"rollback,omitzero"`
}

// Beside is a generation that a rebuild makes, beside the live one.
type Beside struct {
	Generation uint64    `json:"generation"`
	Version    string    `json:"version"`
	Began      time.Time `json:"began"`
	// Hold says that it is switched to when somebody asks for it, and not by itself.
	Hold      bool   `json:"hold,omitzero"`
	EmitAgain bool   `json:"emitAgain,omitzero"`
	State     State  `json:"state"`
	Reason    string `json:"reason,omitzero"` // of Stopped, Blocked and Broken, or why it was not switched to
	// It began behind Start, and has handled everything up to Checkpoint. Target is the
	// checkpoint of the live generation, which it handles nothing behind.
	Start      uint64 `json:"start"`
	Checkpoint uint64 `json:"checkpoint"`
	Target     uint64 `json:"target"`
	// Percent is how much of the way from Start to Target is done.
	Percent float64 `json:"percent"`
	// Rate is how many events a second it handles, since the node runs it.
	Rate       float64 `json:"rate"`
	StateBytes int64   `json:"stateBytes"`
	Parked     int     `json:"parked"`
}

// Before is the generation before the last switch, at rest.
type Before struct {
	Generation uint64 `json:"generation"`
	Version    string `json:"version"`
	// Until is when it was live last.
	Until      time.Time `json:"until"`
	Checkpoint uint64    `json:"checkpoint"`
	StateBytes int64     `json:"stateBytes"`
	// Previous is the version before in it.
	Previous string `json:"previous,omitzero"`
}

// RollbackPlan is what a rollback would do.
type RollbackPlan struct {
	To         RollbackTo `json:"to"`
	Generation uint64     `json:"generation"`
	Version    string     `json:"version"`
	// Checkpoint is where it goes on, and HeldBackTo the position up to which its appends are
	// held back, of ToGeneration.
	Checkpoint uint64 `json:"checkpoint,omitzero"`
	HeldBackTo uint64 `json:"heldBackTo,omitzero"`
}

// Totals count since the node runs the binding.
type Totals struct {
	Batches  uint64  `json:"batches"`  // committed; of a validator, appends judged
	Events   uint64  `json:"events"`   // of those
	Appended uint64  `json:"appended"` // events
	Writes   uint64  `json:"writes"`   // of state
	Failures uint64  `json:"failures"` // of handlers, and batches that were not committed
	Parked   uint64  `json:"parked"`   // events
	Refused  uint64  `json:"refused"`  // appends, by a validator
	Starts   uint64  `json:"starts"`   // of handlers
	Fuel     uint64  `json:"fuel"`
	Seconds  float64 `json:"seconds"` // in handlers
	// Of calls of other servers:
	Calls       uint64  `json:"calls"`
	CallsFailed uint64  `json:"callsFailed"` // without a response
	CallSeconds float64 `json:"callSeconds"`
}

// LaneStatus is how a lane is doing.
type LaneStatus struct {
	Lane       int    `json:"lane"`
	Checkpoint uint64 `json:"checkpoint"`
	Attempts   int    `json:"attempts,omitzero"` // failed, of the event behind the checkpoint
	Reason     string `json:"reason,omitzero"`   // of the last failure
}

// Entry is a key of a binding's state. The value is as the handler stored it.
type Entry struct {
	Lane  int    `json:"lane"`
	Key   string `json:"key"`
	Value []byte `json:"value"`
	// Position is that up to which everything is in the state that the value is of, where one
	// key was asked for.
	Position uint64 `json:"position,omitzero"`
	// Deleted says that there is no such key any more, where one watches.
	Deleted bool `json:"deleted,omitzero"`
}

// LogLine is a line that a binding has logged.
type LogLine struct {
	// Seq counts the lines of the binding from 1. There may be gaps.
	Seq        uint64    `json:"seq"`
	Time       time.Time `json:"time"`
	Level      string    `json:"level"` // debug, info, warn, error
	Lane       int       `json:"lane"`
	Generation uint64    `json:"generation"`
	Version    string    `json:"version"`
	Position   uint64    `json:"position,omitzero"` // of the event, if any
	Text       string    `json:"text"`
}

// String is the line as a person reads it: time, level, where it is from, and text.
func (l *LogLine) String() string {
	where := fmt.Sprintf("%s lane %d", l.Version, l.Lane)
	if l.Position > 0 {
		where += fmt.Sprintf(" @%d", l.Position)
	}
	return fmt.Sprintf("%s %-5s [%s] %s", l.Time.UTC().Format("2006-01-02T15:04:05.000Z"), l.Level, where, l.Text)
}
