// Package gyre holds the source of the SDKs for plugins. The command carries it, so that a plugin
// is built without network and outside of this repository.
package gyre

import "embed"

// GuestSource has the files of the SDKs, tests in Go included, by their paths in this module.
//
//go:embed LICENSE plugins/abi/*.go sdk/plugin/*.go sdk/plugin/json/*.go
//go:embed sdk/plugin/plugintest/*.go sdk/plugin/query/*.go sdk/plugin/testhost/*.go
//go:embed sdk/c/*.h sdk/c/*.c sdk/c/README.md
//go:embed sdk/rust/Cargo.toml sdk/rust/README.md sdk/rust/src
//go:embed sdk/assemblyscript/assembly sdk/assemblyscript/testing.mjs sdk/assemblyscript/README.md
var GuestSource embed.FS
