// Package gyre holds the source of the SDK for plugins in Go. The command carries it, so that
// a plugin is built without network and outside of this repository.
package gyre

import "embed"

// GuestSource has the files of sdk/plugin and plugins/abi, tests included, by their paths in
// this module.
//
//go:embed LICENSE plugins/abi/*.go sdk/plugin/*.go sdk/plugin/json/*.go
//go:embed sdk/plugin/plugintest/*.go sdk/plugin/testhost/*.go
var GuestSource embed.FS
