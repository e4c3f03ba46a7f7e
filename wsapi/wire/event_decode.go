package wire

import (
	"bytes"
	"encoding/base64"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/gyre-events/gyre/core"
)

// Event is an event to append, as JSON has it:
// {id?, type, time?, data | dataBase64, contentType?, metadata?}.
type Event struct {
	ID          ID            `json:"id,omitzero"`
	Type        TypeName      `json:"type"`
	Time        Time          `json:"time,omitzero"`
	Data        RawData       `json:"data,omitzero"`
	DataBase64  *Base64       `json:"dataBase64,omitzero"`
	ContentType string        `json:"contentType,omitzero"`
	Metadata    EventMetadata `json:"metadata,omitzero"`
}

// NewEvent is e for a core.Commit.
func (e *Event) NewEvent() (core.NewEvent, error) {
	n := core.NewEvent{
		ID:          core.ID(e.ID),
		Type:        string(e.Type),
		Time:        time.Time(e.Time),
		ContentType: e.ContentType,
		Metadata:    e.Metadata,
	}
	switch {
	case e.DataBase64 != nil && e.Data != nil:
		return n, core.Errorf(core.CodeInvalidData, "an event has data or dataBase64, not both")
	case e.DataBase64 != nil:
		n.Format = core.Bytes
		n.Data = *e.DataBase64
	case e.Data != nil:
		n.Data = e.Data
		if n.ContentType == "application/json" {
			n.ContentType = ""
		}
	default:
		return n, core.Errorf(core.CodeInvalidData, "an event has neither data nor dataBase64; null is a value")
	}
	return n, nil
}

// FromNewEvent is the inverse of NewEvent.
func FromNewEvent(n *core.NewEvent) Event {
	e := Event{
		ID:          ID(n.ID),
		Type:        TypeName(n.Type),
		Time:        Time(n.Time),
		ContentType: n.ContentType,
		Metadata:    n.Metadata,
	}
	if n.Format == core.JSON {
		e.Data = n.Data
	} else {
		e.DataBase64 = (*Base64)(&n.Data)
	}
	return e
}

// NewEvents converts a list and names the element that is wrong.
func NewEvents(events []Event) ([]core.NewEvent, error) {
	list := make([]core.NewEvent, len(events))
	for i := range events {
		n, err := events[i].NewEvent()
		if err != nil {
			e := core.AsError(err)
			return nil, core.Errorf(e.Code, "event %d: %s", i, e.Detail)
		}
		list[i] = n
	}
	return list, nil
}

// Recorded is a recorded event, as JSON has it: what AppendEventJSON writes.
type Recorded struct {
	Stream   string `json:"stream"`
	Version  uint64 `json:"version"`
	Position uint64 `json:"position"`
	Event    `json:",inline"`
	Recorded Time  `json:"recorded"`
	Link     *Link `json:"link,omitzero"`
}

// Link is where an event is that is read through a link.
type Link struct {
	Stream   string `json:"stream"`
	Version  uint64 `json:"version"`
	Position uint64 `json:"position"`
}

// DecodeEvent decodes an event object as AppendEventJSON writes it.
func DecodeEvent(text []byte) (core.Event, error) {
	var r Recorded
	if err := json.Unmarshal(text, &r); err != nil {
		return core.Event{}, requestError(err)
	}
	return r.CoreEvent()
}

// CoreEvent is r as the log has it, with its Raw.
func (r *Recorded) CoreEvent() (core.Event, error) {
	var e core.Event
	n, err := r.NewEvent()
	if r.Link != nil && r.Data == nil && r.DataBase64 == nil {
		n, err = core.NewEvent{Type: string(r.Type)}, nil // a link without what it names
	}
	switch {
	case err != nil:
		return e, err
	case r.Stream == "" || r.Version == 0 || r.Position == 0 || r.ID == ID{} || time.Time(r.Recorded).IsZero():
		return e, core.Errorf(core.CodeInvalidRequest, "a recorded event needs stream, version, position, id and recorded")
	case r.Version > core.MaxNumber || r.Position > core.MaxNumber:
		return e, core.Errorf(core.CodeInvalidRequest, "version and position are at most 2^53-1")
	case r.Link != nil && (r.Link.Stream == "" || r.Link.Version == 0 || r.Link.Version > core.MaxNumber || r.Link.Position > core.MaxNumber):
		return e, core.Errorf(core.CodeInvalidRequest, "a link needs stream, version and position")
	}
	p := core.Placement{
		Stream: r.Stream, Version: r.Version, Position: r.Position,
		Recorded: time.Time(r.Recorded).UnixMicro(), Incarnation: 1, ID: core.ID(r.ID),
	}
	var encoded []byte
	if r.Link == nil {
		encoded = core.EncodeEvent(nil, p, &n)
	} else {
		encoded = core.EncodeLinked(nil, p, core.Origin(*r.Link), &n)
	}
	if _, err := core.DecodeEvent(encoded, &e); err != nil {
		return e, core.Errorf(core.CodeInvalidRequest, "not a recorded event: %w", err)
	}
	return e, nil
}

// CheckEvent checks what comes in binary form: that JSON data is JSON and metadata
// an object.
func CheckEvent(e *core.NewEvent) error {
	if e.Format == core.JSON && !jsontext.Value(e.Data).IsValid() {
		return notOneValue(core.CodeInvalidData, "data", e.Data)
	}
	return checkMetadata(e.Metadata)
}

