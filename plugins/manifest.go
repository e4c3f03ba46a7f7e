package plugins

import (
	"encoding/json"

	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins/abi"
)

// Kind is what a plugin is for.
type Kind string

// The kinds. A projection is a handler that may not append. The others judge events, and have no
// effects: filters, maps and partitioners for subscriptions, validators for appends.
const (
	KindHandler    Kind = "handler"
	KindProjection Kind = "projection"
	KindFilter     Kind = "filter"    // says whether an event is delivered
	KindMap        Kind = "map"       // makes the data that is delivered
	KindPartition  Kind = "partition" // makes the partition key of an event
	KindValidate   Kind = "validate"  // says whether an event is appended
)

// entries are the functions that modules of a kind export, and that the host calls.
var entries = map[Kind]string{
	KindHandler: abi.Handle, KindProjection: abi.Handle, KindFilter: abi.Filter, KindMap: abi.Map, KindPartition: abi.Part, KindValidate: abi.Validate,
}

// Kinds are all kinds.
func Kinds() []Kind {
	return []Kind{KindHandler, KindProjection, KindFilter, KindMap, KindPartition, KindValidate}
}

// Entry is the function that a module of the kind exports, and that the host calls with a batch.
// It is empty for what is no kind.
func (k Kind) Entry() string { return entries[k] }

// A names a plugin of the kind in a sentence, such as "a validator".
func (k Kind) A() string {
	switch k {
	case KindPartition:
		return "a partitioner"
	case KindValidate:
		return "a validator"
	}
	return "a " + string(k)
}

// Judges reports whether a plugin of the kind judges events, and has no effects.
func (k Kind) Judges() bool { return k.Entry() != "" && k.Entry() != abi.Handle }

// Manifest is what a version says about itself. In a module it is the custom section
// ManifestSection, as JSON of at most abi.MaxManifestBytes.
type Manifest struct {
	Name        string `json:"name"`
	Version     string `json:"version"`
	SDK         string `json:"sdk,omitzero"` // what the module was built with, such as go/1.0
	ABI         string `json:"abi"`          // abi.Module or, of a command, abi.Stdio
	Kind        Kind   `json:"kind"`
	Description string `json:"description,omitzero"`
	// Capabilities are what it asks for: append:PATTERN, state, streams.read,
	// http:HOST:PORT and secret:KEY.
	Capabilities []string `json:"capabilities,omitempty"`
	Limits       Limits   `json:"limits,omitzero"`
	// Subscription is what its events are, unless a deploy says otherwise.
	Subscription Input `json:"subscription,omitzero"`
	Lanes        int   `json:"lanes,omitzero"` // 1 if 0
	// ConfigSchema is a JSON Schema that the config of a binding has to fit, and
	// Config the default.
	ConfigSchema json.RawMessage `json:"configSchema,omitempty"`
	Config       json.RawMessage `json:"config,omitempty"`
	// Build is the command by which gyre plugin build makes the module, and Module the
	// file that it writes, relative to the plugin's directory. Test is the command that runs
	// the plugin's own tests. Go needs none of them.
	Build  []string `json:"build,omitempty"`
	Module string   `json:"module,omitzero"`
	Test   []string `json:"test,omitempty"`
}

// Entry is the function of the module that the host calls.
func (m *Manifest) Entry() string {
	if m.ABI == abi.Stdio {
		return abi.Main
	}
	return m.Kind.Entry()
}

// ManifestSection is the name of the custom section of a module that has its manifest.
const ManifestSection = "gyre.manifest"

// Input chooses the events of a binding.
type Input struct {
	Stream      string               `json:"stream,omitzero"` // $all if empty
	Filter      subscriptions.Filter `json:"filter,omitzero"`
	Map         subscriptions.Map    `json:"map,omitzero"`         // what the data is replaced with
	PartitionBy string               `json:"partitionBy,omitzero"` // which lane; none if empty
	From        json.RawMessage      `json:"from,omitempty"`       // as of a subscription; the start if empty
}
