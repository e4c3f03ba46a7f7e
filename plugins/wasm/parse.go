package wasm

import "slices"

const header = "\x00asm\x01\x00\x00\x00"

const maxManifestBytes = 64 << 10

// fixFeature is the fix for a module that uses a feature that is off.
const fixFeature = "build for plain WebAssembly, without that feature"

// Parse checks a module from its bytes and refuses, with an *InvalidError, whatever is not
// valid, over a limit, or uses a feature that is off. What it allocates is bounded by the
// size of the input. The Module keeps source, which the caller must not change.
func Parse(source []byte) (*Module, error) {
	p := &parser{m: &Module{source: source, start: -1, dataCount: -1}}
	p.module(&reader{data: source})
	if p.r.err != nil {
		return nil, p.r.err
	}
	return p.m, nil
}

// parser fills a Module section by section. r reads the current one.
type parser struct {
	m      *Module
	r      *reader
	custom int // sections seen
	named  bool
}

func (p *parser) module(whole *reader) {
	p.r = whole
	if len(whole.data) > maxModuleBytes {
		whole.fail("the module has %d bytes, at most %d are allowed", len(whole.data), maxModuleBytes)
		return
	}
	if string(whole.data[:min(len(header), len(whole.data))]) != header {
		whole.failAt(0, "upload the .wasm file that the compiler makes, not a component or text", "not a WebAssembly 1.0 module")
		return
	}
	whole.at = len(header)
	place := 0 // in sectionOrder, after the last section seen
	for whole.more() {
		id := whole.byte()
		if id >= sectionCount {
			whole.failAt(whole.at-1, fixFeature, "section id %d is unknown", id)
			return
		}
		if id != sectionCustom {
			next := slices.Index(sectionOrder[:], id) + 1
			if next <= place {
				whole.failAt(whole.at-1, "", "the %s section is repeated or out of order", sectionNames[id])
				return
			}
			place = next
		}
		p.r = whole.sub(whole.count("bytes of a section", maxModuleBytes), sectionNames[id])
		p.m.sections[id] = p.r.data
		p.section(id)
		p.r.end()
		whole.err, p.r = p.r.err, whole
	}
	p.complete()
}

func (p *parser) section(id byte) {
	switch id {
	case sectionCustom:
		p.customSection()
	case sectionType:
		p.typeSection()
	case sectionImport:
		p.importSection()
	case sectionFunction:
		p.functionSection()
	case sectionTable:
		p.tableSection()
	case sectionMemory:
		p.memorySection()
	case sectionGlobal:
		p.globalSection()
	case sectionExport:
		p.exportSection()
	case sectionStart:
		p.startSection()
	case sectionElement:
		p.elementSection()
	case sectionDataCount:
		p.m.dataCount = int(p.r.u32())
	case sectionCode:
		p.codeSection()
	case sectionData:
		p.dataSection()
	}
}

// complete checks what concerns several sections.
func (p *parser) complete() {
	if len(p.m.functions) != len(p.m.bodies) {
		p.r.fail("%d functions are declared, %d have a body", len(p.m.functions), len(p.m.bodies))
	}
	if p.m.dataCount >= 0 && p.m.dataCount != p.m.segments {
		p.r.fail("the data count is %d, there are %d data segments", p.m.dataCount, p.m.segments)
	}
}

func (p *parser) typeSection() {
	n := p.r.count("types", maxTypes)
	for i := 0; i < n && p.r.err == nil; i++ {
		if form := p.r.byte(); form != 0x60 {
			p.r.failAt(p.r.at-1, fixFeature, "type form %#x is not a function", form)
			return
		}
		p.m.types = append(p.m.types, funcType{p.valueTypes("parameters", maxParams), p.valueTypes("results", maxResults)})
	}
}

func (p *parser) valueTypes(what string, limit int) []valueType {
	n := p.r.count(what, limit)
	types := make([]valueType, 0, n)
	for range n {
		types = append(types, p.r.valueType())
	}
	return types
}

