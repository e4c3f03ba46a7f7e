package wasm

import "slices"

// generate makes a valid module from choices, one byte each. When they are used up, it takes
// the simplest way on. Its functions end by themselves, unless many loops and calls multiply.
//
// The module exports functions f0, f1, …, its memory and its globals. It has no imports.
func generate(choices []byte) []byte {
	g := &generator{choices: choices}
	g.b.memory = []uint32{1, 3}
	g.b.data = []byte("the data of a module, at the start of its memory")
	for i, t := range numbers {
		g.b.globals = append(g.b.globals, global{t, true})
		g.b.exports = append(g.b.exports, export{"g" + string(rune('0'+i)), kindGlobal, uint32(i)})
	}
	g.b.exports = append(g.b.exports, export{"memory", kindMemory, 0})
	for i := range 2 + g.choose(5) {
		g.function("f" + string(rune('0'+i)))
	}
	g.b.table = []uint32{}
	for i := range g.b.functions {
		g.b.table = append(g.b.table, uint32(i))
	}
	for range g.choose(4) {
		g.b.segments = append(g.b.segments, segment{uint32(3 * g.choose(256)), []byte("more data")})
	}
	return g.b.bytes()
}

var numbers = []valueType{typeI32, typeI64, typeF32, typeF64}

type generator struct {
	choices []byte
	b       built

	// Of the current function:
	locals []valueType // with its parameters
	result []valueType
	labels [][]valueType // what a branch takes along, innermost last
	depth  int
	code   []byte
}

// choose returns a number below n.
func (g *generator) choose(n int) int {
	if len(g.choices) == 0 {
		return 0
	}
	c := g.choices[0]
	g.choices = g.choices[1:]
	return int(c) % n
}

func (g *generator) number() valueType { return numbers[g.choose(len(numbers))] }

func (g *generator) emit(code ...byte) { g.code = append(g.code, code...) }

func (g *generator) function(name string) {
	var params []valueType
	for range g.choose(4) {
		params = append(params, g.number())
	}
	g.result = nil
	for range g.choose(3) {
		g.result = append(g.result, g.number())
	}
	// The last locals count loops; nothing else writes them.
	locals := slices.Concat(numbers, slices.Repeat(i32x1, maxDepth))
	g.locals = slices.Concat(params, numbers)
	g.labels, g.depth, g.code = [][]valueType{g.result}, 0, nil
	g.statements()
	g.values(g.result)
	g.b.define(name, params, g.result, locals, g.code...)
}

const maxDepth = 5

func (g *generator) values(types []valueType) {
	for _, t := range types {
		g.value(t)
	}
}

func (g *generator) statements() {
	if g.depth++; g.depth <= maxDepth {
		for range g.choose(5) {
			g.statement()
		}
	}
	g.depth--
}

// address is the index of a statement's or value's address, within the first page.
func (g *generator) address() {
	g.value(typeI32)
	g.emit(slices.Concat(i32(0xfff), []byte{0x71})...)
}

func (g *generator) statement() {
	switch g.choose(12) {
	case 0:
		i := g.choose(len(g.locals))
		g.value(g.locals[i])
		g.emit(append([]byte{opLocalSet}, uleb(i)...)...)
	case 1:
		i := g.choose(len(numbers))
		g.value(numbers[i])
		g.emit(opGlobalSet, byte(i))
	case 2:
		g.address()
		g.value(typeI32)
		g.emit(0x36, 0, byte(g.choose(64))) // i32.store
	case 3:
		g.address()
		g.value(typeI64)
		g.emit(0x3c, 0, byte(g.choose(64))) // i64.store8
	case 4:
		g.block(opBlock, nil)
	case 5:
		g.loop()
	case 6:
		g.value(typeI32)
		g.block(opIf, nil)
	case 7:
		g.branch()
	case 8:
		g.bulk()
	case 9:
		g.value(g.number())
		g.emit(opDrop)
	case 10:
		g.call(-1)
	case 11:
		g.trap()
	}
}

// trap adds code that fails at run time, if the stars say so.
func (g *generator) trap() {
	if g.choose(8) == 7 {
		g.emit(opUnreachable)
		return
	}
	g.value(typeI32)
	g.emit(opMemoryGrow, 0, opDrop)
}

func (g *generator) bulk() {
	g.address()
	g.address()
	g.address()
	g.emit([][]byte{{0xfc, 11, 0}, {0xfc, 10, 0, 0}}[g.choose(2)]...)
}

// block adds a block or an if around statements, which leaves values of the types of result.
func (g *generator) block(op byte, result []valueType) {
	g.emit(op)
	if len(result) == 1 {
		g.emit(byte(result[0]))
	} else {
		g.emit(blockEmpty)
	}
	g.labels = append(g.labels, result)
	g.statements()
	g.values(result)
	if op == opIf && (len(result) > 0 || g.choose(2) == 1) {
		g.emit(opElse)
		g.statements()
		g.values(result)
	}
	g.labels = g.labels[:len(g.labels)-1]
	g.emit(opEnd)
}

