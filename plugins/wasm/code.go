package wasm

import "slices"

// codeSection checks every function body: its instructions, their types, its limits.
func (p *parser) codeSection() {
	n := p.r.count("function bodies", maxFunctions)
	if n != len(p.m.functions) {
		p.r.fail("%d function bodies, %d functions are declared", n, len(p.m.functions))
		return
	}
	v := &validator{m: p.m}
	for i := 0; i < n && p.r.err == nil; i++ {
		r := p.r.sub(p.r.count("bytes of a function", maxBodyBytes), p.r.section)
		p.m.bodies = append(p.m.bodies, body{p.r.at - len(r.data), p.r.at})
		v.function(r, p.m.types[p.m.functions[i]])
		p.r.err = r.err
	}
}

// validator checks the types of a function's instructions, with a stack of types and a
// stack of the blocks around, as the specification's appendix on validation has it. It is
// used again for the next function, with its stacks.
type validator struct {
	m      *Module
	r      *reader
	locals []valueType
	stack  []valueType
	blocks []block
	labels []uint32

	at      int // where the current instruction starts
	opened  int // blocks of this function, with the meter's
	targets int // of its br_table instructions
}

// block is a block, loop or if around the current instruction, or the function itself.
type block struct {
	op          int // opBlock, opLoop, opIf, opElse
	typ         funcType
	height      int  // of the stack where it starts, without its parameters
	unreachable bool // the rest of it cannot run
}

// branched returns what a branch to the block takes along.
func (b *block) branched() []valueType {
	if b.op == opLoop {
		return b.typ.params
	}
	return b.typ.results
}

func (v *validator) function(r *reader, t funcType) {
	v.r, v.opened, v.targets = r, 0, 0
	v.stack, v.blocks, v.locals = v.stack[:0], v.blocks[:0], append(v.locals[:0], t.params...)
	v.declareLocals()
	v.push(block{op: opBlock, typ: funcType{results: t.results}})
	for r.more() && len(v.blocks) > 0 {
		v.instruction(r.instruction(&v.labels))
	}
	if len(v.blocks) > 0 {
		r.fail("the function has no end")
	}
	r.end()
	if len(v.locals)*v.opened > maxLocalBlocks {
		r.failAt(0, "split the function", "a function has %d locals and %d blocks, their product may be %d", len(v.locals), v.opened, maxLocalBlocks)
	}
}

func (v *validator) declareLocals() {
	n := v.r.count("groups of locals", maxLocals)
	for i := 0; i < n && v.r.err == nil; i++ {
		at := v.r.at
		count := v.r.u32()
		if int64(count)+int64(len(v.locals)) > maxLocals {
			v.r.failAt(at, "split the function", "a function has more than %d locals", maxLocals)
			return
		}
		t := v.r.valueType()
		for range count {
			v.locals = append(v.locals, t)
		}
	}
}

// fail refuses the current instruction.
func (v *validator) fail(format string, args ...any) { v.r.failAt(v.at, "", format, args...) }

// push enters a block. Its parameters are on the stack.
func (v *validator) push(b block) {
	v.open()
	if len(v.blocks) >= maxNesting {
		v.fail("blocks are nested over %d deep", maxNesting)
	}
	b.height = len(v.stack) - len(b.typ.params)
	v.blocks = append(v.blocks, b)
}

// open counts a block, or a check of the meter, which is one.
func (v *validator) open() {
	if v.opened++; v.opened > maxBlocks {
		v.fail("a function has more than %d blocks and bulk instructions", maxBlocks)
	}
}

func (v *validator) pushValues(types []valueType) { v.stack = append(v.stack, types...) }

// pop takes a value of type want, or of any type if want is unknown.
func (v *validator) pop(want valueType) valueType {
	b := &v.blocks[len(v.blocks)-1]
	if len(v.stack) == b.height {
		if !b.unreachable {
			v.fail("%s is needed, the stack is empty", want)
		}
		return want
	}
	got := v.stack[len(v.stack)-1]
	v.stack = v.stack[:len(v.stack)-1]
	if got != want && got != unknown && want != unknown {
		v.fail("%s is needed, there is %s", want, got)
	}
	if got == unknown {
		return want
	}
	return got
}

