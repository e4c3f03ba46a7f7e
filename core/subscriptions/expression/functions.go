package expression

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/gyre-events/gyre/core"
)

type (
	unaryFunc  = func(m *machine, v value) (value, error)
	binaryFunc = func(m *machine, l, r value) (value, error)
)

// unaries and binaries are the functions of CEL, by the names that its parser gives them. A
// function that is called on a value has that as its first argument.
var (
	unaries = map[string]unaryFunc{
		operators.LogicalNot: not,
		operators.Negate:     negate,
		overloads.Size:       size,

		overloads.TypeConvertType:      func(_ *machine, v value) (value, error) { return typeOf(v), nil },
		overloads.TypeConvertDyn:       func(_ *machine, v value) (value, error) { return v, nil },
		overloads.TypeConvertBool:      converter(types.BoolType, types.StringType),
		overloads.TypeConvertBytes:     converter(types.BytesType, types.StringType),
		overloads.TypeConvertDouble:    converter(types.DoubleType, types.IntType, types.UintType, types.StringType),
		overloads.TypeConvertDuration:  converter(types.DurationType, types.StringType),
		overloads.TypeConvertInt:       converter(types.IntType, types.DoubleType, types.UintType, types.StringType, types.DurationType, types.TimestampType),
		overloads.TypeConvertString:    converter(types.StringType, types.BoolType, types.BytesType, types.DoubleType, types.IntType, types.UintType, types.DurationType, types.TimestampType),
		overloads.TypeConvertTimestamp: converter(types.TimestampType, types.IntType, types.StringType),
		overloads.TypeConvertUint:      converter(types.UintType, types.DoubleType, types.IntType, types.StringType),
	}
	binaries = map[string]binaryFunc{
		operators.Add:      add,
		operators.Subtract: arithmetic(traits.Subtractor.Subtract),
		operators.Multiply: arithmetic(traits.Multiplier.Multiply),
		operators.Divide:   arithmetic(traits.Divider.Divide),
		operators.Modulo:   arithmetic(traits.Modder.Modulo),

		operators.Equals:        func(m *machine, l, r value) (value, error) { same, err := m.equal(l, r); return types.Bool(same), err },
		operators.NotEquals:     func(m *machine, l, r value) (value, error) { same, err := m.equal(l, r); return types.Bool(!same), err },
		operators.Less:          ordered(func(order int) bool { return order < 0 }),
		operators.LessEquals:    ordered(func(order int) bool { return order <= 0 }),
		operators.Greater:       ordered(func(order int) bool { return order > 0 }),
		operators.GreaterEquals: ordered(func(order int) bool { return order >= 0 }),

		operators.In:         in,
		operators.Index:      index,
		overloads.Contains:   ofTexts(overloads.Contains, both, strings.Contains),
		overloads.StartsWith: ofTexts(overloads.StartsWith, shorter, strings.HasPrefix),
		overloads.EndsWith:   ofTexts(overloads.EndsWith, shorter, strings.HasSuffix),
	}
	// getters are the parts of a time. A second argument is the name of a zone.
	getters = []string{
		overloads.TimeGetFullYear, overloads.TimeGetMonth, overloads.TimeGetDayOfYear, overloads.TimeGetDayOfMonth,
		overloads.TimeGetDate, overloads.TimeGetDayOfWeek, overloads.TimeGetHours, overloads.TimeGetMinutes,
		overloads.TimeGetSeconds, overloads.TimeGetMilliseconds,
	}
)

// checked makes an error of cel-go an error.
func (m *machine) checked(v ref.Val) (value, error) {
	if err, ok := v.(*types.Err); ok {
		return nil, m.failf("%s", core.ClipTo(err.String(), maxFaultBytes))
	}
	return v, nil
}

func not(m *machine, v value) (value, error) {
	b, ok := v.(types.Bool)
	if !ok {
		return nil, m.failf("a %s is not a bool", typeName(v))
	}
	return !b, nil
}

func negate(m *machine, v value) (value, error) {
	n, ok := v.(traits.Negater)
	if _, isBool := v.(types.Bool); !ok || isBool {
		return nil, m.failf("a %s cannot be negated", typeName(v))
	}
	return m.checked(n.Negate())
}

func size(m *machine, v value) (value, error) {
	switch v := v.(type) {
	case types.String:
		if err := m.spendText(len(v)); err != nil {
			return nil, err
		}
		return types.Int(utf8.RuneCountInString(string(v))), nil
	case types.Bytes:
		return types.Int(len(v)), nil
	case *list:
		return types.Int(len(v.items)), nil
	case *object:
		return types.Int(len(v.entries)), nil
	}
	return nil, m.failf("a %s has no size", typeName(v))
}

