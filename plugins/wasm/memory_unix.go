//go:build unix

package wasm

import "golang.org/x/sys/unix"

// reserve returns addresses for n bytes, or nil if the system has none. They cost nothing
// until they are touched, and growing within them moves nothing.
func reserve(n uint64) []byte {
	if n == 0 {
		return nil
	}
	pages, err := unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil
	}
	return pages
}

func release(pages []byte) { _ = unix.Munmap(pages) } // fails only for a range that is not mapped
