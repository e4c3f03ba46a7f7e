package wasm

import (
	"encoding/binary"
	"slices"
)

// The names by which a metered module and the host know the meter.
const (
	meterModule = "gyre_meter"
	meterRefuel = "refuel"
	fuelExport  = "gyre_meter_fuel"
)

// The costs of instructions in units of fuel. Most cost one.
const (
	costCall       = 2
	costMemoryGrow = 500
	bulkShift      = 6 // 64 bytes of a bulk instruction cost one unit
)

// Meter returns the module rewritten to count fuel.
//
// A global holds the fuel that is left. The module takes from it at the start of each
// function, at each loop header and wherever control flow joins or splits, by the
// instructions that follow, and at each bulk memory instruction, by its length. memory.fill
// and memory.copy become calls of functions that do the same in chunks. Where the module
// could go on without end (functions, loops, bulk) and the fuel is negative, it calls
//
//	gyre_meter.refuel(left i64) → i64
//
// which returns the fuel to go on with, or stops the guest. The global starts at zero, so
// that the first function asks; it is exported as gyre_meter_fuel.
//
// The table's maximum becomes its minimum, and the memory's is at most the limit. Data segments
// that are next to each other are joined. Custom sections are dropped, except the names of
// functions.
func (m *Module) Meter() []byte { return m.meter(bulkChunk) }

// meter is Meter with chunks of a size, which is a multiple of 1<<bulkShift.
func (m *Module) meter(chunk int64) []byte {
	w := &meter{m: m, refuel: uint32(len(m.imports)), fuel: uint32(len(m.globals)), chunk: chunk}
	if m.memory != nil {
		w.bulk = [][]byte{w.fillBody(), w.copyBody()}
	}
	out := append(make([]byte, 0, m.size()*5/4+256), header...)
	for _, id := range sectionOrder {
		if content := w.section(int(id)); content != nil {
			out = appendSection(out, id, content)
		}
	}
	if len(m.names) > 0 {
		out = appendSection(out, sectionCustom, w.nameSection())
	}
	return out
}

// size is that of all sections.
func (m *Module) size() (n int) {
	for _, s := range m.sections {
		n += len(s)
	}
	return n
}

// meter rewrites one Module.
type meter struct {
	m      *Module
	refuel uint32   // the function that is imported last
	fuel   uint32   // the global that is added last
	chunk  int64    // of bulk instructions
	bulk   [][]byte // the functions that are added last: fill and copy, if there is a memory
	labels []uint32
	costs  []int64 // of the parts of the current function
}

func (w *meter) section(id int) []byte {
	switch id {
	case sectionType:
		return w.extended(id, appendType(nil, refuelType), appendType(nil, bulkType))
	case sectionImport:
		entry := append(appendName(appendName(nil, meterModule), meterRefuel), kindFunc)
		return w.extended(id, binary.AppendUvarint(entry, uint64(len(w.m.types))))
	case sectionFunction:
		if len(w.bulk) == 0 {
			return w.m.sections[id]
		}
		index := binary.AppendUvarint(nil, uint64(len(w.m.types))+1)
		return w.extended(id, index, index)
	case sectionTable:
		return w.tableSection()
	case sectionMemory:
		return w.memorySection()
	case sectionGlobal:
		return w.extended(id, []byte{byte(typeI64), 1, opI64Const, 0, opEnd})
	case sectionExport:
		entry := append(appendName(nil, fuelExport), kindGlobal)
		return w.extended(id, binary.AppendUvarint(entry, uint64(w.fuel)))
	case sectionStart, sectionElement:
		return w.shifted(id, 0)
	case sectionCode:
		return w.codeSection()
	case sectionData:
		return w.dataSection()
	}
	return w.m.sections[id]
}

// refuelType is the type of the import.
var refuelType = funcType{params: []valueType{typeI64}, results: []valueType{typeI64}}

