package access

import (
	"context"

	"github.com/gyre-events/gyre/core"
)

// Read is core.Log.Read. Events that the principal may not read are passed over, so that a
// page may be empty though it is not the last one.
func (g Guard) Read(ctx context.Context, r core.ReadRequest) (core.Page, error) {
	p := Of(ctx)
	if err := p.checkRead(r.Stream, r.System); err != nil {
		return core.Page{}, err
	}
	r.Select.Filter.Within = p.within(r.Stream)
	return g.store.Read(ctx, r)
}

// Follow is core.Log.Follow. Events that the principal may not read are passed over.
func (g Guard) Follow(ctx context.Context, r core.FollowRequest) (core.Follower, error) {
	p := Of(ctx)
	if err := p.checkRead(r.Stream, r.System); err != nil {
		return nil, err
	}
	if r.From.Kind == core.AfterProgress {
		if err := p.Check(Progress, r.From.Progress); err != nil {
			return nil, err
		}
	}
	r.Filter.Within = p.within(r.Stream)
	return g.store.Follow(ctx, r)
}

// checkRead returns why the principal may not read a stream, or $all with the system's.
func (p *Principal) checkRead(stream string, system bool) error {
	if err := p.Check(Read, stream); err != nil {
		return err
	}
	if system && !p.Free() {
		return p.forbidden(Read, "the streams of the system", "only an admin may")
	}
	return nil
}

// within is core.Filter.Within for what the principal reads of a stream. In $all those of
// the system are passed over anyway.
func (p *Principal) within(stream string) []string {
	switch {
	case p.Free(), stream == core.All && isEvery(p.Streams):
		return nil
	case isEvery(p.Streams):
		return []string{"*"}
	}
	return append([]string{}, p.Streams...) // nil would be everything
}
