package plugins

import (
	"strings"

	"github.com/gyre-events/gyre/core"
)

// The time that a validator has for the events of an append, in milliseconds: for each batch of
// them, of which most appends have one. MaxValidatorMs is also what it has for all of them.
const (
	DefaultValidatorMs = 10
	MaxValidatorMs     = 1000
)

// Tables of records that more than one package writes.
const (
	BindingsTable    = "plugin_bindings"    // by name; those with a subscription
	ValidatorsTable  = "plugin_validators"  // by name; no name is in both
	GenerationsTable = "plugin_generations" // by name; the last of a binding that was deleted
)

// orDefaultsOf returns l with the defaults of what it leaves out, for a kind of plugin.
func (l *Limits) orDefaultsOf(k Kind) Limits {
	whole := l.OrDefaults()
	if k == KindValidate && l.TimeMs == 0 {
		whole.TimeMs = DefaultValidatorMs
	}
	return whole
}

// patternsOnly makes the stream of a validator's input one of its patterns.
func (i *Input) patternsOnly() {
	if i.Stream != "" && len(i.Filter.Streams) == 0 {
		i.Filter.Streams = []string{i.Stream}
		i.Stream = ""
	}
}

// thenOnly refuses attempts and backoffs, which a validator does not have. One that was shown with its
// only attempt may be sent back.
func (p *ErrorPolicy) thenOnly() error {
	if p != nil && (p.Attempts < 0 || p.Attempts > 1 || p.MinMs != 0 || p.MaxMs != 0) {
		return core.Errorf(core.CodeInvalidRequest, "onError: a validator is asked once about an append, so attempts, minMs and maxMs mean nothing; then says what becomes of one that it fails on")
	}
	return nil
}

// validateValidator is Validate of a validator. The error is invalid_request, invalid_filter or
// reserved_stream_name.
func (b *Binding) validateValidator() error {
	invalid := func(format string, args ...any) error { return core.Errorf(core.CodeInvalidRequest, format, args...) }
	in := &b.Input
	switch {
	case len(b.Grants) > 0:
		return invalid("grants: a validator judges events and has no effects, so it is granted nothing, and %q was to be", core.Clip(b.Grants[0]))
	case b.Lanes != 0:
		return invalid("lanes is %d: a validator has none", b.Lanes)
	case b.AllowLoops:
		return invalid("allowLoops: a validator appends nothing")
	case in.Stream != "":
		return invalid("input: stream is one more pattern of a validator; give all of them as filter.streams")
	case len(in.Filter.Streams) == 0:
		return invalid("input.filter.streams is missing: say which streams the validator is for, such as [\"order-*\"], or [\"*\"] for all")
	case in.PartitionBy != "" || len(in.Map.Fields) > 0 || in.Map.Expr != "" || in.Map.Plugin != "" || len(in.From) > 0:
		return invalid("input: a validator judges what is appended from now on, as it is, so partitionBy, map and from mean nothing")
	case in.Filter.Expr != "" || in.Filter.Plugin != "":
		return invalid("input.filter: expr and plugin are not for validators: a validator is asked about each event of its streams and types; let it accept those it has no opinion about")
	case b.Limits.TimeMs > MaxValidatorMs:
		return invalid("limits.timeMs is %d, a validator may have from 1 to %d for an append", b.Limits.TimeMs, MaxValidatorMs)
	case b.OnError.Then != ThenRefuse && b.OnError.Then != ThenAccept:
		return invalid("onError.then is %q, of a validator it may be refuse or accept", core.Clip(string(b.OnError.Then)))
	case len(b.Config) > 0 && !strings.HasPrefix(string(b.Config), "{"):
		return core.Errorf(core.CodeInvalidPluginConfig, "config is an object, such as {\"threshold\":50}")
	}
	if err := b.Limits.Validate(); err != nil {
		return invalid("limits.%s", core.AsError(err).Detail)
	}
	for _, pattern := range in.Filter.Streams {
		if core.IsSystem(pattern) {
			e := core.Errorf(core.CodeReservedStreamName, "input.filter.streams: %q is of streams that only the node writes, and what it writes is not judged", core.Clip(pattern))
			e.Stream = pattern
			return e
		}
	}
	filter := core.Filter{Streams: in.Filter.Streams, Types: in.Filter.Types}
	if err := filter.Validate(); err != nil {
		return core.Errorf(core.AsError(err).Code, "input.filter: %s", core.AsError(err).Detail)
	}
	return nil
}
