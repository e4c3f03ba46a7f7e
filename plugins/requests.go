package plugins

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"time"

	"github.com/gyre-events/gyre/core"
)

// ListRequest asks for a page of a list in the order of names.
type ListRequest struct {
	Prefix string // only names that begin with it
	After  string // only names after it
	Limit  int    // at most core.MaxReadEvents, which 0 stands for
}

// BindingPage is a page of bindings. End says that no more follow.
type BindingPage struct {
	Bindings []Status `json:"bindings"`
	End      bool     `json:"end"`
}

// VersionPage is a page of versions: of one plugin, or the newest of each plugin, in the byte
// order of names. End says that no more follow.
type VersionPage struct {
	Versions []Version `json:"versions"`
	End      bool      `json:"end"`
}

// Listed is what has a name: a plugin, a binding, or both.
type Listed struct {
	Name string `json:"name"`
	// Version is the newest that was uploaded of the plugin, with what it is and says of
	// itself. They are empty if no plugin has the name.
	Version     string `json:"version,omitzero"`
	Kind        Kind   `json:"kind,omitzero"`
	Description string `json:"description,omitzero"`
	// Binding is nil if nothing is deployed under the name.
	Binding *Status `json:"binding,omitzero"`
}

// ListPage is a page of plugins and bindings in the order of names. End says that no more
// follow.
type ListPage struct {
	Plugins []Listed `json:"plugins"`
	End     bool     `json:"end"`
}

// Rebuild makes a new generation of a binding beside the live one: fresh state, new ids of
// emitted events, and the events from a place on.
type Rebuild struct {
	From core.From `json:"from,omitzero"` // the start if it is left out
	// Version is another version of the plugin, which the new generation is of.
	Version string `json:"version,omitzero"`
	// EmitAgain appends for events that the live generation has passed, too, from the begin of
	// the rebuild on. Otherwise appends are held back up to there.
	EmitAgain bool `json:"emitAgain,omitzero"`
	// Hold waits for Switch when the new generation has caught up. Otherwise it is switched to.
	Hold bool `json:"hold,omitzero"`

	// Admit refuses the binding that the new generation would be. A nil Admit admits all.
	Admit func(was, is *Binding) error `json:"-"`
}

// Rollback undoes the last change of a binding.
type Rollback struct {
	// To refuses the rollback if it would be another one, or chooses one where both can be.
	To RollbackTo `json:"to,omitzero"`

	// Admit refuses the generation that becomes the live one. A nil Admit admits all.
	Admit func(was, is *Binding) error `json:"-"`
}

// Validate checks a request. The error is invalid_request.
func (r *Rollback) Validate() error {
	if r.To != "" && r.To != ToVersion && r.To != ToGeneration {
		return core.Errorf(core.CodeInvalidRequest, "to is %q, it may be version or generation", core.Clip(string(r.To)))
	}
	return nil
}

// RollbackTo is what a rollback goes back to.
type RollbackTo string

// What there is to go back to.
const (
	// ToVersion is the version before, in the same generation: the state stays.
	ToVersion RollbackTo = "version"
	// ToGeneration is the generation before: it goes on with its own state from its own
	// checkpoint, and its appends are held back up to where the other was.
	ToGeneration RollbackTo = "generation"
)

// OnlyLane stands for the lane of a binding that has one. If it has several, the error is
// invalid_request.
const OnlyLane = -1

// KeyRequest asks for a key of a lane's state.
type KeyRequest struct {
	Lane    int // or OnlyLane
	Key     string
	AtLeast uint64 // wait until everything up to this position is handled or parked
}

// StateRequest asks for a page of a lane's state, in the byte order of keys.
type StateRequest struct {
	Lane    int    // or OnlyLane
	Prefix  string // only keys that begin with it
	After   string // only keys after it
	Limit   int    // at most core.MaxReadEvents, which 0 stands for
	AtLeast uint64 // as in KeyRequest
}

// StatePage is a page of state. End says that no more follow. A page may have fewer entries
// than asked for: its size is bounded, too. Everything up to Position is in it.
type StatePage struct {
	Entries  []Entry `json:"entries"`
	End      bool    `json:"end"`
	Position uint64  `json:"position"`
}

