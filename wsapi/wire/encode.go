package wire

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/gyre-events/gyre/core"
)

// Encode appends a message of this package to dst, with its op set. The data and
// metadata of events in it have been checked (CheckEvent).
func Encode(dst []byte, m Message) []byte {
	setOp(m)
	text, err := json.Marshal(m, jsontext.PreserveRawStrings(true), jsontext.AllowInvalidUTF8(true))
	if err != nil {
		panic("wire: a message that cannot be encoded: " + err.Error())
	}
	return append(dst, text...)
}

func setOp(m Message) {
	switch m := m.(type) {
	case *Hello:
		m.Op = "hello"
	case *AppendRequest:
		m.Op = "append"
	case *ReadRequest:
		m.Op = "read"
	case *Subscribe:
		m.Op = "subscribe"
	case *Credit:
		m.Op = "credit"
	case *Unsubscribe:
		m.Op = "unsubscribe"
	case *Ack:
		m.Op = "ack"
	case *Nack:
		m.Op = "nack"
	case *Extend:
		m.Op = "extend"
	case *Refresh:
		m.Op = "refresh"
	case *Cancel:
		m.Op = "cancel"
	case *Ping:
		m.Op = "ping"
	case *Pong:
		m.Op = "pong"
	case *Welcome:
		m.Op = "welcome"
	case *OK:
		m.Op = "ok"
	case *Failure:
		m.Op = "error"
	case *Events:
		m.Op = "events"
	case *Status:
		m.Op = "status"
	case *End:
		m.Op = "end"
	case *Goaway:
		m.Op = "goaway"
	default:
		panic("wire: not a message")
	}
}

// AppendWarning adds a warning to an encoded answer, in its field warnings.
func AppendWarning(answer []byte, warning string) []byte {
	answer = append(answer[:len(answer)-1], `,"warnings":[`...)
	answer = appendString(answer, warning)
	return append(answer, ']', '}')
}

// AppendFields appends the fields of an object to one that was begun and has some. v is
// encoded as an object; nil has no fields.
func AppendFields(dst []byte, v any) ([]byte, error) {
	text, err := Marshal(v)
	switch {
	case err != nil:
		return dst, err
	case string(text) == "null" || string(text) == "{}":
		return dst, nil
	case text[0] != '{':
		return dst, core.Errorf(core.CodeInternal, "%T is not encoded as an object", v)
	}
	return append(append(dst, ','), text[1:len(text)-1]...), nil
}
