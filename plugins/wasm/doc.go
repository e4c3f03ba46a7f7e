// Package wasm runs plugins: WebAssembly modules that nobody trusts.
//
// A module goes through these steps, and most may refuse it:
//
//	Parse             checks every byte: structure, types, limits, features
//	Module.CheckABI   checks imports and exports by name and type
//	Module.Meter      rewrites it, so that it counts fuel and asks the host for more
//	Compiler.Compile  compiles it in a child process with limits, or finds it in a cache
//	Host.Load         makes it a Program: native code, with the host's functions
//	Program.New       makes it an Instance: a memory of its own, connected to Effects
//	Instance.Call     hands it a batch of events
//
// The first five steps refuse a module with an *InvalidError, which says what, where and what
// to do. The last two stop a guest with a *Trap, which says why. Both are a core.Error, too,
// with a code of the catalogue.
//
//	m, err := wasm.Parse(upload)
//	err = m.CheckABI(abi.Handle)
//	code, err := compiler.Compile(ctx, m)
//	program, err := host.Load(ctx, code, abi.Handle)
//	instance, err := program.New(ctx, wasm.Config{Limits: wasm.DefaultLimits(), Effects: e, Reads: r, Output: o})
//	verdict, fuel, err := instance.Call(ctx, batch)
//
// A command of ABI stdio_1 is entered by abi.Main instead. Program.Plugin gives each batch an Instance
// of its own, which reads the lines of package stdio and writes them.
//
// A node that starts again needs neither the upload nor the first three steps: Compiler.Cached
// finds the code by the upload's SHA-256.
//
// Promises:
//
//   - No input makes Parse panic, or allocate much more than the size of the input.
//   - What Parse accepts is valid, and compiles once it is metered.
//   - A metered module computes what it computed before, and passes a check of its fuel at
//     each function, each loop iteration and each bulk instruction.
//   - A guest stops within a slice of fuel, below a millisecond of computing, after its
//     budget, its deadline or its caller's context ends. A command that has written a line stops
//     when the host has decoded it.
//   - The effects and the fuel of a call depend on the module, the batches that the instance
//     has seen, the binding's seed and the answers of Reads only: there is no clock, no
//     randomness and no file of the node.
//   - Whatever a guest passes to an import, the import answers an errno or stops the guest.
//     The host keeps no pointer into a guest's memory after a call.
//   - At most one guest less than there are processors runs at a time. Guests take turns,
//     slice by slice, and waiting takes none of their time.
//   - All instances together have the memory that NewHost was given, and the native stacks of
//     the guests that run, each of at most 150 MB for the time of its call.
//   - A call allocates nothing in the host, but that of a command does.
//
// The package stages nothing itself. What a guest appends and stores goes to the caller's
// Effects, and an Instance whose effects are dropped must be closed by whoever drops them. A
// call that traps, or returns another verdict than done, closes its instance itself.
//
// A Host, a Compiler, a Module and a Program are safe for concurrent use. An Instance belongs
// to one goroutine, but for Close. What is closed while it is in use is freed after that.
package wasm