// Query asks a binding a question that its version answers from a lane's state.
type Query struct {
	Lane    int    // or OnlyLane
	Text    []byte // at most abi.MaxQueryBytes
	AtLeast uint64 // as in KeyRequest
}

// Answer is that to a Query. Everything up to Position is in the state that it is made from.
type Answer struct {
	Value    []byte
	Position uint64
}

// LogsRequest asks for lines of a binding's log, in order.
type LogsRequest struct {
	After uint64 // only lines whose Seq is above it
	// Last asks for the newest lines instead, at most so many.
	Last  int
	Limit int // at most core.MaxReadEvents, which 0 stands for
	// Wait is how long to wait for a line if there is none.
	Wait time.Duration
}

// LogsPage is a page of a binding's log. Next is the After of the next request; End says that
// there are no more lines now.
type LogsPage struct {
	Lines []LogLine `json:"lines"`
	Next  uint64    `json:"next"`
	End   bool      `json:"end"`
}

// MaxModuleBytes bounds a module.
const MaxModuleBytes = 64 << 20

// ABI describes what modules a node runs.
type ABI struct {
	ABIs  []string `json:"abis"` // what a manifest may have as abi, such as gyre_1
	Kinds []Kind   `json:"kinds"`
	// Imports and Exports are the names of functions that a module may import, as
	// module.name, and that it may or has to export.
	Imports []string `json:"imports"`
	Exports []string `json:"exports"`
	// JudgeImports are those of gyre_1 that a filter, a map, a partitioner or a validator may
	// import.
	JudgeImports []string `json:"judgeImports"`
	// CommandImports are what a command of stdio_1 may import instead.
	CommandImports []string `json:"commandImports"`
	// Limits are the most that a binding may ask for; Defaults those that it gets.
	Limits   Limits `json:"limits"`
	Defaults Limits `json:"defaults"`
	// MaxModuleBytes bounds an upload.
	MaxModuleBytes int64 `json:"maxModuleBytes"`
}

// entry is the JSON form of an Entry. A value that is JSON is in value, another in
// valueBase64.
type entry struct {
	Lane        int             `json:"lane"`
	Key         string          `json:"key"`
	Value       json.RawMessage `json:"value,omitempty"`
	ValueBase64 *string         `json:"valueBase64,omitzero"`
	Position    uint64          `json:"position,omitzero"`
	Deleted     bool            `json:"deleted,omitzero"`
}

// MarshalJSON has a value that is JSON stand as it is, and encodes another in base64.
func (e Entry) MarshalJSON() ([]byte, error) {
	form := entry{Lane: e.Lane, Key: e.Key, Value: e.Value, Position: e.Position, Deleted: e.Deleted}
	if e.Deleted {
		form.Value = nil
	} else if !IsJSON(e.Value) {
		text := base64.StdEncoding.EncodeToString(e.Value)
		form.Value, form.ValueBase64 = nil, &text
	}
	return marshal(form)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (e *Entry) UnmarshalJSON(text []byte) error {
	var form entry
	if err := json.Unmarshal(text, &form); err != nil {
		return err
	}
	*e = Entry{Lane: form.Lane, Key: form.Key, Value: bytes.Clone(form.Value), Position: form.Position, Deleted: form.Deleted}
	has := 0
	for _, part := range []bool{form.Value != nil, form.ValueBase64 != nil, form.Deleted} {
		if part {
			has++
		}
	}
	if has != 1 {
		return errors.New("an entry has either value or valueBase64, or is deleted")
	}
	var err error
	if form.ValueBase64 != nil {
		e.Value, err = base64.StdEncoding.DecodeString(*form.ValueBase64)
	}
	return err
}

// MarshalJSON has a value that is JSON stand as it is, and encodes another in base64.
func (a Answer) MarshalJSON() ([]byte, error) {
	form := answer{Value: a.Value, Position: a.Position}
	if !IsJSON(a.Value) {
		text := base64.StdEncoding.EncodeToString(a.Value)
		form.Value, form.ValueBase64 = nil, &text
	}
	return marshal(form)
}

// answer is the JSON form of an Answer.
type answer struct {
	Value       json.RawMessage `json:"value,omitempty"`
	ValueBase64 *string         `json:"valueBase64,omitzero"`
	Position    uint64          `json:"position"`
}