func (v *validator) popValues(types []valueType) {
	for i := len(types) - 1; i >= 0; i-- {
		v.pop(types[i])
	}
}

// cannotContinue marks the rest of the current block as code that never runs.
func (v *validator) cannotContinue() {
	b := &v.blocks[len(v.blocks)-1]
	v.stack = v.stack[:b.height]
	b.unreachable = true
}

func (v *validator) instruction(in instruction) {
	if v.r.err != nil {
		return
	}
	v.at = in.start
	switch op := in.op; {
	case op >= opI32Eqz && op <= opI64Extend32:
		v.apply(numeric[op-opI32Eqz])
	case op >= opPrefix<<8 && op <= opTruncLast:
		v.apply(truncations[op-opPrefix<<8])
	case op >= opI32Load && op <= opI64Store32:
		v.access(accesses[op-opI32Load], in.index)
	case op >= opLocalGet && op <= opGlobalSet:
		v.variable(in)
	case op >= opI32Const && op <= opF64Const:
		v.stack = append(v.stack, typeI32-valueType(op-opI32Const))
	case op == opMemorySize || op == opMemoryGrow || op > opTruncLast:
		v.memory(in)
	case op == opDrop:
		v.pop(unknown)
	case op == opSelect || op == opSelectTyped:
		v.selectOne(in)
	case op == opCall || op == opCallIndirect:
		v.call(in)
	default:
		v.control(in)
	}
}

func (v *validator) apply(s signature) {
	v.popValues(s.pops)
	v.stack = append(v.stack, s.pushes)
}

func (v *validator) access(a access, align uint32) {
	v.needMemory()
	if align > a.align {
		v.fail("alignment 2^%d is over the natural 2^%d", align, a.align)
	}
	if a.store {
		v.pop(a.typ)
		v.pop(typeI32)
		return
	}
	v.pop(typeI32)
	v.stack = append(v.stack, a.typ)
}

func (v *validator) needMemory() {
	if v.m.memory == nil {
		v.fail("the module has no memory")
	}
}

func (v *validator) variable(in instruction) {
	global := in.op == opGlobalGet || in.op == opGlobalSet
	var t valueType
	switch {
	case global && int64(in.index) < int64(len(v.m.globals)):
		g := v.m.globals[in.index]
		if t = g.typ; in.op == opGlobalSet && !g.mutable {
			v.fail("global %d cannot be changed", in.index)
		}
	case !global && int64(in.index) < int64(len(v.locals)):
		t = v.locals[in.index]
	default:
		v.fail("variable %d does not exist", in.index)
		return
	}
	if in.op != opLocalGet && in.op != opGlobalGet {
		v.pop(t)
	}
	if in.op != opLocalSet && in.op != opGlobalSet {
		v.stack = append(v.stack, t)
	}
}

func (v *validator) memory(in instruction) {
	if in.op != opDataDrop {
		v.needMemory()
	}
	if in.op == opMemoryInit || in.op == opDataDrop {
		if int64(in.index) >= int64(v.m.dataCount) {
			v.fail("data segment %d does not exist, the data count is %d", in.index, max(0, v.m.dataCount))
		}
	}
	switch in.op {
	case opMemorySize:
		v.stack = append(v.stack, typeI32)
	case opMemoryGrow:
		v.pop(typeI32)
		v.stack = append(v.stack, typeI32)
	case opMemoryInit, opMemoryCopy, opMemoryFill:
		v.open()
		v.popValues([]valueType{typeI32, typeI32, typeI32})
	}
}

func (v *validator) selectOne(in instruction) {
	v.pop(typeI32)
	a := v.pop(in.typ)
	b := v.pop(a)
	v.stack = append(v.stack, b)
}

func (v *validator) call(in instruction) {
	switch {
	case in.op == opCall && int64(in.index) < int64(v.m.functionCount()):
		v.invoke(v.m.typeOf(in.index))
	case in.op == opCallIndirect && int64(in.index) < int64(len(v.m.types)) && v.m.table != nil:
		v.pop(typeI32)
		v.invoke(v.m.types[in.index])
	default:
		v.fail("the callee %d does not exist", in.index)
	}
}

