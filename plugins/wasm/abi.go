package wasm

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/gyre-events/gyre/plugins/abi"
)

// imported is a function that the host gives to guests.
type imported struct {
	module, name string
	typ          funcType
	call         func(in *Instance, stack []uint64)
}

// importTable lists every function that the host gives.
func importTable() []imported { return append(importsOf(abi.Handle), commandImports()...) }

// importsOf lists the functions that a module with an entry may import.
func importsOf(entry string) []imported {
	if entry == abi.Main {
		return slices.Concat(wasiImports(), commandImports())
	}
	list := slices.Concat(gyreImports(), wasiImports())
	return append(list, imported{"env", "abort", signature4(), abort})
}

// Imports returns the functions that a module with an entry may import, as module.name, in order.
func Imports(entry string) (names []string) {
	for _, i := range importsOf(entry) {
		names = append(names, i.module+"."+i.name)
	}
	slices.Sort(names)
	return names
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

// entryType is the type of a function that handles a batch, or answers a query.
func entryType(entry string) funcType {
	switch entry {
	case abi.Query:
		return typeFrom("i:i")
	case abi.Main:
		return typeFrom(":")
	}
	return typeFrom("iii:i")
}

// CheckABI refuses a module that imports what the host does not give, or does not export
// what it calls: the memory, and the function entry. A module whose entry judges events, and a
// command, may import less.
func (m *Module) CheckABI(entry string) error {
	return cmp.Or(
		m.checkCommand(entry), m.checkKnown(importsOf(entry)), m.checkExports(), m.checkJudge(entry),
		m.checkFunction(entry, entryType(entry), true),
	)
}

// checkCommand refuses a command that is a module of another ABI, too. It also refuses a command
// which is to be a module of another ABI.
func (m *Module) checkCommand(entry string) error {
	if entry != abi.Main {
		_, isCommand := m.export(abi.Main)
		if _, ok := m.export(entry); !ok && isCommand {
			return &InvalidError{
				Section: sectionNames[sectionExport],
				Reason:  fmt.Sprintf("export %q is missing; %s, which is there, is what a command exports", entry, abi.Main),
				Fix:     fmt.Sprintf("build a library that exports it, or let the manifest of a handler say that its abi is %s", abi.Stdio),
			}
		}
		return nil
	}
	for _, i := range m.imports {
		if i.module == abi.Module {
			return &InvalidError{
				Section: sectionNames[sectionImport], Offset: i.at,
				Reason: fmt.Sprintf("import %q.%q is not for a command of %s, which writes its effects to its standard output", i.module, i.name, abi.Stdio),
				Fix:    "leave it out, or let the manifest say that the abi is " + abi.Module,
			}
		}
	}
	for _, name := range []string{abi.Start, abi.Init, abi.Query} {
		if _, ok := m.export(name); ok {
			return &InvalidError{
				Section: sectionNames[sectionExport],
				Reason:  fmt.Sprintf("export %q is not for a command of %s, of which only %s is run", name, abi.Stdio, abi.Main),
				Fix:     "leave it out, or let the manifest say that the abi is " + abi.Module,
			}
		}
	}
	return nil
}

// checkJudge refuses imports by which a module that judges events could have effects, or could
// judge the same event in two ways.
func (m *Module) checkJudge(entry string) error {
	if entry == abi.Handle || entry == abi.Main {
		return nil
	}
	for _, i := range m.imports {
		if i.module == abi.Module && !slices.Contains(abi.JudgeImports(), i.name) {
			return &InvalidError{
				Section: sectionNames[sectionImport], Offset: i.at,
				Reason: fmt.Sprintf("import %q.%q is not for a module with %s, which judges events and has no effects", i.module, i.name, entry),
				Fix:    "leave it out, or make the plugin a handler; of " + abi.Module + " it may import " + strings.Join(abi.JudgeImports(), ", "),
			}
		}
	}
	return nil
}

// checkKnown checks that the imports are those of a table.
func (m *Module) checkKnown(table []imported) error {
	for _, i := range m.imports {
		at := slices.IndexFunc(table, func(t imported) bool { return t.module == i.module && t.name == i.name })
		if at < 0 {
			return &InvalidError{
				Section: sectionNames[sectionImport], Offset: i.at,
				Reason: fmt.Sprintf("import %q.%q does not exist here", i.module, i.name),
				Fix:    "use what GET /v1/plugins/abi lists; there are no files, sockets, threads or subprocesses",
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
	return nil
}

// checkExports checks the memory, and the functions that may be left out.
func (m *Module) checkExports() error {
	if e, ok := m.export(abi.Memory); !ok || e.kind != kindMemory {
		return refuseExport("export %q is missing, or not a memory", abi.Memory)
	}
	return cmp.Or(
		m.checkFunction(abi.Start, typeFrom(":"), false),
		m.checkFunction(abi.Init, typeFrom("i:i"), false),
		m.checkFunction(abi.Query, entryType(abi.Query), false),
	)
}

func (m *Module) checkFunction(name string, want funcType, needed bool) error {
	e, ok := m.export(name)
	switch {
	case !ok && needed:
		return refuseExport("export %q is missing", name)
	case ok && e.kind != kindFunc:
		return refuseExport("export %q is not a function", name)
	case ok && !m.typeOf(e.index).equal(want):
		return refuseExport("export %q has the type %s, %s is needed", name, m.typeOf(e.index), want)
	}
	return nil
}

func refuseExport(format string, args ...any) error {
	return &InvalidError{Section: sectionNames[sectionExport], Reason: fmt.Sprintf(format, args...), Fix: "export it with that name and type"}
}

func (m *Module) export(name string) (export, bool) {
	i := slices.IndexFunc(m.exports, func(e export) bool { return e.name == name })
	if i < 0 {
		return export{}, false
	}
	return m.exports[i], true
}
