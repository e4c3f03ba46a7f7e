package wire

import (
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/gyre-events/gyre/core"
)

// Expect is an expected version: a number, "any", "no_stream" or "stream_exists".
type Expect core.Expect

// MarshalJSONTo writes the wire's form.
func (x Expect) MarshalJSONTo(enc *jsontext.Encoder) error {
	if x < 0 {
		return enc.WriteToken(jsontext.String(core.Expect(x).String()))
	}
	return enc.WriteToken(jsontext.Int(int64(x)))
}

// UnmarshalJSONFrom takes the wire's forms and nothing else.
func (x *Expect) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	v, err := dec.ReadValue()
	if err != nil {
		return err
	}
	text := string(v)
	switch v.Kind() {
	case '"':
		unquoted, err := jsontext.AppendUnquote(nil, v)
		if err != nil {
			return err
		}
		// The text form of a number is for URLs and the command line.
		if text = string(unquoted); text == "" || text[0] >= '0' && text[0] <= '9' {
			return core.Errorf(core.CodeInvalidExpectedVersion, "%q is not an expected version", clip(text))
		}
	case '0':
	default:
		return core.Errorf(core.CodeInvalidExpectedVersion, "%s is not an expected version", clip(text))
	}
	parsed, err := core.ParseExpect(text)
	*x = Expect(parsed)
	return err
}

// From is where a follow begins, exclusive: "start", "end", or an object with one
// of cursor, position, version and time.
type From core.From

// fromObject is the form of From that is not a word.
type fromObject struct {
	Cursor   *string `json:"cursor,omitzero"`
	Position *uint64 `json:"position,omitzero"`
	Version  *uint64 `json:"version,omitzero"`
	Time     *string `json:"time,omitzero"`
}

// MarshalJSONTo writes the wire's form.
func (f From) MarshalJSONTo(enc *jsontext.Encoder) error {
	var o fromObject
	switch f.Kind {
	case core.FromStart:
		return enc.WriteToken(jsontext.String("start"))
	case core.FromEnd:
		return enc.WriteToken(jsontext.String("end"))
	case core.AfterVersion:
		o.Version = &f.N
	case core.FromTime:
		t := f.Time.UTC().Format(time.RFC3339Nano)
		o.Time = &t
	default:
		if f.Log == "" {
			o.Position = &f.N
			break
		}
		c := core.Cursor{Log: f.Log, Position: f.N}.String()
		o.Cursor = &c
	}
	return json.MarshalEncode(enc, o)
}

// UnmarshalJSONFrom takes the wire's forms and nothing else.
func (f *From) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	v, err := dec.ReadValue()
	if err != nil {
		return err
	}
	switch string(v) {
	case `"start"`, "null":
		*f = From{}
		return nil
	case `"end"`:
		*f = From{Kind: core.FromEnd}
		return nil
	}
	var o fromObject
	if v.Kind() != '{' || json.Unmarshal(v, &o) != nil {
		return core.Errorf(core.CodeInvalidCursor, "from cannot be %s", clip(string(v)))
	}
	return o.decode(f)
}

func (o *fromObject) decode(f *From) error {
	set := 0
	for _, given := range []bool{o.Cursor != nil, o.Position != nil, o.Version != nil, o.Time != nil} {
		if given {
			set++
		}
	}
	if set != 1 {
		return core.Errorf(core.CodeInvalidCursor, "from names one of cursor, position, version and time")
	}
	switch {
	case o.Cursor != nil:
		c, err := core.ParseCursor(*o.Cursor)
		*f = From(c.From())
		return err
	case o.Position != nil:
		*f = From{Kind: core.AfterPosition, N: *o.Position}
	case o.Version != nil:
		*f = From{Kind: core.AfterVersion, N: *o.Version}
	default:
		t, err := time.Parse(time.RFC3339Nano, *o.Time)
		if err != nil {
			return core.Errorf(core.CodeInvalidCursor, "%q is not a time in RFC 3339", clip(*o.Time))
		}
		*f = From{Kind: core.FromTime, Time: t.UTC()}
	}
	if f.N > core.MaxNumber {
		return core.Errorf(core.CodeInvalidCursor, "%s is more than 2^53-1", strconv.FormatUint(f.N, 10))
	}
	return nil
}
