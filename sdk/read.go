package sdk

import (
	"context"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// Read is core.Log.Read.
func (c *Client) Read(ctx context.Context, r core.ReadRequest) (core.Page, error) {
	m := &wire.ReadRequest{Stream: r.Stream, From: r.From, Limit: r.Limit.Events, Bytes: r.Limit.Bytes, System: r.System,
		FromTime: wire.ExactTime(r.FromTime), Selection: wire.NewSelection(&r.Select)}
	if !r.FromTime.IsZero() {
		m.From = 0
	}
	if r.Backward {
		m.Dir = "backward"
	}
	return c.readPage(ctx, m)
}

// ReadLog is core.LogReader.ReadLog.
func (c *Client) ReadLog(ctx context.Context, from uint64, limit core.Limit) (core.Page, error) {
	page, err := c.readPage(ctx, &wire.ReadRequest{Stream: core.All, From: from, Limit: limit.Events, Bytes: limit.Bytes, Links: true})
	page.Hidden = true
	return page, err
}

// readPage reads a page that has no snapshot.
func (c *Client) readPage(ctx context.Context, m *wire.ReadRequest) (core.Page, error) {
	l, err := c.read(ctx, m)
	return l.Page, err
}

// read reads a page. While the node is overloaded it tries again.
func (c *Client) read(ctx context.Context, m *wire.ReadRequest) (core.Loaded, error) {
	return retryWhileOverloaded(ctx, c, func() (core.Loaded, error) { return c.readOnce(ctx, m) })
}

func (c *Client) readOnce(ctx context.Context, m *wire.ReadRequest) (l core.Loaded, err error) {
	if err := ctx.Err(); err != nil {
		return l, core.AsError(err)
	}
	m.ID, m.TimeoutMs = c.lastID.Add(1)+1, timeoutMs(ctx)
	k := &call{id: m.ID, message: wire.Encode(nil, m)}
	if m.Selection != (wire.Selection{}) || m.FromTime != nil {
		k.needs = append(k.needs, hasSelections)
	}
	if m.Snapshot != "" {
		k.needs = append(k.needs, hasSnapshots)
	}
	a := c.wait(ctx, k)
	if a.err != nil {
		return l, a.err
	}
	if a.ok == nil {
		return l, core.Errorf(core.CodeProtocolError, "a read was answered like an append")
	}
	l.Page = core.Page{Batch: a.batch, Next: a.ok.Next, End: a.ok.End, Version: a.ok.Version, Head: a.ok.Head, Scanned: a.ok.Scanned}
	if a.ok.Snapshot != nil {
		var s core.Snapshot
		s, err = a.ok.Snapshot.CoreSnapshot()
		l.Snapshot = &s
	}
	return l, err
}
