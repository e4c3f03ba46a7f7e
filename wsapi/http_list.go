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
	list, err := ParseList(r.URL.Query(), "system")
	if err != nil {
		return err
	}
	system, err := isTrue(r.URL.Query(), "system")
	if err != nil {
		return err
	}
	ctx, cancel, err := a.timeout(r)
	if err != nil {
		return err
	}
	defer cancel()
	page, err := reading(w, func() (core.StreamsPage, error) {
		return a.config.Store.Streams(ctx, core.StreamsRequest{Prefix: list.Prefix, After: list.After, Limit: list.Limit, System: system})
	})
	if err != nil {
		return err
	}
	body := streamsPage{Streams: make([]streamInfo, 0, len(page.Streams)), End: page.End}
	for _, s := range page.Streams {
		body.Streams = append(body.Streams, streamInfo{s.Name, s.Version})
	}
	if n := len(page.Streams); n > 0 && !page.End {
		body.Cursor = ListCursor(page.Streams[n-1].Name)
	}
	w.Header().Set("Cache-Control", "private, no-store")
	return WriteJSON(w, http.StatusOK, body)
}

// List is what a request for a list by name asks for.
type List struct {
	Prefix string
	After  string // the last name of the page before
	Limit  int    // 0: not said
}

// ParseList reads prefix, cursor and limit of a query. others are the parameters that the list
// has beside them.
func ParseList(q url.Values, others ...string) (list List, err error) {
	if err := only(q, append([]string{"prefix", "cursor", "limit"}, others...)...); err != nil {
		return list, err
	}
	limit, err := Number(q, "limit", 1, core.MaxReadEvents)
	if err != nil {
		return list, err
	}
	after, err := base64.RawURLEncoding.DecodeString(q.Get("cursor"))
	if err != nil {
		return list, core.Errorf(core.CodeInvalidCursor, "%q is not a cursor of this list", core.Clip(q.Get("cursor")))
	}
	return List{q.Get("prefix"), string(after), int(limit)}, nil
}

// ListCursor leads to the page after the one that ends with a name.
func ListCursor(last string) string { return base64.RawURLEncoding.EncodeToString([]byte(last)) }
