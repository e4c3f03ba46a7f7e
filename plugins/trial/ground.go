package trial

import (
	"context"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/effects"
)

// ground is the effects.Ground of a lane of a State, with a log that it only reads.
type ground struct {
	state *State
	lane  int
	read  func(ctx context.Context, r core.ReadRequest) (core.Page, error)
}

func (g ground) Peek(key string) (v effects.Value, known bool) { return g.state.get(g.lane, key), true }

func (g ground) Get(_ context.Context, key string) (effects.Value, error) {
	return g.state.get(g.lane, key), nil
}

// Sizes is of keys that Peek does not know, of which there are none.
func (ground) Sizes(context.Context, []string) (int64, error) { return 0, nil }

func (g ground) Page(_ context.Context, prefix, after string) ([]effects.Entry, error) {
	return g.state.page(g.lane, prefix, after), nil
}

func (g ground) StateBytes() int64 { return g.state.bytes }

func (g ground) Read(ctx context.Context, r core.ReadRequest) (core.Page, error) {
	if g.read == nil {
		return core.Page{}, core.Errorf(core.CodeStreamNotFound, "stream %.80q has no events here", r.Stream)
	}
	return g.read(ctx, r)
}

func (ground) HoldsBack(uint64) bool { return false }

// output takes what the handler of a lane reports.
type output struct{ lane *lane }

func (o output) At(position uint64) { o.lane.at = position }

func (o output) Log(level abi.Level, line []byte) {
	o.lane.version.tally.log(o.lane.number, o.lane.at, level, line)
}

func (o output) Metric(kind abi.Kind, name []byte, value float64) abi.Errno {
	return o.lane.version.tally.metric(kind, name, value)
}
