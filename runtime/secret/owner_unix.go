//go:build unix

package secret

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// check returns why a file is Exposed.
func check(path string, info fs.FileInfo) error {
	owner := uint32(os.Geteuid())
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		owner = stat.Uid
	}
	return exposed(path, info.Mode().Perm(), owner, uint32(os.Geteuid()))
}

// exposed returns why a file is Exposed to others than a user. A group may read and write what
// belongs to root: so are secrets handed to services.
func exposed(path string, mode fs.FileMode, owner, user uint32) error {
	others := fs.FileMode(0o077)
	if owner == 0 {
		others = 0o007
	}
	switch {
	case owner != 0 && owner != user:
		return &Exposed{
			fmt.Sprintf("%s belongs to user %d, and to be safe it must belong to root or to user %d, who runs gyre", path, owner, user),
			fmt.Sprintf("chown %d %s", user, path),
		}
	case mode&others != 0:
		return &Exposed{fmt.Sprintf("others can read %s, whose mode is %04o", path, mode), "chmod 600 " + path}
	}
	return nil
}
