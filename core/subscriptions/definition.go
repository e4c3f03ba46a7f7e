package subscriptions

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
)

// Definition is what a subscription was created with. Its JSON form is the API's.
// To read one, unmarshal it into DefaultDefinition: what it leaves out keeps its
// default.
type Definition struct {
	// Stream is a name, or core.All. It need not exist yet.
	Stream string `json:"stream"`
	// From is resolved to a position when the subscription is created.
	From core.From `json:"from"`
	// Filter chooses events.
	Filter Filter `json:"filter"`
	// Map says what their data is replaced with.
	Map Map `json:"map"`
	// Options are about delivery. PartitionBy is one of the forms below.
	delivery.Options
}

// Filter chooses events. Those that do not match are passed over.
type Filter struct {
	// Streams and Types are those of core.Filter.
	Streams []string `json:"streams,omitempty"`
	Types   []string `json:"types,omitempty"`
	// Expr is an expression that is true for events to be delivered.
	Expr string `json:"expr,omitempty"`
	// Plugin is a plugin, as NAME@VERSION, that keeps the events to be delivered, of those that
	// match the rest.
	Plugin PluginVersion `json:"plugin,omitempty"`
}

// PluginVersion names a version of a plugin, as NAME@VERSION. In JSON, none is left out.
type PluginVersion string

// UnmarshalJSON takes a text that is not empty.
func (p *PluginVersion) UnmarshalJSON(text []byte) error {
	var named string
	if err := json.Unmarshal(text, &named); err != nil || named == "" {
		return core.Errorf(core.CodeInvalidRequest, "plugin cannot be %s: it is NAME@VERSION, or is left out", core.Clip(string(text)))
	}
	*p = PluginVersion(named)
	return nil
}

// Map replaces the data of events with some of its fields, with the value of an expression, or
// with what a plugin makes of them. In JSON it is null, a list of names, a text, or an object with
// the member plugin.
type Map struct {
	Fields []string // of the data, at its top level
	Expr   string
	Plugin string // NAME@VERSION
}

// The forms of Options.PartitionBy beside delivery.Unpartitioned.
const (
	ByStream      = "stream"         // the event's stream
	ByCorrelation = "correlation_id" // metadata:correlation_id
	ByMetadata    = "metadata:"      // and a name: that of the event's metadata
	ByExpression  = "expr:"          // and an expression
	ByPlugin      = "plugin:"        // and a plugin, as NAME@VERSION
)

// Bounds of definitions.
const (
	maxNameBytes       = 256
	maxExpressionBytes = 4096
	maxMapFields       = 64
	maxFieldBytes      = 256
)

// DefaultDefinition is that of a subscription of which nothing is said.
func DefaultDefinition() Definition {
	return Definition{Stream: core.All, Options: delivery.DefaultOptions()}
}

// ValidateName checks the name of a subscription: 1 to 256 bytes of UTF-8 without
// control characters.
func ValidateName(name string) error {
	if len(name) > maxNameBytes || strings.HasPrefix(name, "$") || core.ValidateStream(name) != nil {
		return core.Errorf(core.CodeInvalidRequest, "%q is not a name of a subscription", core.Clip(name))
	}
	return nil
}

// Validate checks everything but the expressions. The error names the field.
func (d *Definition) Validate() error {
	if err := core.ValidateReadable(d.Stream); err != nil {
		return err
	}
	filter := core.Filter{Streams: d.Filter.Streams, Types: d.Filter.Types}
	if err := filter.Validate(); err != nil {
		return err
	}
	if len(d.Filter.Expr) > maxExpressionBytes || len(d.Map.Expr) > maxExpressionBytes {
		return core.Errorf(core.CodeInvalidExpression, "an expression has at most %d bytes", maxExpressionBytes)
	}
	if err := d.Map.validate(); err != nil {
		return err
	}
	if _, err := d.judges(); err != nil {
		return err
	}
	if err := validatePartition(d.PartitionBy); err != nil {
		return err
	}
	return d.Options.Validate()
}

func (m *Map) validate() error {
	if len(m.Fields) > maxMapFields {
		return core.Errorf(core.CodeInvalidRequest, "map has %d fields, it may have %d", len(m.Fields), maxMapFields)
	}
	for _, f := range m.Fields {
		if f == "" || len(f) > maxFieldBytes {
			return core.Errorf(core.CodeInvalidRequest, "map: %q is not the name of a field", core.Clip(f))
		}
	}
	return nil
}

