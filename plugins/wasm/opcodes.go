package wasm

// The opcodes that the parser and the meter know by name. Those of the 0xfc group are
// opPrefix<<8 with the second byte.
const (
	opUnreachable  = 0x00
	opNop          = 0x01
	opBlock        = 0x02
	opLoop         = 0x03
	opIf           = 0x04
	opElse         = 0x05
	opEnd          = 0x0b
	opBr           = 0x0c
	opBrIf         = 0x0d
	opBrTable      = 0x0e
	opReturn       = 0x0f
	opCall         = 0x10
	opCallIndirect = 0x11
	opDrop         = 0x1a
	opSelect       = 0x1b
	opSelectTyped  = 0x1c
	opLocalGet     = 0x20
	opLocalSet     = 0x21
	opLocalTee     = 0x22
	opGlobalGet    = 0x23
	opGlobalSet    = 0x24
	opI32Load      = 0x28
	opI64Store32   = 0x3e
	opMemorySize   = 0x3f
	opMemoryGrow   = 0x40
	opI32Const     = 0x41
	opI64Const     = 0x42
	opF32Const     = 0x43
	opF64Const     = 0x44
	opI32Eqz       = 0x45
	opI64Extend32  = 0xc4
	opRefNull      = 0xd0
	opRefFunc      = 0xd2
	opPrefix       = 0xfc
	opTruncLast    = opPrefix<<8 | 0x07
	opMemoryInit   = opPrefix<<8 | 0x08
	opDataDrop     = opPrefix<<8 | 0x09
	opMemoryCopy   = opPrefix<<8 | 0x0a
	opMemoryFill   = opPrefix<<8 | 0x0b
)

// Opcodes of which only the meter has a use.
const (
	opI32LtU        = 0x49
	opI32GtU        = 0x4b
	opI64LtS        = 0x53
	opI64GtU        = 0x56
	opI32Add        = 0x6a
	opI32Sub        = 0x6b
	opI32ShrU       = 0x76
	opI64Add        = 0x7c
	opI64Sub        = 0x7d
	opI64Shl        = 0x86
	opI64ExtendI32U = 0xad
	blockEmpty      = 0x40
)

// signature is what an instruction without immediates pops and pushes.
type signature struct {
	pops   []valueType
	pushes valueType
}

// numeric are the signatures from opI32Eqz to opI64Extend32, as runs of opcodes.
var numeric = signatures(
	run{1, "i:i"}, run{10, "ii:i"}, run{1, "I:i"}, run{10, "II:i"}, run{6, "ff:i"}, run{6, "FF:i"},
	run{3, "i:i"}, run{15, "ii:i"}, run{3, "I:I"}, run{15, "II:I"},
	run{7, "f:f"}, run{7, "ff:f"}, run{7, "F:F"}, run{7, "FF:F"},
	run{1, "I:i"}, run{2, "f:i"}, run{2, "F:i"}, run{2, "i:I"}, run{2, "f:I"}, run{2, "F:I"},
	run{2, "i:f"}, run{2, "I:f"}, run{1, "F:f"}, run{2, "i:F"}, run{2, "I:F"}, run{1, "f:F"},
	run{1, "f:i"}, run{1, "F:I"}, run{1, "i:f"}, run{1, "I:F"},
	run{2, "i:i"}, run{3, "I:I"},
)

// truncations are the signatures of the 0xfc group up to opTruncLast.
var truncations = signatures(run{2, "f:i"}, run{2, "F:i"}, run{2, "f:I"}, run{2, "F:I"})

// access is what a load or a store moves.
type access struct {
	typ   valueType
	align uint32 // natural, as a power of two
	store bool
}

// accesses are those from opI32Load to opI64Store32.
var accesses = [...]access{
	{typeI32, 2, false}, {typeI64, 3, false}, {typeF32, 2, false}, {typeF64, 3, false},
	{typeI32, 0, false}, {typeI32, 0, false}, {typeI32, 1, false}, {typeI32, 1, false},
	{typeI64, 0, false}, {typeI64, 0, false}, {typeI64, 1, false}, {typeI64, 1, false},
	{typeI64, 2, false}, {typeI64, 2, false},
	{typeI32, 2, true}, {typeI64, 3, true}, {typeF32, 2, true}, {typeF64, 3, true},
	{typeI32, 0, true}, {typeI32, 1, true}, {typeI64, 0, true}, {typeI64, 1, true}, {typeI64, 2, true},
}

