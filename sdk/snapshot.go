package sdk

import (
	"cmp"
	"context"
	"net/http"
	"net/url"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// Load returns the snapshot of a stream and the events after it, in one round trip: what the
// state of an aggregate is made of. Without a snapshot the events begin with the first. If
// the page is not the End, Read goes on at Next. Its rules are those of core.Load.
func (c *Client) Load(ctx context.Context, r core.LoadRequest) (core.Loaded, error) {
	return c.read(ctx, &wire.ReadRequest{
		Stream: r.Stream, Snapshot: kindOf(r.Kind), Limit: r.Limit.Events, Bytes: r.Limit.Bytes,
	})
}

func kindOf(kind string) string { return cmp.Or(kind, core.DefaultSnapshotKind) }

// RecordSnapshot records a snapshot, which replaces one of a lesser or the same version. It
// reports whether that changed something; the same snapshot again does not, so the call can be
// repeated after unknown_outcome. Its errors are those of core.RecordSnapshot.
func (c *Client) RecordSnapshot(ctx context.Context, p core.SnapshotPut) (bool, error) {
	if err := core.ValidateSnapshotName(p.Stream, p.Kind); err != nil {
		return false, err
	}
	query := url.Values{}
	if p.Overwrite {
		query.Set("overwrite", "true")
	}
	status, err := c.do(ctx, http.MethodPut, snapshotPath(p.Stream, p.Kind), query, wire.NewSnapshotState(&p.Snapshot), nil)
	return status == http.StatusCreated, err
}

// ReadSnapshot returns the snapshot of a stream, or snapshot_not_found.
func (c *Client) ReadSnapshot(ctx context.Context, stream, kind string) (core.Snapshot, error) {
	if err := core.ValidateSnapshotName(stream, kind); err != nil {
		return core.Snapshot{}, err
	}
	var s wire.Snapshot
	if err := c.get(ctx, snapshotPath(stream, kind), nil, &s); err != nil {
		return core.Snapshot{}, err
	}
	return s.CoreSnapshot()
}

// DeleteSnapshot removes the snapshot of a stream, if there is one, and reports whether there
// was.
func (c *Client) DeleteSnapshot(ctx context.Context, stream, kind string) (bool, error) {
	if err := core.ValidateSnapshotName(stream, kind); err != nil {
		return false, err
	}
	status, err := c.do(ctx, http.MethodDelete, snapshotPath(stream, kind), nil, nil, nil)
	return status == http.StatusOK, err
}

// ListSnapshots returns a page of the snapshots of a stream, without their states.
func (c *Client) ListSnapshots(ctx context.Context, r core.SnapshotsRequest) (core.SnapshotsPage, error) {
	if err := core.ValidateReadable(r.Stream); err != nil {
		return core.SnapshotsPage{}, err
	}
	var body wire.SnapshotsPage
	if err := c.get(ctx, snapshotsPath(r.Stream), listQuery(r.After, r.Limit), &body); err != nil {
		return core.SnapshotsPage{}, err
	}
	next, err := nextOf(body.Cursor)
	page := core.SnapshotsPage{Next: next, End: body.End}
	for i := range body.Snapshots {
		page.Snapshots = append(page.Snapshots, body.Snapshots[i].CoreInfo())
	}
	return page, err
}

// AppendWithSnapshots appends, and records snapshots, all or nothing. A snapshot may be of a
// version that the Commit appends. After unknown_outcome it can be repeated if its events have
// ids.
func (c *Client) AppendWithSnapshots(ctx context.Context, commit core.Commit, puts []core.SnapshotPut) (core.Result, error) {
	if len(puts) == 0 {
		return c.Append(ctx, commit)
	}
	puts, err := core.ValidateSnapshots(&commit, puts)
	if err != nil {
		return core.Result{}, err
	}
	identify(&commit)
	body, err := wire.NewTransaction(&commit, puts)
	if err != nil {
		return core.Result{}, err
	}
	var ok wire.OK
	if _, err := c.do(ctx, http.MethodPost, "/v1/transactions", nil, body, &ok); err != nil {
		return core.Result{}, err
	}
	return resultOf(&answer{ok: &ok}, len(commit.Appends))
}

func snapshotsPath(stream string) string {
	return "/v1/streams/" + url.PathEscape(stream) + "/snapshots"
}

func snapshotPath(stream, kind string) string {
	return snapshotsPath(stream) + "/" + url.PathEscape(kindOf(kind))
}