// loop adds a loop that runs a few times, counted in a local of its depth.
func (g *generator) loop() {
	counter := byte(len(g.locals) + g.depth - 1)
	g.emit(slices.Concat(i32(1+g.choose(6)), []byte{opLocalSet, counter, opBlock, blockEmpty, opLoop, blockEmpty})...)
	g.labels = append(g.labels, nil, nil)
	g.emit(slices.Concat([]byte{opLocalGet, counter, opI32Eqz, opBrIf, 1, opLocalGet, counter}, i32(1), []byte{0x6b, opLocalSet, counter})...)
	g.statements()
	g.labels = g.labels[:len(g.labels)-2]
	g.emit(opBr, 0, opEnd, opEnd)
}

// branch leaves a block, always or if a value says so. What follows it cannot run.
func (g *generator) branch() {
	label := g.choose(len(g.labels))
	types := g.labels[len(g.labels)-1-label]
	switch g.choose(4) {
	case 0:
		g.values(types)
		g.value(typeI32)
		g.emit(opBrIf, byte(label))
		g.emit(slices.Repeat([]byte{opDrop}, len(types))...)
	case 1:
		g.values(types)
		g.emit(opBr, byte(label))
	case 2:
		g.values(types)
		g.value(typeI32)
		g.emit(opBrTable, 2, byte(label), byte(label), byte(label))
	case 3:
		g.values(g.result)
		g.emit(opReturn)
	}
}

// call calls an earlier function, directly or by the table, and drops its results except
// the one at keep. It reports whether there is one to call.
func (g *generator) call(keep int) bool {
	if len(g.b.functions) == 0 || g.depth >= maxDepth {
		return false
	}
	callee := g.choose(len(g.b.functions))
	t := g.b.functions[callee].typ
	if keep >= len(g.b.types[t].results) {
		return false
	}
	g.depth++
	g.values(g.b.types[t].params)
	g.depth--
	if g.choose(2) == 0 {
		g.emit(opCall, byte(callee))
	} else {
		g.emit(slices.Concat(i32(callee), []byte{opCallIndirect}, uleb(t), []byte{0})...)
	}
	for range len(g.b.types[t].results) - keep - 1 {
		g.emit(opDrop)
	}
	return true
}

// value adds code that leaves one value of type t.
func (g *generator) value(t valueType) {
	if g.depth++; g.depth > maxDepth {
		g.constant(t)
		g.depth--
		return
	}
	switch g.choose(8) {
	case 0:
		g.constant(t)
	case 1:
		g.local(t)
	case 2, 3:
		g.operator(t)
	case 4:
		g.value(t)
		g.value(t)
		g.value(typeI32)
		g.emit(opSelect)
	case 5:
		g.value(typeI32)
		g.block(opIf, []valueType{t})
	case 6:
		g.block(opBlock, []valueType{t})
	case 7:
		g.load(t)
	}
	g.depth--
}

func (g *generator) constant(t valueType) {
	c := g.choose(256)
	switch t {
	case typeI32:
		g.emit(i32(c * c * c * 131)...)
	case typeI64:
		g.emit(appendSigned([]byte{opI64Const}, int64(c)<<(c%56)-int64(c))...)
	case typeF32:
		g.emit(opF32Const, 0, 0, byte(c), 0x40)
	case typeF64:
		g.emit(opF64Const, 0, 0, 0, 0, 0, 0, byte(c), 0x40)
	}
}

func (g *generator) local(t valueType) {
	if g.choose(4) == 0 {
		g.emit(opGlobalGet, byte(typeI32-t))
		return
	}
	i := slices.Index(g.locals, t)
	if g.choose(3) == 0 {
		g.value(t)
		g.emit(append([]byte{opLocalTee}, uleb(i)...)...)
		return
	}
	g.emit(append([]byte{opLocalGet}, uleb(i)...)...)
}

// load reads memory. Floats are not read, because the bits of a NaN are not determined.
func (g *generator) load(t valueType) {
	switch t {
	case typeI32:
		g.address()
		g.emit(0x2d, 0, byte(g.choose(128))) // i32.load8_u
	case typeI64:
		g.address()
		g.emit(0x29, 0, byte(g.choose(128))) // i64.load
	default:
		g.constant(t)
	}
}

// operator applies an instruction without immediates that gives t. Those that show the
// bits of a float are left out.
func (g *generator) operator(t valueType) {
	var fitting []int
	for i, s := range numeric {
		op := opI32Eqz + i
		if s.pushes == t && op != 0xbc && op != 0xbd && op != 0x98 && op != 0xa6 {
			fitting = append(fitting, op)
		}
	}
	op := fitting[(g.choose(256)*7+g.choose(16))%len(fitting)]
	g.values(numeric[op-opI32Eqz].pops)
	g.emit(byte(op))
}