func appendType(out []byte, t funcType) []byte {
	out = binary.AppendUvarint(append(out, 0x60), uint64(len(t.params)))
	out = binary.AppendUvarint(append(out, typeBytes(t.params)...), uint64(len(t.results)))
	return append(out, typeBytes(t.results)...)
}

// extended adds entries to the end of a section that is a counted list.
func (w *meter) extended(id int, entries ...[]byte) []byte {
	r := &reader{data: w.m.sections[id]}
	n := uint32(0)
	if len(r.data) > 0 {
		n = r.u32()
	}
	out := binary.AppendUvarint(nil, uint64(n)+uint64(len(entries)))
	out = append(out, w.shifted(id, r.at)...)
	return append(out, slices.Concat(entries...)...)
}

// shifted copies a section from a byte on, with the indexes of its functions shifted.
func (w *meter) shifted(id, from int) []byte {
	source := w.m.sections[id]
	if len(w.m.functionRefs[id]) == 0 {
		return source[from:]
	}
	var out []byte
	for _, ref := range w.m.functionRefs[id] {
		out = append(out, source[from:ref.start]...)
		out = binary.AppendUvarint(out, w.shift(ref.function))
		from = int(ref.end)
	}
	return append(out, source[from:]...)
}

// shift returns the index that a function has after the import of refuel.
func (w *meter) shift(function uint32) uint64 {
	if function >= w.refuel {
		return uint64(function) + 1
	}
	return uint64(function)
}

// bulkFunction returns the index of the function that replaces an instruction.
func (w *meter) bulkFunction(op int) uint64 {
	first := w.shift(uint32(w.m.functionCount()))
	if op == opMemoryCopy {
		return first + 1
	}
	return first
}

func (w *meter) tableSection() []byte {
	t := w.m.table
	if t == nil {
		return nil
	}
	return appendLimits([]byte{1, 0x70}, t.size, t.size)
}

func (w *meter) memorySection() []byte {
	mem := w.m.memory
	if mem == nil {
		return nil
	}
	return appendLimits([]byte{1}, mem.minPages, mem.maxPages)
}

func (w *meter) codeSection() []byte {
	source := w.m.sections[sectionCode]
	if source == nil && len(w.bulk) == 0 {
		return nil
	}
	out := binary.AppendUvarint(make([]byte, 0, len(source)*5/4), uint64(len(w.m.bodies)+len(w.bulk)))
	var one []byte
	for i, b := range w.m.bodies {
		one = w.body(one[:0], source[b.start:b.end], len(w.m.types[w.m.functions[i]].params))
		out = append(binary.AppendUvarint(out, uint64(len(one))), one...)
	}
	for _, one := range w.bulk {
		out = append(binary.AppendUvarint(out, uint64(len(one))), one...)
	}
	return out
}

// body appends a metered function body to out.
func (w *meter) body(out, source []byte, params int) []byte {
	r := &reader{data: source}
	groups := int(r.u32())
	first := r.at
	locals := params
	for range groups {
		locals += int(r.u32())
		r.valueType()
	}
	code := r.at
	w.measure(r)

	out = binary.AppendUvarint(out, uint64(groups)+2)
	out = append(out, source[first:code]...)
	out = append(out, 1, byte(typeI64), 1, byte(typeI32))
	left, length := uint64(locals), uint64(locals)+1

	r.at = code
	part := 0
	out = w.check(w.charge(out, w.costs[part], left), left)
	for r.more() {
		in := r.instruction(&w.labels)
		switch in.op {
		case opCall:
			out = binary.AppendUvarint(append(out, opCall), w.shift(in.index))
			continue
		case opMemoryFill, opMemoryCopy:
			out = binary.AppendUvarint(append(out, opCall), w.bulkFunction(in.op))
			continue
		case opMemoryInit:
			out = w.check(w.chargeLength(out, left, length), left)
		}
		out = append(out, source[in.start:in.end]...)
		if !splits(in.op) {
			continue
		}
		part++
		if cost := w.costs[part]; cost > 0 && r.more() {
			out = w.charge(out, cost, left)
		}
		if in.op == opLoop {
			out = w.check(out, left)
		}
	}
	return out
}