func (v *validator) invoke(t funcType) {
	v.popValues(t.params)
	v.pushValues(t.results)
}

func (v *validator) control(in instruction) {
	switch in.op {
	case opUnreachable:
		v.cannotContinue()
	case opIf:
		v.pop(typeI32)
		v.enter(in)
	case opBlock, opLoop:
		v.enter(in)
	case opElse, opEnd:
		v.leave(in.op)
	case opBr:
		v.branch(in.index)
		v.cannotContinue()
	case opBrIf:
		v.pop(typeI32)
		v.pushValues(v.branch(in.index))
	case opBrTable:
		v.branchTable(in.labels)
	case opReturn:
		v.popValues(v.blocks[0].typ.results)
		v.cannotContinue()
	}
}

// oneResult are the types of blocks that give one value, from typeF64 to typeI32.
var oneResult = [...]funcType{
	{results: []valueType{typeF64}}, {results: []valueType{typeF32}}, {results: []valueType{typeI64}}, {results: []valueType{typeI32}},
}

func (v *validator) enter(in instruction) {
	b := block{op: in.op}
	switch {
	case in.block == blockEmpty-0x80:
	case in.block >= 0 && in.block < int64(len(v.m.types)):
		b.typ = v.m.types[in.block]
	case in.block >= int64(typeF64)-0x80 && in.block < 0:
		b.typ = oneResult[in.block+0x80-int64(typeF64)]
	default:
		v.fail("block type %d is not supported", in.block)
		return
	}
	v.popValues(b.typ.params)
	v.pushValues(b.typ.params)
	v.push(b)
}

// leave ends a block, or goes on from its if to its else.
func (v *validator) leave(op int) {
	b := v.blocks[len(v.blocks)-1]
	v.popValues(b.typ.results)
	if len(v.stack) != b.height {
		v.fail("%d values are left in a block", len(v.stack)-b.height)
	}
	v.blocks = v.blocks[:len(v.blocks)-1]
	switch {
	case v.r.err != nil:
	case op == opElse && b.op != opIf:
		v.fail("else without if")
	case op == opElse:
		v.pushValues(b.typ.params)
		v.push(block{op: opElse, typ: b.typ})
	case b.op == opIf && !slices.Equal(b.typ.params, b.typ.results):
		v.fail("an if that gives values has no else")
	default:
		v.pushValues(b.typ.results)
	}
}

// branch pops what a branch to a label takes along, and returns it.
func (v *validator) branch(label uint32) []valueType {
	types, ok := v.label(label)
	if ok {
		v.popValues(types)
	}
	return types
}

func (v *validator) label(label uint32) ([]valueType, bool) {
	if int64(label) >= int64(len(v.blocks)) {
		v.fail("label %d does not exist, there are %d", label, len(v.blocks))
		return nil, false
	}
	return v.blocks[len(v.blocks)-1-int(label)].branched(), true
}

// branchTable checks all labels of a br_table against the stack. It leaves the stack as it
// is between them, because one of them is taken.
func (v *validator) branchTable(labels []uint32) {
	if v.targets += len(labels); v.targets > maxBranchTargets {
		v.fail("the br_table instructions of a function have more than %d targets", maxBranchTargets)
		return
	}
	v.pop(typeI32)
	arity := -1
	for _, label := range labels {
		types, ok := v.label(label)
		if !ok {
			return
		}
		if arity >= 0 && len(types) != arity {
			v.fail("the targets of br_table differ in type")
			return
		}
		arity = len(types)
		v.checkTop(types)
	}
	v.cannotContinue()
}

// checkTop checks that types are on top of the stack, and leaves them there.
func (v *validator) checkTop(types []valueType) {
	height := v.blocks[len(v.blocks)-1].height
	for i, want := range types {
		at := len(v.stack) - len(types) + i
		if at < height {
			if !v.blocks[len(v.blocks)-1].unreachable {
				v.fail("%s is needed, the stack is empty", want)
			}
			continue
		}
		if got := v.stack[at]; got != want && got != unknown {
			v.fail("%s is needed, there is %s", want, got)
		}
	}
}
