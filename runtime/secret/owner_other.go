//go:build !unix

package secret

import "io/fs"

// othersRead is false: the mode of a file does not say who can read it.
func othersRead(fs.FileInfo) bool { return false }