// measure sets costs to what each part of a function costs. A part ends where control flow
// splits or joins. A function and a loop cost at least one.
func (w *meter) measure(r *reader) {
	w.costs = append(w.costs[:0], 1)
	for r.more() {
		in := r.instruction(&w.labels)
		w.costs[len(w.costs)-1] += cost(in.op)
		switch {
		case in.op == opLoop:
			w.costs = append(w.costs, 1)
		case splits(in.op):
			w.costs = append(w.costs, 0)
		}
	}
}

func splits(op int) bool {
	return op == opLoop || op == opIf || op == opElse || op == opEnd
}

func cost(op int) int64 {
	switch op {
	case opNop, opBlock, opLoop, opElse, opEnd:
		return 0
	case opCall, opCallIndirect:
		return costCall
	case opMemoryGrow:
		return costMemoryGrow
	}
	return 1
}

// charge takes cost from the fuel, and leaves what remains in the local left.
func (w *meter) charge(out []byte, cost int64, left uint64) []byte {
	out = w.getFuel(out)
	out = append(appendSigned(append(out, opI64Const), cost), opI64Sub)
	return w.setFuel(out, left)
}

// chargeLength takes what a bulk instruction costs, whose length is on the stack.
func (w *meter) chargeLength(out []byte, left, length uint64) []byte {
	out = binary.AppendUvarint(append(out, opLocalTee), length)
	out = w.getFuel(out)
	out = binary.AppendUvarint(append(out, opLocalGet), length)
	out = append(out, opI32Const, bulkShift, opI32ShrU, opI64ExtendI32U, opI64Sub)
	return w.setFuel(out, left)
}

func (w *meter) getFuel(out []byte) []byte {
	return binary.AppendUvarint(append(out, opGlobalGet), uint64(w.fuel))
}

func (w *meter) setFuel(out []byte, left uint64) []byte {
	out = binary.AppendUvarint(append(out, opLocalTee), left)
	return binary.AppendUvarint(append(out, opGlobalSet), uint64(w.fuel))
}

// check asks for more fuel if the local left is negative.
func (w *meter) check(out []byte, left uint64) []byte {
	out = binary.AppendUvarint(append(out, opLocalGet), left)
	out = append(out, opI64Const, 0, opI64LtS, opIf, blockEmpty)
	out = binary.AppendUvarint(append(out, opLocalGet), left)
	out = binary.AppendUvarint(append(out, opCall), uint64(w.refuel))
	out = binary.AppendUvarint(append(out, opGlobalSet), uint64(w.fuel))
	return append(out, opEnd)
}

// nameSection holds the names of functions.
func (w *meter) nameSection() []byte {
	list := binary.AppendUvarint(nil, uint64(len(w.m.names)))
	for _, s := range w.m.names {
		list = appendName(binary.AppendUvarint(list, w.shift(s.function)), s.name)
	}
	out := append(appendName(nil, "name"), 1)
	return slices.Concat(out, binary.AppendUvarint(nil, uint64(len(list))), list)
}

func appendSection(out []byte, id byte, content []byte) []byte {
	return append(binary.AppendUvarint(append(out, id), uint64(len(content))), content...)
}

func appendName(out []byte, name string) []byte {
	return append(binary.AppendUvarint(out, uint64(len(name))), name...)
}

func appendLimits(out []byte, least, most uint32) []byte {
	out = binary.AppendUvarint(append(out, 1), uint64(least))
	return binary.AppendUvarint(out, uint64(most))
}

// appendSigned encodes a signed LEB128 number.
func appendSigned(out []byte, v int64) []byte {
	for {
		b := byte(v & 0x7f)
		v >>= 7
		if v == 0 && b&0x40 == 0 || v == -1 && b&0x40 != 0 {
			return append(out, b)
		}
		out = append(out, b|0x80)
	}
}
