package effects

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
)

// Terms are what a binding grants its handlers, and what bounds them. They are safe for
// concurrent use.
type Terms struct {
	binding *plugins.Binding
	grants  plugins.Capabilities
	inputs  core.Filter
	reads   core.Filter // what ReadStream passes on
	config  *Config
}

// NewTerms returns the terms of a binding that is valid.
func NewTerms(b *plugins.Binding) *Terms {
	t := &Terms{binding: b, config: NewConfig(b.Config)}
	t.grants, _ = plugins.ParseCapabilities(b.Grants) // Binding.Validate has parsed them
	t.reads = core.Filter{Within: t.grants.Streams(plugins.CanReadStreams)}
	t.inputs = core.Filter{Streams: b.Input.Filter.Streams, Types: b.Input.Filter.Types}
	return t
}

// loops reports whether an event of this type in this stream would be an input of the binding
// itself, which is not to be. What an expression or a plugin decides it does not know: such a loop
// ends at maxDepth.
func (t *Terms) loops(stream, typ string) bool {
	in := &t.binding.Input
	if t.binding.AllowLoops || in.Filter.Expr != "" || in.Filter.Plugin != "" || in.Stream != "" && in.Stream != core.All && in.Stream != stream {
		return false
	}
	return t.inputs.Match(stream, typ)
}

// Emits reports whether handlers are granted what can be held back: to append to any stream, or to
// call another server.
func (t *Terms) Emits() bool {
	return slices.ContainsFunc(t.grants, func(c plugins.Capability) bool {
		return c.Kind == plugins.CanAppend || c.Kind == plugins.CanCallHTTP
	})
}

// seed is that of handlers' randomness.
func (t *Terms) seed() [32]byte {
	return sha256.Sum256(binary.BigEndian.AppendUint64([]byte(t.binding.Name+"\x00"), t.binding.Generation))
}

// LaneOf is the lane of a partition key: its FNV-1a hash of 64 bits, mod the lanes. Stored
// state depends on it.
func LaneOf(key string, lanes int) int {
	if lanes == 1 {
		return 0
	}
	hash := uint64(14695981039346656037)
	for i := range len(key) {
		hash = (hash ^ uint64(key[i])) * 1099511628211
	}
	return int(hash % uint64(lanes))
}
