package expression

import (
	"context"
	"fmt"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// Compiler compiles the expressions of definitions. Programs of the same Source share what is
// compiled, while one of them is open. A Compiler is safe for concurrent use.
type Compiler struct {
	env func() (*cel.Env, error)

	mu     sync.Mutex // protects the field below, and the users of what is in it
	shared map[subscriptions.Source]*codes
}

// codes are the compiled expressions of a Source; nil is none.
type codes struct {
	filter, key, mapping *code
	users                int // the open Programs
}

// NewCompiler returns a Compiler.
func NewCompiler() *Compiler {
	return &Compiler{env: sync.OnceValues(newEnv), shared: map[subscriptions.Source]*codes{}}
}

// Compile is a subscriptions.Compiler. The error is invalid_expression and names the
// expression that it is about.
func (c *Compiler) Compile(source subscriptions.Source) (subscriptions.Program, error) {
	if p := c.open(source, nil); p != nil {
		return p, nil
	}
	made, err := c.compile(source)
	if err != nil {
		return nil, err
	}
	return c.open(source, made), nil
}

func (c *Compiler) compile(source subscriptions.Source) (*codes, error) {
	env, err := c.env()
	if err != nil {
		return nil, core.Errorf(core.CodeInternal, "the environment of expressions: %w", err)
	}
	made := &codes{}
	for _, e := range []struct {
		name, source string
		isBool       bool
		into         **code
	}{
		{"filter.expr", source.Filter, true, &made.filter},
		{"partitionBy", source.Key, false, &made.key},
		{"map", source.Map, false, &made.mapping},
	} {
		if e.source == "" {
			continue
		}
		if *e.into, err = compile(env, e.source, e.isBool); err != nil {
			return nil, core.Errorf(core.CodeInvalidExpression, "%s: %s", e.name, err)
		}
	}
	return made, nil
}

// open returns a Program of what is shared, or of made if nothing is. It is nil if neither is
// there.
func (c *Compiler) open(source subscriptions.Source, made *codes) subscriptions.Program {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shared[source] == nil {
		if made == nil {
			return nil
		}
		c.shared[source] = made
	}
	shared := c.shared[source]
	shared.users++
	locals := 0
	for _, code := range []*code{shared.filter, shared.key, shared.mapping} {
		if code != nil {
			locals = max(locals, code.locals)
		}
	}
	return &program{compiler: c, source: source, codes: shared, machine: machine{locals: make([]result, locals)}}
}

// program implements subscriptions.Program.
type program struct {
	compiler *Compiler
	source   subscriptions.Source
	*codes   // nil once it is closed
	machine  machine
}

// Close forgets what no other program shares.
func (p *program) Close() error {
	c := p.compiler
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.codes == nil {
		return nil
	}
	if p.users--; p.users == 0 {
		delete(c.shared, p.source)
	}
	p.codes = nil
	return nil
}

// maxMadeBytes bounds the data that a run maps. One event may exceed it.
const maxMadeBytes = 256 << 10

// Run judges events until they have cost what a single one may cost, or the mapped ones have
// maxMadeBytes.
func (p *program) Run(ctx context.Context, b core.Batch, dst []subscriptions.Verdict) ([]subscriptions.Verdict, error) {
	cost, made := 0, 0
	for e := range b.Events() {
		p.machine.begin(ctx, &e)
		v, err := p.judge()
		cost += min(maxCost, maxCost-p.machine.left)
		p.machine.end()
		if ctx.Err() != nil {
			return dst, core.AsError(ctx.Err())
		}
		if err != nil {
			v = subscriptions.Verdict{Fault: faultOf(err)}
		}
		dst = append(dst, v)
		if made += len(v.Data); made > maxMadeBytes || cost > maxCost {
			break
		}
	}
	return dst, nil
}

// judge runs the expressions on the event of the machine. A panic is an error of this event.
func (p *program) judge() (v subscriptions.Verdict, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the expression panicked: %v", r)
		}
	}()
	v.Keep = true
	if p.filter != nil {
		if v.Keep, err = p.keep(); err != nil || !v.Keep {
			return v, err
		}
	}
	if p.key != nil {
		if v.Key, err = p.keyOf(); err != nil {
			return v, err
		}
	}
	if p.mapping != nil {
		v.Data, err = p.mapped()
	}
	return v, err
}

func (p *program) keep() (bool, error) {
	v, err := p.evaluate("filter.expr", p.filter)
	if err != nil {
		return false, err
	}
	keep, ok := v.(types.Bool)
	if !ok {
		return false, fmt.Errorf("filter.expr is a %s, and has to be a bool", typeName(v))
	}
	return bool(keep), nil
}

func (p *program) keyOf() (string, error) {
	v, err := p.evaluate("partitionBy", p.key)
	if err != nil {
		return "", err
	}
	switch v := v.(type) {
	case types.String:
		return string(v), nil
	case types.Int, types.Uint, types.Double, types.Bool:
		return fmt.Sprint(v), nil
	case types.Null:
		return "", nil
	}
	return "", fmt.Errorf("partitionBy is a %s, and has to be a text, a number or a bool", typeName(v))
}

func (p *program) mapped() ([]byte, error) {
	v, err := p.evaluate("map", p.mapping)
	if err != nil {
		return nil, err
	}
	data, err := p.machine.appendJSON(nil, v, 0)
	if err == nil && len(data) > core.MaxEventBytes {
		err = errLarge
	}
	if err != nil {
		return nil, fmt.Errorf("map: %w", err)
	}
	return data, nil
}

func (p *program) evaluate(name string, c *code) (value, error) {
	v, err := c.root.eval(&p.machine)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return v, nil
}
