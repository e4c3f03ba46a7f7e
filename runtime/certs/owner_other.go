//go:build !unix

package certs

import "io/fs"

// othersRead is false: the mode of a file does not say who can read it.
func othersRead(fs.FileInfo) bool { return false }
