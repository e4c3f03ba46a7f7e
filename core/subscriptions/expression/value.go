package expression

import (
	"cmp"
	"math/bits"
	"slices"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// value is a scalar of cel-go's types, a *list or an *object. Values never change.
type value = any

// list is a list. Lists that were made by joining may share an array.
type list struct {
	items []value
	end   *int // how much of the array is used, by whichever list; nil if items is all of it
}

// object is a map. Its entries are in the order of their keys: texts by their bytes, then
// the others as they came. Keys differ.
type object struct {
	entries []entry
	texts   int // so many keys are texts
}

type entry struct{ key, value value }

// makeList returns a list with room for so many items, which it pays for.
func (m *machine) makeList(room int) (*list, error) {
	if err := m.spend(2 + room); err != nil {
		return nil, err
	}
	return &list{items: make([]value, 0, room)}, nil
}

// join returns the items of l and r. A list that grows item by item, as that of a
// comprehension does, is copied only each time it has doubled.
func (m *machine) join(l, r *list) (value, error) {
	size := len(l.items) + len(r.items)
	if err := m.spend(2 + len(r.items)); err != nil {
		return nil, err
	}
	if l.end == nil || *l.end != len(l.items) || size > cap(l.items) {
		room := max(2*len(l.items), size)
		grown, err := m.makeList(room)
		if err != nil {
			return nil, err
		}
		l = &list{items: append(grown.items, l.items...), end: new(int)}
	}
	*l.end = size
	return &list{items: append(l.items, r.items...), end: l.end}, nil
}

// makeObject sorts entries, whose keys and values are paid for, in place. Of entries with the
// same key the last counts.
func (m *machine) makeObject(entries []entry) (value, error) {
	size := 0
	for _, e := range entries {
		size += bytesOf(e.key)
	}
	if err := m.spend(2 + len(entries) + size*bits.Len(uint(len(entries)))/bytesPerCost); err != nil {
		return nil, err
	}
	o := &object{}
	var others []entry
	texts := entries[:0]
	for _, e := range entries {
		if _, ok := e.key.(types.String); ok {
			texts = append(texts, e)
			continue
		}
		if err := m.spend(2); err != nil {
			return nil, err
		}
		others = append(others, e)
	}
	slices.SortStableFunc(texts, byText)
	texts = lastOfEach(texts)
	o.texts = len(texts)
	o.entries = texts
	for _, e := range others {
		at, err := m.findOther(o, e.key)
		switch {
		case err != nil:
			return nil, err
		case at >= 0:
			o.entries[at].value = e.value
		default:
			o.entries = append(o.entries, e)
		}
	}
	return o, nil
}

func byText(a, b entry) int {
	return strings.Compare(string(a.key.(types.String)), string(b.key.(types.String)))
}

// lastOfEach drops entries that another with the same key follows.
func lastOfEach(sorted []entry) []entry {
	kept := sorted[:0]
	for i, e := range sorted {
		if i+1 == len(sorted) || byText(e, sorted[i+1]) != 0 {
			kept = append(kept, e)
		}
	}
	return kept
}

// find returns the value of a key.
func (m *machine) find(o *object, key value) (v value, found bool, err error) {
	var at int
	if text, ok := key.(types.String); ok {
		if err := m.spendText(len(text) * bits.Len(uint(o.texts))); err != nil {
			return nil, false, err
		}
		var ok bool
		if at, ok = slices.BinarySearchFunc(o.entries[:o.texts], entry{key: key}, byText); !ok {
			return nil, false, nil
		}
	} else if at, err = m.findOther(o, key); err != nil || at < 0 {
		return nil, false, err
	}
	return o.entries[at].value, true, nil
}

// findOther returns where a key that is not a text is, or -1.
func (m *machine) findOther(o *object, key value) (int, error) {
	for i := o.texts; i < len(o.entries); i++ {
		if same, err := m.equal(key, o.entries[i].key); err != nil || same {
			return i, err
		}
	}
	return -1, m.spend(1)
}

// equal compares two values, and pays for each that it comes to: values that share their
// parts can be many times larger than the memory that they take.
func (m *machine) equal(a, b value) (bool, error) {
	if err := m.spend(1); err != nil {
		return false, err
	}
	switch a := a.(type) {
	case *list:
		b, ok := b.(*list)
		if !ok || len(a.items) != len(b.items) {
			return false, nil
		}
		for i := range a.items {
			if same, err := m.equal(a.items[i], b.items[i]); err != nil || !same {
				return false, err
			}
		}
		return true, nil
	case *object:
		b, ok := b.(*object)
		if !ok || len(a.entries) != len(b.entries) {
			return false, nil
		}
		for _, e := range a.entries {
			other, found, err := m.find(b, e.key)
			if err != nil || !found {
				return false, err
			}
			if same, err := m.equal(e.value, other); err != nil || !same {
				return false, err
			}
		}
		return true, nil
	case ref.Val:
		b, ok := b.(ref.Val)
		if !ok {
			return false, nil
		}
		if err := m.spendText(min(bytesOf(a), bytesOf(b))); err != nil {
			return false, err
		}
		return types.Equal(a, b) == types.True, nil
	}
	return false, nil
}

// bytesOf is the length of a text or of bytes.
func bytesOf(v value) int {
	switch v := v.(type) {
	case types.String:
		return len(v)
	case types.Bytes:
		return len(v)
	}
	return 0
}

// typeOf is the type of a value in CEL.
func typeOf(v value) *types.Type {
	switch v := v.(type) {
	case *list:
		return types.ListType
	case *object:
		return types.MapType
	case *types.Type:
		return types.TypeType
	case ref.Val:
		if t, ok := v.Type().(*types.Type); ok {
			return t
		}
	}
	return types.ErrorType
}

func typeName(v value) string { return typeOf(v).TypeName() }

// index returns the place in a list that a number stands for.
func (m *machine) index(l *list, at value) (int, error) {
	var n int64
	switch at := at.(type) {
	case types.Int:
		n = int64(at)
	case types.Uint:
		n = int64(min(at, types.Uint(len(l.items))))
	case types.Double:
		n = int64(at)
		if types.Double(n) != at {
			return 0, m.failf("no such index: %v", float64(at))
		}
	default:
		return 0, m.failf("the index of a list is a %s, and has to be an int", typeName(at))
	}
	if n < 0 || n >= int64(len(l.items)) {
		return 0, m.failf("no such index: %d of %d", n, len(l.items))
	}
	return int(n), nil
}

// compare orders two scalars.
func (m *machine) compare(a, b value) (int, error) {
	if err := m.spendText(min(bytesOf(a), bytesOf(b))); err != nil {
		return 0, err
	}
	if l, ok := a.(comparer); ok {
		if r, ok := b.(ref.Val); ok {
			if order, ok := l.Compare(r).(types.Int); ok {
				return cmp.Compare(order, 0), nil
			}
		}
	}
	return 0, m.failf("a %s and a %s have no order", typeName(a), typeName(b))
}

// comparer is implemented by the scalars that have an order.
type comparer interface{ Compare(other ref.Val) ref.Val }
