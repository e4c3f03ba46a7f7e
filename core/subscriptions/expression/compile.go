package expression

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/gyre-events/gyre/core"
)

const (
	// maxSourceBytes is more than a definition may have.
	maxSourceBytes = 8 << 10
	// maxDepth bounds the recursion of parser and checker.
	maxDepth = 64
)

// code is a compiled expression. It is immutable.
type code struct {
	root   node
	locals int // so many locals are in use at a time
}

// newEnv makes the environment that expressions are checked in: CEL's standard library.
func newEnv() (*cel.Env, error) {
	return cel.NewEnv(
		cel.Variable("stream", cel.StringType),
		cel.Variable("type", cel.StringType),
		cel.Variable("version", cel.IntType),
		cel.Variable("position", cel.IntType),
		cel.Variable("id", cel.StringType),
		cel.Variable("time", cel.TimestampType),
		cel.Variable("recorded", cel.TimestampType),
		cel.Variable("data", cel.DynType),
		cel.Variable("metadata", cel.MapType(cel.StringType, cel.DynType)),
		cel.CrossTypeNumericComparisons(true),
		cel.ParserExpressionSizeLimit(maxSourceBytes),
		cel.ParserRecursionLimit(maxDepth),
	)
}

// compile parses and checks an expression with cel-go, and builds nodes of it. A panic is an
// error like others.
func compile(env *cel.Env, source string, isBool bool) (c *code, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the compiler panicked: %v", r)
		}
	}()
	// Issues.Err would write the source beside each of its errors. So does Env.Compile.
	checked, issues := env.Parse(source)
	if len(issues.Errors()) == 0 {
		checked, issues = env.Check(checked)
	}
	if errs := issues.Errors(); len(errs) > 0 {
		return nil, inSource(errs[0])
	}
	if t := checked.OutputType(); isBool && !t.IsEquivalentType(cel.BoolType) && !t.IsEquivalentType(cel.DynType) {
		return nil, fmt.Errorf("it is a %s, and has to be a bool", t)
	}
	b := &builder{tree: checked.NativeRep(), patterns: maxPatternSize}
	root, err := b.build(b.tree.Expr())
	if err != nil {
		return nil, err
	}
	return &code{root, b.deepest}, nil
}

// inSource makes an error of one in the source. One about the whole source has no place.
func inSource(e *cel.Error) error {
	switch {
	case e.Location.Line() > 0:
		return fmt.Errorf("line %d, column %d: %s", e.Location.Line(), e.Location.Column()+1, core.ClipTo(e.Message, 200))
	case strings.Contains(e.Message, "recursion"):
		return fmt.Errorf("it is nested more than %d deep; each operator of a chain counts", maxDepth)
	}
	return errors.New(core.ClipTo(e.Message, 200))
}

// builder builds the nodes of one expression.
type builder struct {
	tree     *ast.AST
	scope    []string // the names of locals, the innermost last
	deepest  int      // the most names that scope had
	patterns int      // the instructions that are left for patterns
}

func (b *builder) build(e ast.Expr) (node, error) {
	if ref := b.tree.ReferenceMap()[e.ID()]; ref != nil && ref.Value != nil {
		return constant{ref.Value}, nil
	}
	switch e.Kind() {
	case ast.LiteralKind:
		return constant{e.AsLiteral()}, nil
	case ast.IdentKind:
		return b.name(e.AsIdent())
	case ast.SelectKind:
		s := e.AsSelect()
		of, err := b.build(s.Operand())
		return &field{of, types.String(s.FieldName()), s.IsTestOnly()}, err
	case ast.ListKind:
		items, err := b.all(e.AsList().Elements())
		return listOf(items), err
	case ast.MapKind:
		return b.object(e.AsMap())
	case ast.ComprehensionKind:
		return b.fold(e.AsComprehension())
	case ast.CallKind:
		return b.call(e.AsCall())
	}
	return nil, errors.New("messages of protocol buffers, such as google.protobuf.Value{…}, cannot be made; use {…} and […]")
}

