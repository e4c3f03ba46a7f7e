package sdk

import (
	"context"
	"slices"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// Append is core.Log.Append. While the node is overloaded it tries again.
func (c *Client) Append(ctx context.Context, commit core.Commit) (core.Result, error) {
	return retryWhileOverloaded(ctx, c, func() (core.Result, error) { return c.appendOnce(ctx, &commit) })
}

// appendOnce appends a Commit, whose events have ids from then on.
func (c *Client) appendOnce(ctx context.Context, commit *core.Commit) (core.Result, error) {
	k, err := c.newAppend(ctx, commit)
	if err != nil {
		return core.Result{}, err
	}
	a := c.wait(ctx, k)
	if a.err != nil {
		return core.Result{}, a.err
	}
	return resultOf(&a, len(commit.Appends))
}

// AppendTo appends events to one stream: the short form of Append. Its errors are those
// of Append; the result's Appends has one element.
func (c *Client) AppendTo(ctx context.Context, stream string, expect core.Expect, events ...core.NewEvent) (core.Result, error) {
	return c.Append(ctx, core.Commit{Appends: []core.Append{{Stream: stream, Expect: expect, Events: events}}})
}

// Submit sends an append and returns; done is called once with the answer, from
// another goroutine or before Submit returns. It waits only for room among the
// requests in flight. Appends that one goroutine submits for the same stream are
// applied in that order, so one that the node refuses as overloaded is not tried again: others may
// have been taken after it. done must not block.
func (c *Client) Submit(ctx context.Context, commit core.Commit, done func(core.Result, error)) {
	k, err := c.newAppend(ctx, &commit)
	if err != nil {
		done(core.Result{}, err)
		return
	}
	k.watched = true
	elements := len(commit.Appends)
	k.done = func(a answer) {
		if a.err != nil {
			done(core.Result{}, a.err)
			return
		}
		r, err := resultOf(&a, elements)
		done(r, err)
	}
	c.start(ctx, k)
}

// newAppend encodes an append once, for as often as it has to be sent.
func (c *Client) newAppend(ctx context.Context, commit *core.Commit) (*call, error) {
	if err := ctx.Err(); err != nil {
		return nil, core.AsError(err)
	}
	if err := commit.Validate(); err != nil {
		return nil, err
	}
	if len(commit.Records) > 0 {
		return nil, core.Errorf(core.CodeNotSupported, "records cannot be written over the network")
	}
	if commit.ExpectsIncarnation() && c.options.Peer == nil {
		return nil, core.Errorf(core.CodeNotSupported, "only nodes expect incarnations over the network")
	}
	k := &call{id: c.lastID.Add(1) + 1, isAppend: true, moves: commit.Moves(), once: !commit.Repeatable(), binary: !c.options.JSON} // 1 was hello's
	if commit.Progress != nil {
		k.needs = append(k.needs, hasProgress)
	}
	if len(commit.Streams) > 0 {
		k.needs = append(k.needs, hasDeletes)
	}
	identify(commit)
	f := wire.CommitFrame{ID: k.id, Timeout: time.Duration(timeoutMs(ctx)) * time.Millisecond, Commit: *commit}
	switch {
	case c.options.Peer != nil:
		k.message = wire.AppendCommit(wire.AppendForward(nil, commit.Epoch), &f)
	case k.binary:
		k.message = wire.AppendCommit(nil, &f)
	default:
		m, err := wire.NewAppendRequest(k.id, commit)
		if err != nil {
			return nil, err
		}
		m.TimeoutMs = f.Timeout.Milliseconds()
		k.message = wire.Encode(nil, m)
	}
	if limit := c.frameLimit; len(k.message) > limit {
		e := core.Errorf(core.CodeFrameTooLarge, "the append takes a message of %d bytes, the server's limit is %d", len(k.message), limit)
		e.Limit = int64(limit)
		return nil, e
	}
	if k.binary && c.options.Compress {
		k.codec = c.agreed()
		k.coded, _ = c.compressor.Commit(k.codec, &f, k.message)
	}
	return k, nil
}

// agreed is how the newest connection is compressed, and probably the next.
func (c *Client) agreed() wire.Codec {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.codec
}

// identify gives ids to the events that have none, and to a move without events, so that
// the append can be sent again. What the caller has is not touched.
func identify(commit *core.Commit) {
	if commit.Moves() && commit.Progress.ID.IsZero() {
		move := *commit.Progress
		move.ID = core.NewID()
		commit.Progress = &move
	}
	cloned := false
	for i := range commit.Appends {
		own := false
		for j := range commit.Appends[i].Events {
			if !commit.Appends[i].Events[j].ID.IsZero() {
				continue
			}
			if !cloned {
				commit.Appends = slices.Clone(commit.Appends)
				cloned = true
			}
			if !own {
				commit.Appends[i].Events = slices.Clone(commit.Appends[i].Events)
				own = true
			}
			commit.Appends[i].Events[j].ID = core.NewID()
		}
	}
}

// resultOf is the answer to a Commit of so many elements.
func resultOf(a *answer, elements int) (core.Result, error) {
	r := a.result
	if a.ok != nil {
		r = resultOfJSON(a.ok)
	}
	if len(r.Appends) != elements {
		return core.Result{}, core.Errorf(core.CodeProtocolError, "an append of %d elements was answered for %d", elements, len(r.Appends))
	}
	return r, nil
}

func resultOfJSON(ok *wire.OK) core.Result {
	list := ok.Appends
	if len(list) == 0 && ok.Count > 0 {
		list = []wire.Appended{{Version: ok.Version, Position: ok.Position, Count: ok.Count}}
	}
	r := core.Result{Position: ok.Position, Duplicate: ok.Duplicate, Node: ok.Node, Appends: make([]core.Appended, len(list))}
	for i, e := range list {
		before := uint64(max(e.Count, 1) - 1)
		r.Appends[i] = core.Appended{
			FirstVersion: e.Version - min(before, e.Version), LastVersion: e.Version,
			FirstPosition: e.Position - min(before, e.Position), LastPosition: e.Position,
		}
	}
	return r
}
