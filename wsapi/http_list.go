package wsapi

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"unicode/utf8"

	"github.com/gyre-events/gyre/core"
)

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
	if err != nil || !utf8.Valid(after) {
		return list, core.Errorf(core.CodeInvalidCursor, "%q is not a cursor of this list", core.Clip(q.Get("cursor")))
	}
	return List{q.Get("prefix"), string(after), int(limit)}, nil
}

// serveList responds with a page of a list by name, which read reads as the API has it, if the node
// takes another read.
func (a *API) serveList(w http.ResponseWriter, r *http.Request, read func(context.Context, List) (any, error)) error {
	list, err := ParseList(r.URL.Query())
	if err != nil {
		return err
	}
	ctx, cancel, err := a.timeout(r)
	if err != nil {
		return err
	}
	defer cancel()
	body, err := reading(w, func() (any, error) { return read(ctx, list) })
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "private, no-store")
	return WriteJSON(w, http.StatusOK, body)
}

// ListCursor leads to the page after the one that ends with a name.
func ListCursor(last string) string { return base64.RawURLEncoding.EncodeToString([]byte(last)) }
