package plugins

import (
	"encoding/json"

	"github.com/gyre-events/gyre/core/subscriptions"
)

// Kind is what a plugin is for.
type Kind string

// The kinds. A projection is a handler that may not append.
const (
	KindHandler    Kind = "handler"
	KindProjection Kind = "projection"
)

// Manifest is what a version says about itself. In a module it is the custom section
// ManifestSection, as JSON of at most abi.MaxManifestBytes.
type Manifest struct {
	Name        string `json:"name"`
	Version     string `json:"version"`
	SDK         string `json:"sdk,omitzero"` // what the module was built with, such as go/1.0
	ABI         string `json:"abi"`          // abi.Module
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
	// file that it writes, relative to the plugin's directory. Go needs neither.
	Build  []string `json:"build,omitempty"`
	Module string   `json:"module,omitzero"`
}

// ManifestSection is the name of the custom section of a module that has its manifest.
const ManifestSection = "gyre.manifest"

// Input chooses the events of a binding.
type Input struct {
	Stream      string               `json:"stream,omitzero"` // $all if empty
	Filter      subscriptions.Filter `json:"filter,omitzero"`
	PartitionBy string               `json:"partitionBy,omitzero"` // which lane; none if empty
	From        json.RawMessage      `json:"from,omitempty"`       // as of a subscription; the start if empty
}
