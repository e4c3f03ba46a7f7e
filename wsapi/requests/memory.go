package requests

import (
	"container/list"
	"context"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gyre-events/gyre/core"
)

// Allowance is how many bytes each Account may hold whatever the others do.
const Allowance = 16 << 10

// Memory bounds the bytes that wait to be read or written on all connections together.
// A single bound per connection is not enough: there may be thousands. Each connection
// takes what it holds from an Account. Beyond Allowance that is taken from Memory, and
// refused with overloaded where there is none left, or where the Share of its principal has
// too much of it.
type Memory struct {
	limit   int64
	used    atomic.Int64
	refused prometheus.Counter

	mu      sync.Mutex
	waiting list.List    // of *waiter, in the order they came in
	queued  atomic.Int64 // the length of waiting
}

// waiter waits for n bytes.
type waiter struct {
	share *Share
	n     int64
	ready chan struct{} // closed when it has them
}

// NewMemory returns a Memory of limit bytes, and registers its metrics.
func NewMemory(limit int64, registry prometheus.Registerer) (*Memory, error) {
	m := &Memory{limit: limit, refused: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "gyre_connection_memory_refused_total", Help: "Requests, follows and connections refused because gyre_connection_memory_bytes was at its limit.",
	})}
	return m, Register(registry, m.refused,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "gyre_connection_memory_bytes", Help: "Bytes that wait to be read or written, beyond 16 KiB for each connection.",
		}, func() float64 { return float64(m.used.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "gyre_connection_memory_limit_bytes", Help: "Where more requests, follows and connections are refused (--connection-memory). Answers that are due are sent, so that gyre_connection_memory_bytes may be higher for a moment.",
		}, func() float64 { return float64(limit) }))
}

// Piece returns n, or a part of it where there is not as much left: what to read or to
// queue for a connection at a time.
func (m *Memory) Piece(n int) int {
	if m.used.Load()+int64(n) > m.limit {
		return min(n, Allowance)
	}
	return n
}

// Overloaded is the error of a connection that may not hold n bytes more.
func (m *Memory) Overloaded(n int) error {
	m.refused.Inc()
	return core.Errorf(core.CodeOverloaded, "%d bytes more do not fit into the memory for connections; others hold %d", n, m.used.Load())
}

func (m *Memory) take(s *Share, n int64) bool {
	for {
		used := m.used.Load()
		if used+n > m.limit || s != nil && !mayTake(s.bytes.Load(), n, m.limit, used) {
			return false
		}
		if m.used.CompareAndSwap(used, used+n) {
			s.holds(n)
			return true
		}
	}
}

// add takes n bytes even beyond the limit, or gives -n back.
func (m *Memory) add(s *Share, n int64) {
	s.holds(n)
	if m.used.Add(n); n < 0 && m.queued.Load() > 0 {
		m.mu.Lock()
		m.grant()
		m.mu.Unlock()
	}
}

// grant serves those who wait, in turn. Who waits for its own Share holds up nobody else. mu is
// held.
func (m *Memory) grant() {
	for e := m.waiting.Front(); e != nil; {
		w, next := e.Value.(*waiter), e.Next()
		switch {
		case m.take(w.share, w.n):
			m.remove(e)
			close(w.ready)
		case m.used.Load()+w.n > m.limit:
			return
		}
		e = next
	}
}

// remove is called with mu held.
func (m *Memory) remove(e *list.Element) {
	m.waiting.Remove(e)
	m.queued.Add(-1)
}

// wait waits for n bytes in turn, and reports whether it has them.
func (m *Memory) wait(ctx context.Context, s *Share, n int64) bool {
	w := &waiter{s, n, make(chan struct{})}
	m.mu.Lock()
	e := m.waiting.PushBack(w)
	m.queued.Add(1)
	m.grant() // somebody may have given bytes back and not seen w
	m.mu.Unlock()
	select {
	case <-w.ready:
		return true
	case <-ctx.Done():
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	select {
	case <-w.ready:
		return true
	default:
	}
	m.remove(e)
	m.grant() // one behind it may need less
	return false
}

// Account is what one connection, or one HTTP request, holds of Memory. Its user locks
// for it.
type Account struct {
	memory  *Memory
	share   *Share // nil: what it takes counts for no principal
	held    int
	charged int // to memory: what is held beyond Allowance, at least
}

// Account returns an empty Account.
func (m *Memory) Account() Account { return Account{memory: m} }

// Belong has what the Account holds, and takes from now on, count for a Share.
func (a *Account) Belong(s *Share) {
	a.share.holds(-int64(a.charged))
	a.share = s
	s.holds(int64(a.charged))
}

// beyond is what n bytes more would charge.
func (a *Account) beyond(n int) int { return max(0, a.held+n-Allowance-a.charged) }

// Take takes n bytes if there are as many.
func (a *Account) Take(n int) bool {
	charge := a.beyond(n)
	if charge > 0 && !a.memory.take(a.share, int64(charge)) {
		return false
	}
	a.held += n
	a.charged += charge
	return true
}

// Wait takes n bytes, and waits for them as long as ctx lasts. The error is overloaded.
func (a *Account) Wait(ctx context.Context, n int) error {
	if a.Take(n) {
		return nil
	}
	charge := a.beyond(n)
	if !a.memory.wait(ctx, a.share, int64(charge)) {
		return a.memory.Overloaded(n)
	}
	a.held += n
	a.charged += charge
	return nil
}

// Add takes n bytes even if there are not as many: an answer is never left out.
func (a *Account) Add(n int) {
	if charge := a.beyond(n); charge > 0 {
		a.memory.add(a.share, int64(charge))
		a.charged += charge
	}
	a.held += n
}

// Give gives n bytes back.
func (a *Account) Give(n int) {
	a.held -= n
	if charged := max(0, a.held-Allowance); charged < a.charged {
		a.memory.add(a.share, int64(charged-a.charged))
		a.charged = charged
	}
}

// Piece is Memory.Piece.
func (a *Account) Piece(n int) int { return a.memory.Piece(n) }

// Reserve takes up to n bytes for something that is read, and returns how many.
func (a *Account) Reserve(n int) int {
	if n > Allowance && a.Take(n) {
		return n
	}
	n = min(n, Allowance)
	a.Add(n)
	return n
}

// Settle makes reserved bytes the n that were read: one event may be larger than what was
// reserved for it. The error is overloaded; nothing is reserved then.
func (a *Account) Settle(reserved, n int) error {
	a.Give(reserved)
	if n <= max(reserved, Allowance) {
		a.Add(n)
	} else if !a.Take(n) {
		return a.memory.Overloaded(n)
	}
	return nil
}

// Release gives everything back.
func (a *Account) Release() { a.Give(a.held) }
