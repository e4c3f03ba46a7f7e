package wire

import (
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
			return core.Errorf(core.CodeInvalidExpectedVersion, "%q is not an expected version", core.Clip(text))
		}
	case '0':
	default:
		return core.Errorf(core.CodeInvalidExpectedVersion, "%s is not an expected version", core.Clip(text))
	}
	parsed, err := core.ParseExpect(text)
	*x = Expect(parsed)
	return err
}

// From is where a follow begins. core has its form.
type From = core.From
