//go:build !unix

package secret

import "io/fs"

// check takes every file: its mode does not say who can read it.
func check(string, fs.FileInfo) error { return nil }