// converter converts scalars to a type: those of the type itself, and of the others.
func converter(to *types.Type, from ...*types.Type) unaryFunc {
	return func(m *machine, v value) (value, error) {
		is := typeOf(v)
		if is == to {
			return v, nil
		}
		scalar, ok := v.(ref.Val)
		if !ok || !slices.Contains(from, is) {
			return nil, m.failf("a %s cannot be made a %s", typeName(v), to.TypeName())
		}
		if err := m.spendText(8 * bytesOf(v)); err != nil { // an error quotes it
			return nil, err
		}
		return m.checked(scalar.ConvertToType(to))
	}
}

// add adds numbers and times, and joins texts, bytes and lists.
func add(m *machine, l, r value) (value, error) {
	switch l := l.(type) {
	case *list:
		if r, ok := r.(*list); ok {
			return m.join(l, r)
		}
	case types.String:
		if r, ok := r.(types.String); ok {
			if err := m.spendText(len(l) + len(r)); err != nil {
				return nil, err
			}
			return l + r, nil
		}
	case types.Bytes:
		if r, ok := r.(types.Bytes); ok {
			if err := m.spendText(len(l) + len(r)); err != nil {
				return nil, err
			}
			return types.Bytes(bytes.Join([][]byte{l, r}, nil)), nil
		}
	case traits.Adder:
		if r, ok := r.(ref.Val); ok {
			return m.checked(l.Add(r))
		}
	}
	return nil, m.failf("a %s and a %s cannot be added", typeName(l), typeName(r))
}

// arithmetic calls a method of scalars, which are numbers and times.
func arithmetic[T any](call func(T, ref.Val) ref.Val) binaryFunc {
	return func(m *machine, l, r value) (value, error) {
		left, ok := l.(T)
		right, isScalar := r.(ref.Val)
		if !ok || !isScalar {
			return nil, m.failf("a %s and a %s cannot be calculated with", typeName(l), typeName(r))
		}
		return m.checked(call(left, right))
	}
}

// ordered compares. Nothing has an order with what is not a number.
func ordered(holds func(order int) bool) binaryFunc {
	return func(m *machine, l, r value) (value, error) {
		if isNaN(l) || isNaN(r) {
			return types.False, nil
		}
		order, err := m.compare(l, r)
		return types.Bool(err == nil && holds(order)), err
	}
}

func isNaN(v value) bool {
	d, ok := v.(types.Double)
	return ok && math.IsNaN(float64(d))
}

// in looks for an item of a list or a key of an object.
func in(m *machine, v, where value) (value, error) {
	switch where := where.(type) {
	case *list:
		for _, item := range where.items {
			if same, err := m.equal(v, item); err != nil || same {
				return types.True, err
			}
		}
		return types.False, nil
	case *object:
		_, found, err := m.find(where, v)
		return types.Bool(found), err
	}
	return nil, m.failf("a %s has no items", typeName(where))
}

// index returns an item of a list or the value of a key.
func index(m *machine, of, at value) (value, error) {
	switch of := of.(type) {
	case *list:
		i, err := m.index(of, at)
		if err != nil {
			return nil, err
		}
		return of.items[i], nil
	case *object:
		v, found, err := m.find(of, at)
		if err == nil && !found {
			err = m.failf("no such key: %s", describe(at))
		}
		return v, err
	}
	return nil, m.failf("a %s has no items", typeName(of))
}

// describe is a key in an error.
func describe(v value) string {
	if text, ok := v.(types.String); ok {
		return core.ClipTo(string(text), 80)
	}
	return "a " + typeName(v)
}

// ofTexts asks something about a text and another, which costs what of them is read at most.
func ofTexts(name string, cost func(s, other types.String) int, holds func(s, other string) bool) binaryFunc {
	return func(m *machine, l, r value) (value, error) {
		s, ok := l.(types.String)
		other, isText := r.(types.String)
		if !ok || !isText {
			return nil, m.failf("%s of a %s and a %s", name, typeName(l), typeName(r))
		}
		if err := m.spendText(cost(s, other)); err != nil {
			return nil, err
		}
		return types.Bool(holds(string(s), string(other))), nil
	}
}

func both(s, other types.String) int { return len(s) + len(other) }

func shorter(s, other types.String) int { return min(len(s), len(other)) }

// matches looks for a pattern in a text.
func matches(p *pattern) unaryFunc {
	return func(m *machine, v value) (value, error) {
		s, ok := v.(types.String)
		if !ok {
			return nil, m.failf("matches of a %s", typeName(v))
		}
		if err := m.spend((1 + len(s)) * p.size / stepsPerCost); err != nil {
			return nil, err
		}
		return types.Bool(p.MatchString(string(s))), nil
	}
}

// getter returns a part of a time, in a zone if there is one, or of a duration.
func getter(name string, zone *time.Location) unaryFunc {
	return func(m *machine, v value) (value, error) {
		switch t := v.(type) {
		case types.Timestamp:
			if zone != nil {
				t.Time = t.In(zone)
			}
			return m.checked(t.Receive(name, "", nil))
		case types.Duration:
			if zone == nil {
				return m.checked(t.Receive(name, "", nil))
			}
		}
		return nil, m.failf("a %s has no %s", typeName(v), name)
	}
}
