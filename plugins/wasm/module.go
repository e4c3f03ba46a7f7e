package wasm

import (
	"bytes"
	"crypto/sha256"
	"slices"
)

// valueType is the type of a value, as the binary format encodes it. unknown is that of a
// value in unreachable code.
type valueType byte

const (
	typeI32 valueType = 0x7f
	typeI64 valueType = 0x7e
	typeF32 valueType = 0x7d
	typeF64 valueType = 0x7c
	unknown valueType = 0
)

func (t valueType) String() string {
	switch t {
	case typeI32:
		return "i32"
	case typeI64:
		return "i64"
	case typeF32:
		return "f32"
	case typeF64:
		return "f64"
	}
	return "unknown"
}

// funcType is a signature.
type funcType struct {
	params, results []valueType
}

func (t funcType) equal(u funcType) bool {
	return slices.Equal(t.params, u.params) && slices.Equal(t.results, u.results)
}

func (t funcType) String() string { return typeList(t.params) + " → " + typeList(t.results) }

func typeBytes(types []valueType) []byte {
	b := make([]byte, len(types))
	for i, t := range types {
		b[i] = byte(t)
	}
	return b
}

func valueTypes(types []byte) []valueType {
	v := make([]valueType, len(types))
	for i, t := range types {
		v[i] = valueType(t)
	}
	return v
}

func typeList(types []valueType) string {
	var b bytes.Buffer
	b.WriteByte('(')
	for i, t := range types {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(t.String())
	}
	b.WriteByte(')')
	return b.String()
}

// The sections, by their ids.
const (
	sectionCustom = iota
	sectionType
	sectionImport
	sectionFunction
	sectionTable
	sectionMemory
	sectionGlobal
	sectionExport
	sectionStart
	sectionElement
	sectionCode
	sectionData
	sectionDataCount
	sectionCount
)

var sectionNames = [sectionCount]string{
	"custom", "type", "import", "function", "table", "memory", "global", "export", "start", "element", "code", "data", "data count",
}

// sectionOrder is the order in which sections stand.
var sectionOrder = [...]byte{
	sectionType, sectionImport, sectionFunction, sectionTable, sectionMemory, sectionGlobal, sectionExport,
	sectionStart, sectionElement, sectionDataCount, sectionCode, sectionData,
}

// Module is a module that the parser has accepted: it is valid, within the limits, and uses
// no feature that is off. Its methods do not change it.
type Module struct {
	source    []byte
	sections  [sectionCount][]byte
	types     []funcType
	imports   []importedFunc
	functions []uint32 // types of the functions that the module defines
	table     *table
	memory    *memory
	globals   []global
	exports   []export
	start     int // index of the start function, or -1
	bodies    []body
	dataCount int // as the data count section has it, or -1
	segments  int // of data
	names     []symbol
	manifest  []byte

	// functionRefs are where sections other than code name functions, by section.
	functionRefs [sectionCount][]functionRef
}

// importedFunc is a function that the host has to give.
type importedFunc struct {
	module, name string
	typ          uint32
	at           int // offset in the file
}

// table is the one table of functions. Its size never changes.
type table struct{ size uint32 }

type memory struct {
	minPages uint32
	maxPages uint32 // at most maxMemoryPages
}

type global struct {
	typ     valueType
	mutable bool
}

// export names a function, table, memory or global.
type export struct {
	name  string
	kind  byte
	index uint32
}

// Kinds of exports and imports.
const (
	kindFunc   = 0
	kindTable  = 1
	kindMemory = 2
	kindGlobal = 3
)

// body is one function of the code section.
type body struct {
	start, end int // in the code section, without the size before it
}

// symbol is a function's name, for stack traces.
type symbol struct {
	function uint32
	name     string
}

// functionRef is where a section names a function: the bytes [start, end) of the section.
type functionRef struct {
	start, end, function uint32
}

// ManifestSection is the name of the custom section that holds a plugin's manifest.
const ManifestSection = "gyre.manifest"

// ID returns the SHA-256 of the bytes that were parsed.
func (m *Module) ID() [sha256.Size]byte { return sha256.Sum256(m.source) }

// Manifest returns the content of the section ManifestSection, or nil.
func (m *Module) Manifest() []byte { return bytes.Clone(m.manifest) }

// typeOf returns the type of a function by its index, imported ones first.
func (m *Module) typeOf(function uint32) funcType {
	if int(function) < len(m.imports) {
		return m.types[m.imports[function].typ]
	}
	return m.types[m.functions[int(function)-len(m.imports)]]
}

// functionCount counts imported and defined functions.
func (m *Module) functionCount() int { return len(m.imports) + len(m.functions) }
