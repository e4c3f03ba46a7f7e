//go:build !unix

package wasm

import "github.com/tetratelabs/wazero/experimental"

// allocator gives an instance memory of the Go heap, up to a limit.
type allocator struct{ limit uint64 }

// Allocate returns a memory that grows by copying.
func (a allocator) Allocate(capacity, most uint64) experimental.LinearMemory {
	size := min(a.limit, most)
	return &grown{size, make([]byte, 0, min(capacity, size))}
}

type grown struct {
	limit uint64
	bytes []byte
}

// Reallocate returns size bytes, or nil if they are over the limit.
func (g *grown) Reallocate(size uint64) []byte {
	if size > g.limit {
		return nil
	}
	if missing := int(size) - len(g.bytes); missing > 0 {
		g.bytes = append(g.bytes, make([]byte, missing)...)
	}
	return g.bytes[:size]
}

func (g *grown) Free() { g.bytes = nil }
