package host

import (
	"context"
	"errors"
	"slices"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins/effects"
)

// ground is the effects.Ground of a lane, which is the only writer of its state: what the Commits
// under way change, and of what is stored that which was used last, in two halves.
type ground struct {
	lane       *lane
	ahead      map[string]launched
	young, old map[string]effects.Value
	bytes      int // of young
}

// launched is a value that the last Commit under way that changes it stores.
type launched struct {
	effects.Value
	by *flight
}

// maxGroundBytes bounds each half of what is kept of a state.
const maxGroundBytes = 1 << 20

// Peek is effects.Ground's.
func (g *ground) Peek(key string) (v effects.Value, known bool) {
	if f, under := g.ahead[key]; under {
		return f.Value, true
	}
	if v, known = g.young[key]; known {
		return v, true
	}
	if v, known = g.old[key]; known {
		g.keep(key, v)
	}
	return v, known
}

func (g *ground) keep(key string, v effects.Value) {
	const perEntry = 64
	if g.young == nil || g.bytes > maxGroundBytes {
		g.old, g.young, g.bytes = g.young, map[string]effects.Value{}, 0
	}
	g.young[key] = v
	g.bytes += len(key) + len(v.Bytes) + perEntry
}

// launch has what a Commit changes be read as if it were made.
func (g *ground) launch(f *flight) {
	if g.ahead == nil {
		g.ahead = map[string]launched{}
	}
	for key, v := range f.staged.Changes() {
		g.ahead[key] = launched{v, f}
	}
}

// land takes notice of a Commit that was made. What another has changed since stays ahead.
func (g *ground) land(f *flight) {
	for key, v := range f.staged.Changes() {
		if by := g.ahead[key].by; by == nil || by == f {
			delete(g.ahead, key)
			g.keep(key, effects.Value{Bytes: slices.Clone(v.Bytes), OK: v.OK})
		}
	}
}

// table and prefix are those of the stored state of the lane.
func (g *ground) table() string  { return stateTable(g.lane.binding.Name, g.lane.binding.Generation) }
func (g *ground) prefix() string { return statePrefix(g.lane.number) }

// Get is effects.Ground's.
func (g *ground) Get(ctx context.Context, key string) (effects.Value, error) {
	if v, known := g.Peek(key); known {
		return v, nil
	}
	r, err := g.lane.host.record(ctx, g.table(), g.prefix()+key)
	if err != nil {
		return effects.Value{}, err
	}
	var v effects.Value
	if r != nil {
		v = effects.Value{Bytes: r.Value, OK: true}
	}
	g.keep(key, v)
	return v, nil
}

// Sizes is effects.Ground's.
func (g *ground) Sizes(ctx context.Context, keys []string) (n int64, err error) {
	prefix := g.prefix()
	full := make([]string, len(keys))
	for i, key := range keys {
		full[i] = prefix + key
	}
	found, err := g.lane.host.config.Store.Records(ctx, core.RecordsRequest{Table: g.table(), Keys: full, Limit: len(full)})
	for i := range found {
		n += int64(len(found[i].Key) - len(prefix) + len(found[i].Value))
	}
	return n, err
}

// Page is effects.Ground's.
func (g *ground) Page(ctx context.Context, prefix, after string) ([]effects.Entry, error) {
	if len(g.ahead) == 0 {
		return g.stored(ctx, prefix, after)
	}
	s := effects.NewScan(g.stored, prefix, after)
	for key, f := range g.ahead {
		s.Over(key, f.Value)
	}
	return s.Page(ctx)
}

// stored is Page of what is stored.
func (g *ground) stored(ctx context.Context, prefix, after string) ([]effects.Entry, error) {
	return g.lane.host.storedPage(ctx, g.lane.binding, g.lane.number, prefix, after, effects.PageEntries)
}

// StateBytes is effects.Ground's.
func (g *ground) StateBytes() int64 { return g.lane.stateBytes.Load() }

// HoldsBack is effects.Ground's.
func (g *ground) HoldsBack(position uint64) bool {
	held := g.lane.binding.HeldBack
	return g.lane.number < len(held) && held[g.lane.number].has(position)
}

// errBehind ends the handling of a batch behind one whose Commit was not made.
var errBehind = errors.New("a batch before was not committed")

// Read is effects.Ground's. What the batches before have appended is in the log first (L13).
func (g *ground) Read(ctx context.Context, r core.ReadRequest) (core.Page, error) {
	if g.lane.holds(ruleAhead) && !g.lane.caughtUp(ctx) {
		return core.Page{}, errBehind
	}
	return g.lane.host.config.Store.Read(ctx, r)
}

// changes appends the operations on state: the last change of each key.
func (l *lane) changes(ops []core.RecordOp) []core.RecordOp {
	if l.stage.Writes() == 0 {
		return ops
	}
	table, prefix := l.ground.table(), l.ground.prefix()
	for key, v := range l.stage.Changes() {
		op := core.RecordOp{Table: table, Key: prefix + key, Expect: core.AnyVersion, Value: v.Bytes}
		if !v.OK {
			op.Action = core.DeleteRecord
		}
		ops = append(ops, op)
	}
	return ops
}
