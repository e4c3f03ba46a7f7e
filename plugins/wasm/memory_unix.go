//go:build unix

package wasm

import (
	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"
)

// allocator gives an instance memory that the garbage collector does not know. It reserves
// the limit of addresses at once, so that growing moves nothing; the system gives pages when
// they are touched.
type allocator struct{ limit uint64 }

// Allocate reserves memory. If the system refuses, Reallocate does, too.
func (a allocator) Allocate(_, most uint64) experimental.LinearMemory {
	size := min(a.limit, most)
	if size == 0 {
		return &mapped{}
	}
	pages, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		pages = nil
	}
	return &mapped{pages}
}

type mapped struct{ pages []byte }

// Reallocate returns the first size bytes, or nil if they are over the limit.
func (m *mapped) Reallocate(size uint64) []byte {
	if size > uint64(len(m.pages)) {
		return nil
	}
	return m.pages[:size]
}

func (m *mapped) Free() {
	if m.pages != nil {
		_ = unix.Munmap(m.pages) // fails only for a range that is not mapped
		m.pages = nil
	}
}
