package wasm

import (
	"bytes"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// huge is the number 2^32-1, as a count.
var huge = []byte{0xff, 0xff, 0xff, 0xff, 0x0f}

// sections joins sections to a module: an id and a content each.
func sections(parts ...any) []byte {
	out := []byte(header)
	for i := 0; i < len(parts); i += 2 {
		out = appendSection(out, byte(parts[i].(int)), parts[i+1].([]byte))
	}
	return out
}

// oneFunction is a module with one function () → (), from its body after the size.
func oneFunction(body []byte) []byte {
	return sections(sectionType, []byte{1, 0x60, 0, 0}, sectionFunction, []byte{1, 0}, sectionCode, slices.Concat([]byte{1}, list(body)))
}

// oneFunctionWithMemory is a module with one function and one page.
func oneFunctionWithMemory(code []byte) []byte {
	b := &built{memory: []uint32{1}}
	b.define("f0", none, none, nil, code...)
	return b.bytes()
}

// nested is a body with blocks in each other.
func nested(depth int) []byte {
	return slices.Concat([]byte{0}, bytes.Repeat([]byte{opBlock, blockEmpty}, depth), bytes.Repeat([]byte{opEnd}, depth+1))
}

// manyJoins is a body in which each of many locals lives across many ifs.
func manyJoins(locals, ifs int) []byte {
	one := slices.Concat(i32(1), []byte{opIf, blockEmpty, opEnd})
	return slices.Concat([]byte{1}, uleb(locals), []byte{byte(typeI32)}, bytes.Repeat(one, ifs), []byte{opEnd})
}

func branchTable(targets int) []byte {
	return slices.Concat([]byte{0}, i32(0), []byte{opBrTable}, uleb(targets), make([]byte, targets+1), []byte{opEnd})
}

// bombs are small modules that cost a trusting decoder or compiler its memory or time.
var bombs = map[string][]byte{
	"types":               sections(sectionType, huge),
	"parameters":          sections(sectionType, slices.Concat([]byte{1, 0x60}, huge)),
	"imports":             sections(sectionImport, huge),
	"functions":           sections(sectionType, []byte{1, 0x60, 0, 0}, sectionFunction, huge),
	"tables":              sections(sectionTable, huge),
	"table entries":       sections(sectionTable, slices.Concat([]byte{1, 0x70, 0}, huge)),
	"memories":            sections(sectionMemory, huge),
	"memory pages":        sections(sectionMemory, slices.Concat([]byte{1, 0}, uleb(1<<16))),
	"globals":             sections(sectionGlobal, huge),
	"exports":             sections(sectionExport, huge),
	"export name":         sections(sectionExport, slices.Concat([]byte{1}, huge)),
	"element segments":    sections(sectionElement, huge),
	"element entries":     sections(sectionTable, []byte{1, 0x70, 0, 1}, sectionElement, slices.Concat([]byte{1, 0, opI32Const, 0, opEnd}, huge)),
	"bodies":              sections(sectionCode, huge),
	"body size":           sections(sectionType, []byte{1, 0x60, 0, 0}, sectionFunction, []byte{1, 0}, sectionCode, slices.Concat([]byte{1}, huge)),
	"local groups":        oneFunction(huge),
	"locals":              oneFunction(slices.Concat([]byte{1}, huge, []byte{byte(typeI32), opEnd})),
	"10^8 locals":         oneFunction(slices.Concat([]byte{1}, uleb(100_000_000), []byte{byte(typeI32), opEnd})),
	"br_table":            oneFunction(slices.Concat([]byte{0}, i32(0), []byte{opBrTable}, huge)),
	"data segments":       sections(sectionData, huge),
	"data bytes":          sections(sectionMemory, []byte{1, 0, 1}, sectionData, slices.Concat([]byte{1, 0, opI32Const, 0, opEnd}, huge)),
	"data count":          sections(sectionDataCount, huge),
	"section size":        append([]byte(header+"\x01"), huge...),
	"custom name":         sections(sectionCustom, huge),
	"function names":      sections(sectionCustom, slices.Concat(appendName(nil, "name"), []byte{1, 5}, huge)),
	"name subsection":     sections(sectionCustom, slices.Concat(appendName(nil, "name"), []byte{1}, huge)),
	"nested blocks":       oneFunction(nested(10_000)),
	"deeply nested":       oneFunction(nested(200_000)),
	"locals across ifs":   oneFunction(manyJoins(1000, 16_000)),
	"many fills":          oneFunctionWithMemory(slices.Repeat(slices.Concat(i32(0), i32(0), i32(1), []byte{0xfc, 11, 0}), 40_000)),
	"wide br_table":       oneFunction(branchTable(20_000)),
	"many br_tables":      oneFunction(slices.Concat([]byte{0}, bytes.Repeat(branchTable(5000)[1:5004+4], 20), []byte{opEnd})),
	"many functions":      sections(sectionType, []byte{1, 0x60, 0, 0}, sectionFunction, append(uleb(400_000), make([]byte, 400_000)...)),
	"many custom":         append([]byte(header), bytes.Repeat([]byte{0, 1, 0}, 1000)...),
	"overlapping entries": sections(sectionType, []byte{1, 0x60, 0, 0}, sectionFunction, []byte{1, 0}, sectionTable, slices.Concat([]byte{1, 0x70, 0}, uleb(1<<16)), sectionElement, slices.Concat(uleb(3), bytes.Repeat(slices.Concat([]byte{0, opI32Const, 0, opEnd}, uleb(1<<16), make([]byte, 1<<16)), 3))),
}

func TestBombsAreRefused(t *testing.T) {
	for name, bomb := range bombs {
		t.Run(name, func(t *testing.T) {
			var err error
			if grown := allocated(func() { _, err = Parse(bomb) }); grown > 8<<20 {
				t.Errorf("%d bytes allocated for %d bytes of input", grown, len(bomb))
			}
			var invalid *InvalidError
			if !errors.As(err, &invalid) {
				t.Fatalf("accepted: %v", err)
			}
			if invalid.Offset < 0 || invalid.Offset > len(bomb) {
				t.Errorf("offset %d of %d bytes: %v", invalid.Offset, len(bomb), err)
			}
		})
	}
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestRefusalsSayWhatAndWhere(t *testing.T) {
	body := func(code ...byte) []byte { return oneFunction(slices.Concat([]byte{0}, code, []byte{opEnd})) }
	cases := []struct {
		name   string
		module []byte
		want   string
	}{
		{"empty", nil, "not a WebAssembly 1.0 module (offset 0x0)"},
		{"component", []byte("\x00asm\x0d\x00\x01\x00"), "not a component"},
		{"unknown section", sections(13, []byte{}), "section id 13 is unknown (offset 0x8)"},
		{"repeated section", sections(sectionType, []byte{0}, sectionType, []byte{0}), "the type section is repeated or out of order (offset 0xb)"},
		{"order", sections(sectionMemory, []byte{0}, sectionTable, []byte{0}), "the table section is repeated or out of order"},
		{"left over", sections(sectionType, []byte{0, 0}), "1 bytes are left over (type section, offset 0xb)"},
		{"count", sections(sectionType, []byte{3, 0x60}), "3 types are announced, 1 bytes are left (type section, offset 0xa)"},
		{"long number", sections(sectionType, []byte{0x80, 0x80, 0x80, 0x80, 0x80, 0}), "number over 32 bits"},
		{"big number", sections(sectionType, []byte{0xff, 0xff, 0xff, 0xff, 0x1f}), "number over 32 bits"},
		{"bad name", sections(sectionImport, []byte{1, 1, 0xff, 0, 0, 0}), "a name is not UTF-8"},
		{"imported memory", sections(sectionImport, []byte{1, 1, 'm', 1, 'n', 2, 0, 0}), `import "m"."n" is not a function`},
		{"reserved import", (&built{imports: []importedFunc{{module: meterModule, name: "x"}}, types: []funcType{{}}}).bytes(), `import module "gyre_meter" is reserved`},
		{"reserved export", sections(sectionGlobal, []byte{1, 0x7e, 1, opI64Const, 0, opEnd}, sectionExport, slices.Concat([]byte{1}, appendName(nil, fuelExport), []byte{kindGlobal, 0})), "is repeated or reserved"},
		{"missing body", sections(sectionType, []byte{1, 0x60, 0, 0}, sectionFunction, []byte{1, 0}), "1 functions are declared, 0 have a body"},
		{"shared memory", sections(sectionMemory, []byte{1, 3, 1, 1}), "build without threads"},
		{"memory64", sections(sectionMemory, []byte{1, 4, 1}), "build without threads and memory64"},
		{"externref table", sections(sectionTable, []byte{1, 0x6f, 0, 1}), "table type 0x6f is not funcref"},
		{"extended constant", sections(sectionGlobal, []byte{1, 0x7f, 0, opI32Const, 1, opI32Const, 1, 0x6a, opEnd}), "more than one instruction"},
		{"passive elements", sections(sectionTable, []byte{1, 0x70, 0, 1}, sectionElement, []byte{1, 1, 0, 0}), "element segments with flags 1"},
		{"elements after table", sections(sectionTable, []byte{1, 0x70, 0, 1}, sectionElement, []byte{1, 0, opI32Const, 2, opEnd, 0}), "ends after the table"},
		{"data after memory", sections(sectionMemory, []byte{1, 0, 0}, sectionData, []byte{1, 0, opI32Const, 0, opEnd, 1, 0}), "data segment 0 ends after the memory"},
		{"start type", sections(sectionType, []byte{1, 0x60, 1, 0x7f, 0}, sectionFunction, []byte{1, 0}, sectionStart, []byte{0}), "the start function has the type (i32) → ()"},
		{"repeated manifest", sections(sectionCustom, appendName(nil, ManifestSection), sectionCustom, appendName(nil, ManifestSection)), "gyre.manifest is repeated"},
		{"atomics", body(0xfe, 0), "build without threads"},
		{"simd", body(0xfd, 12), "build without SIMD"},
		{"tail call", body(0x12, 0), "build without tail calls"},
		{"exceptions", body(0x06, 0x40), "build without exceptions"},
		{"table.get", body(0x25, 0), "instructions with tables and references"},
		{"table.grow", body(0xfc, 15, 0), "instructions that use tables"},
		{"unknown opcode", body(0xff), "opcode 0xff is unknown (code section, offset 0x17)"},
		{"type mismatch", body(opI64Const, 0, opIf, blockEmpty, opEnd), "i32 is needed, there is i64 (code section, offset 0x19)"},
		{"empty stack", body(opDrop), "the stack is empty"},
		{"values left", body(opI32Const, 0), "1 values are left in a block"},
		{"no memory", body(opMemorySize, 0, opDrop), "the module has no memory"},
		{"label", body(opBr, 1), "label 1 does not exist"},
		{"else", body(opElse), "else without if"},
		{"no end", oneFunction([]byte{0}), "the function has no end"},
		{"code after end", oneFunction([]byte{0, opEnd, opEnd}), "1 bytes are left over"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Parse(c.module); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestManifestIsKept(t *testing.T) {
	want := []byte(`{"name":"counter"}`)
	m, err := Parse((&built{custom: map[string][]byte{ManifestSection: want}}).bytes())
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Manifest(); !bytes.Equal(got, want) {
		t.Errorf("manifest = %s, want %s", got, want)
	}
}

// Cut and changed modules are refused or accepted; nothing panics.
func TestDamagedModulesDoNotPanic(t *testing.T) {
	whole := generate([]byte(strings.Repeat("the quick brown fox", 20)))
	for i := range whole {
		if _, err := Parse(whole[:i]); err == nil && i > len(header) && len(whole[:i]) < len(header) {
			t.Errorf("cut at %d: accepted", i)
		}
		for _, flip := range []byte{1, 0x80, 0xff} {
			damaged := bytes.Clone(whole)
			damaged[i] ^= flip
			if m, err := Parse(damaged); err == nil {
				m.Meter()
			}
		}
	}
}