// run is a number of opcodes with one signature: letters for what they pop, a colon, and
// the letter of what they push. Small letters have 32 bits.
type run struct {
	opcodes int
	letters string
}

func signatures(runs ...run) (list []signature) {
	letter := map[byte]valueType{'i': typeI32, 'I': typeI64, 'f': typeF32, 'F': typeF64}
	for _, r := range runs {
		last := len(r.letters) - 1
		s := signature{pushes: letter[r.letters[last]]}
		for i := range last - 1 {
			s.pops = append(s.pops, letter[r.letters[i]])
		}
		for range r.opcodes {
			list = append(list, s)
		}
	}
	return list
}

// instruction is one decoded instruction. Its bytes are [start, end) of what was read.
type instruction struct {
	op         int
	start, end int
	index      uint32   // label, local, global, function, type, segment, or alignment
	block      int64    // type of a block: an index, or negative for a single type or none
	labels     []uint32 // of br_table, the default last; valid until the next instruction
	typ        valueType
}

// instruction decodes the next instruction, and refuses one that is unknown or off. labels
// is scratch space.
func (r *reader) instruction(labels *[]uint32) instruction {
	in := instruction{start: r.at}
	in.op = int(r.byte())
	switch op := in.op; {
	case op == opBlock || op == opLoop || op == opIf:
		in.block = r.signed(33)
	case op == opBr || op == opBrIf || op == opCall || op >= opLocalGet && op <= opGlobalSet:
		in.index = r.u32()
	case op == opBrTable:
		in.labels = r.branchTable(labels)
	case op == opCallIndirect:
		in.index = r.u32()
		r.index("table", 1)
	case op == opSelectTyped:
		if r.count("types of select", 1) == 1 {
			in.typ = r.valueType()
		} else {
			r.fail("select needs one type")
		}
	case op >= opI32Load && op <= opI64Store32:
		in.index = r.u32()
		r.u32()
	case op == opMemorySize || op == opMemoryGrow:
		r.zero()
	case op == opI32Const:
		r.signed(32)
	case op == opI64Const:
		r.signed(64)
	case op == opF32Const:
		r.bytes(4)
	case op == opF64Const:
		r.bytes(8)
	case op == opPrefix:
		r.prefixed(&in)
	case op == opUnreachable || op == opNop || op == opElse || op == opEnd || op == opReturn || op == opDrop || op == opSelect ||
		op >= opI32Eqz && op <= opI64Extend32:
		// No immediates.
	default:
		r.refuseOpcode(in.start, op)
	}
	in.end = r.at
	return in
}

func (r *reader) prefixed(in *instruction) {
	second := r.u32()
	if second > opMemoryFill&0xff {
		r.failAt(in.start, fixFeature, "instructions that use tables (0xfc %d) are not supported", second)
		return
	}
	in.op = opPrefix<<8 | int(second)
	switch in.op {
	case opMemoryInit:
		in.index = r.u32()
		r.zero()
	case opDataDrop:
		in.index = r.u32()
	case opMemoryCopy:
		r.zero()
		r.zero()
	case opMemoryFill:
		r.zero()
	}
}

// zero decodes the index of the only memory.
func (r *reader) zero() {
	if b := r.byte(); b != 0 {
		r.failAt(r.at-1, "", "memory %d does not exist", b)
	}
}

func (r *reader) branchTable(labels *[]uint32) []uint32 {
	n := r.count("targets of br_table", maxBranchTargets)
	*labels = (*labels)[:0]
	for i := 0; i <= n && r.err == nil; i++ {
		*labels = append(*labels, r.u32())
	}
	return *labels
}

// refuseOpcode names the feature of an opcode that is not supported.
func (r *reader) refuseOpcode(at, op int) {
	switch {
	case op == 0xfd:
		r.failAt(at, "build without SIMD (no simd128)", "vector instructions are not supported")
	case op == 0xfe:
		r.failAt(at, "build without threads", "atomic instructions are not supported")
	case op == 0x12 || op == 0x13:
		r.failAt(at, "build without tail calls", "tail calls are not supported")
	case op >= 0x06 && op <= 0x0a || op == 0x18 || op == 0x19 || op == 0x1f:
		r.failAt(at, "build without exceptions", "exception instructions are not supported")
	case op == 0x25 || op == 0x26 || op >= opRefNull && op <= 0xd6:
		r.failAt(at, fixFeature, "instructions with tables and references are not supported")
	default:
		r.failAt(at, fixFeature, "opcode %#x is unknown", op)
	}
}
