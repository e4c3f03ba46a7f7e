package effects

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // it is what a UUID of version 5 is made with
	"encoding/binary"
	"encoding/json"
	"strconv"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
)

// The metadata that an appended event has of its cause. A handler may set the correlation.
const (
	correlationID  = "correlation_id"
	causationID    = "causation_id"
	causationDepth = "causation_depth"
)

// maxDepth bounds a chain of events that plugins append for each other's events. The
// depth of an event is in its metadata; what a client appends has none, and is at 0.
const maxDepth = 16

// cause is what the metadata of a source event says about where it comes from.
type cause struct {
	known       bool
	correlation string // "" if it has none
	causation   string
	depth       int
}

// causeIn reads metadata. What is not as it should be is not there.
func causeIn(metadata []byte) cause {
	c := cause{known: true}
	if !bytes.Contains(metadata, []byte(`"c`)) {
		return c
	}
	var m struct {
		Correlation any `json:"correlation_id"`
		Causation   any `json:"causation_id"`
		Depth       any `json:"causation_depth"`
	}
	if json.Unmarshal(metadata, &m) != nil {
		return c
	}
	c.correlation, _ = m.Correlation.(string)
	c.causation, _ = m.Causation.(string)
	if depth, ok := m.Depth.(float64); ok && depth > 0 {
		c.depth = int(min(depth, maxDepth))
	}
	return c
}

// cause is that of a source event.
func (x *Stage) cause(event int) *cause {
	c := &x.causes[event]
	if !c.known {
		*c = causeIn(x.sources[event].Metadata)
	}
	return c
}

// metadata appends the metadata of an event that is appended for the source with an id:
// given, which is a JSON object or empty, and what it has of its cause.
func (c *cause) metadata(dst, given []byte, source core.ID) (_ []byte, ok bool) {
	correlation := c.correlation
	if correlation == "" || len(correlation) > core.MaxCorrelationBytes {
		correlation = source.String()
	}
	if len(given) == 0 {
		dst = append(dst, `{"causation_depth":`...)
		dst = strconv.AppendInt(dst, int64(c.depth+1), 10)
		dst = append(dst, `,"causation_id":"`...)
		dst, _ = source.AppendText(dst) // it never fails
		dst = append(dst, `","correlation_id":`...)
		text, _ := json.Marshal(correlation) // a string always can be
		return append(append(dst, text...), '}'), true
	}
	var fields map[string]json.RawMessage
	if !plugins.IsJSON(given) || json.Unmarshal(given, &fields) != nil || fields == nil {
		return dst, false
	}
	var chosen string
	if json.Unmarshal(fields[correlationID], &chosen) != nil || len(chosen) > core.MaxCorrelationBytes {
		fields[correlationID], _ = json.Marshal(correlation)
	}
	fields[causationID], _ = json.Marshal(source.String())
	fields[causationDepth] = strconv.AppendInt(nil, int64(c.depth+1), 10)
	text, err := json.Marshal(fields)
	return append(dst, text...), err == nil
}

// EventOf is an event as a plugin is handed it, without an attempt. Its optional fields are
// appended to fields.
func EventOf(e *core.Event, fields []byte) abi.Event {
	out := abi.Event{
		Position: e.Position, Version: e.Version, TimeMicros: e.Recorded.UnixMicro(), ID: abi.ID(e.ID),
		Stream: []byte(e.Stream), Type: []byte(e.Type), Data: e.Data, Metadata: e.Metadata, Fields: appendFields(fields, e),
	}
	if e.Format == core.JSON {
		out.Flags = abi.JSON
	}
	return out
}

// appendFields appends the optional fields that a handler sees of an event.
func appendFields(dst []byte, e *core.Event) []byte {
	c := causeIn(e.Metadata)
	if c.correlation != "" {
		dst = abi.AppendField(dst, abi.Correlation, []byte(c.correlation))
	}
	if c.causation != "" {
		dst = abi.AppendField(dst, abi.Causation, []byte(c.causation))
	}
	if !e.Time.Equal(e.Recorded) {
		dst = abi.AppendField(dst, abi.OwnTime, binary.LittleEndian.AppendUint64(nil, uint64(e.Time.UnixMicro())))
	}
	if e.ContentType != "" {
		dst = abi.AppendField(dst, abi.ContentType, []byte(e.ContentType))
	}
	if !e.Link.IsZero() {
		dst = abi.AppendField(dst, abi.LinkOrigin, []byte(e.Link.Stream+"@"+strconv.FormatUint(e.Link.Version, 10)))
	}
	return dst
}

// namespace is that of the ids of events that plugins append.
var namespace = core.ID{0x67, 0x79, 0x72, 0x65, 0x2d, 0x70, 0x6c, 0x75, 0x67, 0x69, 0x6e, 0x73, 0x2d, 0x69, 0x64, 0x73}

// emittedID is the id of an event that is appended: a UUID of version 5 of the binding, its
// generation, the source event and the ordinal among what is appended for that. A handler
// has no say in it, so two of its events never share one (L11).
func (t *Terms) emittedID(source core.ID, ordinal int) core.ID {
	return t.idOf(namespace, source, ordinal)
}

// callKey is the Idempotency-Key of a call for an event.
func (t *Terms) callKey(source core.ID, ordinal int) string {
	return t.idOf(callNamespace, source, ordinal).String()
}

// callNamespace is that of the keys of calls.
var callNamespace = core.ID{0x67, 0x79, 0x72, 0x65, 0x2d, 0x70, 0x6c, 0x75, 0x67, 0x69, 0x6e, 0x73, 0x2d, 0x63, 0x61, 0x6c}

func (t *Terms) idOf(namespace, source core.ID, ordinal int) core.ID {
	b := make([]byte, 0, 128)
	b = append(b, namespace[:]...)
	b = append(b, t.binding.Name...)
	b = append(b, 0)
	b = binary.BigEndian.AppendUint64(b, t.binding.Generation)
	b = append(b, source[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(ordinal))
	sum := sha1.Sum(b) //nolint:gosec // see above
	id := core.ID(sum[:16])
	id[6] = id[6]&0x0f | 0x50
	id[8] = id[8]&0x3f | 0x80
	return id
}
