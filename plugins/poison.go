package plugins

import "time"

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
