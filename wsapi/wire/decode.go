package wire

import (
	"bytes"
	"errors"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/gyre-events/gyre/core"
)

// Message is one text message.
type Message any

// clientMessages and serverMessages are the ops of each side. asyncapi.json has
// the same.
var (
	clientMessages = map[string]func() Message{
		"hello":       func() Message { return new(Hello) },
		"append":      func() Message { return new(AppendRequest) },
		"read":        func() Message { return new(ReadRequest) },
		"subscribe":   func() Message { return new(Subscribe) },
		"credit":      func() Message { return new(Credit) },
		"unsubscribe": func() Message { return new(Unsubscribe) },
		"ack":         func() Message { return new(Ack) },
		"nack":        func() Message { return new(Nack) },
		"extend":      func() Message { return new(Extend) },
		"cancel":      func() Message { return new(Cancel) },
		"refresh":     func() Message { return new(Refresh) },
		"ping":        func() Message { return new(Ping) },
		"pong":        func() Message { return new(Pong) },
	}
	serverMessages = map[string]func() Message{
		"welcome": func() Message { return new(Welcome) },
		"ok":      func() Message { return new(OK) },
		"error":   func() Message { return new(Failure) },
		"events":  func() Message { return new(Events) },
		"status":  func() Message { return new(Status) },
		"end":     func() Message { return new(End) },
		"goaway":  func() Message { return new(Goaway) },
		"ping":    func() Message { return new(Ping) },
		"pong":    func() Message { return new(Pong) },
	}
)

// Known reports whether an op is one of this package, of either side.
func Known(op string) bool { return clientMessages[op] != nil || serverMessages[op] != nil }

// Head is what every message of a client has, as far as it could be read.
type Head struct {
	Op string
	ID uint64
	// Unknown is the path of a field that is ignored, or "".
	Unknown string
}

// DecodeClient decodes a message of a client. The Head is filled in as far as
// possible, so that even an error can be answered to the request it is about. A message
// whose op is none of this package is an *Other.
func DecodeClient(text []byte) (Head, Message, error) {
	h := peekHead(text, true)
	if h.ID > core.MaxNumber {
		return Head{}, nil, core.Errorf(core.CodeInvalidRequest, "id is at most 2^53-1")
	}
	if h.Op == "" {
		return h, nil, notAMessage(text)
	}
	newMessage := clientMessages[h.Op]
	if newMessage == nil {
		newMessage = func() Message { return &Other{Text: text} }
	}
	m := newMessage()
	err := json.Unmarshal(text, m, json.RejectUnknownMembers(clientMessages[h.Op] != nil))
	if errors.Is(err, json.ErrUnknownName) {
		var where *json.SemanticError
		if errors.As(err, &where) {
			h.Unknown = core.Clip(string(where.JSONPointer))
		}
		m = newMessage()
		err = json.Unmarshal(text, m)
	}
	if err != nil {
		return h, nil, requestError(err)
	}
	return h, m, nil
}

// DecodeServer decodes a message of a server. An op that is not known is no
// error: the Message is nil.
func DecodeServer(text []byte) (Message, error) {
	op := peekHead(text, false).Op
	if op == "" {
		return nil, notAMessage(text)
	}
	newMessage := serverMessages[op]
	if newMessage == nil {
		return nil, nil
	}
	m := newMessage()
	if err := json.Unmarshal(text, m); err != nil {
		return nil, requestError(err)
	}
	return m, nil
}

// notAMessage says why a text without an op is refused.
func notAMessage(text []byte) error {
	var v struct {
		Op *string `json:"op"`
	}
	if err := json.Unmarshal(text, &v); err != nil {
		return requestError(err)
	}
	return core.Errorf(core.CodeInvalidRequest, `a message is an object with an "op"`)
}

// peekHead reads op, and id if it is wanted, wherever they stand. They are mostly first,
// and nothing behind them is looked at: a message with events is long, and has no id.
func peekHead(text []byte, id bool) (h Head) {
	dec := getDecoder(text)
	defer putDecoder(dec)
	if t, err := dec.ReadToken(); err != nil || t.Kind() != jsontext.KindBeginObject {
		return h
	}
	for op := true; (op || id) && dec.PeekKind() == jsontext.KindString; {
		name, err := dec.ReadToken()
		if err != nil {
			return h
		}
		switch name := name.String(); {
		case name == "op":
			op = false
			if dec.PeekKind() != jsontext.KindString {
				return h
			}
			t, err := dec.ReadToken()
			if err != nil {
				return h
			}
			h.Op = t.String()
		case name == "id" && id:
			id = false
			v, err := dec.ReadValue()
			if err != nil || json.Unmarshal(v, &h.ID) != nil {
				h.ID = 0
				continue
			}
		default:
			if dec.SkipValue() != nil {
				return h
			}
		}
	}
	return h
}

// ClientTimeout is the duration of a timeoutMs, or the default where it is 0.
func ClientTimeout(ms int64, def, max time.Duration) (time.Duration, error) {
	if ms < 0 || ms > core.MaxNumber {
		return 0, core.Errorf(core.CodeInvalidRequest, "a timeout is a whole number of milliseconds from 1 to 2^53-1")
	}
	if ms == 0 {
		return def, nil
	}
	if ms > int64(max/time.Millisecond) {
		return max, nil
	}
	return time.Duration(ms) * time.Millisecond, nil
}

// headDecoder is a JSON decoder over a reader, to be used again.
type headDecoder struct {
	*jsontext.Decoder
	text bytes.Reader
}

var headDecoders = sync.Pool{New: func() any { return &headDecoder{Decoder: new(jsontext.Decoder)} }}

func getDecoder(text []byte) *headDecoder {
	d := headDecoders.Get().(*headDecoder)
	d.text.Reset(text)
	d.Reset(&d.text)
	return d
}

func putDecoder(d *headDecoder) {
	d.text.Reset(nil)
	headDecoders.Put(d)
}
