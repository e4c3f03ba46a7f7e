package disk

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/gyre-events/gyre/core"
)

// kindStore has the kinds of an engine's segments.
type kindStore struct {
	// replacing is held while a segment is replaced, and while a file of kinds gets its name.
	replacing sync.Mutex
	failed    atomic.Bool   // a file could not be written; no other is tried
	makers    chan struct{} // has room for those that read sealed segments

	mu     sync.Mutex
	making map[uint32]*kindsMaker // by segment; mu protects it

	chosen recent[chosenKey, *chosenLists]
	blocks recent[blockKey, []uint32]
}

// kindsMaker makes the kinds of the segment that is written, or of a sealed one that has no
// file yet. One reader at a time reads the segment on; the others wait for what it reads.
type kindsMaker struct {
	turn  chan struct{} // has room for one: who reads on, and has the two fields below
	kinds *kinds
	done  bool // they have a file, or get none
	users int  // have the turn or wait for it; kindStore.mu protects it
}

const (
	// maxMakers bounds the sealed segments that are read at once.
	maxMakers = 2
	// maxIdleKinds bounds the kinds that are kept in memory for the readers to come.
	maxIdleKinds = 3
	// passedEvents is what a page counts for a segment that it passes over, in events.
	passedEvents = 256
)

func newKindStore() *kindStore {
	return &kindStore{makers: make(chan struct{}, maxMakers), making: make(map[uint32]*kindsMaker)}
}

// enter waits for the turn to make the kinds of a segment. The caller calls leave.
func (s *kindStore) enter(ctx context.Context, segment uint32) (*kindsMaker, error) {
	s.mu.Lock()
	m := s.making[segment]
	if m == nil {
		s.dropIdle()
		m = &kindsMaker{turn: make(chan struct{}, 1)}
		s.making[segment] = m
	}
	m.users++
	s.mu.Unlock()
	select {
	case m.turn <- struct{}{}:
		return m, nil
	case <-ctx.Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		m.users--
		return nil, core.AsError(ctx.Err())
	}
}

// leave gives the turn back. What is done is not kept in memory.
func (s *kindStore) leave(segment uint32, m *kindsMaker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m.users--
	if m.done && s.making[segment] == m {
		delete(s.making, segment)
	}
	<-m.turn
}

// dropIdle makes room for other kinds: those of the oldest segments go. mu is held.
func (s *kindStore) dropIdle() {
	idle, oldest := 0, uint32(math.MaxUint32)
	for segment, m := range s.making {
		if m.users == 0 {
			idle++
			oldest = min(oldest, segment)
		}
	}
	if idle >= maxIdleKinds {
		delete(s.making, oldest)
	}
}

// recent keeps what was read, for the pages that come next. When it is more than a bound, all
// of it is dropped.
type recent[K comparable, V any] struct {
	mu     sync.Mutex
	values map[K]V // mu protects it and the field below
	bytes  int
}

// maxRecentBytes bounds what is kept of each sort.
const maxRecentBytes = 4 << 20

func (r *recent[K, V]) get(key K) (V, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	found, ok := r.values[key]
	return found, ok
}

func (r *recent[K, V]) put(key K, value V, bytes int) {
	if bytes > maxRecentBytes/4 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.values == nil || r.bytes+bytes > maxRecentBytes {
		r.values, r.bytes = make(map[K]V), 0
	}
	r.values[key] = value
	r.bytes += bytes
}

// forget drops everything.
func (r *recent[K, V]) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.values, r.bytes = nil, 0
}

// chosenKey is what lists were chosen for.
type chosenKey struct {
	segment, salt, seal uint32
	category, types     string
}

func newChosenKey(seg *segment, seal uint32, s *core.Selection) chosenKey {
	return chosenKey{seg.number, seg.salt, seal, s.Category, strings.Join(s.Filter.Types, "\x00")}
}

// kindLists returns the lists of what s selects by in a segment, up to end. ok is false if it
// has none. looked is what that has cost, in events. The caller closes the lists.
func (e *Engine) kindLists(ctx context.Context, seg *segment, seal uint32, end int64, s *core.Selection) (found lists, looked uint64, ok bool, err error) {
	c := e.index.kinds
	if !seg.sealed() {
		return e.makeKinds(ctx, seg, end, s, nil)
	}
	if found, ok := e.readKinds(seg, seal, s); ok {
		return found, passedEvents, found.of != nil, nil
	}
	if c.failed.Load() {
		return found, 0, false, nil
	}
	return e.makeKinds(ctx, seg, end, s, func(k *kinds) {
		err := e.writeKinds(k, seg, seal)
		if err != nil && !errors.Is(err, errReplaced) && !c.failed.Swap(true) {
			e.config.Logger.Warn("an index of types and categories cannot be written; reads that select events scan the log", "error", err)
		}
	})
}

// makeKinds reads the kinds of a segment on to end. It has write, if not nil, write them to a
// file.
func (e *Engine) makeKinds(ctx context.Context, seg *segment, end int64, s *core.Selection, write func(*kinds)) (found lists, looked uint64, ok bool, err error) {
	c := e.index.kinds
	m, err := c.enter(ctx, seg.number)
	if err != nil {
		return found, 0, false, err
	}
	defer c.leave(seg.number, m)
	if m.kinds == nil || m.kinds.rewritten != seg.rewritten {
		m.kinds, m.done = newKinds(seg), false
	}
	if write != nil && m.kinds.end < end {
		select {
		case c.makers <- struct{}{}:
			defer func() { <-c.makers }()
		case <-ctx.Done():
			return found, 0, false, core.AsError(ctx.Err())
		}
	}
	if looked, err = e.readOn(ctx, m.kinds, seg, end); err != nil {
		if ctx.Err() == nil {
			m.kinds = nil
		}
		return found, looked, false, err
	}
	if write != nil && !m.done {
		m.done = true
		write(m.kinds)
	}
	found, ok = m.kinds.choose(s)
	return found, looked, ok, nil
}
