package wsapi

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/requests"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// snapshotRoutes are those of the snapshots of a stream.
func (a *API) snapshotRoutes() []Route {
	const list, one = "/v1/streams/{stream}/snapshots", "/v1/streams/{stream}/snapshots/{kind}"
	return []Route{
		{Method: "GET", Path: list, Op: "snapshot.list", Needs: access.Read, Handle: a.listSnapshots, Query: []string{"cursor", "limit"}},
		{Method: "PUT", Path: one, Op: "snapshot.put", Needs: access.Append, Handle: a.putSnapshot, Query: []string{"overwrite"}},
		{Method: "GET", Path: one, Op: "snapshot.get", Needs: access.Read, Handle: a.getSnapshot},
		{Method: "DELETE", Path: one, Op: "snapshot.delete", Needs: access.Append, Audit: "SnapshotDeleted", AuditOnly: http.StatusOK, Handle: a.deleteSnapshot},
	}
}

// listSnapshots is GET /v1/streams/{stream}/snapshots.
func (a *API) listSnapshots(w http.ResponseWriter, r *http.Request) error {
	return a.serveList(w, r, func(ctx context.Context, list List) (any, error) {
		page, err := core.ListSnapshots(ctx, a.config.Store, core.SnapshotsRequest{Stream: r.PathValue("stream"), After: list.After, Limit: list.Limit})
		body := wire.SnapshotsPage{Snapshots: make([]wire.SnapshotInfo, 0, len(page.Snapshots)), End: page.End}
		for i := range page.Snapshots {
			body.Snapshots = append(body.Snapshots, wire.NewSnapshotInfo(&page.Snapshots[i]))
		}
		if !page.End {
			body.Cursor = ListCursor(page.Next)
		}
		return body, err
	})
}

// putSnapshot is PUT /v1/streams/{stream}/snapshots/{kind}.
func (a *API) putSnapshot(w http.ResponseWriter, r *http.Request) error {
	overwrite, err := isTrue(r.URL.Query(), "overwrite")
	if err != nil {
		return err
	}
	var state wire.SnapshotState
	if err := a.decodeBody(w, r, &state, wire.UnmarshalStrict); err != nil {
		return err
	}
	p := core.SnapshotPut{Overwrite: overwrite}
	if p.Snapshot, err = state.CoreSnapshot(r.PathValue("stream"), r.PathValue("kind")); err != nil {
		return err
	}
	changed, err := changing(a, w, r, func(ctx context.Context) (bool, error) { return core.RecordSnapshot(ctx, a.config.Store, p) })
	if err != nil {
		return err
	}
	status := http.StatusOK
	if changed {
		status = http.StatusCreated
		a.metrics.SnapshotsRecorded(1)
	}
	w.Header().Set("Cache-Control", "no-store")
	return WriteJSON(w, status, struct {
		Changed bool `json:"changed"`
	}{changed})
}

// changing makes a change that is none of events, if the node takes another append.
func changing[T any](a *API, w http.ResponseWriter, r *http.Request, change func(ctx context.Context) (T, error)) (done T, err error) {
	ctx, cancel, err := a.timeout(r)
	if err != nil {
		return done, err
	}
	defer cancel()
	share := shareOf(w)
	if err := a.gates.Appends.Enter(share); err != nil {
		return done, err
	}
	defer a.gates.Appends.Leave(share, time.Now())
	return change(ctx)
}

// getSnapshot is GET /v1/streams/{stream}/snapshots/{kind}.
func (a *API) getSnapshot(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel, err := a.timeout(r)
	if err != nil {
		return err
	}
	defer cancel()
	memory := memoryOf(w)
	reserved := memory.Reserve(core.MaxRecordValueBytes)
	s, err := reading(w, func() (core.Snapshot, error) {
		return core.ReadSnapshot(ctx, a.config.Store, r.PathValue("stream"), r.PathValue("kind"))
	})
	if err != nil {
		return err
	}
	if err := memory.Settle(reserved, len(s.Data)+len(s.Metadata)); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Cache-Control", "private, no-store")
	body := requests.NewBuffer()
	defer body.Free()
	body.B = append(wire.AppendSnapshot(body.B, &s), '\n')
	return writeBody(w, body.B)
}

// writeBody responds with a JSON text.
func writeBody(w http.ResponseWriter, body []byte) error {
	w.Header().Set("Content-Type", typeJSON)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, err := w.Write(body)
	return err
}

// deleteSnapshot is DELETE /v1/streams/{stream}/snapshots/{kind}. It has no content where there
// was no snapshot.
func (a *API) deleteSnapshot(w http.ResponseWriter, r *http.Request) error {
	deleted, err := changing(a, w, r, func(ctx context.Context) (bool, error) {
		return core.DeleteSnapshot(ctx, a.config.Store, r.PathValue("stream"), r.PathValue("kind"))
	})
	switch {
	case err != nil:
		return err
	case !deleted:
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	a.metrics.SnapshotsDeleted(1)
	return WriteJSON(w, http.StatusOK, json.RawMessage(`{"deleted":true}`))
}

// loaded responds with a snapshot and the page of events after it, which no ETag names: the
// snapshot may change while the stream's version stays.
func (a *API) loaded(w http.ResponseWriter, r *http.Request, stream string) error {
	q := r.URL.Query()
	if err := only(q, "snapshot", "limit"); err != nil {
		return err
	}
	limit, err := Number(q, "limit", 1, core.MaxReadEvents)
	if err != nil {
		return err
	}
	ctx, cancel, err := a.timeout(r)
	if err != nil {
		return err
	}
	defer cancel()
	memory := memoryOf(w)
	request := core.LoadRequest{Stream: stream, Kind: q.Get("snapshot"), Limit: core.Limit{Events: int(limit), Bytes: memory.Reserve(core.MaxPageBytes)}}
	l, err := reading(w, func() (core.Loaded, error) { return core.Load(ctx, a.config.Store, request) })
	if err != nil {
		return err
	}
	if err := memory.Settle(request.Limit.Bytes, l.Bytes()); err != nil {
		return err
	}
	a.metrics.Read(l.Count)
	h := w.Header()
	h.Set("Cache-Control", "private, no-store")
	h.Set("Gyre-Version", strconv.FormatUint(l.Version, 10))
	h.Set("Gyre-Head", strconv.FormatUint(l.Head, 10))
	addNext(h, r, &core.ReadRequest{Limit: request.Limit}, &l.Page)
	body := requests.NewBuffer()
	defer body.Free()
	body.B = append(body.B, '{')
	if l.Snapshot != nil {
		body.B = append(wire.AppendSnapshot(append(body.B, `"snapshot":`...), l.Snapshot), ',')
	}
	body.B = append(appendPageFields(body.B, &l.Page), '}', '\n')
	return writeBody(w, body.B)
}
