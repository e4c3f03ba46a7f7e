package wasm

import (
	"sync/atomic"

	"github.com/tetratelabs/wazero/experimental"
)

// budget is the memory that all instances of a host may have.
type budget struct {
	limit int64
	used  atomic.Int64
}

// take reserves n bytes, or stops the guest that wants them. Refusing the guest's
// memory.grow instead would make its effects depend on its neighbors.
func (b *budget) take(n int64) {
	if b.used.Add(n) > b.limit {
		b.used.Add(-n)
		stop(HostFull, "the instances of this node may have %d MiB together; try again, run fewer plugins, or give the node more", b.limit>>20)
	}
}

func (b *budget) give(n int64) { b.used.Add(-n) }

// linearMemory is the memory of one instance: the allocator of its one memory and that
// memory. Its pages come from the system and not from Go's heap.
type linearMemory struct {
	limit  uint64 // of this instance, in bytes
	budget *budget
	pages  []byte // reserved
	size   uint64 // given to the guest
}

// Allocate reserves addresses. If the system refuses, Reallocate stops the guest.
func (m *linearMemory) Allocate(_, most uint64) experimental.LinearMemory {
	m.limit = min(m.limit, most)
	m.pages = reserve(m.limit)
	return m
}

// Reallocate returns the first size bytes, or nil if they are over the limit.
func (m *linearMemory) Reallocate(size uint64) []byte {
	if size > m.limit {
		return nil
	}
	if size > uint64(len(m.pages)) {
		stop(HostFull, "the system has no %d bytes of memory", m.limit)
	}
	m.budget.take(int64(size - m.size))
	m.size = size
	return m.pages[:size]
}

// Free gives everything back. It may be called more than once.
func (m *linearMemory) Free() {
	if m.pages != nil {
		release(m.pages)
		m.pages = nil
	}
	m.budget.give(int64(m.size))
	m.size = 0
}
