package stdio

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
)

// MaxLine bounds a line that a command writes. What a batch may append fits one in base64.
const MaxLine = 5 << 20

// TooLong is what is wrong with a line of more than MaxLine bytes.
const TooLong = "it has more than 5 MiB"

// What a line does, beside what a plugins.Step does.
const (
	DoAck    plugins.Do = "ack"
	DoRetry  plugins.Do = "retry"
	DoPark   plugins.Do = "park"
	DoSkip   plugins.Do = "skip"
	DoMetric plugins.Do = "metric"
)

// Effect is what a line says. Beside Do it has what that needs.
type Effect struct {
	Do       plugins.Do
	Position uint64 // of the event; not of a log line or a metric

	Stream string // of an append
	Expect int64  // of an append, as abi has it
	Events []byte // of an append, as abi.NextEvent decodes them

	Key   string // of a put or a delete
	Value []byte // of a put

	Reason string        // of a retry or a park
	Delay  time.Duration // of a retry

	Level abi.Level // of a log line
	Text  string    // of a log line

	Kind   abi.Kind // of a metric
	Name   string   // of a metric
	Amount float64  // of a metric
}

// Decode decodes a line without its end. The error is plugin_failed, and says what is wrong.
func Decode(line []byte) (*Effect, error) {
	if len(line) > MaxLine {
		return nil, refuse(TooLong)
	}
	do, err := whatItDoes(line)
	if err != nil {
		return nil, err
	}
	f, ok := forms[do]
	if !ok {
		return nil, refuse("do is %.40q, which is none of %s", do, strings.Join(names(), ", "))
	}
	return f(line)
}

// whatItDoes returns the member do of a line.
func whatItDoes(line []byte) (plugins.Do, error) {
	d := jsontext.NewDecoder(bytes.NewReader(line))
	switch {
	case len(line) == 0:
		return "", refuse("it is empty")
	case d.PeekKind() != '{':
		return "", refuse("it is no JSON object: %s", shown(line))
	}
	_, err := d.ReadToken()
	for err == nil && d.PeekKind() == '"' {
		var name, value jsontext.Value
		if name, err = d.ReadValue(); err != nil {
			break
		}
		isDo := string(name) == `"do"`
		if value, err = d.ReadValue(); err == nil && isDo {
			text, problem := jsontext.AppendUnquote(nil, value)
			if problem != nil {
				return "", refuse("do is no text")
			}
			return plugins.Do(text), nil
		}
	}
	if err != nil {
		return "", refuse("%s", problemOf(err))
	}
	return "", refuse("it has no do, which says what it does: one of %s", strings.Join(names(), ", "))
}

// form decodes the lines that do one thing.
type form func(line []byte) (*Effect, error)

// forms are those of all lines.
var forms = map[plugins.Do]form{
	plugins.DoAppend: decodeAppend,
	plugins.DoPut:    decodePut,
	plugins.DoDelete: decodeDelete,
	plugins.DoLog:    decodeLog,
	DoAck:            decodeAck,
	DoSkip:           decodeAck,
	DoPark:           decodePark,
	DoRetry:          decodeRetry,
	DoMetric:         decodeMetric,
}

func names() (list []string) {
	for do := range forms {
		list = append(list, string(do))
	}
	slices.Sort(list)
	return list
}

// of are the members of a line about an event.
type of struct {
	Do       plugins.Do `json:"do"`
	Position *uint64    `json:"position"`
}

// effect is the effect of a line about an event.
func (o *of) effect() (*Effect, error) {
	if o.Position == nil {
		return nil, refuse("%s needs position, that of its event", o.Do)
	}
	return &Effect{Do: o.Do, Position: *o.Position}, nil
}

func decodeAck(line []byte) (*Effect, error) {
	var m struct {
		of `json:",inline"`
	}
	if err := strictly(line, &m); err != nil {
		return nil, err
	}
	return m.effect()
}

