package plugins

import (
	"time"

	"github.com/gyre-events/gyre/core"
)

// Attempt is one at an event that failed.
type Attempt struct {
	Attempt    int       `json:"attempt"` // from 1
	At         time.Time `json:"at"`
	Version    string    `json:"version"`
	Generation uint64    `json:"generation"`
	Reason     string    `json:"reason"`
}

// MaxHistory is how many attempts are kept of an event: the last.
const MaxHistory = 16

// Step is something that a handler did while it handled an event.
type Step struct {
	Do    Do     `json:"do"`
	Level string `json:"level,omitzero"` // of a line of the log
	Text  string `json:"text,omitzero"`  // of a line of the log
	Key   string `json:"key,omitzero"`   // of the state
	// Stream and Type are those of an event that was appended.
	Stream string `json:"stream,omitzero"`
	Type   string `json:"type,omitzero"`
	// Bytes is the size of a value, or of the data of an event. Content has it up to MaxStepBytes.
	Bytes int `json:"bytes,omitzero"`
	*Content
	// Refused is why it had no effect, if so.
	Refused string `json:"refused,omitzero"`
}

// MaxStepBytes bounds the content of a Step.
const MaxStepBytes = 1 << 10

// Do is what a Step did.
type Do string

// What a Step can do.
const (
	DoLog    Do = "log"
	DoPut    Do = "put"
	DoDelete Do = "delete"
	DoAppend Do = "append"
)

// Steps are what a handler did with an event, in order. Of many there are the last.
type Steps struct {
	List    []Step `json:"list"`
	Dropped int    `json:"dropped,omitzero"` // before them
}

// Poison is an event that a binding has parked, and what is known of why.
type Poison struct {
	Position uint64 `json:"position"`
	// Stream and Type are those of the event. They are empty if the log has it no longer.
	Stream   string    `json:"stream,omitzero"`
	Type     string    `json:"type,omitzero"`
	Lane     int       `json:"lane"`
	At       time.Time `json:"at,omitzero"` // of the last failure
	Attempts int       `json:"attempts"`
	Reason   string    `json:"reason"`
	// Carried says that the generation before had parked it, and that nobody has tried it in this one.
	Carried bool `json:"carried,omitzero"`
}

// PoisonEvent is all that is known of an event that a binding has parked: of the last attempt at it,
// of the last MaxHistory attempts, and the event.
type PoisonEvent struct {
	Poison
	Stack   string    `json:"stack,omitzero"` // functions, innermost first
	Fuel    int64     `json:"fuel"`
	Seconds float64   `json:"seconds"`
	Steps   Steps     `json:"steps"`
	History []Attempt `json:"history"`
	// Event is nil if the log has it no longer.
	Event *core.Event `json:"-"`
}

// PoisonRequest asks for a page of the events that a binding has parked, in the order of positions.
type PoisonRequest struct {
	After uint64 // only those behind it
	Limit int    // at most core.MaxReadEvents, which 0 stands for
}

// PoisonPage is a page of parked events. End says that no more follow.
type PoisonPage struct {
	Poison []Poison `json:"poison"`
	End    bool     `json:"end"`
}

// PoisonRun asks to run a version on a parked event, alone, on the state as it is. Nothing is written.
type PoisonRun struct {
	// Version is that of the binding if it is left out. What else the binding is stays.
	Version string `json:"version,omitzero"`

	// Admit refuses to run a version as the binding that it would be. A nil Admit admits all.
	Admit func(b *Binding) error `json:"-"`
}

// PoisonTrial is what a version did with a parked event.
type PoisonTrial struct {
	Position uint64 `json:"position"`
	Fate     Fate   `json:"fate"`
	Reason   string `json:"reason,omitzero"` // why it would stay parked
	Stack    string `json:"stack,omitzero"`
	Steps    Steps  `json:"steps"`
	Tried    Trial  `json:"tried"`
	// Moved says that the binding went on meanwhile: what was read of its state may be of several
	// moments.
	Moved bool `json:"moved,omitzero"`
}

// PoisonRetry is what came of a parked event that was given back.
type PoisonRetry struct {
	Position uint64  `json:"position"`
	Outcome  Outcome `json:"outcome"`
	Attempts int     `json:"attempts"`        // that have failed
	Reason   string  `json:"reason,omitzero"` // why it is parked again, or what it waits for
}

// Outcome is what came of a parked event that was given back.
type Outcome string

// The outcomes.
const (
	HandledAgain Outcome = "handled"
	ParkedAgain  Outcome = "parked"
	StillWaiting Outcome = "waiting" // it is to be handled when the binding comes to it
)