func (r *reader) valueType() valueType {
	at := r.at
	switch t := valueType(r.byte()); t {
	case typeI32, typeI64, typeF32, typeF64:
		return t
	case 0x7b:
		r.failAt(at, "build without SIMD (no simd128)", "the vector type is not supported")
	case 0x70, 0x6f:
		r.failAt(at, fixFeature, "reference types as values are not supported")
	default:
		r.failAt(at, fixFeature, "value type %#x is unknown", byte(t))
	}
	return unknown
}

func (p *parser) importSection() {
	n := p.r.count("imports", maxImports)
	for i := 0; i < n && p.r.err == nil; i++ {
		at := p.r.at
		module, name := p.r.name(maxNameBytes), p.r.name(maxNameBytes)
		if kind := p.r.byte(); kind != kindFunc {
			p.r.failAt(at, "let the module define its own memory and table", "import %q.%q is not a function", module, name)
			return
		}
		if module == meterModule {
			p.r.failAt(at, "", "import module %q is reserved", module)
			return
		}
		typ := p.r.index("type", len(p.m.types))
		p.m.imports = append(p.m.imports, importedFunc{module: module, name: name, typ: typ, at: p.r.base + at})
	}
}

func (p *parser) functionSection() {
	n := p.r.count("functions", maxFunctions)
	p.m.functions = make([]uint32, 0, n)
	for range n {
		p.m.functions = append(p.m.functions, p.r.index("type", len(p.m.types)))
	}
}

func (p *parser) tableSection() {
	if p.r.count("tables", 1) == 0 {
		return
	}
	if t := p.r.byte(); t != 0x70 {
		p.r.failAt(p.r.at-1, fixFeature, "table type %#x is not funcref", t)
		return
	}
	least, _ := p.limits("table entries", maxTableEntries, maxTableEntries)
	p.m.table = &table{size: least}
}

func (p *parser) memorySection() {
	if p.r.count("memories", 1) == 0 {
		return
	}
	least, most := p.limits("memory pages", maxMemoryPages, 1<<16)
	p.m.memory = &memory{least, min(most, maxMemoryPages)}
}

// limits decodes a minimum and a maximum, which is valid if not above ceiling. A maximum
// that is left out is ceiling.
func (p *parser) limits(what string, limit, ceiling uint32) (least, most uint32) {
	flags := p.r.byte()
	if flags > 1 {
		p.r.failAt(p.r.at-1, "build without threads and memory64", "limits with flags %#x are not supported", flags)
		return 0, 0
	}
	at := p.r.at
	if least = p.r.u32(); least > limit {
		p.r.failAt(at, "", "%d %s, at most %d are allowed", least, what, limit)
	}
	if flags == 0 {
		return least, ceiling
	}
	at = p.r.at
	if most = p.r.u32(); most < least || what == "memory pages" && most > ceiling {
		p.r.failAt(at, "", "the maximum of %s, %d, is not between %d and %d", what, most, least, ceiling)
	}
	return least, most
}

func (p *parser) globalSection() {
	n := p.r.count("globals", maxGlobals)
	for i := 0; i < n && p.r.err == nil; i++ {
		g := global{typ: p.r.valueType()}
		switch mutable := p.r.byte(); mutable {
		case 0, 1:
			g.mutable = mutable == 1
		default:
			p.r.failAt(p.r.at-1, "", "mutability %#x is unknown", mutable)
		}
		p.constant(g.typ)
		p.m.globals = append(p.m.globals, g)
	}
}

