package wasm

import "sync"

// gate guards native code or memory, which must not be freed while it is in use: that would
// end the process. Whoever is last frees it: the last user, or close.
type gate struct {
	mu     sync.Mutex
	most   int // users at a time
	users  int
	closed bool
}

// enter reports whether the caller may use what is guarded, until it calls leave.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || g.users == g.most {
		return false
	}
	g.users++
	return true
}

// leave reports whether the caller has to free what is guarded.
func (g *gate) leave() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.users--
	return g.closed && g.users == 0
}

// close lets nobody in any more, and reports whether the caller has to free what is guarded.
func (g *gate) close() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	first := !g.closed
	g.closed = true
	return first && g.users == 0
}

func (g *gate) isClosed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}