// notOneValue is the error of a text that is not one JSON value.
func notOneValue(code core.Code, what string, text []byte) error {
	dec := getDecoder(text)
	defer putDecoder(dec)
	if _, err := dec.ReadValue(); err != nil {
		return notJSON(code, what, err)
	}
	return core.Errorf(code, "%s is more than one JSON value", what)
}

func checkMetadata(m []byte) error {
	if len(m) == 0 {
		return nil
	}
	v := jsontext.Value(m)
	if v.Kind() != '{' {
		return core.Errorf(core.CodeInvalidMetadata, "metadata is not a JSON object")
	}
	if !v.IsValid() {
		return notOneValue(core.CodeInvalidMetadata, "metadata", v)
	}
	// Most metadata has neither key; a backslash may hide one.
	if !bytes.Contains(m, []byte(`sation_id"`)) && !bytes.Contains(m, []byte(`relation_id"`)) && bytes.IndexByte(m, '\\') < 0 {
		return nil
	}
	var ids struct {
		Correlation *string `json:"correlation_id"`
		Causation   *string `json:"causation_id"`
	}
	if err := json.Unmarshal(m, &ids); err != nil {
		return core.Errorf(core.CodeInvalidMetadata, "correlation_id and causation_id are strings")
	}
	for _, id := range []*string{ids.Correlation, ids.Causation} {
		if id != nil && len(*id) > core.MaxCorrelationBytes {
			return core.Errorf(core.CodeInvalidMetadata, "correlation_id and causation_id have at most %d bytes", core.MaxCorrelationBytes)
		}
	}
	return nil
}

// RawData is a JSON value, kept as written.
type RawData []byte

// MarshalJSONTo writes the value.
func (d RawData) MarshalJSONTo(enc *jsontext.Encoder) error { return enc.WriteValue(jsontext.Value(d)) }

// UnmarshalJSONFrom takes any value, null too.
func (d *RawData) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	v, err := dec.ReadValue()
	if err != nil {
		return notJSON(core.CodeInvalidData, "data", err)
	}
	*d = bytes.Clone(v)
	return nil
}

// EventMetadata is a JSON object, kept as written, or nothing.
type EventMetadata []byte

// IsZero has an empty one left out.
func (m EventMetadata) IsZero() bool { return len(m) == 0 }

// MarshalJSONTo writes the object.
func (m EventMetadata) MarshalJSONTo(enc *jsontext.Encoder) error {
	return enc.WriteValue(jsontext.Value(m))
}

// UnmarshalJSONFrom takes an object; null and {} are nothing.
func (m *EventMetadata) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	v, err := dec.ReadValue()
	if err != nil {
		return notJSON(core.CodeInvalidMetadata, "metadata", err)
	}
	if s := string(v); s == "null" || s == "{}" {
		*m = nil
		return nil
	}
	if err := checkMetadata(v); err != nil {
		return err
	}
	*m = bytes.Clone(v)
	return nil
}

// ID is an event id.
type ID core.ID

// MarshalJSONTo writes the canonical form.
func (id ID) MarshalJSONTo(enc *jsontext.Encoder) error {
	return enc.WriteToken(jsontext.String(core.ID(id).String()))
}

// UnmarshalJSONFrom takes the canonical form; null is none.
func (id *ID) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	s, null, err := readString(dec, core.CodeInvalidEventID, "id")
	if err != nil || null {
		return err
	}
	v, err := core.ParseID(s)
	*id = ID(v)
	return err
}

// TypeName is an event type.
type TypeName string

// UnmarshalJSONFrom takes a string.
func (t *TypeName) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	s, _, err := readString(dec, core.CodeInvalidEventType, "type")
	*t = TypeName(s)
	return err
}

// Time is a time of an event.
type Time time.Time

// IsZero makes omitzero work.
func (t Time) IsZero() bool { return time.Time(t).IsZero() }

// MarshalJSONTo writes RFC 3339 in UTC.
func (t Time) MarshalJSONTo(enc *jsontext.Encoder) error {
	return enc.WriteToken(jsontext.String(FormatTime(time.Time(t))))
}

// UnmarshalJSONFrom takes RFC 3339; null is none.
func (t *Time) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	s, null, err := readString(dec, core.CodeInvalidEventTime, "time")
	if err != nil || null {
		return err
	}
	v, err := core.ParseEventTime(s)
	*t = Time(v)
	return err
}

// Base64 is bytes in standard base64 with padding.
type Base64 []byte

// MarshalJSONTo writes the text form.
func (b Base64) MarshalJSONTo(enc *jsontext.Encoder) error {
	return enc.WriteToken(jsontext.String(base64.StdEncoding.EncodeToString(b)))
}

// UnmarshalJSONFrom takes the text form.
func (b *Base64) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	s, _, err := readString(dec, core.CodeInvalidData, "dataBase64")
	if err != nil {
		return err
	}
	*b, err = base64.StdEncoding.Strict().DecodeString(s)
	if err != nil {
		return core.Errorf(core.CodeInvalidData, "dataBase64 is not base64 with padding")
	}
	return nil
}

// readString reads a string or null; anything else is an error of that code.
func readString(dec *jsontext.Decoder, code core.Code, name string) (s string, null bool, err error) {
	switch kind := dec.PeekKind(); kind {
	case '"':
		token, err := dec.ReadToken()
		if err != nil {
			return "", false, core.Errorf(code, "%s is not a valid string: %s", name, syntaxOf(err))
		}
		return token.String(), false, nil
	case 'n':
		return "", true, dec.SkipValue()
	case jsontext.KindInvalid:
		_, err := dec.ReadToken()
		return "", false, err
	default:
		return "", false, core.Errorf(code, "%s is a string, not %s", name, kind)
	}
}
