package wasm

import (
	"encoding/binary"
	"maps"
	"slices"
)

// built is a module that a test puts together. Its sections are written in their order.
type built struct {
	types     []funcType
	imports   []importedFunc
	functions []builtFunc
	table     []uint32 // functions, from entry 0 on
	memory    []uint32 // minimum, or minimum and maximum
	globals   []global
	data      []byte    // at address 0
	segments  []segment // more data
	exports   []export
	start     int // function, or 0 for none
	custom    map[string][]byte
}

// builtFunc is a function that a module defines, with code that does not end yet.
type builtFunc struct {
	typ    int
	locals []valueType
	code   []byte
}

// typ adds a type and returns its index.
func (b *built) typ(params, results []valueType) int {
	b.types = append(b.types, funcType{params, results})
	return len(b.types) - 1
}

// host adds an import and returns its function index. It comes before all of define.
func (b *built) host(module, name string, params, results []valueType) uint32 {
	b.imports = append(b.imports, importedFunc{module: module, name: name, typ: uint32(b.typ(params, results))})
	return uint32(len(b.imports) - 1)
}

// define adds a function and returns its index. A name exports it.
func (b *built) define(name string, params, results, locals []valueType, code ...byte) uint32 {
	b.functions = append(b.functions, builtFunc{b.typ(params, results), locals, code})
	index := uint32(len(b.imports) + len(b.functions) - 1)
	if name != "" {
		b.exports = append(b.exports, export{name, kindFunc, index})
	}
	return index
}

func (b *built) bytes() []byte {
	out := []byte(header)
	section := func(id byte, n int, entries []byte) {
		if n > 0 {
			out = appendSection(out, id, append(uleb(n), entries...))
		}
	}
	var types, imports, functions, globals, exports, code []byte
	for _, t := range b.types {
		types = slices.Concat(types, []byte{0x60}, list(typeBytes(t.params)), list(typeBytes(t.results)))
	}
	for _, i := range b.imports {
		imports = slices.Concat(imports, appendName(appendName(nil, i.module), i.name), []byte{kindFunc}, uleb(int(i.typ)))
	}
	for _, f := range b.functions {
		functions = append(functions, uleb(f.typ)...)
		var body []byte
		for _, t := range f.locals {
			body = append(body, 1, byte(t))
		}
		code = append(code, list(slices.Concat(uleb(len(f.locals)), body, f.code, []byte{opEnd}))...)
	}
	for _, g := range b.globals {
		zero := map[valueType][]byte{
			typeI32: {opI32Const, 0}, typeI64: {opI64Const, 0}, typeF32: {opF32Const, 0, 0, 0, 0}, typeF64: {opF64Const, 0, 0, 0, 0, 0, 0, 0, 0},
		}
		globals = slices.Concat(globals, []byte{byte(g.typ), 1}, zero[g.typ], []byte{opEnd})
	}
	for _, e := range b.exports {
		exports = slices.Concat(exports, appendName(nil, e.name), []byte{e.kind}, uleb(int(e.index)))
	}
	section(sectionType, len(b.types), types)
	section(sectionImport, len(b.imports), imports)
	section(sectionFunction, len(b.functions), functions)
	if b.table != nil {
		section(sectionTable, 1, slices.Concat([]byte{0x70, 0}, uleb(len(b.table))))
	}
	if len(b.memory) == 1 {
		section(sectionMemory, 1, append([]byte{0}, uleb(int(b.memory[0]))...))
	} else if len(b.memory) == 2 {
		section(sectionMemory, 1, appendLimits(nil, b.memory[0], b.memory[1]))
	}
	section(sectionGlobal, len(b.globals), globals)
	section(sectionExport, len(b.exports), exports)
	if b.start > 0 {
		out = appendSection(out, sectionStart, uleb(b.start))
	}
	if b.table != nil {
		entries := slices.Concat([]byte{0, opI32Const, 0, opEnd}, uleb(len(b.table)))
		for _, f := range b.table {
			entries = append(entries, uleb(int(f))...)
		}
		section(sectionElement, 1, entries)
	}
	section(sectionCode, len(b.functions), code)
	segments := b.segments
	if b.data != nil {
		segments = append([]segment{{0, b.data}}, segments...)
	}
	var data []byte
	for _, s := range segments {
		data = slices.Concat(data, []byte{0}, i32(int(s.at)), []byte{opEnd}, list(s.data))
	}
	section(sectionData, len(segments), data)
	for _, name := range slices.Sorted(maps.Keys(b.custom)) {
		out = appendSection(out, sectionCustom, append(appendName(nil, name), b.custom[name]...))
	}
	return out
}

func uleb(n int) []byte { return binary.AppendUvarint(nil, uint64(n)) }

// list is bytes with their number before them.
func list(b []byte) []byte { return append(uleb(len(b)), b...) }

func i32(v int) []byte { return appendSigned([]byte{opI32Const}, int64(int32(v))) }

var (
	none  []valueType
	i32x1 = []valueType{typeI32}
	i32x3 = []valueType{typeI32, typeI32, typeI32}
)
