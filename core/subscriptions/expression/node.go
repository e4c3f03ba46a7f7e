package expression

import (
	"cel.dev/cel-go/common/types"
)

// node is a part of a compiled expression. It is immutable.
type node interface {
	eval(m *machine) (value, error)
}

type constant struct{ value }

func (n constant) eval(*machine) (value, error) { return n.value, nil }

// local is a variable of a comprehension.
type local int

func (n local) eval(m *machine) (value, error) {
	r := m.locals[n]
	return r.value, r.err
}

// field selects a field of an object, or tests whether it is there.
type field struct {
	of   node
	name types.String
	test bool
}

func (n *field) eval(m *machine) (value, error) {
	v, err := n.of.eval(m)
	if err != nil {
		return nil, err
	}
	o, ok := v.(*object)
	if !ok {
		if _, isList := v.(*list); n.test && !isList {
			return types.False, nil
		}
		return nil, m.failf("a %s has no field %s", typeName(v), n.name)
	}
	v, found, err := m.find(o, n.name)
	switch {
	case err != nil:
		return nil, err
	case n.test:
		return types.Bool(found), nil
	case !found:
		return nil, m.failf("no such key: %s", n.name)
	}
	return v, nil
}

// listOf makes a list.
type listOf []node

func (n listOf) eval(m *machine) (value, error) {
	l, err := m.makeList(len(n))
	if err != nil {
		return nil, err
	}
	for _, item := range n {
		v, err := item.eval(m)
		if err != nil {
			return nil, err
		}
		l.items = append(l.items, v)
	}
	return l, nil
}

// objectOf makes an object.
type objectOf []struct{ key, value node }

func (n objectOf) eval(m *machine) (value, error) {
	if err := m.spend(2 * len(n)); err != nil {
		return nil, err
	}
	entries := make([]entry, 0, len(n))
	for _, e := range n {
		key, err := e.key.eval(m)
		if err != nil {
			return nil, err
		}
		switch key.(type) {
		case types.String, types.Int, types.Uint, types.Bool:
		default:
			return nil, m.failf("a %s cannot be a key", typeName(key))
		}
		v, err := e.value.eval(m)
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry{key, v})
	}
	return m.makeObject(entries)
}

// anyOf is the logical or of its terms, and allOf the and. One term that decides makes errors
// of others void.
type (
	anyOf []node
	allOf []node
)

func (n anyOf) eval(m *machine) (value, error) { return m.decide(n, types.True) }

func (n allOf) eval(m *machine) (value, error) { return m.decide(n, types.False) }

func (m *machine) decide(terms []node, decisive types.Bool) (value, error) {
	if err := m.spend(len(terms)); err != nil {
		return nil, err
	}
	var failed error
	for _, term := range terms {
		v, err := term.eval(m)
		if m.ended != nil {
			return nil, m.ended
		}
		b, ok := v.(types.Bool)
		if err == nil && !ok {
			err = m.failf("a %s is not a bool", typeName(v))
		}
		switch {
		case err == nil && b == decisive:
			return decisive, nil
		case failed == nil:
			failed = err
		}
	}
	if failed != nil {
		return nil, failed
	}
	return !decisive, nil
}

// choice is the ternary operator.
type choice struct{ cond, then, otherwise node }

func (n *choice) eval(m *machine) (value, error) {
	v, err := n.cond.eval(m)
	if err != nil {
		return nil, err
	}
	switch v {
	case types.True:
		return n.then.eval(m)
	case types.False:
		return n.otherwise.eval(m)
	}
	return nil, m.failf("a %s is not a bool", typeName(v))
}

// notFalse is true for whatever is not false, an error too. Comprehensions go on while it is.
type notFalse struct{ of node }

func (n notFalse) eval(m *machine) (value, error) {
	v, err := n.of.eval(m)
	if m.ended != nil {
		return nil, m.ended
	}
	if b, ok := v.(types.Bool); err == nil && ok {
		return b, nil
	}
	return types.True, nil
}

// fold is a comprehension: what the macros all, exists, exists_one, filter and map become.
type fold struct {
	over, init, cond, step, result node
	item, accu                     local
}

func (n *fold) eval(m *machine) (value, error) {
	over, err := n.over.eval(m)
	if err != nil {
		return nil, err
	}
	v, err := n.init.eval(m)
	m.locals[n.accu] = result{v, err}
	switch over := over.(type) {
	case *list:
		for _, item := range over.items {
			if more, err := n.next(m, item); err != nil || !more {
				return n.done(m, err)
			}
		}
	case *object: // its keys
		for _, e := range over.entries {
			if more, err := n.next(m, e.key); err != nil || !more {
				return n.done(m, err)
			}
		}
	default:
		return nil, m.failf("a %s has no items", typeName(over))
	}
	return n.done(m, nil)
}

func (n *fold) next(m *machine, item value) (more bool, err error) {
	if err := m.spend(1); err != nil {
		return false, err
	}
	m.locals[n.item] = result{value: item}
	cond, err := n.cond.eval(m)
	if err != nil || cond != types.True {
		return false, err
	}
	v, err := n.step.eval(m)
	m.locals[n.accu] = result{v, err}
	return m.ended == nil, m.ended
}

func (n *fold) done(m *machine, err error) (value, error) {
	if err != nil {
		return nil, err
	}
	return n.result.eval(m)
}

// unary and binary call functions.
type unary struct {
	call func(m *machine, v value) (value, error)
	arg  node
}

func (n *unary) eval(m *machine) (value, error) {
	if err := m.spend(1); err != nil {
		return nil, err
	}
	v, err := n.arg.eval(m)
	if err != nil {
		return nil, err
	}
	return n.call(m, v)
}

type binary struct {
	call        func(m *machine, l, r value) (value, error)
	left, right node
}

func (n *binary) eval(m *machine) (value, error) {
	if err := m.spend(1); err != nil {
		return nil, err
	}
	l, err := n.left.eval(m)
	if err != nil {
		return nil, err
	}
	r, err := n.right.eval(m)
	if err != nil {
		return nil, err
	}
	return n.call(m, l, r)
}
