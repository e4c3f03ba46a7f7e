package host

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/effects"
)

const (
	// maxQueries bounds the queries at a time, and the plugins that are kept for more.
	maxQueries = 8
	// keptFor is how long a plugin that has answered is kept for another query.
	keptFor = 30 * time.Second
)

// Query has the version of a binding answer a query from a lane's state, at any node; at the owner,
// if that is to be at least of a position. The version runs on an instance of its own, within the
// limits of a batch, and has no effects: whatever becomes of it, the binding is not touched. Each
// read of the state is of the moment when it is made. The errors are binding_not_found, no_query,
// plugin_failed, plugin_limit, overloaded, invalid_request and those of reached.
func (h *Host) Query(ctx context.Context, name string, q plugins.Query) (plugins.Answer, error) {
	if len(q.Text) > abi.MaxQueryBytes {
		return plugins.Answer{}, core.Errorf(core.CodeInvalidRequest, "the query has %d bytes, at most %d are allowed", len(q.Text), abi.MaxQueryBytes)
	}
	b, lane, position, err := h.reached(ctx, name, q.Lane, q.AtLeast)
	if errors.Is(err, core.CodeInvalidRequest) { // which lane is no question if there are no queries
		err = cmp.Or(h.answers(ctx, name), err)
	}
	if err != nil {
		return plugins.Answer{}, err
	}
	leave, err := h.queries.enter(ctx)
	if err != nil {
		return plugins.Answer{}, err
	}
	defer leave()
	a, err := h.asker(ctx, b, lane)
	if err != nil {
		return plugins.Answer{}, err
	}
	value, err := a.Ask(ctx, q.Text)
	if err != nil {
		return plugins.Answer{}, errors.Join(err, a.close())
	}
	h.queries.keep(a)
	return plugins.Answer{Value: value, Position: position}, nil
}

// answers returns no_query if the version of a binding answers none.
func (h *Host) answers(ctx context.Context, name string) error {
	b, err := h.binding(ctx, name)
	if err != nil {
		return err
	}
	program, err := h.queryProgram(ctx, b)
	if err != nil {
		return err
	}
	return program.Close()
}

// queryProgram makes the program that answers queries of a binding.
func (h *Host) queryProgram(ctx context.Context, b *binding) (plugins.Program, error) {
	v, err := h.config.Versions.Version(ctx, b.Plugin, b.Version)
	if err != nil {
		return nil, err
	}
	return h.config.Programs.LoadQuery(ctx, v)
}

// asker returns a plugin that answers queries of a lane: one that was kept, or another.
func (h *Host) asker(ctx context.Context, b *binding, lane int) (*asker, error) {
	is := asked{b.Name, b.FirstGeneration, b.Generation, b.revision, lane}
	if a := h.queries.take(is); a != nil {
		return a, nil
	}
	program, err := h.queryProgram(ctx, b)
	if err != nil {
		return nil, err
	}
	return &asker{Asker: effects.NewAsker(effects.NewTerms(&b.Binding), &stored{h, b, lane}, program), asked: is, program: program}, nil
}

// asked is what a query is asked of: a lane of a binding as it was at one revision.
type asked struct {
	name                        string
	first, generation, revision uint64
	lane                        int
}

// asker is a plugin that answers queries.
type asker struct {
	*effects.Asker
	asked
	program plugins.Program
	used    time.Time
}

func (a *asker) close() error {
	a.Asker.Close()
	return a.program.Close()
}

// queries are those of a node that are under way, and the plugins that are kept for more.
type queries struct {
	slots chan struct{}

	mu     sync.Mutex // protects the fields below
	kept   []*asker   // by last use
	closed bool
}

// enter takes one of the places of queries.
func (q *queries) enter(ctx context.Context) (leave func(), err error) {
	select {
	case q.slots <- struct{}{}:
		return func() { <-q.slots }, nil
	case <-ctx.Done():
		return nil, core.Errorf(core.CodeOverloaded, "%d queries were under way all the time, which is the most of a node", maxQueries)
	}
}

// take takes one that is kept; nil if there is none.
func (q *queries) take(is asked) *asker {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, a := range q.kept {
		if a.asked == is {
			q.kept = append(q.kept[:i], q.kept[i+1:]...)
			return a
		}
	}
	return nil
}

// keep keeps one for the next query.
func (q *queries) keep(a *asker) {
	a.used = time.Now()
	q.mu.Lock()
	q.kept = append(q.kept, a)
	q.mu.Unlock()
	q.drop(a.used.Add(-keptFor), maxQueries)
}

// drop frees those that were used last before a time, and the oldest behind so many.
func (q *queries) drop(before time.Time, most int) {
	q.mu.Lock()
	n := max(0, len(q.kept)-most)
	for n < len(q.kept) && q.kept[n].used.Before(before) {
		n++
	}
	if q.closed {
		n = len(q.kept)
	}
	gone := append([]*asker(nil), q.kept[:n]...)
	q.kept = append(q.kept[:0], q.kept[n:]...)
	q.mu.Unlock()
	for _, a := range gone {
		_ = a.close() // it frees memory only
	}
}

// close frees all, and those that are kept later.
func (q *queries) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.drop(time.Time{}, 0)
}

// stored is the state of a lane as it is stored: the trial.Base of what is tried on it, and the
// effects.Ground of a query, which asks for nothing else.
type stored struct {
	host    *Host
	binding *binding
	lane    int
}

// Peek is effects.Ground's.
func (*stored) Peek(string) (effects.Value, bool) { return effects.Value{}, false }

// Get is effects.Ground's and trial.Base's.
func (s *stored) Get(ctx context.Context, key string) (effects.Value, error) {
	r, err := s.host.record(ctx, stateTable(s.binding.Name, s.binding.Generation), statePrefix(s.lane)+key)
	if err != nil || r == nil {
		return effects.Value{}, err
	}
	return effects.Value{Bytes: r.Value, OK: true}, nil
}

// Page is effects.Ground's and trial.Base's.
func (s *stored) Page(ctx context.Context, prefix, after string) ([]effects.Entry, error) {
	return s.host.storedPage(ctx, s.binding, s.lane, prefix, after, effects.PageEntries)
}

// What follows is not asked for.

// Sizes is effects.Ground's.
func (*stored) Sizes(context.Context, []string) (int64, error) { return 0, nil }

// StateBytes is effects.Ground's.
func (*stored) StateBytes() int64 { return 0 }

// HoldsBack is effects.Ground's.
func (*stored) HoldsBack(uint64) bool { return false }

// Read is effects.Ground's.
func (*stored) Read(context.Context, core.ReadRequest) (core.Page, error) { return core.Page{}, nil }