func decodePark(line []byte) (*Effect, error) {
	var m struct {
		of     `json:",inline"`
		Reason string `json:"reason"`
	}
	if err := strictly(line, &m); err != nil {
		return nil, err
	}
	e, err := m.effect()
	if err == nil {
		e.Reason = m.Reason
	}
	return e, err
}

// maxDelayMs keeps a delay a time.Duration. The host bounds delays to an hour.
const maxDelayMs = 24 * 60 * 60 * 1000

func decodeRetry(line []byte) (*Effect, error) {
	var m struct {
		of      `json:",inline"`
		Reason  string `json:"reason"`
		DelayMs int64  `json:"delayMs"`
	}
	if err := strictly(line, &m); err != nil {
		return nil, err
	}
	if m.DelayMs < 0 || m.DelayMs > maxDelayMs {
		return nil, refuse("delayMs is %d, it may be from 0 to %d", m.DelayMs, maxDelayMs)
	}
	e, err := m.effect()
	if err == nil {
		e.Reason, e.Delay = m.Reason, time.Duration(m.DelayMs)*time.Millisecond
	}
	return e, err
}

func decodeDelete(line []byte) (*Effect, error) {
	var m struct {
		of  `json:",inline"`
		Key string `json:"key"`
	}
	if err := strictly(line, &m); err != nil {
		return nil, err
	}
	e, err := m.effect()
	if err == nil {
		e.Key = m.Key
	}
	return e, err
}

func decodePut(line []byte) (*Effect, error) {
	var m struct {
		of     `json:",inline"`
		Key    string         `json:"key"`
		Value  jsontext.Value `json:"value"`
		Base64 *[]byte        `json:"valueBase64"`
	}
	if err := strictly(line, &m); err != nil {
		return nil, err
	}
	if (m.Value == nil) == (m.Base64 == nil) {
		return nil, refuse("put needs value or valueBase64, and not both; null is a value")
	}
	e, err := m.effect()
	if err != nil {
		return nil, err
	}
	e.Key, e.Value = m.Key, m.Value
	if m.Base64 != nil {
		e.Value = *m.Base64
	}
	return e, nil
}

// appended is an event to append.
type appended struct {
	Type     string         `json:"type"`
	Data     jsontext.Value `json:"data"`
	Base64   *[]byte        `json:"dataBase64"`
	Metadata jsontext.Value `json:"metadata"`
}

func decodeAppend(line []byte) (*Effect, error) {
	var m struct {
		of     `json:",inline"`
		Stream string         `json:"stream"`
		Expect jsontext.Value `json:"expect"`
		Events encoded        `json:"events"`
	}
	if err := strictly(line, &m); err != nil {
		return nil, err
	}
	e, err := m.effect()
	if err != nil {
		return nil, err
	}
	if len(m.Events) == 0 {
		return nil, refuse("append needs events")
	}
	e.Stream, e.Events = m.Stream, m.Events
	if e.Expect, err = expectOf(m.Expect); err != nil {
		return nil, err
	}
	return e, nil
}

// encoded are events to append, as the ABI has them. Each is encoded when it is decoded, so that the
// events of a line need no more memory than the line.
type encoded []byte

// UnmarshalJSONFrom decodes a list of events.
func (x *encoded) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() != '[' {
		return errors.New("it is no list")
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for n := 1; d.PeekKind() != ']'; n++ {
		if n > abi.MaxAppended {
			return refuse("a batch appends at most %d events", abi.MaxAppended)
		}
		var a appended
		err := json.UnmarshalDecode(d, &a)
		if err != nil {
			return err
		}
		if *x, err = a.encode(*x); err != nil {
			return refuse("event %d: %v", n, err)
		}
	}
	_, err := d.ReadToken()
	return err
}

