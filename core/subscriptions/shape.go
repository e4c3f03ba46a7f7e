package subscriptions

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
)

// Source are the expressions of one definition; "" is none.
type Source struct {
	Filter string // true for events to be delivered
	Key    string // the partition key
	Map    string // the new data
}

// Compiler makes a Program of a Source. The error is invalid_expression.
type Compiler func(Source) (Program, error)

// Program is a compiled Source. Run answers within a bounded time and memory,
// whatever the event; an error is text for whoever looks at the parked event. It is
// used by one goroutine at a time.
type Program interface {
	Run(e *core.Event) (Verdict, error)
}

// Verdict is what a Program says of an event.
type Verdict struct {
	Keep bool   // false: pass it over, and the rest has no meaning
	Key  string // where the Source has one
	Data []byte // likewise; JSON
}

// maxKeyBytes bounds a partition key.
const maxKeyBytes = 1 << 10

// shape makes items of events, as a definition asks for.
type shape struct {
	all     bool        // of $all, which has no links
	filter  core.Filter // for the follower
	program Program     // nil if the definition has no expressions
	source  Source
	by      string   // PartitionBy
	fields  []string // of Map

	event core.Event // the one that items is at
}

func newShape(d *Definition, compile Compiler) (*shape, error) {
	s := &shape{
		all:    d.Stream == core.All,
		filter: core.Filter{Streams: d.Filter.Streams, Types: d.Filter.Types},
		by:     d.PartitionBy,
		fields: d.Map.Fields,
		source: Source{Filter: d.Filter.Expr, Map: d.Map.Expr},
	}
	if s.by == ByCorrelation {
		s.by = ByMetadata + "correlation_id"
	}
	if source, ok := strings.CutPrefix(s.by, ByExpression); ok {
		s.source.Key = source
	}
	if s.source == (Source{}) {
		return s, nil
	}
	if compile == nil {
		return nil, core.Errorf(core.CodeNotSupported, "this server has no expressions")
	}
	var err error
	s.program, err = compile(s.source)
	return s, err
}

// plain says that items need nothing but the events' places.
func (s *shape) plain() bool {
	return s.program == nil && len(s.fields) == 0 && (s.by == delivery.Unpartitioned || s.by == ByStream && s.all)
}

// items appends what there is to deliver of a batch. Each Raw keeps the capacity
// that it has in the block, so that neighbours can be joined without a copy.
func (s *shape) items(dst []delivery.Item, b core.Batch) []delivery.Item {
	if s.plain() {
		for p := range b.Places() {
			it := delivery.Item{Position: p.Position, RecordedMicros: p.RecordedMicros, Raw: b.Block[p.At : p.At+p.Size]}
			if s.by == ByStream {
				it.Key = p.Stream
			}
			dst = append(dst, it)
		}
		return dst
	}
	at := 0
	for e := range b.Events() {
		it := delivery.Item{Position: e.Position, RecordedMicros: e.Recorded.UnixMicro(), Raw: b.Block[at : at+len(e.Raw)]}
		at += len(e.Raw)
		s.event = e
		if s.apply(&it, &s.event) {
			dst = append(dst, it)
		}
	}
	return dst
}

// apply filters, keys and maps one event. It is false for one to pass over. An event
// for which that fails is an item with a fault: it is parked, and never skipped.
func (s *shape) apply(it *delivery.Item, e *core.Event) (keep bool) {
	var v Verdict
	var err error
	if s.program != nil {
		v, err = s.run(e)
		if err == nil && s.source.Filter != "" && !v.Keep {
			return false
		}
	}
	if err == nil {
		it.Key, err = s.key(e, &v)
	}
	if err == nil {
		it.Raw, err = s.mapped(it.Raw, e, &v)
	}
	if err != nil {
		it.Fault = err.Error()
	}
	return true
}

// run runs the program. What it was not ready for is a fault of this event.
func (s *shape) run(e *core.Event) (v Verdict, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the expression panicked: %v", p)
		}
	}()
	return s.program.Run(e)
}

func (s *shape) key(e *core.Event, v *Verdict) (string, error) {
	key := ""
	switch {
	case s.by == ByStream:
		key = e.Home().Stream
	case s.source.Key != "":
		key = v.Key
	default:
		name, ok := strings.CutPrefix(s.by, ByMetadata)
		if !ok {
			return "", nil
		}
		key = metadataKey(e.Metadata, name)
	}
	if len(key) > maxKeyBytes {
		return "", fmt.Errorf("the partition key has %d bytes, it may have %d", len(key), maxKeyBytes)
	}
	return key, nil
}

// metadataKey is the value of a field of metadata: a text, or as it stands there.
// Events without it share the key "".
func metadataKey(metadata []byte, name string) string {
	var fields map[string]json.RawMessage
	if len(metadata) == 0 || json.Unmarshal(metadata, &fields) != nil {
		return ""
	}
	var text string
	if json.Unmarshal(fields[name], &text) == nil {
		return text
	}
	return string(fields[name])
}

// mapped is the event encoded anew with other data, or raw where nothing is mapped.
func (s *shape) mapped(raw []byte, e *core.Event, v *Verdict) ([]byte, error) {
	data := v.Data
	switch {
	case len(s.fields) > 0:
		var err error
		if data, err = chooseFields(e, s.fields); err != nil {
			return nil, err
		}
	case s.source.Map == "":
		return raw, nil
	}
	if n := len(data) + len(e.Metadata); n > core.MaxEventBytes {
		return nil, fmt.Errorf("the mapped event has %d bytes, it may have %d", n, core.MaxEventBytes)
	}
	p := core.Placement{
		Stream: e.Stream, Version: e.Version, Position: e.Position, Recorded: e.Recorded.UnixMicro(),
		Incarnation: e.Incarnation, ID: e.ID,
	}
	mapped := &core.NewEvent{Type: e.Type, Time: e.Time, Data: data, Metadata: e.Metadata}
	if !e.Link.IsZero() {
		return core.EncodeLinked(nil, p, e.Link, mapped), nil
	}
	return core.EncodeEvent(nil, p, mapped), nil
}

// chooseFields is an object of those fields of the data that are there.
func chooseFields(e *core.Event, names []string) ([]byte, error) {
	var fields map[string]json.RawMessage
	if e.Format != core.JSON || json.Unmarshal(e.Data, &fields) != nil {
		return nil, fmt.Errorf("the data is not a JSON object, so no fields of it can be chosen")
	}
	chosen := make(map[string]json.RawMessage, len(names))
	for _, name := range names {
		if value, ok := fields[name]; ok {
			chosen[name] = value
		}
	}
	return json.Marshal(chosen)
}
