// Package wasm runs plugins: WebAssembly modules that nobody trusts.
//
// A module goes through these steps:
//
//	Parse    checks every byte: structure, types, limits, features (*InvalidError)
//	Meter    rewrites it, so that it counts fuel and asks the host for more
//
// Promises:
//
//   - No input makes Parse panic, or allocate much more than the size of the input.
//   - What Parse accepts is valid, and compiles once it is metered.
//   - A metered module computes what it computed before, and passes a check of its fuel at
//     each function, each loop iteration and each bulk instruction.
//   - The fuel that a call uses depends on the module and its input only.
//
// A Module is immutable and safe for concurrent use.
package wasm