// encode appends the event as the ABI has it.
func (a *appended) encode(dst []byte) ([]byte, error) {
	out := abi.Appended{Type: []byte(a.Type), Data: a.Data, Metadata: a.Metadata}
	switch {
	case (a.Data == nil) == (a.Base64 == nil):
		return dst, errors.New("it needs data or dataBase64, and not both; null is a value")
	case a.Base64 != nil:
		out.Content, out.Data = abi.ContentBytes, *a.Base64
	}
	return abi.AppendEvent(dst, &out)
}

// expectOf is an expected version as the API has it: a number, any, no_stream or stream_exists.
func expectOf(v jsontext.Value) (int64, error) {
	text := string(v)
	switch {
	case v == nil:
		return abi.AnyVersion, nil
	case v.Kind() == '"':
		text = strings.Trim(text, `"`)
		if text == "" || text[0] >= '0' && text[0] <= '9' {
			return 0, refuse("expect is %s, a number has no quotes", shown(v))
		}
	case v.Kind() != '0':
		return 0, refuse("expect is %s, and not a number, any, no_stream or stream_exists", shown(v))
	}
	x, err := core.ParseExpect(text)
	if err != nil {
		return 0, refuse("expect is %s, and not a number, any, no_stream or stream_exists", shown(v))
	}
	return int64(x), nil
}

// levels are those of log lines.
var levels = map[string]abi.Level{
	"": abi.Info, abi.Debug.String(): abi.Debug, abi.Info.String(): abi.Info, abi.Warn.String(): abi.Warn, abi.Error.String(): abi.Error,
}

func decodeLog(line []byte) (*Effect, error) {
	var m struct {
		Do    plugins.Do `json:"do"`
		Level string     `json:"level"`
		Text  string     `json:"text"`
	}
	if err := strictly(line, &m); err != nil {
		return nil, err
	}
	level, ok := levels[m.Level]
	if !ok {
		return nil, refuse("level is %.40q, which is none of debug, info, warn, error", m.Level)
	}
	return &Effect{Do: m.Do, Level: level, Text: m.Text}, nil
}

// kinds are those of metrics.
var kinds = map[string]abi.Kind{"counter": abi.Counter, "gauge": abi.Gauge, "histogram": abi.Histogram}

func decodeMetric(line []byte) (*Effect, error) {
	var m struct {
		Do    plugins.Do `json:"do"`
		Kind  string     `json:"kind"`
		Name  string     `json:"name"`
		Value *float64   `json:"value"`
	}
	if err := strictly(line, &m); err != nil {
		return nil, err
	}
	kind, ok := kinds[m.Kind]
	switch {
	case !ok:
		return nil, refuse("kind is %.40q, which is none of counter, gauge, histogram", m.Kind)
	case m.Value == nil:
		return nil, refuse("metric needs value, a number")
	}
	return &Effect{Do: m.Do, Kind: kind, Name: m.Name, Amount: *m.Value}, nil
}

// strictly decodes a line, all of whose members must exist.
func strictly(line []byte, into any) error {
	if err := json.Unmarshal(line, into, json.RejectUnknownMembers(true)); err != nil {
		return refuse("%s", problemOf(err))
	}
	return nil
}

// problemOf says what is wrong with a JSON text.
func problemOf(err error) string {
	semantic, isSemantic := errors.AsType[*json.SemanticError](err)
	refused, isRefused := errors.AsType[*core.Error](err)
	switch {
	case isRefused:
		return refused.Detail
	case isSemantic && errors.Is(err, json.ErrUnknownName):
		return fmt.Sprintf("there is no member %s", shown([]byte(semantic.JSONPointer)))
	case isSemantic && semantic.JSONPointer != "":
		return fmt.Sprintf("%s has a value of another type there", shown([]byte(semantic.JSONPointer)))
	}
	return "it is no JSON: " + strings.TrimPrefix(err.Error(), "jsontext: ")
}

// shown is what a command has written, for a message.
func shown(text []byte) string { return core.Clip(string(text)) }

func refuse(format string, args ...any) error {
	return core.Errorf(core.CodePluginFailed, format, args...)
}