func validatePartition(by string) error {
	if key, ok := strings.CutPrefix(by, ByMetadata); ok && key != "" {
		return nil
	}
	if source, ok := strings.CutPrefix(by, ByExpression); ok && source != "" {
		return nil
	}
	if strings.HasPrefix(by, ByPlugin) { // which judges checks
		return nil
	}
	switch by {
	case delivery.Unpartitioned, ByStream, ByCorrelation:
		return nil
	}
	return core.Errorf(core.CodeInvalidRequest,
		"partitionBy is %q, it may be none, stream, correlation_id, metadata:NAME, expr:EXPRESSION or plugin:NAME@VERSION", core.Clip(by))
}

// Same checks that a subscriber who asks for other means the subscription that has
// d. The error is subscription_options_differ and names what differs. Paused is not
// compared.
func (d *Definition) Same(other *Definition) error {
	var differ []string
	compare := func(field string, same bool, has, asks any) {
		if !same {
			differ = append(differ, fmt.Sprintf("%s is %s, not %s", field, core.Clip(fmt.Sprint(has)), core.Clip(fmt.Sprint(asks))))
		}
	}
	compare("stream", d.Stream == other.Stream, d.Stream, other.Stream)
	has, asks := text(d.From), text(other.From)
	compare("from", has == asks, has, asks)
	compare("filter.streams", slices.Equal(d.Filter.Streams, other.Filter.Streams), d.Filter.Streams, other.Filter.Streams)
	compare("filter.types", slices.Equal(d.Filter.Types, other.Filter.Types), d.Filter.Types, other.Filter.Types)
	compare("filter.expr", d.Filter.Expr == other.Filter.Expr, d.Filter.Expr, other.Filter.Expr)
	compare("filter.plugin", d.Filter.Plugin == other.Filter.Plugin, string(d.Filter.Plugin), string(other.Filter.Plugin))
	has, asks = text(d.Map), text(other.Map)
	compare("map", has == asks, has, asks)
	err := d.Options.Same(other.Options)
	if len(differ) == 0 {
		return err
	}
	if err != nil {
		differ = append(differ, core.AsError(err).Detail)
	}
	return core.Errorf(core.CodeSubscriptionOptionsDiffer, "%s", strings.Join(differ, "; "))
}

// text is v in JSON.
func text(v json.Marshaler) string {
	b, err := v.MarshalJSON()
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// mapPlugin is the form of a Map that is a plugin.
type mapPlugin struct {
	Plugin string `json:"plugin"`
}

// MarshalJSON writes null, a list, a text or an object.
func (m Map) MarshalJSON() ([]byte, error) {
	switch {
	case m.Plugin != "":
		return json.Marshal(mapPlugin{m.Plugin})
	case m.Expr != "":
		return json.Marshal(m.Expr)
	case len(m.Fields) > 0:
		return json.Marshal(m.Fields)
	}
	return []byte("null"), nil
}

// UnmarshalJSON takes null, a list, a text or an object.
func (m *Map) UnmarshalJSON(text []byte) error {
	*m = Map{}
	var err error
	switch {
	case string(text) == "null":
	case text[0] == '"':
		err = json.Unmarshal(text, &m.Expr)
	case text[0] == '{':
		err = m.unmarshalPlugin(text)
	default:
		err = json.Unmarshal(text, &m.Fields)
	}
	if err != nil {
		return core.Errorf(core.CodeInvalidRequest,
			"map cannot be %s: it is null, a list of names, an expression, or {\"plugin\": \"NAME@VERSION\"}", core.Clip(string(text)))
	}
	return nil
}

func (m *Map) unmarshalPlugin(text []byte) error {
	var form mapPlugin
	in := json.NewDecoder(bytes.NewReader(text))
	in.DisallowUnknownFields()
	err := in.Decode(&form)
	if m.Plugin = form.Plugin; err == nil && m.Plugin == "" {
		err = errors.New("no plugin")
	}
	return err
}

// moment is t as it is shown and stored: in UTC, to the microsecond.
func moment(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }
