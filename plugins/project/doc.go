// Package project makes and builds the directory that a plugin is written in.
//
//	counter/
//	    gyre.plugin.json        the manifest: name, version, input, capabilities, …
//	    main.go                 the handler
//	    main_test.go            its unit tests
//	    testdata/events.ndjson  events for gyre plugin test
//	    go.mod, vendor/         the SDK, so that nothing is downloaded
//
// Create writes such a directory for a plugin of any kind in Go, Rust, C or AssemblyScript. Open
// reads the manifest of one, and Project.Build makes the module: it runs the language's toolchain,
// adds the manifest as a custom section, and checks the result as a node does.
//
//	project.Create("counter", project.New{Name: "counter", Language: "go"})
//	p, err := project.Open("counter")
//	built, err := p.Build(ctx)   // built.File is counter/counter.wasm
//
// Project.BuildQuickly is for a module that is tried and not kept: it takes the toolchain less time,
// does the same with other fuel, and is in no file.
//
// A directory whose manifest has a build command is built by that, and the file that its
// module names is taken. Otherwise it is Go. Builds have no network and no version control, and
// give the same bytes for the same source, toolchain and manifest: a version never changes.
//
// Errors are *core.Errors. Create and Build leave nothing half done: what was there stays, if
// they fail. Two Builds of one directory at once are no problem; the later one wins.
package project
