package wasm

import (
	"slices"

	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
)

// Report is what verifying the module has found, without warnings.
func (m *Module) Report() plugins.Report {
	imports := m.Imports()
	return plugins.Report{
		Functions: m.Functions(), Imports: imports, MemoryBytes: m.MemoryBytes(), Queries: m.AnswersQueries(),
		AtLeastOnce: slices.Contains(imports, abi.Module+"."+abi.HTTP),
	}
}

// Functions returns how many functions the module defines.
func (m *Module) Functions() int { return len(m.functions) }

// Imports returns the functions that the module imports, as module.name, in order and each
// once.
func (m *Module) Imports() []string {
	names := make([]string, 0, len(m.imports))
	for _, i := range m.imports {
		names = append(names, i.module+"."+i.name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// MemoryBytes returns the size of the memory that the module starts with.
func (m *Module) MemoryBytes() uint64 {
	if m.memory == nil {
		return 0
	}
	return uint64(m.memory.minPages) * pageBytes
}

// AnswersQueries reports whether the module exports what answers queries.
func (m *Module) AnswersQueries() bool {
	_, ok := m.export(abi.Query)
	return ok
}
