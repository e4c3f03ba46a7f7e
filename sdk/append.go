package sdk

import (
	"context"
	"slices"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// Append is core.Log.Append.
func (c *Client) Append(ctx context.Context, commit core.Commit) (core.Result, error) {
	k, err := c.newAppend(ctx, &commit)
	if err != nil {
		return core.Result{}, err
	}
	a := c.wait(ctx, k)
	if a.err != nil {
		return core.Result{}, a.err
	}
	return resultOf(&a, countsOf(&commit))
}

// Submit sends an append and returns; done is called once with the answer, from
// another goroutine or before Submit returns. It waits only for room among the
// requests in flight. Appends that one goroutine submits for the same stream are
// applied in that order. done must not block.
func (c *Client) Submit(ctx context.Context, commit core.Commit, done func(core.Result, error)) {
	k, err := c.newAppend(ctx, &commit)
	if err != nil {
		done(core.Result{}, err)
		return
	}
	k.watched = true
	counts := countsOf(&commit)
	k.done = func(a answer) {
		if a.err != nil {
			done(core.Result{}, a.err)
			return
		}
		r, err := resultOf(&a, counts)
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
	k := &call{id: c.lastID.Add(1) + 1, isAppend: true} // 1 was hello's
	identify(commit)
	f := wire.AppendFrame{ID: k.id}
	k.binary = !c.options.JSON && len(commit.Appends) == 1 && !commit.HasLinks() && len(commit.Checks) == 0 && len(commit.Records) == 0
	if k.binary {
		f.Append, f.Timeout = commit.Appends[0], time.Duration(timeoutMs(ctx))*time.Millisecond
		size := 64 + len(f.Append.Stream)
		for i := range f.Append.Events {
			size += core.MaxEncodedBytes("", &f.Append.Events[i])
		}
		k.message = wire.AppendAppend(make([]byte, 0, size), &f)
	} else {
		m, err := wire.NewAppendRequest(k.id, commit)
		if err != nil {
			return nil, err
		}
		m.TimeoutMs = timeoutMs(ctx)
		k.message = wire.Encode(nil, m)
	}
	if limit := c.frameLimit; len(k.message) > limit {
		e := core.Errorf(core.CodeFrameTooLarge, "the append takes a message of %d bytes, the server's limit is %d", len(k.message), limit)
		e.Limit = int64(limit)
		return nil, e
	}
	if k.binary && c.options.Compress {
		k.codec = c.agreed()
		k.coded, _ = c.compressor.Append(k.codec, &f, k.message)
	}
	return k, nil
}

// agreed is how the newest connection is compressed, and probably the next.
func (c *Client) agreed() wire.Codec {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.codec
}

// identify gives ids to the events that have none, so that the append can be sent
// again. The caller's events are not touched.
func identify(commit *core.Commit) {
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

// countsOf are the numbers of events or links of each element.
func countsOf(commit *core.Commit) []int {
	counts := make([]int, len(commit.Appends))
	for i := range commit.Appends {
		counts[i] = commit.Appends[i].Count()
	}
	return counts
}

// resultOf is the answer as a core.Result. counts are those of each element.
func resultOf(a *answer, counts []int) (core.Result, error) {
	switch {
	case a.ok == nil:
		r := a.result
		return core.Result{Position: r.Position, Appends: []core.Appended{appended(r.Version, r.Position, 1)}}, nil
	case len(a.ok.Appends) == 0 && len(counts) == 1:
		return core.Result{
			Position: a.ok.Position, Duplicate: a.ok.Duplicate,
			Appends: []core.Appended{appended(a.ok.Version, a.ok.Position, counts[0])},
		}, nil
	case len(a.ok.Appends) != len(counts):
		return core.Result{}, core.Errorf(core.CodeProtocolError, "an append of %d elements was answered for %d", len(counts), len(a.ok.Appends))
	}
	r := core.Result{Position: a.ok.Position, Duplicate: a.ok.Duplicate}
	for i, e := range a.ok.Appends {
		r.Appends = append(r.Appends, appended(e.Version, e.Position, counts[i]))
	}
	return r, nil
}

// appended is where count events are of which the last is at version and position.
func appended(version, position uint64, count int) core.Appended {
	before := uint64(count - 1)
	return core.Appended{
		FirstVersion: version - min(before, version), LastVersion: version,
		FirstPosition: position - min(before, position), LastPosition: position,
	}
}
