package expression

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"time"

	"cel.dev/cel-go/common/types"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/gyre-events/gyre/core"
)

// checkDepth checks how many lists and objects are around each other in JSON that is read or
// written.
func checkDepth(depth int) error {
	if depth > core.MaxJSONDepth {
		return fmt.Errorf("it is nested deeper than %d", core.MaxJSONDepth)
	}
	return nil
}

// parse returns a JSON text as expressions see it. Numbers that are written as integers,
// and fit one, are ints; others are doubles. Of fields with one name the last counts. What is
// made is paid for value by value.
func (m *machine) parse(text []byte) (value, error) {
	options := []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}
	if from := bytes.NewBuffer(text); m.reader == nil {
		m.reader = jsontext.NewDecoder(from, options...)
	} else {
		m.reader.Reset(from, options...)
	}
	m.stack = m.stack[:0]
	v, err := m.parseValue(0)
	if err == nil {
		if _, end := m.reader.ReadToken(); end != io.EOF {
			err = errors.New("more follows the value")
		}
	}
	switch {
	case m.ended != nil:
		return nil, m.ended
	case err != nil:
		return nil, fmt.Errorf("reading it as JSON: %w", err)
	}
	return v, nil
}

// parseValue parses a value that is in so many lists and objects.
func (m *machine) parseValue(depth int) (value, error) {
	switch m.reader.PeekKind() {
	case '[':
		return m.parseList(depth + 1)
	case '{':
		return m.parseObject(depth + 1)
	}
	text, err := m.reader.ReadValue()
	if err != nil {
		return nil, err
	}
	if err := m.spendText(2 * len(text)); err != nil {
		return nil, err
	}
	switch text[0] {
	case 'n':
		return types.NullValue, nil
	case 't', 'f':
		return types.Bool(text[0] == 't'), nil
	case '"':
		if err := m.spend(1); err != nil {
			return nil, err
		}
		unquoted, _ := jsontext.AppendUnquote(nil, text) // the error is about bytes that are not UTF-8, which are replaced
		return types.String(unquoted), nil
	}
	if n, err := strconv.ParseInt(string(text), 10, 64); err == nil {
		return types.Int(n), nil
	}
	f, _ := strconv.ParseFloat(string(text), 64) // infinite if it is too large for one
	return types.Double(f), nil
}

func (m *machine) parseList(depth int) (value, error) {
	from := len(m.stack)
	if err := m.parseElements(depth, ']'); err != nil {
		return nil, err
	}
	items := m.stack[from:]
	if err := m.spend(2 + len(items)/2); err != nil {
		return nil, err
	}
	l := &list{items: slices.Clone(items)}
	m.pop(from)
	return l, nil
}

func (m *machine) parseObject(depth int) (value, error) {
	from := len(m.stack)
	if err := m.parseElements(depth, '}'); err != nil {
		return nil, err
	}
	fields := m.stack[from:]
	if err := m.spend(len(fields) / 2); err != nil {
		return nil, err
	}
	entries := make([]entry, 0, len(fields)/2)
	for i := 0; i < len(fields); i += 2 {
		entries = append(entries, entry{fields[i], fields[i+1]})
	}
	m.pop(from)
	return m.makeObject(entries)
}

// pop shortens the stack.
func (m *machine) pop(to int) {
	clear(m.stack[to:])
	m.stack = m.stack[:to]
}

// parseElements pushes the elements of a list, or the names and values of an object.
func (m *machine) parseElements(depth int, end jsontext.Kind) error {
	if err := checkDepth(depth); err != nil {
		return err
	}
	if _, err := m.reader.ReadToken(); err != nil {
		return err
	}
	for m.reader.PeekKind() != end {
		v, err := m.parseValue(depth)
		if err != nil {
			return err
		}
		m.stack = append(m.stack, v)
	}
	_, err := m.reader.ReadToken()
	return err
}

var errLarge = fmt.Errorf("it has more than %d bytes", core.MaxEventBytes)

// appendJSON appends a value, which is in so many lists and objects, as JSON: the fields of
// objects in the order of their names.
func (m *machine) appendJSON(dst []byte, v value, depth int) ([]byte, error) {
	if err := m.spend(1); err != nil {
		return nil, err
	}
	if len(dst) > core.MaxEventBytes {
		return nil, errLarge
	}
	switch v := v.(type) {
	case types.Null:
		return append(dst, "null"...), nil
	case types.Bool:
		return strconv.AppendBool(dst, bool(v)), nil
	case types.Int:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case types.Uint:
		return strconv.AppendUint(dst, uint64(v), 10), nil
	case types.Double:
		return appendDouble(dst, float64(v))
	case types.String:
		return m.appendText(dst, string(v))
	case types.Timestamp:
		return m.appendText(dst, v.UTC().Format(time.RFC3339Nano))
	case *object:
		return m.appendObject(dst, v, depth+1)
	case *list:
		return m.appendList(dst, v, depth+1)
	}
	return nil, fmt.Errorf("a %s cannot be written as JSON", typeName(v))
}

func appendDouble(dst []byte, f float64) ([]byte, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, fmt.Errorf("%v cannot be written as JSON", f)
	}
	return append(dst, jsontext.Float(f).String()...), nil
}

// appendText pays for a text that grows as it is escaped, and for the copy of a slice that
// grows.
func (m *machine) appendText(dst []byte, s string) ([]byte, error) {
	if len(dst)+len(s) > core.MaxEventBytes {
		return nil, errLarge
	}
	if err := m.spendText(8 * len(s)); err != nil {
		return nil, err
	}
	return jsontext.AppendQuote(dst, s)
}

func (m *machine) appendList(dst []byte, l *list, depth int) (_ []byte, err error) {
	if err := checkDepth(depth); err != nil {
		return nil, err
	}
	dst = append(dst, '[')
	for i, v := range l.items {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = m.appendJSON(dst, v, depth); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}

func (m *machine) appendObject(dst []byte, o *object, depth int) (_ []byte, err error) {
	if err := checkDepth(depth); err != nil {
		return nil, err
	}
	if o.texts < len(o.entries) {
		return nil, fmt.Errorf("a %s cannot be the name of a field", typeName(o.entries[o.texts].key))
	}
	dst = append(dst, '{')
	for i, e := range o.entries {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = m.appendText(dst, string(e.key.(types.String))); err != nil {
			return nil, err
		}
		dst = append(dst, ':')
		if dst, err = m.appendJSON(dst, e.value, depth); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}
