package subscriptions

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
)

// Source holds the expressions of one definition; "" is none.
type Source struct {
	Filter string // true for events to be delivered
	Key    string // the partition key
	Map    string // the new data
}

// Compiler returns a Program of a Source. The error is invalid_expression.
type Compiler func(Source) (Program, error)

// Programs makes the programs of definitions: of expressions, and of plugins. A nil one has none.
type Programs struct {
	Compile Compiler
	Judges  Judges
}

// Program judges events by a compiled Source. It belongs to one goroutine, which closes it.
type Program interface {
	// Run appends the verdicts on the first events of a batch, which has one or more, and
	// returns dst. It judges at least one event, and returns early once a budget of time or
	// memory is spent. An event that the program fails on has a verdict with a fault. An
	// error is about the whole run, such as the end of ctx, at which Run returns soon.
	Run(ctx context.Context, b core.Batch, dst []Verdict) ([]Verdict, error)
	Close() error
}

// Verdict is what a Program decides about one event.
type Verdict struct {
	Keep  bool   // false: the event is passed over, and the rest has no meaning
	Key   string // if the Program makes one
	Data  []byte // JSON, if the Program maps; it is valid until the next Run
	Fault string // why the program failed on the event; it is for whoever looks at the parked event
}

const (
	// maxKeyBytes bounds a partition key.
	maxKeyBytes = 1 << 10
	// maxMappedBytes bounds the mapped events that a selector returns at a time. One event
	// may exceed it.
	maxMappedBytes = 256 << 10
)

// selector makes the items of events that a definition asks for. It belongs to one
// goroutine, which closes it.
type selector struct {
	all     bool    // of $all, which has no links
	program Program // nil if the definition has no expressions and no plugins
	// judged says that there are plugins, keyed and maps what the program makes.
	judged, keyed, maps bool
	by                  string   // PartitionBy
	fields              []string // of Map
	verdicts            []Verdict
}

func newSelector(d *Definition, programs Programs) (*selector, error) {
	judges, err := d.judges()
	if err != nil {
		return nil, err
	}
	s := &selector{all: d.Stream == core.All, judged: len(judges) > 0, by: d.PartitionBy, fields: d.Map.Fields}
	if s.by == ByCorrelation {
		s.by = ByMetadata + "correlation_id"
	}
	source := Source{Filter: d.Filter.Expr, Map: d.Map.Expr}
	if expression, ok := strings.CutPrefix(s.by, ByExpression); ok {
		source.Key = expression
	}
	s.keyed = source.Key != "" || strings.HasPrefix(s.by, ByPlugin)
	s.maps = source.Map != "" || d.Map.Plugin != ""
	s.program, err = newProgram(source, judges, programs)
	return s, err
}

func (s *selector) close() error {
	if s.program == nil {
		return nil
	}
	return s.program.Close()
}

// plain reports whether items need nothing but the places of events.
func (s *selector) plain() bool {
	return s.program == nil && len(s.fields) == 0 && (s.by == delivery.Unpartitioned || s.by == ByStream && s.all)
}

// items appends the items of the first events of a batch, and returns the rest of the batch.
// The rest is not empty if what is mapped, or what it costs, would exceed a bound: nobody may
// want that much yet. Each Raw keeps the capacity that it has in the block, so that
// neighbours can be joined without a copy.
func (s *selector) items(ctx context.Context, dst []delivery.Item, b core.Batch) (_ []delivery.Item, rest core.Batch, err error) {
	if s.plain() {
		return s.places(dst, b), core.Batch{}, nil
	}
	count := b.Count
	if s.program != nil && count > 0 {
		if s.verdicts, err = s.program.Run(ctx, b, s.verdicts[:0]); err != nil {
			return dst, core.Batch{}, err
		}
		defer func() { clear(s.verdicts) }() // they hold what is mapped in memory
		if count = len(s.verdicts); count == 0 {
			return dst, core.Batch{}, core.Errorf(core.CodeInternal, "a program has judged none of %d events", b.Count)
		}
	}
	at, done, mapped := 0, 0, 0
	for e := range b.Events() {
		if done == count || s.program == nil && mapped > maxMappedBytes { // a program has its own bound
			break
		}
		it := delivery.Item{Position: e.Position, RecordedMicros: e.Recorded.UnixMicro(), Raw: b.Block[at : at+len(e.Raw)]}
		at += len(e.Raw)
		v := Verdict{Keep: true}
		if s.program != nil {
			v = s.verdicts[done]
		}
		done++
		if s.apply(&it, &e, &v) {
			dst = append(dst, it)
			mapped += len(it.Raw)
		}
	}
	_, rest = b.Cut(core.Limit{Events: done, Bytes: len(b.Block)})
	return dst, rest, nil
}

// places appends an item for each event, without decoding it.
func (s *selector) places(dst []delivery.Item, b core.Batch) []delivery.Item {
	for p := range b.Places() {
		it := delivery.Item{Position: p.Position, RecordedMicros: p.RecordedMicros, Raw: b.Block[p.At : p.At+p.Size]}
		if s.by == ByStream {
			it.Key = p.Stream
		}
		dst = append(dst, it)
	}
	return dst
}

// apply filters, keys and maps one event. It reports whether there is something to deliver
// or to park: an event for which it fails is an item with a fault.
func (s *selector) apply(it *delivery.Item, e *core.Event, v *Verdict) (keep bool) {
	if it.Fault = v.Fault; it.Fault != "" {
		return true
	}
	if !v.Keep {
		return false
	}
	var err error
	raw := it.Raw // an event with a fault stays as it is
	if it.Key, err = s.key(e, v); err == nil {
		raw, err = s.mapped(raw, e, v)
	}
	if err != nil {
		it.Fault = err.Error()
		return true
	}
	it.Raw = raw
	return true
}

func (s *selector) key(e *core.Event, v *Verdict) (string, error) {
	key := ""
	switch {
	case s.by == ByStream:
		key = e.Home().Stream
	case s.keyed:
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

// metadataKey returns a field of metadata: its text, or its JSON if it is no text. Events
// without the field share the key "".
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

// mapped returns the event encoded with its new data, or raw if nothing is mapped.
func (s *selector) mapped(raw []byte, e *core.Event, v *Verdict) ([]byte, error) {
	data := v.Data
	switch {
	case len(s.fields) > 0:
		var err error
		if data, err = chooseFields(e, s.fields); err != nil {
			return nil, err
		}
	case !s.maps:
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

// chooseFields returns an object of those fields that the data has.
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