func (b *builder) all(list []ast.Expr) ([]node, error) {
	nodes := make([]node, 0, len(list))
	for _, e := range list {
		n, err := b.build(e)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// name resolves a local, a variable of the event or a type.
func (b *builder) name(name string) (node, error) {
	for i, other := range slices.Backward(b.scope) {
		if name == other {
			return local(i), nil
		}
	}
	name = strings.TrimPrefix(name, ".") // .x is never a local
	if v, ok := variables[name]; ok {
		return v, nil
	}
	for _, t := range []*types.Type{
		types.BoolType, types.BytesType, types.DoubleType, types.DurationType, types.IntType, types.ListType,
		types.MapType, types.NullType, types.StringType, types.TimestampType, types.TypeType, types.UintType,
	} {
		if name == t.TypeName() {
			return constant{t}, nil
		}
	}
	return nil, fmt.Errorf("%s cannot be used here", core.ClipTo(name, 80))
}

func (b *builder) object(m ast.MapExpr) (node, error) {
	o := make(objectOf, m.Size())
	for i, entry := range m.Entries() {
		e := entry.AsMapEntry()
		var err error
		if o[i].key, err = b.build(e.Key()); err != nil {
			return nil, err
		}
		if o[i].value, err = b.build(e.Value()); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// fold builds a comprehension. Its locals are known inside only.
func (b *builder) fold(c ast.ComprehensionExpr) (node, error) {
	if c.HasIterVar2() {
		return nil, errors.New("comprehensions have one variable")
	}
	n := &fold{item: local(len(b.scope)), accu: local(len(b.scope) + 1)}
	var err error
	build := func(e ast.Expr) (n node) {
		if err == nil {
			n, err = b.build(e)
		}
		return n
	}
	n.over, n.init = build(c.IterRange()), build(c.AccuInit())
	b.scope = append(b.scope, c.IterVar(), c.AccuVar())
	b.deepest = max(b.deepest, len(b.scope))
	n.cond, n.step = build(c.LoopCondition()), build(c.LoopStep())
	b.scope[n.item] = "" // the result does not see it
	n.result = build(c.Result())
	b.scope = b.scope[:n.item]
	return n, err
}

// call builds a call of an operator or a function.
func (b *builder) call(c ast.CallExpr) (node, error) {
	name, list := c.FunctionName(), c.Args()
	if c.IsMemberFunction() {
		list = append([]ast.Expr{c.Target()}, list...)
	}
	if len(list) == 2 && name == overloads.Matches {
		return b.matches(list)
	}
	if len(list) > 0 && slices.Contains(getters, name) {
		return b.getter(name, list)
	}
	args, err := b.all(list)
	if err != nil {
		return nil, err
	}
	switch {
	case name == operators.LogicalOr:
		return anyOf(args), nil
	case name == operators.LogicalAnd:
		return allOf(args), nil
	case name == operators.Conditional:
		return &choice{args[0], args[1], args[2]}, nil
	case name == operators.NotStrictlyFalse:
		return notFalse{args[0]}, nil
	case len(args) == 1 && unaries[name] != nil:
		return &unary{unaries[name], args[0]}, nil
	case len(args) == 2 && binaries[name] != nil:
		return &binary{binaries[name], args[0], args[1]}, nil
	}
	return nil, fmt.Errorf("there is no function %s", core.ClipTo(name, 80))
}

// matches compiles the pattern once. One that comes with the data would have to be compiled
// for each event, however large its program is.
func (b *builder) matches(args []ast.Expr) (node, error) {
	source, ok := literal[types.String](args[1])
	if !ok {
		return nil, errors.New("the pattern of matches has to be a literal text")
	}
	p, err := compilePattern(string(source), b.patterns)
	if err != nil {
		return nil, fmt.Errorf("the pattern of matches: %s", core.ClipTo(err.Error(), 200))
	}
	b.patterns -= p.size
	text, err := b.build(args[0])
	return &unary{matches(p), text}, err
}

// getter finds the zone once: that reads files.
func (b *builder) getter(name string, args []ast.Expr) (node, error) {
	var zone *time.Location
	if len(args) == 2 {
		source, ok := literal[types.String](args[1])
		if !ok {
			return nil, fmt.Errorf("the time zone of %s has to be a literal text", name)
		}
		var err error
		if zone, err = zoneOf(string(source)); err != nil {
			return nil, fmt.Errorf("the time zone of %s: %w", name, err)
		}
	}
	t, err := b.build(args[0])
	return &unary{getter(name, zone), t}, err
}

// zoneOf returns a zone by its name, or by its distance to UTC, such as -02:30.
func zoneOf(name string) (*time.Location, error) {
	if !strings.Contains(name, ":") {
		return time.LoadLocation(name)
	}
	t, err := time.Parse("-07:00", name)
	if err != nil {
		t, err = time.Parse("-07:00", "+"+name)
	}
	if err != nil {
		return nil, fmt.Errorf("%q is neither a name nor a distance to UTC such as -02:30", core.ClipTo(name, 80))
	}
	return t.Location(), nil
}

func literal[T ref.Val](e ast.Expr) (v T, ok bool) {
	if e.Kind() != ast.LiteralKind {
		return v, false
	}
	v, ok = e.AsLiteral().(T)
	return v, ok
}
