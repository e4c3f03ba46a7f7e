package wsapi

import (
	"net/http"
	"net/url"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// listing are the parameters of a list of streams beside those of a List.
var listing = []string{"suffix", "match", "names", "state", "sort", "desc", "details", "totals", "system"}

// sorts are the orders of a list of streams, by what sort says.
var sorts = map[string]core.StreamsSort{"": core.ByName, "name": core.ByName, "created": core.ByCreated, "changed": core.ByChanged}

// streams is GET /v1/streams.
func (a *API) streams(w http.ResponseWriter, r *http.Request) error {
	q, err := streamsQuery(r.URL.Query())
	if err != nil {
		return err
	}
	page, err := a.listStreams(w, r, q)
	if err != nil {
		return err
	}
	body := wire.StreamsPage{Streams: make([]wire.Stream, 0, len(page.Streams)), End: page.End, Looked: page.Looked}
	for i := range page.Streams {
		body.Streams = append(body.Streams, wire.NewStream(&page.Streams[i]))
	}
	if page.Next != "" {
		body.Cursor = ListCursor(page.Next)
	}
	if q.Totals && page.Total != nil {
		body.Total = &wire.StreamsTotal{Streams: page.Total.Streams, AtLeast: page.Total.AtLeast}
	}
	w.Header().Set("Cache-Control", "private, no-store")
	return WriteJSON(w, http.StatusOK, body)
}

// streamsQuery takes what is listed from the query.
func streamsQuery(q url.Values) (r core.StreamsRequest, err error) {
	list, err := ParseList(q, listing...)
	if err != nil {
		return r, err
	}
	r = core.StreamsRequest{
		Names: q["names"], Prefix: list.Prefix, Suffix: q.Get("suffix"), Pattern: q.Get("match"), After: list.After, Limit: list.Limit,
	}
	var known bool
	if r.Sort, known = sorts[q.Get("sort")]; !known {
		return r, core.Errorf(core.CodeInvalidRequest, "sort %q is none of name, created and changed", core.Clip(q.Get("sort")))
	}
	if q.Has("state") {
		state, known := core.ParseStreamState(q.Get("state"))
		if !known {
			return r, core.Errorf(core.CodeInvalidRequest, "state %q is none of live, deleted and tombstoned", core.Clip(q.Get("state")))
		}
		r.State = &state
	}
	for name, to := range map[string]*bool{"desc": &r.Descending, "details": &r.Details, "totals": &r.Totals, "system": &r.System} {
		if *to, err = isTrue(q, name); err != nil {
			return r, err
		}
	}
	if r.Names != nil && len(q) > 1 && !(len(q) == 2 && r.Details) {
		return r, core.Errorf(core.CodeInvalidRequest, "only details may be asked for beside names")
	}
	return r, nil
}

func (a *API) listStreams(w http.ResponseWriter, r *http.Request, q core.StreamsRequest) (core.StreamsPage, error) {
	ctx, cancel, err := a.timeout(r)
	if err != nil {
		return core.StreamsPage{}, err
	}
	defer cancel()
	return reading(w, func() (core.StreamsPage, error) { return a.config.Store.Streams(ctx, q) })
}

// stream is GET /v1/streams/{stream}. A stream that cannot be read is answered as a read of it is.
func (a *API) stream(w http.ResponseWriter, r *http.Request) error {
	if err := only(r.URL.Query()); err != nil {
		return err
	}
	name := r.PathValue("stream")
	page, err := a.listStreams(w, r, core.StreamsRequest{Names: []string{name}, Details: true})
	if err != nil {
		return err
	}
	if len(page.Streams) == 0 || page.Streams[0].State != core.StreamLive {
		if err := a.whyUnreadable(w, r, name); err != nil {
			return err
		}
	}
	if len(page.Streams) == 0 {
		return core.NewStreamNotFound(name)
	}
	w.Header().Set("Cache-Control", "private, no-store")
	return WriteJSON(w, http.StatusOK, wire.NewStream(&page.Streams[0]))
}

// whyUnreadable is the error of a read of a stream.
func (a *API) whyUnreadable(w http.ResponseWriter, r *http.Request, name string) error {
	ctx, cancel, err := a.timeout(r)
	if err != nil {
		return err
	}
	defer cancel()
	_, err = reading(w, func() (core.Page, error) {
		return a.config.Store.Read(ctx, core.ReadRequest{Stream: name, Limit: core.Limit{Events: 1}})
	})
	return err
}
