package wasm

// bulkChunk is how many bytes memory.fill and memory.copy write at a time: what takes a guest
// about 0.1 ms, in which it cannot be stopped and Go's collector cannot start. It is a
// multiple of the bytes that cost one unit of fuel.
const bulkChunk = 1 << 20

// bulkType is the type of the functions that replace memory.fill and memory.copy.
var bulkType = funcType{params: []valueType{typeI32, typeI32, typeI32}}

// Their parameters and locals.
const (
	bulkTo     = 0
	bulkFrom   = 1 // or the byte to fill with
	bulkLength = 2
	bulkLeft   = 3 // fuel, i64
	bulkSize   = 4 // of the current chunk
)

// fillBody is a function that does what memory.fill does, in chunks.
func (w *meter) fillBody() []byte {
	out := w.refuseOutside(bulkLocals(), bulkTo)
	out = w.beginChunk(append(out, opLoop, blockEmpty))
	out = append(out, opLocalGet, bulkTo, opLocalGet, bulkFrom, opLocalGet, bulkSize, opPrefix, opMemoryFill&0xff, 0)
	out = appendAdvance(out, bulkTo)
	return appendNextChunk(out)
}

// copyBody is a function that does what memory.copy does, in chunks. If the target is after
// the source, it starts with the last chunk, because the two may overlap.
func (w *meter) copyBody() []byte {
	op := []byte{opPrefix, opMemoryCopy & 0xff, 0, 0}
	out := w.refuseOutside(bulkLocals(), bulkTo)
	out = w.refuseOutside(out, bulkFrom)
	out = w.beginChunk(append(out, opLoop, blockEmpty))
	out = append(out, opLocalGet, bulkTo, opLocalGet, bulkFrom, opI32GtU, opIf, blockEmpty)
	for _, at := range []byte{bulkTo, bulkFrom} { // at + length − size
		out = append(out, opLocalGet, at, opLocalGet, bulkLength, opI32Add, opLocalGet, bulkSize, opI32Sub)
	}
	out = append(append(out, opLocalGet, bulkSize), op...)
	out = append(out, opElse, opLocalGet, bulkTo, opLocalGet, bulkFrom, opLocalGet, bulkSize)
	out = append(out, op...)
	out = appendAdvance(appendAdvance(out, bulkTo), bulkFrom)
	return appendNextChunk(append(out, opEnd))
}

func bulkLocals() []byte { return []byte{2, 1, byte(typeI64), 1, byte(typeI32)} }

// refuseOutside traps if a range ends outside of the memory, before anything is written. A
// range of one chunk is left to the instruction.
func (w *meter) refuseOutside(out []byte, at byte) []byte {
	out = append(appendSigned(append(out, opLocalGet, bulkLength, opI32Const), w.chunk), opI32GtU, opIf, blockEmpty)
	out = append(out, opLocalGet, at, opI64ExtendI32U, opLocalGet, bulkLength, opI64ExtendI32U, opI64Add)
	out = append(out, opMemorySize, 0, opI64ExtendI32U, opI64Const, 16, opI64Shl, opI64GtU, opIf, blockEmpty)
	out = append(out, opLocalGet, at, opI32Const, 0, opLocalGet, bulkLength, opPrefix, opMemoryFill&0xff, 0) // traps
	return append(out, opEnd, opEnd)
}

// beginChunk sets the size of the next chunk, and charges for it.
func (w *meter) beginChunk(out []byte) []byte {
	for range 2 {
		out = appendSigned(append(out, opLocalGet, bulkLength, opI32Const), w.chunk)
	}
	out = append(out, opI32LtU, opSelect)
	return w.check(append(w.chargeLength(out, bulkLeft, bulkSize), opDrop), bulkLeft)
}

// appendAdvance moves an address past the current chunk.
func appendAdvance(out []byte, at byte) []byte {
	return append(out, opLocalGet, at, opLocalGet, bulkSize, opI32Add, opLocalSet, at)
}

// appendNextChunk ends the loop and the function when no byte is left.
func appendNextChunk(out []byte) []byte {
	return append(out, opLocalGet, bulkLength, opLocalGet, bulkSize, opI32Sub, opLocalTee, bulkLength, opBrIf, 0, opEnd, opEnd)
}