// constant decodes an expression that is one constant of type t. Nothing else can be
// constant here, because globals are never imported. It returns an i32, for offsets.
func (p *parser) constant(t valueType) uint32 {
	at := p.r.at
	var got valueType
	var value uint32
	switch op := p.r.byte(); op {
	case opI32Const:
		got, value = typeI32, uint32(p.r.signed(32))
	case opI64Const:
		got = typeI64
		p.r.signed(64)
	case opF32Const:
		got = typeF32
		p.r.bytes(4)
	case opF64Const:
		got = typeF64
		p.r.bytes(8)
	default:
		p.r.failAt(at, fixFeature, "opcode %#x is not a constant", op)
		return 0
	}
	if got != t {
		p.r.failAt(at, "", "the constant is %s, %s is needed", got, t)
	}
	if end := p.r.byte(); end != opEnd {
		p.r.failAt(p.r.at-1, fixFeature, "a constant expression has more than one instruction")
	}
	return value
}

func (p *parser) exportSection() {
	n := p.r.count("exports", maxExports)
	seen := make(map[string]bool, n)
	for i := 0; i < n && p.r.err == nil; i++ {
		at := p.r.at
		e := export{name: p.r.name(maxNameBytes), kind: p.r.byte()}
		if seen[e.name] || e.name == fuelExport {
			p.r.failAt(at, "", "export %q is repeated or reserved", e.name)
			return
		}
		seen[e.name] = true
		start := p.r.at
		switch e.kind {
		case kindFunc:
			e.index = p.r.index("function", p.m.functionCount())
			p.refersTo(sectionExport, start, e.index)
		case kindTable:
			e.index = p.r.index("table", count(p.m.table != nil))
		case kindMemory:
			e.index = p.r.index("memory", count(p.m.memory != nil))
		case kindGlobal:
			e.index = p.r.index("global", len(p.m.globals))
		default:
			p.r.failAt(start-1, fixFeature, "export kind %#x is unknown", e.kind)
		}
		p.m.exports = append(p.m.exports, e)
	}
}

func count(exists bool) int {
	if exists {
		return 1
	}
	return 0
}

// refersTo records that the section names a function from start to the next byte.
func (p *parser) refersTo(section, start int, function uint32) {
	p.m.functionRefs[section] = append(p.m.functionRefs[section], functionRef{uint32(start), uint32(p.r.at), function})
}

func (p *parser) startSection() {
	f := p.r.index("function", p.m.functionCount())
	if p.r.err != nil {
		return
	}
	if t := p.m.typeOf(f); len(t.params)+len(t.results) > 0 {
		p.r.failAt(0, "", "the start function has the type %s, () → () is needed", t)
	}
	p.m.start = int(f)
	p.refersTo(sectionStart, 0, f)
}

// elementSection takes active segments only: without instructions that use tables, others
// have no use.
func (p *parser) elementSection() {
	n, total := p.r.count("element segments", maxSegments), 0
	for i := 0; i < n && p.r.err == nil; i++ {
		at := p.r.at
		flags := p.r.u32()
		if flags > 7 || flags&1 != 0 {
			p.r.failAt(at, fixFeature, "element segments with flags %d are not supported", flags)
			return
		}
		if flags&2 != 0 {
			p.r.index("table", 1)
		}
		if p.m.table == nil {
			p.r.failAt(at, "", "element segment %d has no table to fill", i)
			return
		}
		offset := p.constant(typeI32)
		expressions := flags&4 != 0
		if flags&2 != 0 {
			p.elementKind(expressions)
		}
		entries := p.r.count("table entries", maxTableEntries)
		if uint64(offset)+uint64(entries) > uint64(p.m.table.size) {
			p.r.failAt(at, "", "element segment %d ends after the table", i)
		}
		if total += entries; total > 2*maxTableEntries {
			p.r.failAt(at, "", "the element segments have more than %d entries", 2*maxTableEntries)
		}
		p.m.functionRefs[sectionElement] = slices.Grow(p.m.functionRefs[sectionElement], entries)
		for range entries {
			p.element(expressions)
		}
	}
}

