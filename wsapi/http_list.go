package wsapi

import (
	"encoding/base64"
	"net/http"
	"net/url"

	"github.com/gyre-events/gyre/core"
)

// streamsPage is the body of GET /v1/streams.
type streamsPage struct {
	Streams []streamInfo `json:"streams"`
	Cursor  string       `json:"cursor,omitzero"` // of the next page
	End     bool         `json:"end"`
}

type streamInfo struct {
	Name    string `json:"name"`
	Version uint64 `json:"version"`
}

// streams is GET /v1/streams.
func (a *API) streams(w http.ResponseWriter, r *http.Request) error {
	list, err := askedList(r.URL.Query())
	if err != nil {
		return err
	}
	ctx, cancel, err := a.timeout(r)
	if err != nil {
		return err
	}
	defer cancel()
	page, err := a.config.Store.Streams(ctx, core.StreamsRequest{Prefix: list.prefix, After: list.after, Limit: list.limit})
	if err != nil {
		return err
	}
	body := streamsPage{Streams: make([]streamInfo, 0, len(page.Streams)), End: page.End}
	for _, s := range page.Streams {
		body.Streams = append(body.Streams, streamInfo(s))
	}
	if n := len(page.Streams); n > 0 && !page.End {
		body.Cursor = cursorOfList(page.Streams[n-1].Name)
	}
	w.Header().Set("Cache-Control", "private, no-store")
	return writeJSON(w, http.StatusOK, body)
}

// listQuery is what a request for a list by name asks for.
type listQuery struct {
	prefix string
	after  string // the last name of the page before
	limit  int
}

// askedList reads it; others are parameters that the list has beside those of every one.
func askedList(q url.Values, others ...string) (list listQuery, err error) {
	if err := only(q, append([]string{"prefix", "cursor", "limit"}, others...)...); err != nil {
		return list, err
	}
	limit, err := number(q, "limit", 1, core.MaxReadEvents)
	if err != nil {
		return list, err
	}
	after, err := base64.RawURLEncoding.DecodeString(q.Get("cursor"))
	if err != nil {
		return list, core.Errorf(core.CodeInvalidCursor, "%q is not a cursor of this list", clip(q.Get("cursor")))
	}
	return listQuery{q.Get("prefix"), string(after), int(limit)}, nil
}

// cursorOfList leads to the page after the one that ends with a name.
func cursorOfList(last string) string { return base64.RawURLEncoding.EncodeToString([]byte(last)) }
