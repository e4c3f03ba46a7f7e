package expression

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/gyre-events/gyre/core"
)

// parse is a JSON text as expressions see it. Numbers that are written as integers,
// and fit one, are ints; others are doubles.
func parse(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("it is not JSON: %w", err)
	}
	return withNumbers(v), nil
}

func withNumbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
			return n
		}
		f, _ := v.Float64() // infinite where it is too large for one
		return f
	case []any:
		for i := range v {
			v[i] = withNumbers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = withNumbers(v[k])
		}
	}
	return v
}

// appendJSON appends a value as JSON, the fields of objects in the order of their
// names.
func appendJSON(dst []byte, v ref.Val, depth int) ([]byte, error) {
	switch {
	case depth > maxDepth:
		return nil, fmt.Errorf("it is nested deeper than %d", maxDepth)
	case len(dst) > core.MaxEventBytes:
		return nil, fmt.Errorf("it has more than %d bytes", core.MaxEventBytes)
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
		return appendText(dst, string(v))
	case types.Timestamp:
		return appendText(dst, v.UTC().Format(time.RFC3339Nano))
	case traits.Mapper:
		return appendObject(dst, v, depth)
	case traits.Lister:
		return appendList(dst, v, depth)
	}
	return nil, fmt.Errorf("a %s cannot be written as JSON", v.Type().TypeName())
}

func appendDouble(dst []byte, f float64) ([]byte, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, fmt.Errorf("%v cannot be written as JSON", f)
	}
	text, err := json.Marshal(f)
	return append(dst, text...), err
}

func appendText(dst []byte, s string) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(s)
	return append(dst, bytes.TrimSuffix(b.Bytes(), []byte("\n"))...), err
}

func appendList(dst []byte, l traits.Lister, depth int) (_ []byte, err error) {
	dst = append(dst, '[')
	first := true
	for it := l.Iterator(); it.HasNext() == types.True; first = false {
		if !first {
			dst = append(dst, ',')
		}
		if dst, err = appendJSON(dst, it.Next(), depth+1); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}

func appendObject(dst []byte, m traits.Mapper, depth int) (_ []byte, err error) {
	values := map[string]ref.Val{}
	var names []string
	for it := m.Iterator(); it.HasNext() == types.True; {
		key := it.Next()
		name, ok := key.(types.String)
		if !ok {
			return nil, fmt.Errorf("a %s cannot be the name of a field", key.Type().TypeName())
		}
		names = append(names, string(name))
		values[string(name)] = m.Get(key)
	}
	slices.Sort(names)
	dst = append(dst, '{')
	for i, name := range names {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = appendText(dst, name); err != nil {
			return nil, err
		}
		dst = append(dst, ':')
		if dst, err = appendJSON(dst, values[name], depth+1); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}
