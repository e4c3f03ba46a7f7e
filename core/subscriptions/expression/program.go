package expression

import (
	"context"
	"fmt"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
)

const (
	// maxCost bounds what an expression does for one event. Looking at a field costs
	// about 1, making a text a tenth of its bytes. It takes less than a second.
	maxCost = 1_000_000
	// maxSourceBytes is beyond what a definition may have.
	maxSourceBytes = 8 << 10
	// maxMadeBytes bounds what a run makes; one event may exceed it.
	maxMadeBytes = 256 << 10
	// maxDepth bounds the recursion of parser and checker.
	maxDepth = 64
)

// program is the compiled expressions of one definition; nil is none.
type program struct {
	filter, key, mapping cel.Program
}

// Compile is a subscriptions.Compiler. The error is invalid_expression and says which
// one it is about.
func Compile(source subscriptions.Source) (subscriptions.Program, error) {
	env, err := newEnv()
	if err != nil {
		return nil, core.Errorf(core.CodeInternal, "the environment of expressions: %w", err)
	}
	p := &program{}
	for _, e := range []struct {
		name, source string
		isBool       bool
		into         *cel.Program
	}{
		{"filter.expr", source.Filter, true, &p.filter},
		{"partitionBy", source.Key, false, &p.key},
		{"map", source.Map, false, &p.mapping},
	} {
		if e.source == "" {
			continue
		}
		if *e.into, err = compile(env, e.source, e.isBool); err != nil {
			return nil, core.Errorf(core.CodeInvalidExpression, "%s: %s", e.name, err)
		}
	}
	return p, nil
}

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

// compile compiles one expression. A panic of the compiler is an error like others.
func compile(env *cel.Env, source string, isBool bool) (p cel.Program, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the compiler panicked: %v", r)
		}
	}()
	ast, issues := env.Compile(source)
	if issues.Err() != nil {
		return nil, issues.Err()
	}
	if t := ast.OutputType(); isBool && !t.IsEquivalentType(cel.BoolType) && !t.IsEquivalentType(cel.DynType) {
		return nil, fmt.Errorf("it is a %s, and has to be a bool", t)
	}
	return env.Program(ast, cel.CostTracking(calls{}), cel.CostLimit(maxCost), cel.EvalOptions(cel.OptOptimize))
}

// Run implements subscriptions.Program.
func (p *program) Run(ctx context.Context, b core.Batch, dst []subscriptions.Verdict) ([]subscriptions.Verdict, error) {
	made := 0
	for e := range b.Events() {
		if err := ctx.Err(); err != nil {
			return dst, core.AsError(err)
		}
		if made > maxMadeBytes {
			break
		}
		v, err := p.judge(&e)
		if err != nil {
			v.Fault = err.Error()
		}
		made += len(v.Data)
		dst = append(dst, v)
	}
	return dst, nil
}

// Close implements subscriptions.Program.
func (p *program) Close() error { return nil }

// judge runs the expressions on one event. A panic is an error of this event.
func (p *program) judge(e *core.Event) (v subscriptions.Verdict, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the expression panicked: %v", r)
		}
	}()
	subject := &event{Event: e}
	v.Keep = true
	if p.filter != nil {
		if v.Keep, err = p.keep(subject); err != nil || !v.Keep {
			return v, err
		}
	}
	if p.key != nil {
		if v.Key, err = p.keyOf(subject); err != nil {
			return v, err
		}
	}
	if p.mapping != nil {
		v.Data, err = p.mapped(subject)
	}
	return v, err
}

func (p *program) keep(e *event) (bool, error) {
	value, err := evaluate("filter.expr", p.filter, e)
	if err != nil {
		return false, err
	}
	keep, ok := value.(types.Bool)
	if !ok {
		return false, fmt.Errorf("filter.expr is a %s, and has to be a bool", value.Type().TypeName())
	}
	return bool(keep), nil
}

func (p *program) keyOf(e *event) (string, error) {
	value, err := evaluate("partitionBy", p.key, e)
	if err != nil {
		return "", err
	}
	switch value := value.(type) {
	case types.String:
		return string(value), nil
	case types.Int, types.Uint, types.Double, types.Bool:
		return fmt.Sprint(value.Value()), nil
	case types.Null:
		return "", nil
	}
	return "", fmt.Errorf("partitionBy is a %s, and has to be a text, a number or a bool", value.Type().TypeName())
}

func (p *program) mapped(e *event) ([]byte, error) {
	value, err := evaluate("map", p.mapping, e)
	if err != nil {
		return nil, err
	}
	data, err := appendJSON(nil, value, 0)
	if err != nil {
		return nil, fmt.Errorf("map: %w", err)
	}
	return data, nil
}

func evaluate(name string, p cel.Program, e *event) (ref.Val, error) {
	value, _, err := p.Eval(e)
	switch {
	case e.malformed != nil:
		return nil, fmt.Errorf("%s: %w", name, e.malformed)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return value, nil
}

// event is what expressions see of one. It parses what they ask for, once for all of
// them.
type event struct {
	*core.Event
	data, metadata any
	parsed         struct{ data, metadata bool }
	malformed      error
}

// Parent makes an event an activation of its own.
func (e *event) Parent() cel.Activation { return nil }

// ResolveName is the value of a variable.
func (e *event) ResolveName(name string) (any, bool) {
	switch name {
	case "stream":
		return e.Home().Stream, true // a link is filtered as its event
	case "type":
		return e.Type, true
	case "version":
		return int64(e.Version), true
	case "position":
		return int64(e.Position), true
	case "id":
		return e.ID.String(), true
	case "time":
		return e.Time.In(time.UTC), true
	case "recorded":
		return e.Recorded.In(time.UTC), true
	case "data":
		if !e.parsed.data && e.Format == core.JSON {
			e.data, e.malformed = parse(e.Data)
		}
		e.parsed.data = true
		return e.data, true
	case "metadata":
		if !e.parsed.metadata {
			e.metadata = map[string]any{}
			if len(e.Metadata) > 0 {
				e.metadata, e.malformed = parse(e.Metadata)
			}
		}
		e.parsed.metadata = true
		return e.metadata, true
	}
	return nil, false
}
