package wire

import (
	"bytes"
	"errors"
	"iter"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/gyre-events/gyre/core"
)

// Marshal is v as JSON, in the dialect of this package.
func Marshal(v any) ([]byte, error) { return json.Marshal(v, jsontext.AllowInvalidUTF8(true)) }

// Unmarshal decodes an HTTP body or answer. The error is an *core.Error that says
// what is wrong and where.
func Unmarshal(text []byte, v any) error {
	if err := json.Unmarshal(text, v); err != nil {
		return requestError(err)
	}
	return nil
}

// UnmarshalStrict is Unmarshal, but a field that v does not have is an error: in a
// request it is more likely misspelt than from the future. Null is an error, too: it would leave v
// empty.
func UnmarshalStrict(text []byte, v any) error {
	if err := json.Unmarshal(text, v, json.RejectUnknownMembers(true)); err != nil {
		return requestError(err)
	}
	if jsontext.Value(text).Kind() == jsontext.KindNull {
		return core.Errorf(core.CodeInvalidRequest, "the message cannot be null")
	}
	return nil
}

// UnmarshalDefinition is UnmarshalStrict for the definition of a subscription. Null is the
// value of map only: for others it could mean the default, or zero.
func UnmarshalDefinition(text []byte, v any) error {
	if err := json.Unmarshal(text, v, json.RejectUnknownMembers(true), refuseNull); err != nil {
		return requestError(err)
	}
	return nil
}

var refuseNull = json.WithUnmarshalers(json.UnmarshalFromFunc(func(dec *jsontext.Decoder, _ any) error {
	if dec.PeekKind() == jsontext.KindNull && dec.StackPointer() != "/map" {
		return core.Errorf(core.CodeInvalidRequest, "null is no value here; leave the field out for its default")
	}
	return errors.ErrUnsupported
}))

// Texts splits a text message into its JSON texts: one for each object, whether
// they are written on one line or over several. What is not JSON is the last.
func Texts(message []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		if bytes.IndexByte(message, '\n') < 0 {
			yield(message)
			return
		}
		dec := jsontext.NewDecoder(bytes.NewReader(message))
		for {
			text, err := dec.ReadValue()
			if err != nil {
				break
			}
			if !yield(text) {
				return
			}
		}
		if rest := bytes.TrimSpace(message[dec.InputOffset():]); len(rest) > 0 {
			yield(rest)
		}
	}
}

// Batch is the events of the message as the log has them.
func (m *Events) Batch() (core.Batch, error) { return batchOf(m.Events) }

// Batch is the events of a page as the log has them.
func (m *OK) Batch() (core.Batch, error) { return batchOf(m.Events) }

func batchOf(texts []jsontext.Value) (core.Batch, error) {
	var b core.Batch
	for _, text := range texts {
		e, err := DecodeEvent(text)
		if err != nil {
			return core.Batch{}, err
		}
		b.Add(e.Raw, e.Position)
	}
	return b, nil
}
