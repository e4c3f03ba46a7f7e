//go:build unix

package secret

import (
	"io/fs"
	"syscall"
)

// othersRead reports whether others than the user can read a file. The group may, if root
// owns it: so are secrets handed to services.
func othersRead(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if ok && stat.Uid == 0 {
		return info.Mode()&0o007 != 0
	}
	return info.Mode()&0o077 != 0
}