func (p *parser) elementKind(expressions bool) {
	want := byte(0) // functions
	if expressions {
		want = 0x70 // funcref
	}
	if got := p.r.byte(); got != want {
		p.r.failAt(p.r.at-1, fixFeature, "element kind %#x is not supported", got)
	}
}

// element decodes one entry: a function, or an expression that is one or null.
func (p *parser) element(expression bool) {
	if !expression {
		p.functionIndex()
		return
	}
	switch op := p.r.byte(); op {
	case opRefFunc:
		p.functionIndex()
	case opRefNull:
		if t := p.r.byte(); t != 0x70 {
			p.r.failAt(p.r.at-1, fixFeature, "null of type %#x in a table of functions", t)
		}
	default:
		p.r.failAt(p.r.at-1, fixFeature, "opcode %#x in an element segment is not supported", op)
	}
	if end := p.r.byte(); end != opEnd {
		p.r.failAt(p.r.at-1, fixFeature, "an element expression has more than one instruction")
	}
}

func (p *parser) functionIndex() {
	start := p.r.at
	p.refersTo(sectionElement, start, p.r.index("function", p.m.functionCount()))
}

func (p *parser) dataSection() {
	n := p.r.count("data segments", maxSegments)
	p.m.segments = n
	for i := 0; i < n && p.r.err == nil; i++ {
		at := p.r.at
		flags := p.r.u32()
		if flags > 2 {
			p.r.failAt(at, fixFeature, "data segments with flags %d are not supported", flags)
			return
		}
		if flags == 2 {
			p.r.index("memory", 1)
		}
		passive := flags == 1
		var offset uint32
		if !passive {
			if p.m.memory == nil {
				p.r.failAt(at, "", "data segment %d has no memory to fill", i)
				return
			}
			offset = p.constant(typeI32)
		}
		data := p.r.bytes(p.r.count("bytes of data", maxModuleBytes))
		if !passive && uint64(offset)+uint64(len(data)) > uint64(p.m.memory.minPages)*pageBytes {
			p.r.failAt(at, "", "data segment %d ends after the memory", i)
		}
	}
}

// customSection reads the manifest and the names of functions, and skips the rest.
func (p *parser) customSection() {
	if p.custom++; p.custom > maxCustom {
		p.r.failAt(0, "strip the module", "more than %d custom sections", maxCustom)
		return
	}
	at := p.r.at
	switch name := p.r.name(maxNameBytes); name {
	case ManifestSection:
		if p.m.manifest != nil || p.r.left() > maxManifestBytes {
			p.r.failAt(at, "", "the section %s is repeated, or over %d bytes", name, maxManifestBytes)
			return
		}
		p.m.manifest = append([]byte{}, p.r.bytes(p.r.left())...)
	case "name":
		if p.named {
			p.r.failAt(at, "strip the module", "the name section is repeated")
			return
		}
		p.named = true
		p.nameSection()
	default:
		p.r.bytes(p.r.left())
	}
}

// nameSection reads the names of functions. Other names are for debuggers.
func (p *parser) nameSection() {
	const functionNames = 1
	for p.r.more() {
		id := p.r.byte()
		part := p.r.sub(p.r.count("bytes of names", maxModuleBytes), "name")
		if id == functionNames && p.m.names == nil {
			p.m.names = part.symbols(p.m.functionCount())
			part.end()
		}
		if part.err != nil {
			p.r.err = part.err
			return
		}
	}
}

// symbols decodes function names, whose indexes rise.
func (r *reader) symbols(functions int) []symbol {
	n := r.count("function names", maxFunctions+maxImports)
	list := make([]symbol, 0, n)
	for i := 0; i < n && r.err == nil; i++ {
		at := r.at
		s := symbol{r.index("function", functions), r.name(maxSymbolBytes)}
		if i > 0 && s.function <= list[i-1].function {
			r.failAt(at, "strip the module", "function names are out of order")
			return nil
		}
		list = append(list, s)
	}
	return list
}
