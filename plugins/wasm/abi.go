package wasm

import (
	"fmt"
	"slices"

	"github.com/gyre-events/gyre/plugins/abi"
)

// imported is a function that the host gives to guests.
type imported struct {
	module, name string
	typ          funcType
	call         func(in *Instance, stack []uint64)
}

// importTable lists every function that a module may import.
func importTable() []imported {
	list := slices.Concat(gyreImports(), wasiImports())
	return append(list, imported{"env", "abort", signature4(), abort})
}

// A signature in letters is what run has: parameters, a colon, results.
func typeFrom(letters string) funcType {
	letter := map[rune]valueType{'i': typeI32, 'I': typeI64, 'f': typeF32, 'F': typeF64}
	var t funcType
	into := &t.params
	for _, l := range letters {
		if l == ':' {
			into = &t.results
			continue
		}
		*into = append(*into, letter[l])
	}
	return t
}

func signature4() funcType { return typeFrom("iiii:") }

// abort is how AssemblyScript ends a program: with the addresses of a message and a file,
// and a line and column.
func abort(_ *Instance, stack []uint64) {
	stop(Failed, "abort at line %d, column %d", uint32(stack[2]), uint32(stack[3]))
}

// CheckABI refuses a module that imports what the host does not give, or does not export
// what it calls: the memory, and the function entry.
func (m *Module) CheckABI(entry string) error {
	table := importTable()
	for _, i := range m.imports {
		at := slices.IndexFunc(table, func(t imported) bool { return t.module == i.module && t.name == i.name })
		if at < 0 {
			return &InvalidError{
				Section: sectionNames[sectionImport], Offset: i.at,
				Reason: fmt.Sprintf("import %q.%q does not exist here", i.module, i.name),
				Fix:    "use the imports of " + abi.Module + "; there are no files, sockets, threads or subprocesses",
			}
		}
		if want, got := table[at].typ, m.types[i.typ]; !got.equal(want) {
			return &InvalidError{
				Section: sectionNames[sectionImport], Offset: i.at,
				Reason: fmt.Sprintf("import %q.%q has the type %s, here it is %s", i.module, i.name, got, want),
				Fix:    "declare the import as the ABI has it",
			}
		}
	}
	return m.checkExports(entry)
}

// checkExports checks the types of the exports that the host knows.
func (m *Module) checkExports(entry string) error {
	refuse := func(format string, args ...any) error {
		return &InvalidError{Section: sectionNames[sectionExport], Reason: fmt.Sprintf(format, args...), Fix: "export it with that name and type"}
	}
	if e, ok := m.export(abi.Memory); !ok || e.kind != kindMemory {
		return refuse("export %q is missing, or not a memory", abi.Memory)
	}
	known := map[string]funcType{
		entry:     typeFrom("iii:i"),
		abi.Start: typeFrom(":"),
		abi.Init:  typeFrom("i:i"),
		abi.Close: typeFrom(":"),
	}
	for name, want := range known {
		e, ok := m.export(name)
		switch {
		case !ok && name == entry:
			return refuse("export %q is missing", name)
		case ok && e.kind != kindFunc:
			return refuse("export %q is not a function", name)
		case ok && !m.typeOf(e.index).equal(want):
			return refuse("export %q has the type %s, %s is needed", name, m.typeOf(e.index), want)
		}
	}
	return nil
}

func (m *Module) export(name string) (export, bool) {
	i := slices.IndexFunc(m.exports, func(e export) bool { return e.name == name })
	if i < 0 {
		return export{}, false
	}
	return m.exports[i], true
}
