// Package guests has small modules for tests and measurements of the sandbox, built by real
// toolchains. src has their sources, and build.sh, which builds them again.
package guests

import _ "embed"

// Read is C: it copies the batch into its memory, and does nothing else.
//
//go:embed read.wasm
var Read []byte

// Totals is C: it reads JSON by hand, without allocating. It stages state and events.
//
//go:embed totals.wasm
var Totals []byte

// Words is Rust: strings, a map, sorting and formatting, with the standard library's
// allocator. It stages state and logs a line.
//
//go:embed words.wasm
var Words []byte

// Hostile is C. The attempt of the batch says what it does.
//
//go:embed hostile.wasm
var Hostile []byte

// Orders is C: it judges events by the member "total" of their data. Its filter keeps what has 100
// or more, its map makes an object of the total, its partitioner makes the category of the stream
// the key, and its validator refuses a total below 0.
//
//go:embed orders.wasm
var Orders []byte

// Unfit is C: it judges events, and fails on those whose type says how, such as Loop. Of the others
// its map makes their types, its partitioner their streams, and its filter keeps all.
//
//go:embed unfit.wasm
var Unfit []byte

// Lines is C: a command of ABI stdio_1. Of each event it appends the position to "positions", and keeps
// it under the name of the stream. An event of type Odd it parks, and at one of type Broken it ends
// with exit code 3.
//
//go:embed lines.wasm
var Lines []byte

// The attempts of Hostile.
const (
	Loop    = 1 // without end
	Memset  = 2 // 32 MiB, without end
	Recurse = 3 // without end
	Tree    = 4 // calls that take 2^60 steps, without a loop
	Grow    = 5 // to all memory; the verdict is its pages
	Log     = 6 // without end
	Outside = 7 // of its memory
)
