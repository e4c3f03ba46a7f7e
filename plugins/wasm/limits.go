package wasm

// The limits of a module. They hold for what toolchains make of real programs, with room,
// and keep what parsing, compiling and instantiating can cost within bounds.
const (
	maxModuleBytes  = 64 << 20
	maxTypes        = 10_000
	maxParams       = 64
	maxResults      = 8
	maxImports      = 128
	maxFunctions    = 100_000
	maxTableEntries = 1 << 16
	maxMemoryPages  = 8192 // 512 MiB
	maxGlobals      = 4096
	maxExports      = 1024
	maxSegments     = 100_000
	maxCustom       = 64
	maxNameBytes    = 1024 // of an import or an export
	maxSymbolBytes  = 4096 // of a function in the name section

	maxBodyBytes     = 1 << 19
	maxLocals        = 2000 // of a function, with its parameters
	maxNesting       = 4096
	maxBlocks        = 1 << 14 // of a function, with those that the meter adds
	maxBranchTargets = 1 << 14 // of all br_table instructions of a function

	// maxLocalBlocks bounds locals × blocks of one function. A compiler in SSA form may need
	// a value of each local at each join, so this product is what compile bombs grow by.
	maxLocalBlocks = 1 << 20
)

// pageBytes is the unit of memory in WebAssembly.
const pageBytes = 1 << 16
